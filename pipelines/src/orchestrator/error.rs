//! Why a piece of work stopped.

use incident::message::agent;
use incident::ports::{AgentError, StoreError};
use incident::{Classify, Code, IncidentId};

use incident::error::Kind;

/// Why a piece of work stopped before it came to rest.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The input is not work.
    #[error("the task cannot be read: {0}")]
    Input(String),
    /// There is no such incident.
    #[error("incident {0} is not in the store; does this process use the same store as triage?")]
    UnknownIncident(IncidentId),
    /// A value of ours cannot be read (or written).
    #[error("{key} is unreadable: {why}")]
    Unreadable {
        /// Its key in the store.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Another run works on this incident now.
    #[error("another run has taken this incident over")]
    TakenOver,
    /// The incident opened again and is worked on under a newer generation.
    #[error("the incident opened again; generation {by} is worked on instead")]
    Overtaken {
        /// The newer generation.
        by: u32,
    },
    /// The run's context ended; nothing is recorded after that, so that whoever resumes goes on from
    /// what was really done.
    #[error("the run {}", if *cancelled { "was called off" } else { "came to its deadline" })]
    Ended {
        /// Called off, not out of time.
        cancelled: bool,
    },
    /// The steps do not come to an end.
    #[error("no rest after {steps} steps, the last was {last}; see pipelines.steps_max")]
    Endless {
        /// How many were taken.
        steps: u32,
        /// The last one.
        last: &'static str,
    },
    /// The store.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for WorkError {
    fn from(error: StoreError) -> Self {
        match error {
            // Only a run with a newer token writes the keys of this incident.
            StoreError::Stale { .. } | StoreError::Conflict { .. } => Self::TakenOver,
            other => Self::Store(other),
        }
    }
}

impl Classify for WorkError {
    fn kind(&self) -> Kind {
        match self {
            Self::Input(_)
            | Self::UnknownIncident(_)
            | Self::Unreadable { .. }
            | Self::Endless { .. } => Kind::Permanent,
            Self::TakenOver | Self::Overtaken { .. } | Self::Ended { cancelled: true } => {
                Kind::Cancelled
            }
            Self::Ended { cancelled: false } => Kind::Exhausted,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Input(_) => Code("E-PIPE-001"),
            Self::UnknownIncident(_) => Code("E-PIPE-002"),
            Self::Unreadable { .. } => Code("E-PIPE-003"),
            Self::TakenOver => Code("E-PIPE-004"),
            Self::Overtaken { .. } => Code("E-PIPE-005"),
            // As the Agent port says it: the caller sees no difference.
            Self::Ended { cancelled: true } => Code("E-AGENT-005"),
            Self::Ended { cancelled: false } => Code("E-AGENT-004"),
            Self::Endless { .. } => Code("E-PIPE-007"),
            Self::Store(error) => error.code(),
        }
    }
}

impl WorkError {
    /// As the Agent port says it.
    pub(crate) fn into_agent(self) -> AgentError {
        let agent = agent::ORCHESTRATOR.to_owned();
        let why = format!("{self} ({})", self.code());
        match self.kind() {
            Kind::Permanent => AgentError::Refused { agent, why },
            Kind::Cancelled => AgentError::Cancelled { agent },
            Kind::Exhausted => AgentError::Deadline { agent },
            Kind::Transient | Kind::Overloaded { .. } => AgentError::Failed { agent, why },
        }
    }
}
