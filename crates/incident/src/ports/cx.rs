//! The one context that travels down every call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::clock::Clock;

/// Whether the work was called off.
pub trait Cancel: Send + Sync + fmt::Debug {
    /// Whether it was.
    fn is_cancelled(&self) -> bool;
    /// Completes when it is.
    fn cancelled(&self) -> BoxFuture<'static, ()>;
}

/// Work that nobody calls off.
#[derive(Debug, Clone, Copy, Default)]
pub struct NeverCancelled;

impl Cancel for NeverCancelled {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn cancelled(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// Where progress is told. Hints for people: losing one changes nothing.
pub trait Progress: Send + Sync + fmt::Debug {
    /// One step was taken; `text` is one printable line.
    fn note(&self, stage: &str, text: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn note(&self, _stage: &str, _text: &str) {}
}

/// Deadline, cancellation, trace, clock and progress of one piece of work. A child can never have
/// more than its parent.
#[derive(Debug, Clone)]
pub struct Cx {
    /// When the work must have answered.
    pub deadline: Timestamp,
    /// Whether it was called off.
    pub cancel: Arc<dyn Cancel>,
    /// The W3C trace id it belongs to: 32 hex digits.
    pub trace: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where progress is told.
    pub progress: Arc<dyn Progress>,
}

impl Cx {
    /// A context that ends `within` from now.
    pub fn root(clock: Arc<dyn Clock>, within: Duration, trace: impl Into<String>) -> Self {
        let deadline = later(clock.now(), within);
        Self {
            deadline,
            cancel: Arc::new(NeverCancelled),
            trace: trace.into(),
            clock,
            progress: Arc::new(NoProgress),
        }
    }

    /// The same context with another way to call it off.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Arc<dyn Cancel>) -> Self {
        self.cancel = cancel;
        self
    }

    /// The same context with another listener for progress.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// A context that ends `within` from now, and not after its parent.
    #[must_use]
    pub fn child(&self, within: Duration) -> Self {
        let mut child = self.clone();
        child.deadline = self.deadline.min(later(self.clock.now(), within));
        child
    }

    /// The time left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline
            .duration_since(self.clock.now())
            .try_into()
            .unwrap_or(Duration::ZERO)
    }

    /// Completes at the deadline or when the work is called off, whichever comes first.
    pub async fn ended(&self) {
        let time = self.clock.sleep(self.remaining());
        futures_util::future::select(time, self.cancel.cancelled()).await;
    }

    /// Runs `work` until it is done or the context ends; `None` if the context ended first.
    pub async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let ended = std::pin::pin!(self.ended());
        let work = std::pin::pin!(work);
        match futures_util::future::select(work, ended).await {
            futures_util::future::Either::Left((value, _)) => Some(value),
            futures_util::future::Either::Right(((), _)) => None,
        }
    }
}

fn later(now: Timestamp, within: Duration) -> Timestamp {
    let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
    now.checked_add(within).unwrap_or(Timestamp::MAX)
}
