//! Reporting: from a diagnosis to one typed document and, where a change would help, to a proposal.
//!
//! For: sentences with numbers and units, each with the facts that carry it.
//!
//! Never: layout (that is `render`), an effect, a fact of its own.

use incident::proposal::{ChangeRequest, Preview};
use incident::report::{ChangeOutcome, Moment, VERSION};
use incident::{Diagnosis, Evidence, Incident, Proposal, Report};
use jiff::Timestamp;

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
        impact: Vec::new(),
        cause: Vec::new(),
        diagnosis: inputs.diagnosis,
        timeline: inputs.moments,
        next_steps: Vec::new(),
        change: inputs.change,
        evidence: inputs.evidence,
        partial: inputs.partial,
        model: None,
        written_at: inputs.written_at,
    }
}

/// Makes a change request into something a person can judge.
pub fn proposal(
    _incident: &Incident,
    diagnosis: &Diagnosis,
    _evidence: &[Evidence],
    request: ChangeRequest,
    preview: Preview,
) -> Proposal {
    Proposal {
        title: format!("Revert {}", request.commit),
        body: String::new(),
        evidence: diagnosis.culprit().map(|(_, _, id)| id).into_iter().collect(),
        risk: String::new(),
        undo: String::new(),
        request,
        preview,
    }
}
