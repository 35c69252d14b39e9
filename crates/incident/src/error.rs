//! How errors are told apart: code branches on [`Kind`], people read the text, pages hang on [`Code`].

use std::fmt;
use std::time::Duration;

/// What a caller may do about an error. Retry, HTTP status and metrics branch on this only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// May succeed if tried again: a lost connection, a time-out, a conflict.
    Transient,
    /// The other side asks for patience; try again, not sooner than `retry_after`.
    Overloaded {
        /// The wait asked for, if it was named.
        retry_after: Option<Duration>,
    },
    /// Will fail the same way every time: bad input, a refusal, a missing thing.
    Permanent,
    /// The work was called off (shutdown, a closed incident).
    Cancelled,
    /// A budget or deadline ran out.
    Exhausted,
}

impl Kind {
    /// Whether trying again can help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Overloaded { .. })
    }

    /// The value of the `kind` label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Overloaded { .. } => "overloaded",
            Self::Permanent => "permanent",
            Self::Cancelled => "cancelled",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A stable error code such as `E-HOOK-003`; each has a page in `docs/errors/`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Implemented by every operation's error.
pub trait Classify: std::error::Error {
    /// What the caller may do about it.
    fn kind(&self) -> Kind;
    /// The stable code with a page in `docs/errors/`.
    fn code(&self) -> Code;
}
