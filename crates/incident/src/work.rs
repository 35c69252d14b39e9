//! Work: what the dispatcher carries to the orchestrator.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::IncidentId;
use crate::severity::Severity;

/// What is to be done with an incident.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Find out what happened and report it.
    Investigate,
    /// A person decided about the proposal.
    Decide {
        /// The nonce of the decision's token.
        nonce: String,
    },
    /// The alerts resolved: close the report.
    Close,
    /// Something outside (a channel, a remote) was not there: it is tried again.
    Retry {
        /// Counts the rounds of one generation.
        round: u32,
        /// Not before this. Whoever carries the work waits; it is no part of the key.
        due: Timestamp,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Investigate => "investigate",
            Self::Decide { .. } => "decide",
            Self::Close => "close",
            Self::Retry { .. } => "retry",
        })
    }
}

/// One entry of `incident:work:{lane}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkItem {
    /// The incident.
    pub incident: IncidentId,
    /// Its severity: the lane.
    pub severity: Severity,
    /// Which opening of the incident this belongs to; grows with every re-fire.
    pub generation: u32,
    /// What is to be done.
    #[serde(flatten)]
    pub step: Step,
}

impl WorkItem {
    /// Idempotency key: the same work appended twice is stored once. The lane is not part of it.
    pub fn key(&self) -> Digest {
        let (generation, step) = (self.generation.to_string(), self.step.to_string());
        let which = match &self.step {
            Step::Decide { nonce } => nonce.clone(),
            Step::Retry { round, .. } => round.to_string(),
            Step::Investigate | Step::Close => String::new(),
        };
        Digest::of_fields(
            "work/1",
            [self.incident.as_str(), &generation, &step, &which],
        )
    }
}
