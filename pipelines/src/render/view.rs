//! What several forms say in the same words: headline, state, ages, the change.

use incident::report::{ChangeOutcome, Claim};
use incident::{Cause, EvidenceId, IncidentStatus, Proposal, Report, Verdict};

use crate::phrase;

/// The verdict in one line: what a person reads first.
pub(super) fn headline(report: &Report) -> String {
    let diagnosis = &report.diagnosis;
    let sure = if diagnosis.verdict == Verdict::Confirmed {
        "Confirmed cause"
    } else {
        "Likely cause"
    };
    match diagnosis.leading() {
        Some(leading) => {
            let what = match leading.cause {
                Cause::Load => "load, not a change",
                _ => leading.entity.as_str(),
            };
            format!("{sure}: {what} ({})", phrase::percent(leading.confidence))
        }
        None if diagnosis.verdict == Verdict::NoFault => "No active failure".to_owned(),
        None => {
            let open = diagnosis
                .hypotheses
                .iter()
                .any(|h| matches!(h.cause, Cause::Change { .. }));
            if open {
                "Cause unknown: no candidate is clearly ahead".to_owned()
            } else {
                "Cause unknown: nothing that was looked at explains this".to_owned()
            }
        }
    }
}

/// `critical, open for 7 min, 1 alert`, with what limits the report.
pub(super) fn state(report: &Report) -> String {
    let alerts = phrase::count(
        usize::try_from(report.alerts).unwrap_or(usize::MAX),
        "alert",
    );
    let end = report.resolved_at.unwrap_or(report.written_at);
    let age = phrase::length(end.duration_since(report.started_at));
    let status = match report.status {
        IncidentStatus::Open => format!("open for {age}"),
        IncidentStatus::Resolved => format!("resolved after {age}"),
    };
    let mut state = format!(
        "{}, {status}, {alerts}, since {}",
        report.severity,
        phrase::date(report.started_at)
    );
    if report.partial {
        state.push_str(", PARTIAL: the deadline cut it short");
    }
    state
}

/// What became of the change: one line, and the proposal if there is one.
pub(super) fn change(report: &Report) -> (String, Option<&Proposal>) {
    match &report.change {
        ChangeOutcome::None { why } => (format!("None: {why}"), None),
        ChangeOutcome::AwaitingApproval { proposal } => (
            format!("{}, awaiting approval", proposal.title),
            Some(proposal),
        ),
        ChangeOutcome::Rejected { proposal, by } => (
            format!("{}, rejected by {by}", proposal.title),
            Some(proposal),
        ),
        ChangeOutcome::Opened { proposal, draft } => {
            let place = draft.url.as_ref().map_or_else(
                || format!("branch {} of {}", draft.branch, draft.repository),
                |url| format!("{url} (branch {})", draft.branch),
            );
            let by = draft
                .approved_by
                .as_ref()
                .map_or_else(String::new, |by| format!(", approved by {by}"));
            (
                format!("{}, open as a draft: {place}{by}", proposal.title),
                Some(proposal),
            )
        }
        ChangeOutcome::Failed { why } => (format!("It could not be made: {why}"), None),
    }
}

/// `E1, E4`.
pub(super) fn ids(ids: &[EvidenceId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

/// At most this many ids stand behind a sentence; the document has all of them.
const CITED_MAX: usize = 6;

/// `E1, E4` or `E1, E2, E3, E4, E5, E6 and 3 more`.
pub(super) fn cited(claim: &Claim) -> String {
    let more = claim.evidence.len().saturating_sub(CITED_MAX);
    let first = ids(claim.evidence.get(..CITED_MAX).unwrap_or(&claim.evidence));
    if more == 0 {
        first
    } else {
        format!("{first} and {more} more")
    }
}

/// Who wrote it.
pub(super) fn author(report: &Report) -> String {
    match &report.model {
        Some(model) => format!("with help of {model}"),
        None => "no model".to_owned(),
    }
}
