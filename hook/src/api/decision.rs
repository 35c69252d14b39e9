//! `POST /api/v1/incidents/{id}/decision`: a person's signed yes or no, recorded once.
//!
//! The hook only keeps the decision and wakes the orchestrator, which checks it again before it
//! acts. The same token sent again gets the same answer and appends the same work, so that whoever
//! lost the answer, or a crash between the two writes, loses nothing.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use incident::approval::BadApproval;
use incident::error::{Classify, Code, Kind};
use incident::ports::{Entry, Expect, Put, StoreError, StreamError};
use incident::report::ChangeOutcome;
use incident::{ApprovalKey, ApprovalToken, Decision, IncidentId, Report, Step, WorkItem, keys};
use serde::Serialize;

use super::incidents::state;
use super::read::{Named, ReadError, decode, incident_id};
use crate::body::{self, BodyError};
use crate::refusal::Refuse;
use crate::state::Hook;

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Digits of the proposal's digest in the key of its decision.
const PROPOSAL_DIGITS: usize = 16;

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecisionError {
    #[error("decisions cannot be verified here: {0}")]
    NotSetUp(&'static str),
    #[error("the body is not an approval token: {0}")]
    NotAToken(String),
    #[error("the token is for incident {0}, not for the one in the path")]
    OtherIncident(IncidentId),
    #[error(transparent)]
    Token(BadApproval),
    #[error("no decision is awaited: {0}")]
    NotAwaited(String),
    #[error("the proposal changed: the token is for {token}, the proposal is now {current}")]
    Changed { token: String, current: String },
    #[error("{by} decided before with another token: {decision}")]
    Decided { by: String, decision: &'static str },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the decision is recorded, but the work was not queued: {0}")]
    Stream(#[from] StreamError),
}

impl From<StoreError> for DecisionError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

impl Classify for DecisionError {
    fn kind(&self) -> Kind {
        match self {
            Self::Body(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Stream(error) => error.kind(),
            _ => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotSetUp(_) => Code("E-HOOK-018"),
            Self::NotAToken(_) | Self::OtherIncident(_) => Code("E-HOOK-015"),
            Self::Token(_) => Code("E-HOOK-016"),
            Self::NotAwaited(_) | Self::Changed { .. } | Self::Decided { .. } => Code("E-HOOK-017"),
            Self::Body(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Stream(error) => error.code(),
        }
    }
}

impl Refuse for DecisionError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotSetUp(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NotAToken(_) | Self::OtherIncident(_) => StatusCode::BAD_REQUEST,
            Self::Token(_) => StatusCode::FORBIDDEN,
            Self::NotAwaited(_) | Self::Changed { .. } => StatusCode::CONFLICT,
            Self::Decided { .. } => StatusCode::GONE,
            Self::Body(error) => error.status(),
            Self::Read(error) => error.status(),
            Self::Stream(error) => error.status(),
        }
    }

    fn field(&self) -> String {
        match self {
            Self::NotAToken(_) => "body".into(),
            Self::OtherIncident(_) => "incident".into(),
            Self::Token(BadApproval::Signature | BadApproval::ShortKey(_)) => "signature".into(),
            Self::Token(_) => "expires_at".into(),
            Self::Changed { .. } => "proposal".into(),
            Self::Decided { .. } => "nonce".into(),
            Self::Body(error) => error.field(),
            Self::Read(error) => error.field(),
            Self::NotSetUp(_) | Self::NotAwaited(_) | Self::Stream(_) => String::new(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NotSetUp(_) => "give this role the approval key and all work lanes",
            Self::NotAToken(_) | Self::OtherIncident(_) => {
                "send the token that `nightshift approve` makes, to its own incident"
            }
            Self::Token(_) => {
                "make a new token with `nightshift approve`, with this installation's key"
            }
            Self::NotAwaited(_) => "look at the report: GET /api/v1/incidents/{id}",
            Self::Changed { .. } => "read the new diff and decide again",
            Self::Decided { .. } => "nothing to do: a proposal is decided once",
            Self::Body(error) => error.remedy(),
            Self::Read(error) => error.remedy(),
            Self::Stream(_) => "send the same token again; it counts once",
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotSetUp(_) => "decision_not_set_up",
            Self::NotAToken(_) | Self::OtherIncident(_) => "decision_not_a_token",
            Self::Token(_) => "decision_token",
            Self::NotAwaited(_) => "decision_not_awaited",
            Self::Changed { .. } => "decision_changed",
            Self::Decided { .. } => "decision_decided",
            Self::Body(error) => error.reason(),
            Self::Read(error) => error.reason(),
            Self::Stream(error) => error.reason(),
        }
    }
}

/// The same for the first and for every later arrival of one token.
#[derive(Debug, Serialize)]
struct Recorded {
    incident: IncidentId,
    decision: Decision,
    proposal: String,
    person: String,
}

pub(crate) async fn decide(
    State(hook): State<Hook>,
    Named(id): Named,
    request: Request,
) -> Response {
    match take(&hook, &id, request).await {
        Ok(recorded) => (StatusCode::ACCEPTED, Json(recorded)).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

async fn take(hook: &Hook, id: &str, request: Request) -> Result<Recorded, DecisionError> {
    let key = hook.approval_key();
    let key = key.ok_or(DecisionError::NotSetUp("there is no approval key"))?;
    let id = incident_id(id)?;
    let (parts, body) = request.into_parts();
    let cx = hook.cx(hook.config().body_timeout);
    let bytes = body::read(&parts.headers, body, TOKEN_BYTES_MAX, &cx).await?;
    let token: ApprovalToken = serde_json::from_slice(&bytes)
        .map_err(|error| DecisionError::NotAToken(error.to_string()))?;
    if token.approval.incident != id {
        return Err(DecisionError::OtherIncident(token.approval.incident));
    }
    hook.ask(record(hook, key, &token)).await?;
    let approval = token.approval;
    tracing::info!(incident = %id, decision = word(approval.decision), "decision recorded");
    Ok(Recorded {
        incident: approval.incident,
        decision: approval.decision,
        proposal: approval.proposal.to_string(),
        person: approval.person,
    })
}

async fn record(
    hook: &Hook,
    key: &ApprovalKey,
    token: &ApprovalToken,
) -> Result<(), DecisionError> {
    let approval = &token.approval;
    let expired = match key.verify(token, hook.now()) {
        Ok(()) => None,
        // Signed by us, but too late; fine if it was recorded while it was valid.
        Err(error @ BadApproval::Expired(_)) => Some(error),
        Err(error) => return Err(DecisionError::Token(error)),
    };
    let incident = hook.incident(&approval.incident).await?;
    let item = WorkItem {
        incident: incident.id,
        severity: incident.severity,
        generation: incident.generation,
        step: Step::Decide {
            nonce: approval.nonce.clone(),
        },
    };
    let lane = hook.work().get(&item.severity);
    let lane = lane.ok_or(DecisionError::NotSetUp(
        "there is no work lane for its severity",
    ))?;
    let place = keys::decision(&approval.incident, approval.proposal.short(PROPOSAL_DIGITS));
    if !recorded(hook, &place, token).await? {
        if let Some(expired) = expired {
            return Err(DecisionError::Token(expired));
        }
        awaited(hook, token).await?;
        keep(hook, &place, token).await?;
    }
    let payload = serde_json::to_vec(&item).expect("a work item is plain text");
    let entry = Entry {
        key: item.key().to_string(),
        payload,
    };
    lane.append(vec![entry]).await?;
    Ok(())
}

async fn keep(hook: &Hook, place: &str, token: &ApprovalToken) -> Result<(), DecisionError> {
    let bytes = serde_json::to_vec(token).expect("a token is plain text");
    let put = Put::new(place, bytes, Expect::Absent);
    match hook.store().put(put).await {
        Ok(_) => Ok(()),
        // Somebody was faster; the same token may have been sent twice at once.
        Err(StoreError::Conflict { .. }) if recorded(hook, place, token).await? => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether exactly this token was recorded before.
async fn recorded(hook: &Hook, place: &str, token: &ApprovalToken) -> Result<bool, DecisionError> {
    let Some(found) = hook.store().get(place).await? else {
        return Ok(false);
    };
    let before: ApprovalToken = decode(place, &found)?;
    if before == *token {
        return Ok(true);
    }
    Err(DecisionError::Decided {
        by: before.approval.person,
        decision: word(before.approval.decision),
    })
}

/// Whether the report waits for a decision about what the person saw.
async fn awaited(hook: &Hook, token: &ApprovalToken) -> Result<(), DecisionError> {
    let incident = &token.approval.incident;
    let Some(Report { change, .. }) = hook.report(incident).await? else {
        return Err(DecisionError::NotAwaited("there is no report yet".into()));
    };
    let ChangeOutcome::AwaitingApproval { proposal } = change else {
        return Err(DecisionError::NotAwaited(format!(
            "the change is {}",
            state(&change)
        )));
    };
    let current = proposal.digest();
    if current == token.approval.proposal {
        return Ok(());
    }
    Err(DecisionError::Changed {
        token: token.approval.proposal.short(12).to_owned(),
        current: current.short(12).to_owned(),
    })
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "approve",
        Decision::Reject => "reject",
    }
}
