//! What agents say to each other: the typed inputs and outputs of the A2A skills.
//!
//! Each travels as one A2A data part `{"schema": "<name>/<major>", "body": {...}}`. Numbers in data
//! parts pass through floats on some A2A stacks, so nothing here is an integer of 2^53 or more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::AlertEvent;
use crate::disposition::Ruling;
use crate::evidence::{Gap, Observation};
use crate::incident::Incident;
use crate::window::Window;
use crate::work::WorkItem;

/// Agent names other installations rely on.
pub mod agent {
    /// Decides what each alert event is.
    pub const TRIAGE: &str = "triage-agent";
    /// Runs an incident from investigation to report.
    pub const ORCHESTRATOR: &str = "incident-orchestrator";
    /// Reads metrics.
    pub const OBSERVABILITY: &str = "observability-agent";
    /// Reads repository history.
    pub const GIT: &str = "git-agent";
}

/// Ask triage for a ruling on each event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriageRequest {
    /// Events in order of arrival.
    pub events: Vec<AlertEvent>,
}

/// One ruling for each event, in the same order, and the work that follows from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriageReply {
    /// As many as there were events.
    pub rulings: Vec<Ruling>,
    /// What is to be done; each idempotent by [`WorkItem::key`].
    pub work: Vec<WorkItem>,
}

/// Ask the orchestrator to do one piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRequest {
    /// The work.
    pub item: WorkItem,
}

/// How one piece of work ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkReply {
    /// Where the incident stands now, one printable line.
    pub summary: String,
    /// Whether a person is waited for.
    pub awaiting_approval: bool,
    /// What is to be done later: it is work of its own, put into its lane before this work counts as
    /// done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<WorkItem>,
}

/// Ask a specialist for what it can observe about an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceRequest {
    /// The incident with its alerts.
    pub incident: Incident,
    /// The time to look at: long enough before the first alert to know what normal is.
    pub window: Window,
    /// When the alert began to fire; the onset lies before it.
    pub fired_at: Timestamp,
}

/// What a specialist observed and what it could not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceReply {
    /// Facts, most telling first; bounded by the specialist.
    pub observations: Vec<Observation>,
    /// What could not be had.
    pub gaps: Vec<Gap>,
}
