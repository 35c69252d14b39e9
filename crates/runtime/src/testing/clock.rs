//! Time for tests.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use incident::ports::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Starts at a fixed date and moves with tokio's time, paused or not.
#[derive(Debug)]
pub struct TestClock {
    origin: Timestamp,
    started: Instant,
}

impl TestClock {
    /// Starts at `origin`.
    #[expect(clippy::disallowed_methods, reason = "the test's own clock")]
    pub fn at(origin: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            origin,
            started: Instant::now(),
        })
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let passed =
            SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.origin.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own clock")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
