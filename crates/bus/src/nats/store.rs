//! The Store port on a bucket of keys and values.
//!
//! One message is one change, and the server refuses it unless the key is at the revision that its
//! writer saw. That makes single writes atomic. For several at once see [`txn`], for fencing
//! [`fence`].

mod cell;
mod fence;
pub(super) mod sweep;
mod txn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use incident::ports::{Expect, Fence, Put, Store, StoreError, Versioned};

use self::cell::{Cell, Meta};
use super::link::{Failure, Write};
use super::names::{self, Bucket};
use super::time::Micros;
use super::{AT_ONCE, Server, locked};
use crate::wait::within;

/// Pause before a write is tried again that met another.
const PAUSE: Duration = Duration::from_millis(2);
/// Subjects whose last revision this process remembers to have written over.
const SPENT_MAX: usize = 4096;

/// What this process knows about the store.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// By subject: a revision that was written over, so that no write on it can come any more.
    spent: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    fn spend(&self, subject: &str, rev: u64) {
        let mut spent = locked(&self.spent);
        if spent.len() >= SPENT_MAX {
            spent.clear();
        }
        spent.insert(subject.to_owned(), rev);
    }

    fn is_spent(&self, subject: &str, rev: u64) -> bool {
        locked(&self.spent)
            .get(subject)
            .is_some_and(|spent| rev <= *spent)
    }
}

/// Why an operation stops.
#[derive(Debug)]
enum Stop {
    /// The caller is told so.
    Told(StoreError),
    /// The server did not do it; a conflict means "again".
    Failed(Failure),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Stop {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Failed(Failure::Conflict))
    }

    /// What the caller of an operation on `key` is told.
    fn told(self, key: &str) -> StoreError {
        match self {
            Self::Told(error) => error,
            Self::Failed(failure @ Failure::TooLarge { .. }) => StoreError::Limit {
                key: key.to_owned(),
                why: failure.to_string(),
            },
            Self::Failed(failure) => StoreError::Unavailable(failure.to_string()),
        }
    }
}

/// The store, seen through one connection.
#[derive(Debug, Clone)]
pub(super) struct NatsStore {
    server: Arc<Server>,
    bucket: Bucket,
}

impl NatsStore {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let bucket = server.names.store();
        Self { server, bucket }
    }

    /// Subject of the value at `key`.
    fn subject(&self, key: &str) -> String {
        self.bucket.subject(&format!("c.{}", names::encode(key)))
    }

    /// Runs `work` within the configured time.
    async fn bounded<T>(
        &self,
        key: &str,
        work: impl Future<Output = Result<T, Stop>> + Send,
    ) -> Result<T, StoreError> {
        let prepared = async {
            self.server.make_buckets().await?;
            work.await
        };
        let timeout = self.server.link.timeout();
        let done = within(&*self.server.clock, timeout, prepared).await;
        match done {
            Some(Err(Stop::Failed(Failure::Missing))) => {
                // An operator removed it. The next call makes it again.
                self.server.set_made("", false);
                Err(Stop::Failed(Failure::Missing).told(key))
            }
            Some(done) => done.map_err(|stop| stop.told(key)),
            None => Err(StoreError::Unavailable(format!(
                "nats did not do it within {timeout:?}"
            ))),
        }
    }

    /// Waits a little, each time longer, and not as long as others do.
    async fn pause(&self, age: Micros, tries: u32) {
        let seed = names::fingerprint(&format!("{age}-{tries}"));
        let jitter = u32::from_str_radix(seed.get(..2).unwrap_or("0"), 16).unwrap_or_default();
        let longest = PAUSE * 2_u32.pow(tries.min(5));
        self.server.clock.sleep(longest * (jitter + 1) / 256).await;
    }

    /// The value at `subject` as a reader sees it.
    async fn seen(&self, key: &str, subject: &str) -> Result<Option<Versioned>, Stop> {
        let now = self.server.now().await?;
        loop {
            let cell = self.read(key, subject).await?;
            let Some(lock) = &cell.meta.lock else {
                return Ok(cell.live(now));
            };
            match self.fate(lock).await? {
                txn::Fate::Committed => return Ok(cell.live(now)),
                txn::Fate::Pending { .. } => {}
                txn::Fate::Aborted => {
                    // Or it was committed, and the value was freed since it was read.
                    if self.read(key, subject).await?.rev != cell.rev {
                        continue;
                    }
                }
            }
            if let Some(old) = self.before(key, subject, &cell).await? {
                return Ok(old.live(now));
            }
        }
    }

    /// The newest cell at `subject`.
    async fn read(&self, key: &str, subject: &str) -> Result<Cell, Stop> {
        let found = self.server.link.last(&self.bucket.stream, subject).await?;
        Ok(Cell::of(key, found)?)
    }

    /// What a locked cell was written over; none if the lock is gone meanwhile.
    async fn before(&self, key: &str, subject: &str, cell: &Cell) -> Result<Option<Cell>, Stop> {
        let link = &self.server.link;
        if cell.meta.old == 0 {
            return Ok(Some(Cell::default()));
        }
        let found = link.at(&self.bucket.stream, cell.meta.old).await?;
        let found = found.filter(|found| found.subject == subject);
        if found.is_none() && self.read(key, subject).await?.rev != cell.rev {
            return Ok(None);
        }
        Ok(Some(Cell::of(key, found)?))
    }

    /// Writes `cell` over its own revision; the new one.
    async fn write(&self, subject: &str, cell: &Cell) -> Result<u64, Failure> {
        let stored = self.server.link.write(cell.write(subject)).await?;
        self.server.store.spend(subject, cell.rev);
        Ok(stored.seq)
    }

    async fn put_puts(&self, puts: &[Put]) -> Result<Vec<u64>, Stop> {
        let age = self.server.now().await?.early;
        let mut tries = 0;
        loop {
            match self.try_puts(puts, age).await {
                Err(stop) if stop.is_conflict() => {
                    self.pause(age, tries).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn remove(&self, key: &str, expect: Expect) -> Result<bool, Stop> {
        let subject = self.subject(key);
        let age = self.server.now().await?.early;
        let mut tries = 0;
        loop {
            let cell = self.clean(key, &subject, age).await?;
            let now = self.server.now().await?;
            let found = cell.live(now).map(|live| live.version);
            expect.check(key, found)?;
            if found.is_none() {
                return Ok(false);
            }
            match self.write(&subject, &Cell::gone(cell.rev)).await {
                Ok(_) => return Ok(true),
                Err(Failure::Conflict) => {
                    self.pause(age, tries).await;
                    tries += 1;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, Stop> {
        let filter = self.bucket.subject(&format!("c.{}", names::filter(prefix)));
        let subjects = self.server.link.subjects(&self.bucket.stream, &filter);
        let mut keys: Vec<String> = subjects
            .await?
            .iter()
            .filter_map(|subject| names::decode(self.bucket.key(subject)?.strip_prefix("c.")?))
            .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .collect();
        keys.sort_unstable();
        let mut page = Vec::new();
        let mut keys = keys.into_iter();
        while page.len() < limit {
            // Some may be gone, so it can take more than one round.
            let round: Vec<String> = keys.by_ref().take(limit - page.len()).collect();
            if round.is_empty() {
                break;
            }
            let reading = round.into_iter().map(|key| async move {
                let subject = self.subject(&key);
                let value = self.seen(&key, &subject).await?;
                Ok::<_, Stop>(value.map(|value| (key, value)))
            });
            let reading: Vec<_> = reading.collect();
            let mut reading = stream::iter(reading).buffered(AT_ONCE);
            while let Some(found) = reading.try_next().await? {
                page.extend(found);
            }
        }
        Ok(page)
    }
}

#[async_trait]
impl Store for NatsStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Put::check_key(key)?;
        let subject = self.subject(key);
        self.bounded(key, self.seen(key, &subject)).await
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        let key = put.key.clone();
        let versions = self.put_all(vec![put]).await?;
        versions.first().copied().ok_or(StoreError::Corrupt {
            key,
            why: String::from("it has no version"),
        })
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        Put::check_batch(&puts)?;
        let Some(first) = puts.first() else {
            return Ok(Vec::new());
        };
        if let Some(limit) = self.server.link.max_payload() {
            let room = limit.saturating_sub(Meta::BYTES_MAX);
            if let Some(put) = puts.iter().find(|put| put.value.len() > room) {
                return Err(Stop::Failed(Failure::TooLarge { limit }).told(&put.key));
            }
        }
        self.bounded(&first.key, self.put_puts(&puts)).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        Put::check_key(key)?;
        self.bounded(key, self.remove(key, expect)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.bounded(prefix, self.page(prefix, after, limit)).await
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        Put::check_key(name)?;
        self.bounded(name, self.next_token(name)).await
    }
}
