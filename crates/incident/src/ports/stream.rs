//! The Stream port: a durable work queue with leases.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Classify, Code, Kind};

/// What is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Idempotency key: within the stream's window, the same key is stored once.
    pub key: String,
    /// The bytes: at most 1 MiB.
    pub payload: Vec<u8>,
}

impl Entry {
    /// Longest key, in bytes.
    pub const KEY_BYTES_MAX: usize = 512;
    /// Longest payload, in bytes.
    pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
    /// Most entries of one batch.
    pub const BATCH_MAX: usize = 1024;

    /// Whether the batch keeps the limits that every stream has.
    ///
    /// # Errors
    /// [`StreamError::Limit`], naming the first entry that does not.
    pub fn check_batch(batch: &[Self]) -> Result<(), StreamError> {
        let limit = |entry: &Self, why: String| StreamError::Limit {
            key: entry.key.clone(),
            why,
        };
        if let Some(beyond) = batch.get(Self::BATCH_MAX) {
            let why = format!("a batch holds at most {} entries", Self::BATCH_MAX);
            return Err(limit(beyond, why));
        }
        for entry in batch {
            if entry.key.is_empty() || entry.key.len() > Self::KEY_BYTES_MAX {
                let why = format!(
                    "the key has {} bytes, not 1 to {}",
                    entry.key.len(),
                    Self::KEY_BYTES_MAX
                );
                return Err(limit(entry, why));
            }
            if entry.payload.len() > Self::PAYLOAD_BYTES_MAX {
                let why = format!(
                    "the payload has {} bytes, the limit is {}",
                    entry.payload.len(),
                    Self::PAYLOAD_BYTES_MAX
                );
                return Err(limit(entry, why));
            }
        }
        Ok(())
    }
}

/// What became of one appended entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored.
    Stored,
    /// The key was stored before.
    Duplicate,
}

/// The right to work on one entry for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The entry's id in the stream.
    pub id: String,
    /// Grows with every delivery of the entry; an older one is stale.
    pub token: u64,
}

/// An entry, handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The right to work on it.
    pub lease: Lease,
    /// Its idempotency key.
    pub key: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// 1 on the first delivery.
    pub attempt: u32,
    /// When it was appended.
    pub appended_at: Timestamp,
}

/// Why an entry was given up or put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The stable error code.
    pub code: String,
    /// One printable line.
    pub text: String,
}

impl Cause {
    /// The cause of a dead letter that nobody ever gave a cause for: all its leases just ended.
    pub fn unanswered(attempts: u32) -> Self {
        Self {
            code: Code("E-STREAM-005").to_string(),
            text: format!("the lease ended {attempts} times without an answer"),
        }
    }
}

/// An entry that was given up. Never evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The entry's id in its stream.
    pub id: String,
    /// The stream it came from.
    pub stream: String,
    /// Its idempotency key.
    pub key: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// How often it was delivered.
    pub attempts: u32,
    /// Why it was first put back, if it ever was.
    pub first: Option<Cause>,
    /// Why it was given up.
    pub last: Cause,
    /// When it was appended.
    pub appended_at: Timestamp,
    /// When it was given up.
    pub buried_at: Timestamp,
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Not handed out: never claimed, or put back for later.
    pub waiting: u64,
    /// Handed out and not acknowledged, live or expired.
    pub claimed: u64,
    /// Dead letters of this stream.
    pub dead: u64,
    /// Age of the oldest entry that is waiting or claimed.
    pub oldest_age: Option<Duration>,
}

impl Backlog {
    /// What scaling looks at: waiting plus claimed.
    pub fn total(&self) -> u64 {
        self.waiting + self.claimed
    }
}

/// Why the stream did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The lease ended or the entry was handed to somebody else; stop working on it.
    #[error("the lease on entry {id} is no longer held")]
    LeaseLost {
        /// The entry.
        id: String,
    },
    /// The stream holds as much as it may; it never drops what is unprocessed.
    #[error("the stream is full: {entries} entries, the limit is {limit}")]
    Full {
        /// What it holds.
        entries: u64,
        /// What it may hold.
        limit: u64,
    },
    /// An entry breaks a limit.
    #[error("entry {key}: {why}")]
    Limit {
        /// The entry's key.
        key: String,
        /// Which limit.
        why: String,
    },
    /// The stream cannot be reached, or cannot keep what it is given.
    #[error("the stream is unavailable: {0}")]
    Unavailable(String),
}

impl Classify for StreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::LeaseLost { .. } => Kind::Cancelled,
            Self::Full { .. } => Kind::Overloaded { retry_after: None },
            Self::Limit { .. } => Kind::Permanent,
            Self::Unavailable(_) => Kind::Transient,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::LeaseLost { .. } => Code("E-STREAM-001"),
            Self::Full { .. } => Code("E-STREAM-002"),
            Self::Limit { .. } => Code("E-STREAM-003"),
            Self::Unavailable(_) => Code("E-STREAM-004"),
        }
    }
}

/// A durable work queue. A value of this type is one stream seen by one consumer of its group.
///
/// Contract:
/// - `append` returns only when the whole batch is durable; on an error none of it counts as stored
///   (appending it again is safe: keys are deduplicated). The same key within the window is stored
///   once.
/// - No two holders of a live lease. An expired lease is delivered again with `attempt + 1`.
/// - `extend`, `ack`, `retry_later` and `bury` with a stale or expired lease that somebody else took
///   are refused with [`StreamError::LeaseLost`].
/// - An entry whose deliveries reach the maximum without an ack is moved to the dead letters with
///   its last known cause instead of being delivered again.
/// - Nothing unprocessed is ever trimmed: a full stream refuses.
/// - A put-back entry is not delivered before its delay, and never lost by a restart.
/// - A dead letter stays until somebody redrives or discards it. Each is one step: of two callers at
///   once one is told `true`, and the letter is never both dead and waiting, nor neither.
/// - `claim` returns early when something arrives, and empty after `wait`. Dropping its future
///   loses nothing: whatever was handed out comes back when its lease ends.
#[async_trait]
pub trait Stream: Send + Sync + fmt::Debug {
    /// Its name, such as `incident:events`.
    fn name(&self) -> &str;
    /// How long a lease lasts.
    fn lease(&self) -> Duration;
    /// Stores a batch.
    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError>;
    /// Hands out up to `max` entries; waits up to `wait` for the first.
    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError>;
    /// Makes the lease last its full length from now.
    async fn extend(&self, lease: &Lease) -> Result<(), StreamError>;
    /// Done: the entry is not delivered again.
    async fn ack(&self, lease: &Lease) -> Result<(), StreamError>;
    /// Not now: deliver it again after `delay`.
    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError>;
    /// Never: move it to the dead letters.
    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError>;
    /// How much there is to do.
    async fn backlog(&self) -> Result<Backlog, StreamError>;
    /// Dead letters of this stream, in the order in which they were buried, at most `limit`: those
    /// after the one with the id `after`. If that one is gone meanwhile, from the first again, so
    /// that a reader of pages may see a letter twice and misses none.
    async fn dead(&self, after: Option<&str>, limit: usize)
    -> Result<Vec<DeadLetter>, StreamError>;
    /// Makes the dead letter a new entry at the end of the stream, with a new id and no attempt
    /// yet. Its key stays remembered as long as it was, and does not stand in its way. A full stream
    /// refuses, and the letter stays. False if there is no such letter.
    async fn redrive(&self, id: &str) -> Result<bool, StreamError>;
    /// Removes the dead letter for good. False if there is no such letter.
    async fn discard(&self, id: &str) -> Result<bool, StreamError>;
}
