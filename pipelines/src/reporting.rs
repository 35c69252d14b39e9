//! Reporting: from a diagnosis to one typed document and, where a change would help, to a proposal.
//!
//! For: short sentences with numbers and units, most important first, each with the facts that carry
//! it. A sentence without a fact is left out.
//!
//! Never: layout (that is `render`), an outside effect, a fact of its own.

mod cause;
mod impact;
mod proposal;
mod steps;
#[cfg(test)]
mod tests;
mod timeline;

use incident::report::{ChangeOutcome, Claim, Moment, VERSION};
use incident::{Diagnosis, Evidence, EvidenceId, Fact, Incident, Report};
use jiff::Timestamp;

pub(crate) use cause::{CANDIDATES_TOLD, own_facts};
pub(crate) use impact::repeats;
pub use proposal::proposal;

/// What a report is made of.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The incident as triage keeps it.
    pub incident: &'a Incident,
    /// The result of diagnosis.
    pub diagnosis: Diagnosis,
    /// All numbered facts.
    pub evidence: Vec<Evidence>,
    /// What became of the proposed change.
    pub change: ChangeOutcome,
    /// What the orchestrator did and when.
    pub moments: Vec<Moment>,
    /// Whether the deadline cut the investigation short.
    pub partial: bool,
    /// When it is written.
    pub written_at: Timestamp,
}

/// Composes the report.
pub fn compose(inputs: Inputs<'_>) -> Report {
    let incident = inputs.incident;
    let mut evidence = inputs.evidence.clone();
    evidence.sort_by_key(|e| e.id);
    Report {
        version: VERSION,
        incident: incident.id.clone(),
        title: incident.title(),
        subject: incident.subject.clone(),
        severity: incident.severity,
        status: incident.status,
        alerts: incident.members.len() as u64 + incident.members_left_out,
        started_at: incident.started_at,
        resolved_at: incident.resolved_at,
        impact: impact::claims(incident, &evidence),
        cause: cause::claims(&inputs.diagnosis, &evidence),
        timeline: timeline::moments(&inputs, &evidence),
        next_steps: steps::steps(&inputs),
        diagnosis: inputs.diagnosis,
        change: inputs.change,
        evidence,
        partial: inputs.partial,
        model: None,
        written_at: inputs.written_at,
    }
}

/// A sentence with the facts that carry it; none if there are none.
fn claim(text: impl Into<String>, evidence: impl IntoIterator<Item = EvidenceId>) -> Option<Claim> {
    let mut evidence: Vec<EvidenceId> = evidence.into_iter().collect();
    evidence.sort();
    evidence.dedup();
    (!evidence.is_empty()).then(|| Claim {
        text: text.into(),
        evidence,
    })
}

/// The numbers of the alerts among the facts.
fn alerts(evidence: &[Evidence]) -> Vec<EvidenceId> {
    let is_alert = |e: &&Evidence| matches!(e.observation.fact, Fact::Alert { .. });
    evidence.iter().filter(is_alert).map(|e| e.id).collect()
}
