//! Why a bus cannot be opened.

use std::path::PathBuf;

use incident::error::{Classify, Code, Kind};

/// Why a bus, or a stream of it, cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the embedded log.
    #[error(
        "{path} is in use by process {holder}; the embedded log belongs to one process: \
         talk to that one, stop it, or set bus.kind to redis to share the work"
    )]
    Locked {
        /// The log.
        path: PathBuf,
        /// The other process's id, as far as it is known.
        holder: String,
    },
    /// The embedded log cannot be opened.
    #[error("{path} cannot be opened: {why}; make the folder writable or set bus.data_dir")]
    Folder {
        /// The log.
        path: PathBuf,
        /// What the operating system or the log said.
        why: String,
    },
    /// The log's content is of another version or damaged.
    #[error("{path} cannot be read: {why}; restore it from a copy or move it away")]
    Unreadable {
        /// The log.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The address of Redis cannot be used.
    #[error("the address of redis cannot be used: {0}; correct bus.url or bus.url_file")]
    Address(String),
    /// Redis answers but refuses us, or is too old.
    #[error("redis refuses: {0}")]
    Refused(String),
    /// NATS cannot be used as configured: it refuses us, is too old or has no JetStream.
    #[error("nats cannot be used: {0}")]
    Nats(String),
    /// The name of a stream or consumer cannot be used.
    #[error("{name:?} cannot name a stream or consumer: give 1 to 128 printable characters")]
    Name {
        /// The name.
        name: String,
    },
}

impl Classify for OpenError {
    fn kind(&self) -> Kind {
        Kind::Permanent
    }

    fn code(&self) -> Code {
        match self {
            Self::Locked { .. } => Code("E-BUS-001"),
            Self::Folder { .. } => Code("E-BUS-002"),
            Self::Unreadable { .. } => Code("E-BUS-003"),
            Self::Address(_) => Code("E-BUS-004"),
            Self::Refused(_) => Code("E-BUS-005"),
            Self::Name { .. } => Code("E-BUS-006"),
            Self::Nats(_) => Code("E-BUS-007"),
        }
    }
}
