//! A stream that fails in the ways a real one does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};
use runtime::testing::memory::MemoryStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Refused, nothing stored.
    Unavailable,
    Full,
    Limit,
    /// Never answers, nothing stored.
    Hang,
    /// Stored, but the answer is lost.
    AnswerLost,
    /// The first append works, the second does not.
    SecondFails,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    inner: MemoryStream,
    fault: Mutex<Fault>,
    appends: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(inner: MemoryStream) -> Self {
        Self {
            inner,
            fault: Mutex::new(Fault::None),
            appends: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().expect("no panic holds it") = fault;
        self.appends.store(0, Ordering::SeqCst);
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().expect("no panic holds it")
    }
}

fn down() -> StreamError {
    StreamError::Unavailable("connection refused".into())
}

#[async_trait]
impl Stream for Faulty {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn lease(&self) -> Duration {
        self.inner.lease()
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        let earlier = self.appends.fetch_add(1, Ordering::SeqCst);
        match self.fault() {
            Fault::Unavailable => Err(down()),
            Fault::Full => Err(StreamError::Full {
                entries: 7,
                limit: 7,
            }),
            Fault::Limit => Err(StreamError::Limit {
                key: "key".into(),
                why: "too long".into(),
            }),
            Fault::Hang => std::future::pending().await,
            Fault::AnswerLost => {
                self.inner.append(batch).await?;
                Err(down())
            }
            Fault::SecondFails if earlier == 1 => Err(down()),
            Fault::None | Fault::SecondFails => self.inner.append(batch).await,
        }
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        self.inner.claim(max, wait).await
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        self.inner.extend(lease).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        self.inner.ack(lease).await
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        self.inner.retry_later(lease, delay, cause).await
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        self.inner.bury(lease, cause).await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        match self.fault() {
            Fault::Unavailable => Err(down()),
            Fault::Hang => std::future::pending().await,
            _ => self.inner.backlog().await,
        }
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        self.inner.dead(after, limit).await
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        match self.fault() {
            Fault::Unavailable => Err(down()),
            Fault::Full => Err(StreamError::Full {
                entries: 7,
                limit: 7,
            }),
            Fault::Hang => std::future::pending().await,
            _ => self.inner.redrive(id).await,
        }
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        self.inner.discard(id).await
    }
}
