//! What several forms say in the same words: headline, state, ages, the change.

use incident::report::ChangeOutcome;
use incident::{Cause, EvidenceId, Hypothesis, IncidentStatus, Proposal, Report, Verdict};

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
            let first = diagnosis.hypotheses.first();
            let open = first.is_some_and(|h| h.cause != Cause::Outside);
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

/// `E1, E4` or `E1-E5, E7`.
pub(super) fn ids(ids: &[EvidenceId]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for EvidenceId(id) in ids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*id) => *last = *id,
            _ => runs.push((*id, *id)),
        }
    }
    let runs: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => format!("E{first}"),
            1 => format!("E{first}, E{last}"),
            _ => format!("E{first}-E{last}"),
        })
        .collect();
    runs.join(", ")
}

/// `commit aaaaaaaaaa` of `commit aaaaaaaaaa "subject" in repository`: the subject stands elsewhere.
pub(super) fn without_subject(entity: &str) -> &str {
    entity.split(" \"").next().unwrap_or(entity)
}

/// A cause that is no commit is worth a line only from this confidence on.
const OTHER_MIN: f64 = 0.05;

/// Other candidates that were not set aside: each with its confidence and what speaks against it.
pub(super) fn less_likely(report: &Report) -> Vec<(String, Vec<EvidenceId>)> {
    let leading = usize::from(report.diagnosis.leading().is_some());
    let rest = report.diagnosis.hypotheses.iter().skip(leading);
    let worth_saying = |h: &&Hypothesis| match h.cause {
        Cause::Change { .. } => true,
        Cause::Load | Cause::Saturation => h.confidence >= OTHER_MIN,
        Cause::Outside => false,
    };
    rest.filter(worth_saying)
        .map(|h| {
            let against = h.reasons_against.first();
            let reason = against.or(h.reasons_for.first());
            let why = reason.map_or("", |r| r.text.as_str());
            let text = format!("{} ({}): {why}", h.entity, phrase::percent(h.confidence));
            let mut ids = reason.map_or_else(Vec::new, |r| r.evidence.clone());
            if let Cause::Change { evidence, .. } = h.cause {
                ids.push(evidence);
            }
            ids.sort();
            ids.dedup();
            (text, ids)
        })
        .collect()
}

/// Who wrote it.
pub(super) fn author(report: &Report) -> String {
    match &report.model {
        Some(model) => format!("with help of {model}"),
        None => "no model".to_owned(),
    }
}
