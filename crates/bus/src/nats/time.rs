//! The servers' time, as an interval that contains it.
//!
//! Leases, delays and the ends of values are points in the servers' time, so that the clocks of the
//! processes do not matter: they may be wrong or jump. A process learns that time by storing a message
//! and reading when the server says it came, and goes on with its own clock that never jumps. What it
//! then knows is an interval. Ends are written from its late side and judged from its early side, so
//! an error only ever makes a lease or a delay longer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use incident::ports::Clock;
use jiff::Timestamp;

/// What two clocks may drift apart, in parts of a million.
const DRIFT_PPM: i128 = 200;
/// Age from which what is known is asked for again before it is used.
const STALE: Duration = Duration::from_mins(2);

/// A point in the servers' time, in microseconds.
pub(super) type Micros = i64;

/// Now, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) early: Micros,
    pub(super) late: Micros,
}

impl Now {
    /// The end of a span that begins now: not before it is over.
    pub(super) fn end(self, span: Duration) -> Micros {
        let span = Micros::try_from(span.as_micros()).unwrap_or(Micros::MAX);
        // One more, because points are rounded down.
        self.late.saturating_add(span).saturating_add(1)
    }

    /// Whether `end` has surely come.
    pub(super) fn is_past(self, end: Micros) -> bool {
        end <= self.early
    }

    /// How long it takes until `end` has surely come.
    pub(super) fn until(self, end: Micros) -> Duration {
        let left = end.saturating_sub(self.early).max(0);
        Duration::from_micros(left.unsigned_abs())
    }

    /// The likeliest point of it.
    pub(super) fn middle(self) -> Micros {
        self.early + (self.late - self.early) / 2
    }
}

/// What is to be added to [`Clock::elapsed`], in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset {
    low: i128,
    high: i128,
    /// When it was learned.
    at: i128,
}

impl Offset {
    /// The same a while later, when clocks may have drifted.
    fn aged(self, now: i128) -> Self {
        let drift = (now - self.at).max(0) * DRIFT_PPM / 1_000_000;
        Self {
            low: self.low - drift,
            high: self.high + drift,
            at: now,
        }
    }

    /// Both together; the newer one alone if they do not fit, because a clock was set.
    fn and(self, newer: Self) -> Self {
        let old = self.aged(newer.at);
        let (low, high) = (old.low.max(newer.low), old.high.min(newer.high));
        if low > high {
            return newer;
        }
        Self {
            low,
            high,
            at: newer.at,
        }
    }
}

/// The servers' clock as this process knows it.
#[derive(Debug)]
pub(super) struct ServerClock {
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Offset>>,
}

fn nanos(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}

impl ServerClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            known: Mutex::default(),
        }
    }

    /// The server stored something at `stored`; it was sent and confirmed between `sent` and
    /// `confirmed`.
    pub(super) fn learn(&self, sent: Duration, confirmed: Duration, stored: Timestamp) {
        let newer = Offset {
            low: stored.as_nanosecond() - nanos(confirmed),
            high: stored.as_nanosecond() - nanos(sent),
            at: nanos(confirmed),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(newer, |old| old.and(newer)));
    }

    /// Now; none if that is not known, or was learned too long ago.
    pub(super) fn now(&self) -> Option<Now> {
        let elapsed = nanos(self.clock.elapsed());
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.filter(|known| elapsed - known.at < nanos(STALE))?;
        let known = known.aged(elapsed);
        let micros = |nanos: i128| Micros::try_from(nanos.div_euclid(1000)).unwrap_or(Micros::MAX);
        Some(Now {
            early: micros(known.low + elapsed),
            late: micros(known.high + elapsed),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;

    /// Stands still unless it is moved.
    #[derive(Debug, Default)]
    struct Hand(Mutex<Duration>);

    impl Hand {
        fn advance(&self, span: Duration) {
            *self.0.lock().unwrap() += span;
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
            self.advance(span);
            Box::pin(std::future::ready(()))
        }
    }

    proptest! {
        /// Whatever the delays and the order: the truth is inside of what is known.
        #[test]
        fn the_interval_contains_the_truth(
            truth in 0_i64..1 << 40,
            looks in proptest::collection::vec((0_u64..50_000, 0_u64..50_000, 0_u64..1_000_000), 1..20),
        ) {
            let clock = Arc::new(Hand::default());
            let server = ServerClock::new(clock.clone());
            prop_assert_eq!(server.now(), None);
            for (there, back, pause) in looks {
                let sent = clock.elapsed();
                clock.advance(Duration::from_micros(there));
                let elapsed = i64::try_from(clock.elapsed().as_micros()).unwrap();
                let stored = Timestamp::from_microsecond(truth + elapsed).unwrap();
                clock.advance(Duration::from_micros(back));
                server.learn(sent, clock.elapsed(), stored);
                clock.advance(Duration::from_micros(pause));
                let now = server.now().unwrap();
                let real = truth + i64::try_from(clock.elapsed().as_micros()).unwrap();
                prop_assert!(now.early <= real && real <= now.late, "{now:?} without {real}");
                prop_assert!(now.end(Duration::from_secs(1)) > real + 1_000_000);
                prop_assert!(!now.is_past(real + 1));
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_is_believed_and_old_knowledge_is_not() {
        let clock = Arc::new(Hand::default());
        let server = ServerClock::new(clock.clone());
        let learn = |micros: i64| {
            let at = clock.elapsed();
            server.learn(at, at, Timestamp::from_microsecond(micros).unwrap());
            server.now().unwrap().middle()
        };
        assert_eq!(learn(5_000_000), 5_000_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(server.now().unwrap().middle(), 6_000_000);
        assert_eq!(learn(3_600_000_000), 3_600_000_000);
        clock.advance(STALE);
        assert_eq!(server.now(), None);
    }
}
