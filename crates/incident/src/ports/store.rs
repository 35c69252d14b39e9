//! The Store port: small values by key, with compare-and-set and fencing.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Classify, Code, Kind};

/// A value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Vec<u8>,
    /// Starts at 1 and grows with every put to the key while it exists.
    pub version: u64,
}

/// What a put expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// No value.
    Absent,
    /// Exactly this version.
    Version(u64),
}

impl Expect {
    /// Whether `found` at `key` is as expected.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is not.
    pub fn check(self, key: &str, found: Option<u64>) -> Result<(), StoreError> {
        let met = match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        };
        if met {
            return Ok(());
        }
        Err(StoreError::Conflict {
            key: key.to_owned(),
            found,
        })
    }
}

/// Proof of being the newest holder of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What is fenced, such as `orchestrator/inc-0123456789ab`.
    pub name: String,
    /// The holder's token, from [`Store::fence`].
    pub token: u64,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key: at most 512 bytes, `/` between its parts.
    pub key: String,
    /// The bytes: at most 8 MiB.
    pub value: Vec<u8>,
    /// What must be there now.
    pub expect: Expect,
    /// How long it is kept; for ever if none.
    pub ttl: Option<Duration>,
    /// Refused unless this is still the newest token of its name.
    pub fence: Option<Fence>,
}

impl Put {
    /// Longest key or name of a fence, in bytes.
    pub const KEY_BYTES_MAX: usize = 512;
    /// Longest value, in bytes.
    pub const VALUE_BYTES_MAX: usize = 8 << 20;
    /// Most puts of one [`Store::put_all`].
    pub const BATCH_MAX: usize = 256;

    /// Whether a key, or the name of a fence, keeps the limits that every store has.
    ///
    /// # Errors
    /// [`StoreError::Limit`] if it does not.
    pub fn check_key(key: &str) -> Result<(), StoreError> {
        if (1..=Self::KEY_BYTES_MAX).contains(&key.len()) {
            return Ok(());
        }
        Err(StoreError::Limit {
            key: key.to_owned(),
            why: format!(
                "the key has {} bytes, not 1 to {}",
                key.len(),
                Self::KEY_BYTES_MAX
            ),
        })
    }

    /// Whether the puts keep the limits that every store has.
    ///
    /// # Errors
    /// [`StoreError::Limit`], naming the first put that does not.
    pub fn check_batch(puts: &[Self]) -> Result<(), StoreError> {
        if let Some(beyond) = puts.get(Self::BATCH_MAX) {
            return Err(StoreError::Limit {
                key: beyond.key.clone(),
                why: format!("at most {} puts are written at once", Self::BATCH_MAX),
            });
        }
        for put in puts {
            Self::check_key(&put.key)?;
            if let Some(fence) = &put.fence {
                Self::check_key(&fence.name)?;
            }
            if put.value.len() > Self::VALUE_BYTES_MAX {
                return Err(StoreError::Limit {
                    key: put.key.clone(),
                    why: format!(
                        "the value has {} bytes, the limit is {}",
                        put.value.len(),
                        Self::VALUE_BYTES_MAX
                    ),
                });
            }
        }
        Ok(())
    }

    /// A write that expects `expect`, is kept for ever and needs no fence.
    pub fn new(key: impl Into<String>, value: impl Into<Vec<u8>>, expect: Expect) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            expect,
            ttl: None,
            fence: None,
        }
    }

    /// The same write, kept for `ttl`.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The same write under a fence.
    #[must_use]
    pub fn fenced(mut self, fence: Option<&Fence>) -> Self {
        self.fence = fence.cloned();
        self
    }
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first; read again.
    #[error("{key} is at version {found:?}, not as expected")]
    Conflict {
        /// The key.
        key: String,
        /// The version found; none if there is no value.
        found: Option<u64>,
    },
    /// A newer holder exists; stop working.
    #[error("token {token} of {name} is stale, the newest is {newest}")]
    Stale {
        /// What is fenced.
        name: String,
        /// The token that was shown.
        token: u64,
        /// The newest token.
        newest: u64,
    },
    /// Key or value break a limit.
    #[error("{key}: {why}")]
    Limit {
        /// The key.
        key: String,
        /// Which limit.
        why: String,
    },
    /// The store cannot be reached, or cannot keep what it is given.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read.
    #[error("the store holds something unreadable at {key}: {why}")]
    Corrupt {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } | Self::Unavailable(_) => Kind::Transient,
            Self::Stale { .. } => Kind::Cancelled,
            Self::Limit { .. } | Self::Corrupt { .. } => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Conflict { .. } => Code("E-STORE-001"),
            Self::Stale { .. } => Code("E-STORE-002"),
            Self::Limit { .. } => Code("E-STORE-003"),
            Self::Unavailable(_) => Code("E-STORE-004"),
            Self::Corrupt { .. } => Code("E-STORE-005"),
        }
    }
}

/// Small values by key.
///
/// Contract:
/// - `put` returns only when the write is durable by the configured standard, or did not happen.
///   After [`StoreError::Unavailable`] it may or may not have happened: read before deciding.
/// - Compare-and-set is atomic against every other writer.
/// - A put under a fence is refused with [`StoreError::Stale`] once a newer token was handed out.
///   Tokens of one name only grow, also across restarts.
/// - What was put survives a restart until its ttl ends; an expired value is never returned.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The value at `key`.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;
    /// Writes; returns the new version.
    async fn put(&self, put: Put) -> Result<u64, StoreError>;
    /// Writes all or nothing; versions in order. At most 256 puts.
    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError>;
    /// Removes; whether there was something. Removing nothing is no error with [`Expect::Any`].
    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError>;
    /// Keys that start with `prefix`, with their values, in key order, at most `limit`, only those
    /// greater than `after` if it is given.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError>;
    /// Takes the next token of `name`; all older holders are stale from now on.
    async fn fence(&self, name: &str) -> Result<Fence, StoreError>;
}
