//! When and what: drawn from a seed, so that a run can be made again.

use std::time::Duration;

use incident::digest::Digest;
use incident::ports::Entropy;
use runtime::SeededEntropy;

use crate::fault::{Fault, Scenario};

/// Between the recovery from one stroke and the next.
const PAUSE_MIN_S: f64 = 0.4;
const PAUSE_MAX_S: f64 = 1.6;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) fault: Fault,
    /// Time in peace before it.
    pub(crate) pause: Duration,
    /// A number in [0, 1): how long, how much, which way.
    pub(crate) draw: f64,
}

/// What one scenario does: the same for the same seed, whatever other scenarios run.
pub(crate) fn schedule(seed: u64, scenario: &Scenario, strokes: usize) -> Vec<Stroke> {
    let entropy = entropy(seed, scenario.name);
    let mut bag: Vec<Fault> = Vec::new();
    let stroke = |_| {
        // Every fault once before any comes again.
        if bag.is_empty() {
            bag.clone_from(&scenario.faults);
        }
        let fault = bag.swap_remove(index(entropy.unit(), bag.len()));
        let pause = PAUSE_MIN_S + entropy.unit() * (PAUSE_MAX_S - PAUSE_MIN_S);
        Stroke {
            fault,
            pause: Duration::from_secs_f64(pause),
            draw: entropy.unit(),
        }
    };
    (0..strokes).map(stroke).collect()
}

/// Chance for one purpose of a run.
pub(crate) fn entropy(seed: u64, purpose: &str) -> SeededEntropy {
    let digest = Digest::of_fields("chaos/1", [purpose, &seed.to_string()]);
    let seed = u64::from_str_radix(digest.short(16), 16);
    SeededEntropy::new(seed.expect("a digest is hex digits"))
}

/// One of `among`, which is not 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a handful of things to choose from"
)]
fn index(unit: f64, among: usize) -> usize {
    ((unit * among as f64) as usize).min(among - 1)
}
