//! Time and chance, as parameters.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// The only source of time. Seeded and paused in tests.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time, for what people and other systems read.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start that never goes back, for intervals.
    fn elapsed(&self) -> Duration;
    /// Completes after `duration` of [`Clock::elapsed`] time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The only source of chance. Never used for identity: ids come from content.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes`; cryptographically strong outside of tests.
    fn fill(&self, bytes: &mut [u8]);

    /// A number in `[0, 1)`, for jitter.
    fn unit(&self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        let top = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }
}
