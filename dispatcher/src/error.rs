//! Why an entry was not carried to its end, apart from what agents and streams say themselves.

use incident::Severity;
use incident::error::{Classify, Code, Kind};
use incident::ports::Cause;

/// Why an entry was not carried to its end.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The entry is not what this stream carries.
    #[error("the entry cannot be read: {0}")]
    Unreadable(String),
    /// The agent completed the task with something else than was asked for.
    #[error("{agent} answered something else than was asked for: {why}")]
    Answer {
        /// Which agent.
        agent: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// A defect of ours.
    #[error("handling the entry panicked: {0}")]
    Panic(String),
    /// The process leaves.
    #[error("the process is shutting down; another one takes over at once")]
    Leaving,
    /// The slot under which the work ran may be somebody else's now.
    #[error("the slot was lost, because the store was away for too long; the work was stopped")]
    SlotLost,
    /// The work is for later.
    #[error("the work is not due yet")]
    Early,
    /// There is no stream for work of this severity; a defect of the wiring.
    #[error("there is no lane for {0} work")]
    NoLane(Severity),
}

impl Classify for DispatchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreadable(_) => Kind::Permanent,
            Self::Answer { .. }
            | Self::Panic(_)
            | Self::NoLane(_)
            | Self::SlotLost
            | Self::Early => Kind::Transient,
            Self::Leaving => Kind::Cancelled,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Unreadable(_) => Code("E-DISPATCH-001"),
            Self::Answer { .. } => Code("E-DISPATCH-002"),
            Self::Panic(_) => Code("E-DISPATCH-003"),
            Self::Leaving => Code("E-DISPATCH-004"),
            Self::NoLane(_) => Code("E-DISPATCH-005"),
            Self::Early => Code("E-DISPATCH-006"),
            Self::SlotLost => Code("E-DISPATCH-007"),
        }
    }
}

/// What a stream keeps of an error: its code and one bounded printable line.
pub(crate) fn cause(error: &impl Classify) -> Cause {
    Cause {
        code: error.code().to_string(),
        text: incident::Untrusted::new(error.to_string()).one_line(400),
    }
}
