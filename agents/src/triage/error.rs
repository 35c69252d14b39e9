//! Why triage could not rule.

use incident::error::{Classify, Code, Kind};
use incident::ports::StoreError;

/// Why triage could not rule.
#[derive(Debug, thiserror::Error)]
pub enum TriageError {
    /// The task asks for something else.
    #[error("there is no skill {0:?} here; ask for triage/1")]
    Skill(String),
    /// The input cannot be read.
    #[error("the input is no triage request: {0}")]
    Input(String),
    /// The request is too large.
    #[error("the request has {events} events, the limit triage.events_max is {max}; send fewer")]
    Size {
        /// How many there are.
        events: usize,
        /// How many there may be.
        max: usize,
    },
    /// An event's own name cannot stand in a key.
    #[error(
        "{field} {value:?} is no digest of lower-case hex digits; the sender has to correct it"
    )]
    Name {
        /// Which field.
        field: &'static str,
        /// What it holds, one printable line.
        value: String,
    },
    /// A state cannot be put into words; a defect of ours.
    #[error("{key} cannot be written: {why}")]
    Unwritable {
        /// The key.
        key: String,
        /// Why not.
        why: String,
    },
    /// The store did not do it.
    #[error("the state could not be kept: {0}")]
    Store(#[from] StoreError),
}

impl Classify for TriageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Skill(_)
            | Self::Input(_)
            | Self::Size { .. }
            | Self::Name { .. }
            | Self::Unwritable { .. } => Kind::Permanent,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Skill(_) => Code("E-TRIAGE-001"),
            Self::Input(_) => Code("E-TRIAGE-002"),
            Self::Size { .. } => Code("E-TRIAGE-003"),
            Self::Name { .. } => Code("E-TRIAGE-004"),
            Self::Unwritable { .. } => Code("E-TRIAGE-005"),
            Self::Store(error) => error.code(),
        }
    }
}
