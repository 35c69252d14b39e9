//! Names in the store and on the streams that more than one room relies on, and who writes them.
//!
//! Keys that only one room uses are that room's own business and carry its name as prefix.

use crate::ids::{EventKey, Fingerprint, IncidentId};
use crate::severity::Severity;

/// The stream of alert events.
pub const EVENTS: &str = "incident:events";
/// The consumer group of the dispatchers.
pub const GROUP: &str = "dispatch-group";
/// The stream of dead letters.
pub const DEAD: &str = "incident:dead";

/// The stream of work of one lane.
pub fn work(severity: Severity) -> String {
    format!("incident:work:{}", severity.lane())
}

/// Prefix of [`incident`].
pub const INCIDENTS: &str = "incident/";

/// The incident ([`crate::Incident`]); written by triage only.
pub fn incident(id: &IncidentId) -> String {
    format!("{INCIDENTS}{id}")
}

/// The ruling on one event ([`crate::Ruling`]); written by triage only.
pub fn ruling(event: &EventKey) -> String {
    format!("ruling/{event}")
}

/// Prefix of the rulings of one alert, oldest first; each holds a [`crate::Ruling`].
pub fn history(fingerprint: &Fingerprint) -> String {
    format!("history/{fingerprint}/")
}

/// Prefix of [`report`].
pub const REPORTS: &str = "report/";

/// The newest report ([`crate::Report`]); written by the orchestrator only.
pub fn report(id: &IncidentId) -> String {
    format!("{REPORTS}{id}")
}

/// How long work of one lane takes ([`crate::Pace`]); written by the dispatchers.
pub fn pace(lane: &str) -> String {
    format!("pace/{lane}")
}

/// A person's decision ([`crate::ApprovalToken`]); written once by the hook when it arrives.
pub fn decision(id: &IncidentId, proposal_short: &str) -> String {
    format!("decision/{id}/{proposal_short}")
}
