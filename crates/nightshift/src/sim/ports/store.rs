//! The Store port of one node.

use std::sync::Arc;

use async_trait::async_trait;
use incident::ports::{Expect, Fence, Put, Store, StoreError, Versioned};

use super::super::breaks::BrokenStore;
use super::super::gate::{Fate, Gate};
use super::super::watch::of_bytes;

/// The store as one node reaches it.
#[derive(Debug, Clone)]
pub(in crate::sim) struct GatedStore {
    gate: Gate,
    inner: BrokenStore,
}

fn away(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

impl GatedStore {
    pub(in crate::sim) fn new(gate: Gate, inner: BrokenStore) -> Arc<Self> {
        Arc::new(Self { gate, inner })
    }

    /// Below the gate: no write under an old token may have taken effect.
    async fn write(self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        let (world, who) = (&self.gate.world, self.gate.life.name());
        let shown: Vec<Fence> = puts.iter().filter_map(|put| put.fence.clone()).collect();
        for put in &puts {
            world
                .watch
                .note(who, "  puts", &put.key, of_bytes(&put.value));
        }
        let stale = {
            let seen = world.watch.lock();
            let newest = |fence: &Fence| seen.books.fences.get(&fence.name).copied();
            shown
                .into_iter()
                .find(|fence| newest(fence).is_some_and(|newest| fence.token < newest))
        };
        let result = self.inner.put_all(puts).await;
        let answer = match &result {
            Ok(versions) => versions.first().copied().unwrap_or(0),
            Err(_) => u64::MAX,
        };
        world.watch.note(who, "  stored", "", answer);
        world.watch.check(
            "no write of a stale holder takes effect",
            stale.is_none() || result.is_err(),
            || format!("{who} wrote under {stale:?}"),
        );
        result
    }

    async fn written(&self, op: &'static str, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        let key = puts.first().map_or_else(String::new, |put| put.key.clone());
        let fate = self.gate.before(op, &key).await;
        let can_conflict = puts.iter().any(|put| put.expect != Expect::Any);
        if fate == Fate::Conflict && can_conflict {
            return Err(StoreError::Conflict { key, found: None });
        }
        let effect = || self.clone().write(puts.clone());
        self.gate.make(fate, away, effect).await
    }
}

#[async_trait]
impl Store for GatedStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let effect = || {
            let (inner, key) = (self.inner.clone(), key.to_owned());
            async move { inner.get(&key).await }
        };
        self.gate.call("get", key, away, effect).await
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        let versions = self.written("put", vec![put]).await?;
        Ok(versions.first().copied().unwrap_or(1))
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        self.written("put_all", puts).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        let effect = || {
            let (inner, key) = (self.inner.clone(), key.to_owned());
            async move { inner.delete(&key, expect).await }
        };
        self.gate.call("delete", key, away, effect).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let effect = || {
            let (inner, prefix) = (self.inner.clone(), prefix.to_owned());
            let after = after.map(str::to_owned);
            async move { inner.list(&prefix, after.as_deref(), limit).await }
        };
        self.gate.call("list", prefix, away, effect).await
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        let effect = || {
            let (this, name) = (self.clone(), name.to_owned());
            async move {
                let fence = this.inner.fence(&name).await?;
                let watch = &this.gate.world.watch;
                let newest = watch.lock().books.fences.insert(name, fence.token);
                watch.check("tokens only grow", newest < Some(fence.token), || {
                    format!("{fence:?} after {newest:?}")
                });
                Ok(fence)
            }
        };
        self.gate.call("fence", name, away, effect).await
    }
}
