//! Mutations: each takes one safeguard out of a port, below everything that watches it, and the
//! simulation must notice. Product code is the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clap::ValueEnum;
use incident::ports::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Expect, Fence, Lease, Put, Store as _,
    StoreError, Stream, StreamError, Versioned,
};
use runtime::testing::memory::{MemoryStore, MemoryStream};

use super::chance::Chance;

/// Tokens that a stale lease is tried with until one fits.
const NEWER_TOKENS: u64 = 16;

/// A safeguard that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Break {
    /// Entries are acknowledged as soon as they are claimed
    AckFirst,
    /// Writes show no fencing token
    NoFence,
    /// Writes expect nothing
    NoCas,
    /// Half a batch may be written
    TornBatch,
    /// The same key is stored again
    NoDedup,
    /// Leases are not made longer
    NoLeaseRenewal,
    /// A stale lease settles an entry
    NoLeaseCheck,
    /// What is put back is gone
    NoRedelivery,
    /// An append is answered before it is durable
    EarlyAnswer,
    /// The hook answers 200 although the append failed
    OkAnyway,
    /// Nobody finds a message that was posted before
    NoLookBeforeAct,
    /// Nobody finds a branch that was pushed before
    NoLookBeforePush,
}

/// A stream with or without its safeguards.
#[derive(Debug, Clone)]
pub(super) struct BrokenStream {
    inner: MemoryStream,
    broken: Option<Break>,
    /// Makes keys unique.
    count: Arc<AtomicU64>,
    chance: Arc<Chance>,
}

impl BrokenStream {
    pub(super) fn new(inner: MemoryStream, broken: Option<Break>, chance: &Arc<Chance>) -> Self {
        Self {
            inner,
            broken,
            count: Arc::default(),
            chance: Arc::clone(chance),
        }
    }

    fn is(&self, broken: Break) -> bool {
        self.broken == Some(broken)
    }

    pub(super) fn name(&self) -> &str {
        self.inner.name()
    }

    pub(super) fn lease(&self) -> Duration {
        self.inner.lease()
    }

    pub(super) async fn append(&self, mut batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        if self.is(Break::EarlyAnswer) && self.chance.one_in(16) {
            // It was in a buffer, and the buffer is gone.
            return Ok(vec![Appended::Stored; batch.len()]);
        }
        if self.is(Break::NoDedup) {
            for entry in &mut batch {
                let n = self.count.fetch_add(1, Ordering::Relaxed);
                entry.key = format!("{}~{n}", entry.key);
            }
        }
        self.inner.append(batch).await
    }

    pub(super) async fn claim(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StreamError> {
        let mut deliveries = self.inner.claim(max, wait).await?;
        if self.is(Break::NoDedup) {
            for delivery in &mut deliveries {
                let key = delivery
                    .key
                    .split('~')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                delivery.key = key;
            }
        }
        if self.is(Break::AckFirst) {
            for delivery in &deliveries {
                self.inner.ack(&delivery.lease).await?;
            }
        }
        Ok(deliveries)
    }

    pub(super) async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        if self.is(Break::NoLeaseRenewal) || self.is(Break::AckFirst) {
            return Ok(());
        }
        match self.inner.extend(lease).await {
            Err(StreamError::LeaseLost { .. }) if self.is(Break::NoLeaseCheck) => Ok(()),
            other => other,
        }
    }

    pub(super) async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        match self.inner.ack(lease).await {
            Err(StreamError::LeaseLost { .. }) if self.is(Break::AckFirst) => Ok(()),
            Err(error @ StreamError::LeaseLost { .. }) if self.is(Break::NoLeaseCheck) => {
                for token in lease.token..lease.token + NEWER_TOKENS {
                    let id = lease.id.clone();
                    if self.inner.ack(&Lease { id, token }).await.is_ok() {
                        return Ok(());
                    }
                }
                Err(error)
            }
            other => other,
        }
    }

    pub(super) async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        if self.is(Break::NoRedelivery) {
            return self.inner.ack(lease).await;
        }
        match self.inner.retry_later(lease, delay, cause).await {
            Err(StreamError::LeaseLost { .. }) if self.is(Break::AckFirst) => Ok(()),
            other => other,
        }
    }

    pub(super) async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        self.inner.bury(lease, cause).await
    }

    /// What no mutation touches.
    pub(super) fn memory(&self) -> &MemoryStream {
        &self.inner
    }
}

/// A store with or without its safeguards.
#[derive(Debug, Clone)]
pub(super) struct BrokenStore {
    inner: MemoryStore,
    broken: Option<Break>,
    chance: Arc<Chance>,
}

impl BrokenStore {
    pub(super) fn new(inner: MemoryStore, broken: Option<Break>, chance: &Arc<Chance>) -> Self {
        Self {
            inner,
            broken,
            chance: Arc::clone(chance),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    pub(super) async fn put_all(&self, mut puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        match self.broken {
            Some(Break::NoFence) => puts.iter_mut().for_each(|put| put.fence = None),
            Some(Break::NoCas) => puts.iter_mut().for_each(|put| put.expect = Expect::Any),
            Some(Break::TornBatch) if puts.len() > 1 && self.chance.one_in(24) => {
                puts.truncate(puts.len() / 2);
                self.inner.put_all(puts).await?;
                return Err(StoreError::Unavailable(String::from(
                    "it went down half way",
                )));
            }
            _ => {}
        }
        self.inner.put_all(puts).await
    }

    pub(super) async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        self.inner.delete(key, expect).await
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    pub(super) async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        self.inner.fence(name).await
    }
}

/// A stream that always says it has stored what it was given.
pub(super) fn ok_anyway(inner: Arc<dyn Stream>) -> Arc<dyn Stream> {
    Arc::new(OkAnyway(inner))
}

#[derive(Debug)]
struct OkAnyway(Arc<dyn Stream>);

#[async_trait]
impl Stream for OkAnyway {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn lease(&self) -> Duration {
        self.0.lease()
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        let all = vec![Appended::Stored; batch.len()];
        Ok(self.0.append(batch).await.unwrap_or(all))
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        self.0.claim(max, wait).await
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        self.0.extend(lease).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        self.0.ack(lease).await
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        self.0.retry_later(lease, delay, cause).await
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        self.0.bury(lease, cause).await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        self.0.backlog().await
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        self.0.dead(after, limit).await
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        self.0.redrive(id).await
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        self.0.discard(id).await
    }
}
