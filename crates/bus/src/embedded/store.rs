//! The Store port on the embedded log.

use std::sync::Arc;

use async_trait::async_trait;
use incident::ports::{Expect, Fence, Put, Store, StoreError, Versioned};

use super::{Log, values};

/// The store of a log.
#[derive(Debug)]
pub(super) struct LogStore {
    log: Arc<Log>,
}

impl LogStore {
    pub(super) fn new(log: Arc<Log>) -> Self {
        Self { log }
    }
}

#[async_trait]
impl Store for LogStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Put::check_key(key)?;
        let key = key.to_owned();
        let found = self.log.read(move |txn, now| values::get(txn, &key, now));
        found.await.map_err(StoreError::Unavailable)
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        let key = put.key.clone();
        let versions = self.put_all(vec![put]).await?;
        versions.into_iter().next().ok_or(StoreError::Corrupt {
            key,
            why: String::from("a put gave no version"),
        })
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        Put::check_batch(&puts)?;
        let call = self
            .log
            .call(move |tx, now| values::put_all(tx, &puts, now));
        call.await.map_err(StoreError::Unavailable)?
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        Put::check_key(key)?;
        let key = key.to_owned();
        let call = self
            .log
            .call(move |tx, now| values::delete(tx, &key, expect, now));
        call.await.map_err(StoreError::Unavailable)?
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(ToOwned::to_owned));
        let found = self
            .log
            .read(move |txn, now| values::list(txn, &prefix, after.as_deref(), limit, now));
        found.await.map_err(StoreError::Unavailable)
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        Put::check_key(name)?;
        let name = name.to_owned();
        let call = self.log.call(move |tx, _| values::fence(tx, &name));
        call.await.map_err(StoreError::Unavailable)
    }
}
