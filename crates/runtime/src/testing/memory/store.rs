//! The Store port in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{Clock, Expect, Fence, Put, Store, StoreError, Versioned};

/// A [`Store`] that lives as long as its last clone.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    clock: Arc<dyn Clock>,
    down: AtomicBool,
    refused: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, Value>,
    fences: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
struct Value {
    versioned: Versioned,
    /// In [`Clock::elapsed`] time.
    expires: Option<Duration>,
}

impl Value {
    fn is_live(&self, now: Duration) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl State {
    fn version(&self, key: &str) -> Option<u64> {
        self.values.get(key).map(|value| value.versioned.version)
    }

    fn check(&self, put: &Put) -> Result<(), StoreError> {
        if let Some(fence) = &put.fence {
            let newest = self.fences.get(&fence.name).copied().unwrap_or(0);
            if fence.token != newest {
                return Err(StoreError::Stale {
                    name: fence.name.clone(),
                    token: fence.token,
                    newest,
                });
            }
        }
        put.expect.check(&put.key, self.version(&put.key))
    }

    fn apply(&mut self, put: Put, now: Duration) -> u64 {
        let version = self.version(&put.key).unwrap_or(0) + 1;
        let value = Value {
            versioned: Versioned {
                value: put.value,
                version,
            },
            expires: put.ttl.map(|ttl| now.saturating_add(ttl)),
        };
        self.values.insert(put.key, value);
        version
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            core: Arc::new(Core {
                clock,
                down: AtomicBool::new(false),
                refused: AtomicU32::new(0),
                state: Mutex::default(),
            }),
        }
    }

    /// While `down`, every call fails as unavailable and changes nothing.
    pub fn set_down(&self, down: bool) {
        self.core.down.store(down, Ordering::SeqCst);
    }

    /// How many calls failed so.
    pub fn refused(&self) -> u32 {
        self.core.refused.load(Ordering::SeqCst)
    }

    /// The state without what has expired, and the time.
    fn open(&self) -> Result<(MutexGuard<'_, State>, Duration), StoreError> {
        if self.core.down.load(Ordering::SeqCst) {
            self.core.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Unavailable(String::from(
                "the store is switched off",
            )));
        }
        let now = self.core.clock.elapsed();
        let mut state = self
            .core
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.values.retain(|_, value| value.is_live(now));
        Ok((state, now))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Put::check_key(key)?;
        let (state, _) = self.open()?;
        Ok(state.values.get(key).map(|value| value.versioned.clone()))
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        Put::check_batch(std::slice::from_ref(&put))?;
        let (mut state, now) = self.open()?;
        state.check(&put)?;
        Ok(state.apply(put, now))
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        Put::check_batch(&puts)?;
        let (mut state, now) = self.open()?;
        // A later put of the batch sees the earlier ones, so what they replaced is kept aside.
        let mut replaced = Vec::new();
        let mut versions = Vec::with_capacity(puts.len());
        for put in puts {
            if let Err(error) = state.check(&put) {
                while let Some((key, value)) = replaced.pop() {
                    match value {
                        Some(value) => state.values.insert(key, value),
                        None => state.values.remove(&key),
                    };
                }
                return Err(error);
            }
            replaced.push((put.key.clone(), state.values.get(&put.key).cloned()));
            versions.push(state.apply(put, now));
        }
        Ok(versions)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        Put::check_key(key)?;
        let (mut state, _) = self.open()?;
        expect.check(key, state.version(key))?;
        Ok(state.values.remove(key).is_some())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let (state, _) = self.open()?;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(state
            .values
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.versioned.clone()))
            .collect())
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        Put::check_key(name)?;
        let (mut state, _) = self.open()?;
        let token = state.fences.entry(name.to_owned()).or_default();
        *token += 1;
        Ok(Fence {
            name: name.to_owned(),
            token: *token,
        })
    }
}
