//! Retries, in one place, with named policies. A deadline beats an attempt count.

use std::time::Duration;

use backoff::{BackoffBuilder as _, ExponentialBuilder};
use incident::error::{Classify, Kind};
use incident::ports::{Cx, Entropy};

/// How to try again. Every policy ends with the deadline of its `Cx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// For logs and metrics.
    pub name: &'static str,
    /// First wait.
    pub wait_min: Duration,
    /// Longest wait; also the clamp on a wait the other side asks for.
    pub wait_max: Duration,
    /// Tries in all; none means until the deadline.
    pub attempts_max: Option<usize>,
}

impl Policy {
    /// A conflict on a key that several writers share: at once, often.
    pub const CONFLICT: Self = Self {
        name: "conflict",
        wait_min: Duration::from_millis(1),
        wait_max: Duration::from_millis(50),
        attempts_max: Some(64),
    };
    /// Our own store or stream, which comes back by itself: until the deadline.
    pub const BACKEND: Self = Self {
        name: "backend",
        wait_min: Duration::from_millis(50),
        wait_max: Duration::from_secs(2),
        attempts_max: None,
    };
    /// A read from another system on behalf of an investigation: a few tries, then a gap.
    pub const READ: Self = Self {
        name: "read",
        wait_min: Duration::from_millis(200),
        wait_max: Duration::from_secs(2),
        attempts_max: Some(3),
    };
    /// A write to the outside that is safe to repeat because it looks before it acts.
    pub const EFFECT: Self = Self {
        name: "effect",
        wait_min: Duration::from_millis(500),
        wait_max: Duration::from_secs(10),
        attempts_max: Some(5),
    };

    /// The waits between tries, with full jitter seeded from `entropy`.
    pub fn waits(&self, entropy: &dyn Entropy) -> impl Iterator<Item = Duration> + Send + use<> {
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.wait_min)
            .with_max_delay(self.wait_max)
            .with_jitter()
            .with_jitter_seed(u64::from_be_bytes(seed));
        match self.attempts_max {
            Some(attempts) => builder.with_max_times(attempts.saturating_sub(1)),
            None => builder.without_max_times(),
        }
        .build()
    }

    /// The wait before try number `attempt + 1` of something that is put back in a queue.
    pub fn wait_after(&self, attempt: u32, kind: Kind, entropy: &dyn Entropy) -> Duration {
        let doubled = self
            .wait_min
            .saturating_mul(1 << attempt.saturating_sub(1).min(20));
        let wait = doubled
            .min(self.wait_max)
            .mul_f64(0.5 + entropy.unit() / 2.0);
        match kind {
            Kind::Overloaded {
                retry_after: Some(asked),
            } => wait.max(asked.min(self.wait_max)),
            _ => wait,
        }
    }

    /// Runs `op` until it succeeds, fails for good, tries run out or `cx` ends.
    ///
    /// # Errors
    /// The last error of `op`.
    pub async fn run<T, E, F>(
        &self,
        cx: &Cx,
        entropy: &dyn Entropy,
        mut op: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        E: Classify,
        F: Future<Output = Result<T, E>>,
    {
        let mut waits = self.waits(entropy);
        loop {
            let error = match op().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let kind = error.kind();
            let Some(wait) = waits.next().filter(|_| kind.is_retryable()) else {
                return Err(error);
            };
            let wait = match kind {
                Kind::Overloaded {
                    retry_after: Some(asked),
                } => wait.max(asked.min(self.wait_max)),
                _ => wait,
            };
            if wait >= cx.remaining() || cx.cancel.is_cancelled() {
                return Err(error);
            }
            tracing::debug!(policy = self.name, code = %error.code(), %error, wait_ms = wait.as_millis(), "trying again");
            if cx.bound(cx.clock.sleep(wait)).await.is_none() {
                return Err(error);
            }
        }
    }
}
