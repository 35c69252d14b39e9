//! Incidents: a page of summaries, one with its report, one as a page for a person.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use incident::report::ChangeOutcome;
use incident::{Incident, IncidentStatus, Report, Severity, Verdict, keys};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::read::{Named, ReadError, decode, incident_id};
use crate::state::Hook;

/// Items of a page whose size was not asked for.
const PAGE: usize = 50;
/// Stored values read at once.
const SCAN_STEP: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    status: Option<IncidentStatus>,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Page {
    incidents: Vec<Summary>,
    /// `after` of the next page; none when this is the last.
    next: Option<String>,
    /// Stored incidents that cannot be read.
    unreadable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Summary {
    id: String,
    title: String,
    subject: String,
    severity: Severity,
    status: IncidentStatus,
    alerts: u64,
    firing: usize,
    started_at: Timestamp,
    opened_at: Timestamp,
    resolved_at: Option<Timestamp>,
    generation: u32,
    /// None until there is a report.
    verdict: Option<Verdict>,
    /// `none`, `awaiting_approval`, `rejected`, `opened` or `failed`; none until there is a report.
    change: Option<&'static str>,
    /// Whether the deadline cut the investigation short.
    partial: Option<bool>,
}

impl Summary {
    fn new(incident: &Incident, report: Option<&Report>) -> Self {
        Self {
            id: incident.id.to_string(),
            title: incident.title(),
            subject: incident.subject.display(),
            severity: incident.severity,
            status: incident.status,
            alerts: incident.members.len() as u64 + incident.members_left_out,
            firing: incident.firing(),
            started_at: incident.started_at,
            opened_at: incident.opened_at,
            resolved_at: incident.resolved_at,
            generation: incident.generation,
            verdict: report.map(|report| report.diagnosis.verdict),
            change: report.map(|report| state(&report.change)),
            partial: report.map(|report| report.partial),
        }
    }
}

/// The state of a proposed change, as the report's JSON names it.
pub(crate) fn state(change: &ChangeOutcome) -> &'static str {
    match change {
        ChangeOutcome::None { .. } => "none",
        ChangeOutcome::AwaitingApproval { .. } => "awaiting_approval",
        ChangeOutcome::Rejected { .. } => "rejected",
        ChangeOutcome::Opened { .. } => "opened",
        ChangeOutcome::Failed { .. } => "failed",
    }
}

pub(crate) async fn list(
    State(hook): State<Hook>,
    ask: Result<Query<Ask>, QueryRejection>,
) -> Response {
    let page = async {
        let Query(ask) = ask.map_err(|rejection| ReadError::Ask {
            field: "query",
            why: rejection.body_text(),
        })?;
        page_of(&hook, ask).await
    };
    match hook.ask(page).await {
        Ok(page) => Json(page).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

async fn page_of(hook: &Hook, ask: Ask) -> Result<Page, ReadError> {
    let limit = ask.limit.unwrap_or(PAGE);
    if !(1..=hook.config().page_max).contains(&limit) {
        return Err(ReadError::Ask {
            field: "limit",
            why: format!("{limit} is not between 1 and {}", hook.config().page_max),
        });
    }
    let after = ask.after.as_deref().map(incident_id).transpose()?;
    let mut after = after.map(|id| keys::incident(&id));
    let mut page = Page {
        incidents: Vec::new(),
        next: None,
        unreadable: Vec::new(),
    };
    let mut scanned = 0;
    loop {
        let step = SCAN_STEP.min(hook.config().scan_max);
        let found = hook
            .store()
            .list(keys::INCIDENTS, after.as_deref(), step)
            .await?;
        let last_step = found.len() < step;
        for (key, value) in found {
            if page.incidents.len() == limit || scanned == hook.config().scan_max {
                page.next =
                    after.and_then(|key| Some(key.strip_prefix(keys::INCIDENTS)?.to_owned()));
                return Ok(page);
            }
            scanned += 1;
            match decode::<Incident>(&key, &value) {
                Ok(incident) if ask.status.is_none_or(|status| status == incident.status) => {
                    let report = readable_report(hook, &incident).await?;
                    page.incidents
                        .push(Summary::new(&incident, report.as_ref()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(key, %error, "an incident cannot be read");
                    page.unreadable.push(key.clone());
                }
            }
            after = Some(key);
        }
        if last_step {
            return Ok(page);
        }
    }
}

/// The report of an incident in a list, where a broken one must not hide the others.
async fn readable_report(hook: &Hook, incident: &Incident) -> Result<Option<Report>, ReadError> {
    match hook.report(&incident.id).await {
        Ok(report) => Ok(report),
        Err(ReadError::Store(error @ incident::ports::StoreError::Corrupt { .. })) => {
            tracing::warn!(incident = %incident.id, %error, "a report cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    incident: Incident,
    report: Option<Report>,
}

async fn shown(hook: &Hook, id: &str) -> Result<Shown, ReadError> {
    let id = incident_id(id)?;
    hook.ask(async {
        let incident = hook.incident(&id).await?;
        let report = hook.report(&id).await?;
        Ok(Shown { incident, report })
    })
    .await
}

pub(crate) async fn show(State(hook): State<Hook>, Named(id): Named) -> Response {
    match shown(&hook, &id).await {
        Ok(shown) => Json(shown).into_response(),
        Err(error) => hook.refuse(&error),
    }
}

/// What a page may do: show itself. No script, no request, no frame, no form.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn page(State(hook): State<Hook>, Named(id): Named) -> Response {
    let html = match shown(&hook, &id).await {
        Ok(Shown {
            report: Some(report),
            ..
        }) => hook.render(&report),
        Ok(Shown { incident, .. }) => pending(&incident),
        Err(error) => return hook.refuse(&error),
    };
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let headers: HeaderMap = headers
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect();
    (StatusCode::OK, headers, Html(html)).into_response()
}

/// The page of an incident that has no report yet.
fn pending(incident: &Incident) -> String {
    let title = escape(&incident.title());
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>{title}</title>\
         <body><h1>{title}</h1><p>{}, {}. Being investigated; there is no report yet.</p></body></html>",
        incident.severity, incident.status
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
