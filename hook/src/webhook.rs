//! `POST /webhook/alertmanager`: bound, parse, store, and only then say yes.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use incident::error::{Classify, Code, Kind};
use incident::ports::{Appended, Entry, StreamError};
use serde::Serialize;

use crate::batch::{self, Batch, PayloadError};
use crate::body::{self, BodyError};
use crate::refusal::{self, Refuse};
use crate::state::Hook;

/// Rejected alerts that one answer and one log line name.
const REJECTED_NAMED_MAX: usize = 20;

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("the alerts were not stored: {0}")]
    Stream(#[from] StreamError),
    #[error("storing the alerts took longer than {0}")]
    Slow(runtime::config::Span),
}

impl WebhookError {
    fn inner(&self) -> Option<&dyn Refuse> {
        match self {
            Self::Body(error) => Some(error),
            Self::Payload(error) => Some(error),
            Self::Stream(error) => Some(error),
            Self::Slow(_) => None,
        }
    }
}

impl Classify for WebhookError {
    fn kind(&self) -> Kind {
        self.inner().map_or(Kind::Transient, Classify::kind)
    }

    fn code(&self) -> Code {
        self.inner().map_or(Code("E-HOOK-012"), Classify::code)
    }
}

impl Refuse for WebhookError {
    fn status(&self) -> StatusCode {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        self.inner().map_or(unavailable, Refuse::status)
    }

    fn field(&self) -> String {
        self.inner().map(Refuse::field).unwrap_or_default()
    }

    fn remedy(&self) -> &'static str {
        let again = "nothing is lost: send it again; if it lasts, look at the stream";
        self.inner().map_or(again, Refuse::remedy)
    }

    fn reason(&self) -> &'static str {
        self.inner().map_or("append_timeout", Refuse::reason)
    }
}

/// What the sender of a stored body is told.
#[derive(Debug, Serialize)]
struct Stored {
    /// Alerts stored now.
    accepted: u64,
    /// Alerts that were stored before.
    duplicates: u64,
    /// Alerts beyond the limit of one body.
    #[serde(skip_serializing_if = "is_zero")]
    cut: u64,
    /// Alerts that can never be taken; the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejected>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape serde asks for"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug, Serialize)]
struct Rejected {
    field: String,
    code: &'static str,
    message: String,
}

pub(crate) async fn receive(State(hook): State<Hook>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match accept(&hook, &parts.headers, body).await {
        Ok(stored) => (StatusCode::OK, Json(stored)).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

async fn accept(
    hook: &Hook,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<Stored, WebhookError> {
    let config = hook.config();
    let cx = hook.cx(config.body_timeout);
    let bytes = body::read(headers, body, config.body_max.get(), &cx).await?;
    let batch = batch::read(&bytes, config, hook.now())?;
    drop(bytes);
    let Batch {
        entries,
        rejected,
        cut,
        truncated,
    } = batch;
    let stored = store(hook, entries).await?;
    if truncated > 0 {
        hook.cut_short().tell(hook.now());
    }
    let fresh = stored
        .iter()
        .filter(|one| **one == Appended::Stored)
        .count() as u64;
    let duplicates = stored.len() as u64 - fresh;
    let counts = hook.counts();
    counts.received(fresh);
    counts.alerts("accepted", fresh);
    counts.alerts("duplicate", duplicates);
    counts.alerts("rejected", rejected.len() as u64);
    counts.alerts("cut", cut);
    for (place, error) in &rejected {
        counts.rejected(error.reason());
        if *place < REJECTED_NAMED_MAX {
            tracing::warn!(place, code = %error.code(), %error, "an alert of a stored body cannot be taken");
        }
    }
    if cut > 0 {
        tracing::warn!(
            cut,
            alerts_max = config.alerts_max,
            "a body has more alerts than are taken"
        );
    }
    tracing::debug!(
        accepted = fresh,
        duplicates,
        rejected = rejected.len(),
        "alerts stored"
    );
    let named = rejected.into_iter().take(REJECTED_NAMED_MAX);
    Ok(Stored {
        accepted: fresh,
        duplicates,
        cut,
        rejected: named
            .map(|(place, error)| Rejected {
                field: format!("alerts[{place}]{}", error.field()),
                code: error.code().0,
                message: error.to_string(),
            })
            .collect(),
    })
}

/// Stores all entries, or fails. A body of more than [`Entry::BATCH_MAX`] alerts takes several
/// appends; if a later one fails, the sender's next attempt finds the earlier ones as duplicates.
async fn store(hook: &Hook, mut entries: Vec<Entry>) -> Result<Vec<Appended>, WebhookError> {
    let timeout = hook.config().append_timeout;
    let started = hook.clock().elapsed();
    let all = async {
        let mut stored = Vec::with_capacity(entries.len());
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(Entry::BATCH_MAX));
            stored.extend(hook.events().append(entries).await?);
            entries = rest;
        }
        Ok(stored)
    };
    let result = hook.cx(timeout).bound(all).await;
    let took = hook.clock().elapsed().saturating_sub(started);
    hook.counts().store_seconds.observe(took.as_secs_f64());
    result.unwrap_or(Err(WebhookError::Slow(timeout)))
}

impl Hook {
    /// Counts, logs and answers a refusal.
    pub(crate) fn refuse(&self, error: &dyn Refuse) -> Response {
        self.counts().rejected(error.reason());
        let status = refusal::status(error).as_u16();
        tracing::warn!(code = %error.code(), status, field = error.field(), %error, "request refused");
        refusal::answer(error, self.config().retry_after.0)
    }
}
