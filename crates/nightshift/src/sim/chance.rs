//! Chance from a seed: the same seed draws the same numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use incident::ports::Entropy;

/// SplitMix64 (Steele, Lea, Flood 2014). Seeds that differ in one bit share nothing.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    /// One of the sources of `seed`: each `stream` of it is a sequence of its own, so that a fault
    /// that is drawn more does not change the alerts.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(AtomicU64::new(mix(mix(seed) ^ stream)))
    }

    pub(super) fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mix(state)
    }

    /// A number below `n`, which is above zero.
    pub(super) fn below(&self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A number from `low` to `high`.
    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True once in `n` times.
    pub(super) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A time from `low` to `high` milliseconds.
    pub(super) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// Puts `items` into another order.
    pub(super) fn shuffle<T>(&self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = usize::try_from(self.below(i as u64 + 1)).unwrap_or(i);
            items.swap(i, j);
        }
    }
}

fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_be_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
    }
}
