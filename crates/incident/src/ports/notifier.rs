//! The Notifier port: how people hear of it.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cx::Cx;
use crate::digest::Digest;
use crate::error::{Classify, Code, Kind};
use crate::ids::IncidentId;
use crate::incident::Incident;
use crate::report::Report;

/// What is told.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a notice lives for one call and is never kept in bulk"
)]
pub enum NoticeKind {
    /// It started; somebody is looking. Sent within seconds.
    Opened(Incident),
    /// The report, new or changed.
    Report(Report),
    /// It is over.
    Closed(Report),
}

/// One notice. The same key again is the same notice.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What is told.
    pub kind: NoticeKind,
    /// Counts changes of the report that people should hear of.
    pub revision: u32,
    /// An earlier attempt may have got through and the channel cannot say: the message tells its
    /// readers that they may see it twice. No part of the key.
    pub maybe_repeat: bool,
}

impl Notice {
    /// The incident it is about.
    pub fn incident(&self) -> &IncidentId {
        match &self.kind {
            NoticeKind::Opened(incident) => &incident.id,
            NoticeKind::Report(report) | NoticeKind::Closed(report) => &report.incident,
        }
    }

    /// `opened`, `report` or `closed`.
    pub fn label(&self) -> &'static str {
        match self.kind {
            NoticeKind::Opened(_) => "opened",
            NoticeKind::Report(_) => "report",
            NoticeKind::Closed(_) => "closed",
        }
    }

    /// Idempotency key.
    pub fn key(&self) -> Digest {
        let revision = self.revision.to_string();
        Digest::of_fields(
            "notice/1",
            [self.incident().as_str(), self.label(), &revision],
        )
    }
}

/// Proof that a message was posted: how to find and edit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which notifier.
    pub notifier: String,
    /// The message's name there; empty where the channel gives none.
    pub reference: String,
}

/// Which messages are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// A message with any of these keys, an earlier key rather than a later one.
    pub keys: Vec<Digest>,
    /// None of them can be older than this.
    pub since: Timestamp,
}

/// What looking came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// One is there.
    Found {
        /// How to edit it.
        receipt: Receipt,
        /// The key it carries now.
        key: Digest,
    },
    /// None is there.
    Absent,
    /// The channel cannot look, or not far enough back.
    Unknown,
}

/// Why nobody heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// The channel asks for patience.
    #[error("{notifier} asks to wait")]
    Limited {
        /// Which notifier.
        notifier: String,
        /// Seconds to wait, if it was said.
        retry_after_s: Option<u64>,
    },
    /// The channel refuses this message or our credentials.
    #[error("{notifier} refused the message: {why}")]
    Refused {
        /// Which notifier.
        notifier: String,
        /// What it said.
        why: String,
    },
    /// Nothing was sent: no connection, or no turn by the deadline.
    #[error("{notifier} could not be called: {why}")]
    Away {
        /// Which notifier.
        notifier: String,
        /// What happened.
        why: String,
    },
    /// The answer was lost, or is none: whether it was taken is not known.
    #[error("{notifier} cannot be reached: {why}")]
    Unreachable {
        /// Which notifier.
        notifier: String,
        /// What happened.
        why: String,
    },
}

impl Classify for NotifyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Limited { retry_after_s, .. } => Kind::Overloaded {
                retry_after: retry_after_s.map(std::time::Duration::from_secs),
            },
            Self::Refused { .. } => Kind::Permanent,
            Self::Away { .. } | Self::Unreachable { .. } => Kind::Transient,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Limited { .. } => Code("E-NOTIFY-001"),
            Self::Refused { .. } => Code("E-NOTIFY-002"),
            Self::Unreachable { .. } => Code("E-NOTIFY-003"),
            Self::Away { .. } => Code("E-NOTIFY-004"),
        }
    }
}

/// A channel people read.
///
/// Contract:
/// - `find` says whether a message with one of the keys is there. [`Sight::Absent`] is a promise: a
///   channel that cannot look, or has not looked at all of the time since, answers
///   [`Sight::Unknown`].
/// - A message carries the key of the notice it was last posted or edited with.
/// - Only after [`NotifyError::Unreachable`] may people have been told all the same.
/// - `update` edits the message of the receipt; a channel that cannot edit posts a follow-up.
/// - Untrusted text never becomes a mention or a link.
#[async_trait]
pub trait Notifier: Send + Sync + fmt::Debug {
    /// Its name, such as `slack`.
    fn name(&self) -> &str;
    /// Looks for a message.
    async fn find(&self, search: &Search, cx: &Cx) -> Result<Sight, NotifyError>;
    /// Posts a new message.
    async fn post(&self, notice: &Notice, cx: &Cx) -> Result<Receipt, NotifyError>;
    /// Changes what was posted.
    async fn update(
        &self,
        receipt: &Receipt,
        notice: &Notice,
        cx: &Cx,
    ) -> Result<Receipt, NotifyError>;
}
