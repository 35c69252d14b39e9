//! The Stream port on the embedded log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};
use tokio::sync::Notify;

use super::entries::{self, Verdict, When};
use super::{Log, millis};
use crate::wait::{Taken, Waiter};

/// One stream of a log. The log belongs to one process, so its consumers need no names.
#[derive(Debug)]
pub(super) struct LogStream {
    log: Arc<Log>,
    name: Arc<str>,
    bell: Arc<Notify>,
}

impl LogStream {
    pub(super) fn new(log: Arc<Log>, name: &str) -> Self {
        Self {
            bell: log.bell(name),
            log,
            name: name.into(),
        }
    }

    async fn take(&self, max: usize) -> Result<Taken, StreamError> {
        let (name, rules, wall) = (self.name.clone(), self.log.rules, self.log.time.clock.now());
        let call = self
            .log
            .call(move |tx, log| entries::claim(tx, &name, max, When { log, wall }, &rules));
        let (deliveries, next) = call.await.map_err(StreamError::Unavailable)?;
        Ok(Taken { deliveries, next })
    }

    async fn settle(&self, lease: &Lease, verdict: Verdict) -> Result<(), StreamError> {
        let (name, rules, wall) = (self.name.clone(), self.log.rules, self.log.time.clock.now());
        let lease = lease.clone();
        let call = self.log.call(move |tx, log| {
            entries::settle(tx, &name, &lease, &verdict, When { log, wall }, &rules)
        });
        call.await.map_err(StreamError::Unavailable)?
    }
}

#[async_trait]
impl Stream for LogStream {
    fn name(&self) -> &str {
        &self.name
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.log.rules.lease)
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        Entry::check_batch(&batch)?;
        let (name, rules, wall) = (self.name.clone(), self.log.rules, self.log.time.clock.now());
        let call = self
            .log
            .call(move |tx, log| entries::append(tx, &name, &batch, When { log, wall }, &rules));
        let appended = call.await.map_err(StreamError::Unavailable)??;
        self.bell.notify_waiters();
        Ok(appended)
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let waiter = Waiter {
            bell: &self.bell,
            clock: &*self.log.time.clock,
            poll: self.log.poll,
        };
        waiter.claim(wait, || self.take(max)).await
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        self.settle(lease, Verdict::Extend).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        self.settle(lease, Verdict::Ack).await
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        let (delay, cause) = (millis(delay), cause.clone());
        self.settle(lease, Verdict::Retry { delay, cause }).await?;
        self.bell.notify_waiters();
        Ok(())
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        let cause = cause.clone();
        self.settle(lease, Verdict::Bury { cause }).await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        let name = self.name.clone();
        let found = self
            .log
            .read(move |txn, now| entries::backlog(txn, &name, now));
        found.await.map_err(StreamError::Unavailable)
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        let (name, after) = (self.name.clone(), after.map(str::to_owned));
        let found = self
            .log
            .read(move |txn, _| entries::dead::list(txn, &name, after.as_deref(), limit));
        found.await.map_err(StreamError::Unavailable)
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        let (name, rules, wall) = (self.name.clone(), self.log.rules, self.log.time.clock.now());
        let id = id.to_owned();
        let call = self.log.call(move |tx, log| {
            entries::dead::redrive(tx, &name, &id, When { log, wall }, &rules)
        });
        let redriven = call.await.map_err(StreamError::Unavailable)??;
        self.bell.notify_waiters();
        Ok(redriven)
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        let (name, id) = (self.name.clone(), id.to_owned());
        let call = self
            .log
            .call(move |tx, _| entries::dead::discard(tx, &name, &id));
        call.await.map_err(StreamError::Unavailable)?
    }
}
