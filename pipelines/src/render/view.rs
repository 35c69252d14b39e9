//! What several forms say in the same words: headline, state, ages, the change.

use incident::report::ChangeOutcome;
use incident::{
    Cause, Evidence, EvidenceId, Fact, Hypothesis, IncidentStatus, Proposal, Report, Verdict,
};

use crate::phrase;
use crate::reporting::CANDIDATES_TOLD;

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
    let mut state = format!("{}, {status}, {alerts}", report.severity);
    if report.partial {
        state.push_str(", PARTIAL: the deadline cut it short");
    }
    state
}

/// [`state`] with the date, where there is room for it.
pub(super) fn state_since(report: &Report) -> String {
    format!(
        "{}, since {}",
        state(report),
        phrase::date(report.started_at)
    )
}

/// What is missing and why, for all that is missing for the same reason.
pub(super) fn gaps(report: &Report) -> Vec<String> {
    let mut grouped: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for gap in &report.diagnosis.gaps {
        let same = |g: &&mut (&str, &str, Vec<&str>)| g.0 == gap.source && g.1 == gap.why;
        match grouped.iter_mut().find(same) {
            Some((_, _, whats)) => whats.push(&gap.what),
            None => grouped.push((&gap.source, &gap.why, vec![&gap.what])),
        }
    }
    grouped
        .into_iter()
        .map(|(source, why, whats)| {
            let what = phrase::list(&whats);
            codes_once(&format!("{what}: {why} ({source})"))
        })
        .collect()
}

/// Error codes are said once; an error that wraps another repeats them.
fn codes_once(text: &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut out: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        let code = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_code = code.starts_with("E-") && code.ends_with(|c: char| c.is_ascii_digit());
        if is_code && seen.contains(&code) {
            continue;
        }
        if is_code {
            seen.push(code);
        }
        out.push(word);
    }
    out.join(" ")
}

/// A fact on one line: what may be cut, and what must not.
pub(super) fn fact(report: &Report, item: &Evidence) -> (String, String) {
    let near = |at| phrase::near(at, report.started_at);
    match &item.observation.fact {
        Fact::Alert { name, starts_at } => {
            let since = format!(" fires since {}", near(*starts_at).trim_end_matches(" UTC"));
            (name.one_line(100), since)
        }
        Fact::Series(series) => {
            let text = format!(": {}", phrase::course_short(series));
            (series.name.one_line(160), text)
        }
        Fact::Change(change) => {
            let text = format!(
                "{} at {} by {}: \"{}\"",
                change.short(),
                near(change.at).trim_end_matches(" UTC"),
                change.author.one_line(40),
                change.subject.one_line(100)
            );
            (text, String::new())
        }
        Fact::NoChange { .. } | Fact::Text { .. } => {
            (item.observation.summary.clone(), String::new())
        }
    }
}

/// What is proposed and what became of it, and the proposal if there is one.
pub(super) fn change_short(report: &Report) -> (String, String, Option<&Proposal>) {
    match &report.change {
        ChangeOutcome::Opened { proposal, draft } => {
            let place = draft.url.as_ref().map_or_else(
                || format!("draft {} of {}", draft.branch, draft.repository),
                |url| format!("draft {url}"),
            );
            let by = draft.approved_by.as_ref();
            let by = by.map_or_else(String::new, |by| format!(", approved by {by}"));
            (
                proposal.title.clone(),
                format!("{place}{by}"),
                Some(proposal),
            )
        }
        ChangeOutcome::AwaitingApproval { proposal } => {
            let state = "awaiting approval".to_owned();
            (proposal.title.clone(), state, Some(proposal))
        }
        ChangeOutcome::Rejected { proposal, by } => {
            let state = format!("rejected by {by}");
            (proposal.title.clone(), state, Some(proposal))
        }
        ChangeOutcome::None { why } => (format!("none; {why}"), String::new(), None),
        ChangeOutcome::Failed { why } => {
            let what = format!("none; it could not be made: {}", codes_once(why));
            (what, String::new(), None)
        }
    }
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
        ChangeOutcome::Failed { why } => {
            let why = codes_once(why);
            (format!("It could not be made: {why}"), None)
        }
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

/// The same without spaces, for lines that break at them.
pub(super) fn ids_tight(all: &[EvidenceId]) -> String {
    ids(all).replace(", ", ",")
}

/// A cause that is no commit is worth a line only from this confidence on.
const OTHER_MIN: f64 = 0.05;

/// Candidates that the sentences on the cause name already.
fn told(report: &Report) -> usize {
    match (report.diagnosis.leading(), report.diagnosis.verdict) {
        (Some(_), _) => 1,
        (None, Verdict::NoFault) => 0,
        (None, _) => CANDIDATES_TOLD,
    }
}

/// Other candidates that were not set aside and that no sentence names.
pub(super) fn others(report: &Report) -> Vec<&Hypothesis> {
    let worth_saying = |h: &&Hypothesis| match h.cause {
        Cause::Change { .. } => true,
        Cause::Load | Cause::Saturation => h.confidence >= OTHER_MIN,
        Cause::Outside => false,
    };
    let all = report.diagnosis.hypotheses.iter();
    let rest = all.filter(|h| h.cause != Cause::Outside).skip(told(report));
    rest.filter(worth_saying).collect()
}

/// The same, each with its confidence and what speaks against it.
pub(super) fn less_likely(report: &Report) -> Vec<(String, Vec<EvidenceId>)> {
    others(report)
        .into_iter()
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
