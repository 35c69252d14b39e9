//! Why a look failed.

use incident::error::{Classify, Code, Kind};
use incident::ports::{StoreError, StreamError};
use runtime::alertmanager::ReadError;
use runtime::config::Span;

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    /// No Alertmanager answered.
    #[error(transparent)]
    Peers(#[from] ReadError),
    /// It has no such receiver, so nothing would ever be found.
    #[error(
        "Alertmanager at {peer} has no receiver {receiver:?}; set hook.reconcile.receiver to the one that posts here"
    )]
    Receiver { peer: String, receiver: String },
    /// More alerts than one look may hold.
    #[error(
        "Alertmanager holds {alerts} alerts for the receiver, the limit is {max}; raise hook.reconcile.alerts_max"
    )]
    TooMany { alerts: usize, max: usize },
    /// What is stored cannot be read.
    #[error("what is stored cannot be read: {0}")]
    Store(#[from] StoreError),
    /// What is missing cannot be stored.
    #[error("the missing alerts were not stored: {0}")]
    Stream(#[from] StreamError),
    /// It took too long.
    #[error("the look took longer than {0}; raise hook.reconcile.within")]
    Slow(Span),
}

impl Classify for LookError {
    fn kind(&self) -> Kind {
        match self {
            Self::Peers(error) => error.kind(),
            Self::Receiver { .. } | Self::TooMany { .. } => Kind::Permanent,
            Self::Store(error) => error.kind(),
            Self::Stream(error) => error.kind(),
            Self::Slow(_) => Kind::Transient,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Peers(error) => error.code(),
            Self::Receiver { .. } => Code("E-RECON-001"),
            Self::TooMany { .. } => Code("E-RECON-002"),
            Self::Slow(_) => Code("E-RECON-003"),
            Self::Store(error) => error.code(),
            Self::Stream(error) => error.code(),
        }
    }
}
