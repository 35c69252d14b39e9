//! Work: what the dispatcher carries to the orchestrator.

use std::fmt;

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
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Investigate => "investigate",
            Self::Decide { .. } => "decide",
            Self::Close => "close",
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
        let nonce = match &self.step {
            Step::Decide { nonce } => nonce.as_str(),
            Step::Investigate | Step::Close => "",
        };
        Digest::of_fields(
            "work/1",
            [self.incident.as_str(), &generation, &step, nonce],
        )
    }
}
