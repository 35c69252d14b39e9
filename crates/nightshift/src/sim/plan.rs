//! What a seed stands for: who fails how often, and what the world goes through. Drawn once, at the
//! start; a world with the same plan and the same seed lives the same life.

use std::time::Duration;

use jiff::SignedDuration;

use super::chance::Chance;
use super::scenario::Cause;

/// Sources of chance of one seed.
pub(super) mod source {
    pub(crate) const PLAN: u64 = 1;
    pub(crate) const TIMERS: u64 = 2;
    pub(crate) const FAULTS: u64 = 3;
    pub(crate) const PEOPLE: u64 = 4;
    pub(crate) const BREAKS: u64 = 5;
    /// One for each node.
    pub(crate) const NODES: u64 = 100;
}

/// How often a call meets each misfortune, in 10,000.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) error_before: u64,
    pub(super) answer_lost: u64,
    pub(super) delay: u64,
    pub(super) slow: u64,
    pub(super) crash: u64,
    pub(super) in_flight: u64,
    pub(super) twice: u64,
    pub(super) reorder: u64,
    pub(super) conflict: u64,
    /// A sender that does not wait for the answer, in 10,000 requests.
    pub(super) hang_up: u64,
}

/// What happens to a node without its doing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blow {
    Crash,
    Freeze(Duration),
    Drain,
}

/// What a seed stands for.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// From then on nothing fails any more.
    pub(super) faults_until: Duration,
    pub(super) rates: Rates,
    pub(super) blows: Vec<(Duration, usize, Blow)>,
    /// When the base branch moves.
    pub(super) moves: Vec<Duration>,
    pub(super) causes: Vec<Cause>,
    /// Alertmanagers of a pair that both send.
    pub(super) senders: usize,
    /// Whether there is also a channel that can neither look nor edit.
    pub(super) blind_channel: bool,
    /// Deliveries before an entry is given up.
    pub(super) attempts_max: u32,
    /// How far each node's wall clock is ahead.
    pub(super) ahead: Vec<SignedDuration>,
    /// The cause whose first alert triage refuses for good.
    pub(super) refused: Option<usize>,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let chance = Chance::new(seed, source::PLAN);
        let calm = chance.one_in(16);
        let rates = if calm {
            Rates::default()
        } else {
            Rates::draw(&chance)
        };
        let length = *[60, 120, 240, 360]
            .get(usize::try_from(chance.below(4)).unwrap_or(0))
            .unwrap_or(&60);
        let nodes = if chance.one_in(5) { 1 } else { 2 };
        let causes = match chance.below(8) {
            0..=5 => 1,
            6 => 2,
            _ => 3,
        };
        let causes: Vec<Cause> = (0..causes)
            .map(|n| Cause::draw(n, length, &chance))
            .collect();
        let blows = if calm {
            Vec::new()
        } else {
            blows(nodes, length, &chance)
        };
        let moves = (0..chance.below(8).saturating_sub(5))
            .map(|_| chance.millis(20_000, length * 1000))
            .collect();
        let refused = (!calm && chance.one_in(12)).then_some(0);
        let skews = chance.one_in(3);
        let ahead = |_| {
            let skew = if skews { chance.below(6001) } else { 3000 };
            SignedDuration::from_millis(i64::try_from(skew).unwrap_or(3000) - 3000)
        };
        Self {
            seed,
            nodes,
            faults_until: Duration::from_secs(length),
            rates,
            blows,
            moves,
            causes,
            senders: if chance.one_in(2) { 2 } else { 1 },
            blind_channel: chance.one_in(3),
            // Where nothing fails, nothing may need more tries than the product has by default.
            attempts_max: if calm { 5 } else { 400 },
            ahead: (0..nodes).map(ahead).collect(),
            refused,
        }
    }
}

impl Rates {
    /// Some misfortunes are in this world and some are not: where everything fails a little, rare
    /// combinations drown.
    fn draw(chance: &Chance) -> Self {
        let rate = |most: u64| match chance.below(3) {
            0 => 0,
            1 => chance.between(1, most / 4),
            _ => chance.between(most / 4, most),
        };
        Self {
            error_before: rate(600),
            answer_lost: rate(600),
            delay: rate(1000),
            slow: rate(40),
            crash: rate(120),
            in_flight: rate(90),
            twice: rate(400),
            reorder: rate(5000),
            conflict: rate(300),
            hang_up: rate(2000),
        }
    }
}

fn blows(nodes: usize, length: u64, chance: &Chance) -> Vec<(Duration, usize, Blow)> {
    let mut blows: Vec<_> = (0..chance.below(7))
        .map(|_| {
            let at = chance.millis(1000, length * 1000);
            let node = usize::try_from(chance.below(nodes as u64)).unwrap_or(0);
            let blow = match chance.below(5) {
                0 => Blow::Crash,
                // Longer than a turn at an incident, and longer than a lease.
                1 | 2 => Blow::Freeze(chance.millis(14_000, 45_000)),
                3 => Blow::Freeze(chance.millis(50_000, 130_000)),
                _ => Blow::Drain,
            };
            (at, node, blow)
        })
        .collect();
    blows.sort_by_key(|(at, node, _)| (*at, *node));
    blows
}
