//! What else was looked at: one short line each.

use incident::{Cause, Evidence, EvidenceId, Fact, Report};

use super::view;
use crate::phrase;
use crate::reporting::own_facts;

/// One candidate that is not the cause.
pub(super) struct Row {
    /// The commit it is, or the facts that set it aside.
    pub(super) ids: Vec<EvidenceId>,
    /// Who, why not, and what it called itself.
    pub(super) text: String,
    /// Whether the line says all that its facts say.
    pub(super) is_whole: bool,
}

/// Less likely ones first, then those that were ruled out.
pub(super) fn rows(report: &Report) -> Vec<Row> {
    let likely = view::others(report).into_iter().map(|h| {
        let reason = h.reasons_against.first().or(h.reasons_for.first());
        let sure = format!(" ({})", phrase::percent(h.confidence));
        let ids = match h.cause {
            Cause::Change { evidence, .. } => vec![evidence],
            _ => reason.map_or_else(Vec::new, |r| r.evidence.clone()),
        };
        let why = reason.map_or("", |r| r.text.as_str());
        row(report, &h.entity, &sure, why, ids)
    });
    let out = report.diagnosis.ruled_out.iter().map(|item| {
        let ids = own_facts(item, &report.evidence);
        row(report, &item.entity, "", &item.why, ids)
    });
    likely.chain(out).collect()
}

fn row(report: &Report, entity: &str, sure: &str, why: &str, ids: Vec<EvidenceId>) -> Row {
    let why = first_sentence(why);
    let is_own = |e: &&Evidence| ids.first() == Some(&e.id);
    let change = report.evidence.iter().find(is_own).and_then(|e| {
        let Fact::Change(change) = &e.observation.fact else {
            return None;
        };
        Some(change)
    });
    let (name, subject) = match change {
        Some(change) => (
            change.short(),
            format!(": \"{}\"", change.subject.one_line(100)),
        ),
        None => (entity, String::new()),
    };
    let text = match why.strip_prefix("It ") {
        Some(does) => format!("{name}{sure} {does}{subject}"),
        None => format!("{name}{sure}: {}{subject}", phrase::lower(why)),
    };
    let is_whole = change.is_some() || entity == "load";
    Row {
        ids,
        text,
        is_whole,
    }
}

/// Up to the first full stop that ends a sentence, without it.
fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").unwrap_or(text.len());
    let first = text.get(..end).unwrap_or(text);
    first.strip_suffix('.').unwrap_or(first)
}
