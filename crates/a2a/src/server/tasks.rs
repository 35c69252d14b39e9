//! Tasks in the Store port: who may work on one, and what is known of it.
//!
//! Keys: `a2a/<agent>/task/<id>` holds the [`Record`], `a2a/<agent>/input/<id>` the input. Every
//! write to a record is a compare-and-set, so that of two processes that want a task one gets it.

use std::sync::Arc;
use std::time::Duration;

use incident::ids::TaskId;
use incident::ports::{Clock, Expect, Put, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::record::{Owner, Record};
use super::request::Asked;

/// Records read in one go while listing.
const PAGE: usize = 100;

/// The tasks of one agent, as this instance sees them.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) agent: String,
    pub(super) instance: String,
    pub(super) sole_owner: bool,
    pub(super) lease: Duration,
    pub(super) ttl: Duration,
}

/// A record and the version it was read or written at.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) version: u64,
}

/// What came of wanting to work on a task.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is ours.
    Mine(Kept),
    /// Another process works on it.
    Theirs(Record),
    /// There is nothing left to do.
    AtRest(Record),
    /// The message id was used before, for something else.
    OtherPayload,
}

impl Tasks {
    fn key(&self, id: &TaskId) -> String {
        format!("{}{id}", self.prefix())
    }

    fn prefix(&self) -> String {
        format!("a2a/{}/task/", self.agent)
    }

    fn input_key(&self, id: &TaskId) -> String {
        format!("a2a/{}/input/{id}", self.agent)
    }

    /// One task.
    pub(super) async fn load(&self, id: &TaskId) -> Result<Option<Kept>, StoreError> {
        let key = self.key(id);
        let Some(found) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let record = decode(&key, &found.value)?;
        Ok(Some(Kept {
            record,
            version: found.version,
        }))
    }

    /// The input of one task; none once it has expired.
    pub(super) async fn input(&self, id: &TaskId) -> Result<Option<Value>, StoreError> {
        let key = self.input_key(id);
        let found = self.store.get(&key).await?;
        found.map(|found| decode(&key, &found.value)).transpose()
    }

    /// Wants to work on the task of `asked`: creates it, takes it over from an owner whose lease
    /// lapsed, or says why not. Only called while no execution of this process has the task, so an
    /// owner with our own name is an execution of ours that is gone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if somebody was faster: look again.
    pub(super) async fn claim(&self, asked: &Asked) -> Result<Claim, StoreError> {
        let now = self.clock.now();
        let Some(Kept {
            mut record,
            version,
        }) = self.load(&asked.id).await?
        else {
            let mut record = Record::new(asked, now);
            self.own(&mut record, now);
            let puts = vec![
                Put::new(self.key(&asked.id), encode(&record), Expect::Absent).ttl(self.ttl),
                Put::new(
                    self.input_key(&asked.id),
                    encode(&asked.task.input),
                    Expect::Any,
                )
                .ttl(self.ttl),
            ];
            let versions = self.store.put_all(puts).await?;
            let version = versions.first().copied().unwrap_or(1);
            return Ok(Claim::Mine(Kept { record, version }));
        };
        if record.digest != asked.digest {
            return Ok(Claim::OtherPayload);
        }
        if record.state.is_at_rest() {
            return Ok(Claim::AtRest(record));
        }
        if self.is_held_elsewhere(&record, now) {
            return Ok(Claim::Theirs(record));
        }
        self.own(&mut record, now);
        let version = self.save(&record, version).await?;
        Ok(Claim::Mine(Kept { record, version }))
    }

    /// Whether a living process other than this one works on it now, as far as anybody can know.
    pub(super) fn is_held_elsewhere(&self, record: &Record, now: Timestamp) -> bool {
        !self.sole_owner && record.is_held_elsewhere(&self.instance, now)
    }

    fn own(&self, record: &mut Record, now: Timestamp) {
        record.owner = Some(self.owner(now));
        record.attempt += 1;
        record.cancel_asked = false;
        record.said = None;
    }

    /// This instance, with a fresh lease.
    pub(super) fn owner(&self, now: Timestamp) -> Owner {
        let lease = SignedDuration::try_from(self.lease).unwrap_or(SignedDuration::MAX);
        Owner {
            instance: self.instance.clone(),
            until: now.checked_add(lease).unwrap_or(Timestamp::MAX),
        }
    }

    /// Writes a record that was read at `version`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it changed since.
    pub(super) async fn save(&self, record: &Record, version: u64) -> Result<u64, StoreError> {
        let expect = Expect::Version(version);
        let put = Put::new(self.key(&record.task), encode(record), expect).ttl(self.ttl);
        self.store.put(put).await
    }

    /// Calls `see` with every record in key order, at most `max`; whether those were all.
    pub(super) async fn scan(
        &self,
        max: usize,
        mut see: impl FnMut(Record),
    ) -> Result<bool, StoreError> {
        let prefix = self.prefix();
        let mut after: Option<String> = None;
        let mut seen = 0;
        while seen < max {
            let limit = PAGE.min(max - seen);
            let page = self.store.list(&prefix, after.as_deref(), limit).await?;
            let found = page.len();
            seen += found;
            for (key, versioned) in page {
                see(decode(&key, &versioned.value)?);
                after = Some(key);
            }
            if found < limit {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records and JSON values have string keys only")
}

fn decode<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt {
        key: key.to_owned(),
        why: error.to_string(),
    })
}
