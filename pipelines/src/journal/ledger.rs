//! The journal in the store: read, and written under a fence.

use std::sync::Arc;
use std::time::Duration;

use incident::ports::{Cx, Entropy, Expect, Fence, Put, Store, StoreError, Versioned};
use incident::{Classify as _, IncidentId};
use runtime::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Journal, SCHEMA, keys};
use crate::orchestrator::WorkError;

/// A value that is written together with the head.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    key: String,
    value: Vec<u8>,
    expect: Expect,
}

impl Part {
    /// `value` as JSON at `key`.
    pub(crate) fn json(key: String, value: &impl Serialize) -> Result<Self, WorkError> {
        Ok(Self {
            value: encode(&key, value)?,
            key,
            expect: Expect::Any,
        })
    }

    /// The same, refused if there is something already.
    #[must_use]
    pub(crate) fn once(mut self) -> Self {
        self.expect = Expect::Absent;
        self
    }
}

/// Reads of the store, tried again until the context ends.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) cx: Cx,
}

impl Reader {
    pub(crate) async fn raw(&self, key: &str) -> Result<Option<Versioned>, WorkError> {
        let read = || self.store.get(key);
        Ok(Policy::BACKEND
            .run(&self.cx, self.entropy.as_ref(), read)
            .await?)
    }

    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, WorkError> {
        let Some(found) = self.raw(key).await? else {
            return Ok(None);
        };
        decode(key, &found.value).map(Some)
    }

    /// The values under `prefix`, at most `limit`.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<T>, WorkError> {
        let list = || self.store.list(prefix, None, limit);
        let found = Policy::BACKEND
            .run(&self.cx, self.entropy.as_ref(), list)
            .await?;
        let mut values = found.iter();
        values.try_fold(Vec::new(), |mut read, (key, found)| {
            read.push(decode(key, &found.value)?);
            Ok(read)
        })
    }

    /// The head of one generation, without any claim to it.
    pub(crate) async fn head(
        &self,
        incident: &IncidentId,
        generation: u32,
    ) -> Result<Option<(Journal, u64)>, WorkError> {
        let key = keys::head(incident, generation);
        let Some(found) = self.raw(&key).await? else {
            return Ok(None);
        };
        let journal: Journal = decode(&key, &found.value)?;
        if journal.schema > SCHEMA {
            let why = format!("its schema is {}, newer than {SCHEMA}", journal.schema);
            return Err(WorkError::Unreadable { key, why });
        }
        Ok(Some((journal, found.version)))
    }
}

/// The journal of one generation, held under a fence.
#[derive(Debug)]
pub(crate) struct Ledger {
    reader: Reader,
    fence: Fence,
    keep: Duration,
    version: Option<u64>,
    journal: Journal,
}

impl Ledger {
    /// Takes the fence of `incident`: from now on every older executor is refused.
    pub(crate) async fn take_fence(
        reader: &Reader,
        incident: &IncidentId,
    ) -> Result<Fence, WorkError> {
        let name = format!("orchestrator/{incident}");
        let take = || reader.store.fence(&name);
        Ok(Policy::BACKEND
            .run(&reader.cx, reader.entropy.as_ref(), take)
            .await?)
    }

    /// Goes on with the journal as it was found.
    pub(crate) fn resume(
        reader: Reader,
        fence: Fence,
        keep: Duration,
        found: (Journal, u64),
    ) -> Self {
        Self {
            reader,
            fence,
            keep,
            version: Some(found.1),
            journal: found.0,
        }
    }

    /// Begins a journal, with its first parts.
    pub(crate) async fn begin(
        reader: Reader,
        fence: Fence,
        keep: Duration,
        journal: Journal,
        parts: Vec<Part>,
    ) -> Result<Self, WorkError> {
        let mut ledger = Self {
            reader,
            fence,
            keep,
            version: None,
            journal,
        };
        ledger.write(parts, |_| ()).await?;
        Ok(ledger)
    }

    /// What has been done.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Where parts are read from.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Records: the changed head and `parts` at once, or nothing.
    pub(crate) async fn write(
        &mut self,
        parts: Vec<Part>,
        change: impl FnOnce(&mut Journal),
    ) -> Result<(), WorkError> {
        // When a context ends, everything under it fails; that is no result to be recorded.
        let cx = &self.reader.cx;
        let cancelled = cx.cancel.is_cancelled();
        if cancelled || cx.remaining().is_zero() {
            return Err(WorkError::Ended { cancelled });
        }
        let mut journal = self.journal.clone();
        change(&mut journal);
        journal.writes += 1;
        let key = keys::head(&journal.incident, journal.generation);
        let value = encode(&key, &journal)?;
        let expect = self.version.map_or(Expect::Absent, Expect::Version);
        let mut puts = vec![self.put(key.clone(), value.clone(), expect)];
        puts.extend(
            parts
                .into_iter()
                .map(|part| self.put(part.key, part.value, part.expect)),
        );
        self.version = Some(self.commit(&key, &value, puts).await?);
        self.journal = journal;
        Ok(())
    }

    fn put(&self, key: String, value: Vec<u8>, expect: Expect) -> Put {
        Put::new(key, value, expect)
            .ttl(self.keep)
            .fenced(Some(&self.fence))
    }

    /// Writes, and after an answer that says nothing about the write's fate reads before deciding.
    async fn commit(&self, key: &str, value: &[u8], puts: Vec<Put>) -> Result<u64, WorkError> {
        let mut waits = Policy::BACKEND.waits(self.reader.entropy.as_ref());
        loop {
            let error = match self.reader.store.put_all(puts.clone()).await {
                Ok(versions) => return Ok(versions.first().copied().unwrap_or(1)),
                Err(error) => error,
            };
            if !error.kind().is_retryable() {
                return Err(error.into());
            }
            // Heads are never alike (`writes`), so equal bytes mean that this very write landed.
            let found = self.reader.raw(key).await?;
            if let Some(found) = found.filter(|found| found.value == value) {
                return Ok(found.version);
            }
            if matches!(error, StoreError::Conflict { .. }) {
                return Err(error.into());
            }
            let wait = waits.next().unwrap_or(Policy::BACKEND.wait_max);
            let cx = &self.reader.cx;
            if wait >= cx.remaining() || cx.bound(cx.clock.sleep(wait)).await.is_none() {
                return Err(error.into());
            }
        }
    }
}

fn encode(key: &str, value: &impl Serialize) -> Result<Vec<u8>, WorkError> {
    serde_json::to_vec(value).map_err(|error| WorkError::Unreadable {
        key: key.to_owned(),
        why: format!("it cannot be written as JSON: {error}"),
    })
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, WorkError> {
    serde_json::from_slice(value).map_err(|error| WorkError::Unreadable {
        key: key.to_owned(),
        why: error.to_string(),
    })
}
