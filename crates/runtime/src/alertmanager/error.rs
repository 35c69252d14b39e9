//! Why Alertmanager could not be asked.

use incident::error::{Classify, Code, Kind};

use crate::config::{ByteSize, Span};

/// Why it can never be asked as configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address that is none.
    #[error("alertmanager.urls: {url:?} cannot be called: {why}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificates cannot be used.
    #[error("alertmanager.ca_file: {0}; name a file with certificates in PEM form")]
    Ca(String),
    /// No TLS at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Classify for OpenError {
    fn kind(&self) -> Kind {
        Kind::Permanent
    }

    fn code(&self) -> Code {
        Code("E-AM-001")
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A file with a secret cannot be read.
    #[error("the credentials for Alertmanager cannot be read: {0}")]
    Credentials(String),
    /// No connection, or it broke.
    #[error("Alertmanager at {peer} cannot be reached: {why}")]
    Unreachable {
        /// Which one.
        peer: String,
        /// What broke.
        why: String,
    },
    /// No answer in time.
    #[error("Alertmanager at {peer} did not answer within {within}; raise alertmanager.timeout")]
    TimedOut {
        /// Which one.
        peer: String,
        /// The limit.
        within: Span,
    },
    /// 401, 403 or another status that the API does not document.
    #[error(
        "Alertmanager at {peer} answered HTTP {status}; check the credentials and what stands between"
    )]
    Refused {
        /// Which one.
        peer: String,
        /// The status.
        status: u16,
    },
    /// 5xx and 429.
    #[error("Alertmanager at {peer} failed with HTTP {status}")]
    Unwell {
        /// Which one.
        peer: String,
        /// The status.
        status: u16,
    },
    /// The body is longer than the limit.
    #[error(
        "the answer of Alertmanager at {peer} is longer than {limit}; raise alertmanager.body_max"
    )]
    TooLarge {
        /// Which one.
        peer: String,
        /// The limit.
        limit: ByteSize,
    },
    /// The body is not what the API documents.
    #[error("the answer of Alertmanager at {peer} cannot be read: {why}")]
    Unreadable {
        /// Which one.
        peer: String,
        /// Where it is wrong.
        why: String,
    },
    /// There is no peer to ask.
    #[error("no Alertmanager is configured; set alertmanager.urls")]
    NotConfigured,
}

impl Classify for ReadError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unwell { status: 429, .. } => Kind::Overloaded { retry_after: None },
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Unwell { .. } => {
                Kind::Transient
            }
            Self::Credentials(_)
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::NotConfigured => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        Code(match self {
            Self::NotConfigured => "E-AM-001",
            Self::Credentials(_) => "E-AM-002",
            Self::Unreachable { .. } | Self::TimedOut { .. } => "E-AM-003",
            Self::Refused { .. } => "E-AM-004",
            Self::Unwell { .. } => "E-AM-005",
            Self::TooLarge { .. } => "E-AM-006",
            Self::Unreadable { .. } => "E-AM-007",
        })
    }
}
