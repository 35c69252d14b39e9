//! How long one piece of work takes, as far as it was observed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ports::Backlog;

/// The newest durations of one lane; written by the dispatchers, read by whoever plans for them.
///
/// What is expected is the mean of the kept durations without the shortest and the longest tenth: one
/// piece of work that hung until its deadline moves it little, and a lasting change shows after as
/// many pieces as are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Milliseconds, oldest first.
    millis: Vec<u32>,
}

impl Pace {
    /// Durations that are kept.
    pub const KEPT: usize = 50;
    /// As long as fewer were observed, the usual duration stands in for the missing ones.
    pub const FEW: usize = 5;
    /// One piece of work, before any was observed.
    pub const WORK_USUAL: Duration = Duration::from_mins(1);
    /// One alert event, before any was observed.
    pub const EVENT_USUAL: Duration = Duration::from_millis(50);

    /// The usual duration of the lane named so: one of work, or `events`.
    pub fn usual(lane: &str) -> Duration {
        if lane == Self::EVENTS {
            Self::EVENT_USUAL
        } else {
            Self::WORK_USUAL
        }
    }

    /// The name of the alert events among the lanes.
    pub const EVENTS: &str = "events";

    /// One more; the oldest beyond [`Pace::KEPT`] is forgotten.
    pub fn note(&mut self, took: Duration) {
        let millis = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        self.millis.push(millis);
        let beyond = self.millis.len().saturating_sub(Self::KEPT);
        self.millis.drain(..beyond);
    }

    /// What one piece is expected to take.
    pub fn mean(&self, usual: Duration) -> Duration {
        let usual = u32::try_from(usual.as_millis()).unwrap_or(u32::MAX);
        // Somebody else may have written more than are kept.
        let newest = self.millis.len().saturating_sub(Self::KEPT);
        let mut sorted: Vec<u32> = self.millis.get(newest..).unwrap_or_default().to_vec();
        sorted.resize(sorted.len().max(Self::FEW), usual);
        sorted.sort_unstable();
        let tenth = sorted.len() / 10;
        let middle = sorted.get(tenth..sorted.len() - tenth).unwrap_or_default();
        let sum: u64 = middle.iter().copied().map(u64::from).sum();
        let count = u64::try_from(middle.len().max(1)).unwrap_or(u64::MAX);
        Duration::from_millis(sum / count)
    }

    /// What is left to do: each entry that waits takes the mean, each that is claimed half of it,
    /// because nobody knows how far it is.
    pub fn remaining(&self, backlog: &Backlog, usual: Duration) -> Duration {
        let mean = self.mean(usual).as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "entries are far fewer than a double can count"
        )]
        let entries = backlog.waiting as f64 + backlog.claimed as f64 / 2.0;
        Duration::try_from_secs_f64(mean * entries).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(seconds: &[u64]) -> Pace {
        let mut pace = Pace::default();
        for took in seconds {
            pace.note(Duration::from_secs(*took));
        }
        pace
    }

    #[test]
    fn the_mean_is_of_the_middle() {
        let check = |seconds: &[u64], expect: f64| {
            let mean = pace(seconds).mean(Pace::WORK_USUAL).as_secs_f64();
            assert!((mean - expect).abs() < 0.01, "{seconds:?}: {mean}");
        };
        check(&[], 60.0);
        // One observed, four as usual.
        check(&[10], 50.0);
        check(&[10; 5], 10.0);
        // One that hung does not count, nor does one that did nothing.
        check(&[10, 10, 10, 10, 240, 10, 10, 0, 10, 10], 10.0);
        // The newest fifty.
        let mut changed = vec![10; 50];
        changed.extend([20; 50]);
        check(&changed, 20.0);
    }

    #[test]
    fn it_stays_bounded_whatever_is_stored() {
        let mut pace = pace(&[1; 500]);
        assert_eq!(pace.millis.len(), Pace::KEPT);
        pace.note(Duration::MAX);
        assert_eq!(pace.millis.last(), Some(&u32::MAX));
        let long = Pace {
            millis: vec![7_000; 10_000],
        };
        assert_eq!(long.mean(Pace::WORK_USUAL), Duration::from_secs(7));
    }

    #[test]
    fn what_runs_counts_half() {
        let backlog = Backlog {
            waiting: 3,
            claimed: 4,
            dead: 9,
            oldest_age: None,
        };
        let left = pace(&[10; 5]).remaining(&backlog, Pace::WORK_USUAL);
        assert_eq!(left, Duration::from_secs(50));
        let left = pace(&[]).remaining(&Backlog::default(), Pace::WORK_USUAL);
        assert_eq!(left, Duration::ZERO);
    }
}
