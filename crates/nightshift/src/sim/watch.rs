//! Who watches: the trace, the figures, and what must hold at every moment.

mod leases;
mod trace;

pub(super) use leases::{Books, Holder};
pub(super) use trace::{Trace, of_bytes};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::SimClock;

/// Trace entries after which a world counts as running in circles.
const ENTRIES_MAX: u64 = 400_000;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Which promise.
    pub(super) invariant: &'static str,
    /// What was seen.
    pub(super) what: String,
    pub(super) at: Duration,
}

/// A kind of misfortune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    ErrorBefore,
    AnswerLost,
    Delay,
    Slow,
    Twice,
    Reorder,
    Conflict,
    Crash,
    CrashInFlight,
    Freeze,
    Drain,
    HangUp,
    BaseMoved,
    Refusal,
}

impl Fault {
    pub(super) const ALL: [Self; 14] = [
        Self::ErrorBefore,
        Self::AnswerLost,
        Self::Delay,
        Self::Slow,
        Self::Twice,
        Self::Reorder,
        Self::Conflict,
        Self::Crash,
        Self::CrashInFlight,
        Self::Freeze,
        Self::Drain,
        Self::HangUp,
        Self::BaseMoved,
        Self::Refusal,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ErrorBefore => "error before",
            Self::AnswerLost => "answer lost",
            Self::Delay => "delay",
            Self::Slow => "slow past the lease",
            Self::Twice => "done twice",
            Self::Reorder => "reordered",
            Self::Conflict => "store conflict",
            Self::Crash => "crash",
            Self::CrashInFlight => "crash with a write in flight",
            Self::Freeze => "freeze",
            Self::Drain => "restart in order",
            Self::HangUp => "sender hangs up",
            Self::BaseMoved => "base branch moved",
            Self::Refusal => "agent refuses",
        }
    }
}

/// What happened, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) faults: [u64; Fault::ALL.len()],
    /// Port calls.
    pub(super) calls: u64,
    /// Alert events that were acknowledged to their sender.
    pub(super) acknowledged: u64,
    pub(super) incidents: u64,
    pub(super) drafts: u64,
    pub(super) messages: u64,
    pub(super) checks: u64,
    /// Simulated time.
    pub(super) simulated: Duration,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
        self.calls += other.calls;
        self.acknowledged += other.acknowledged;
        self.incidents += other.incidents;
        self.drafts += other.drafts;
        self.messages += other.messages;
        self.checks += other.checks;
        self.simulated += other.simulated;
    }

    pub(super) fn of(&self, fault: Fault) -> u64 {
        self.faults.get(fault as usize).copied().unwrap_or(0)
    }
}

/// Sees everything.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Arc<SimClock>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) trace: Trace,
    pub(super) violations: Vec<Violation>,
    pub(super) tally: Tally,
    pub(super) books: Books,
}

impl Watch {
    pub(super) fn new(clock: &Arc<SimClock>, keeps_lines: bool) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            seen: Mutex::new(Seen {
                trace: Trace::new(keeps_lines),
                violations: Vec::new(),
                tally: Tally::default(),
                books: Books::default(),
            }),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry to the trace.
    pub(super) fn note(&self, who: &str, what: &str, about: &str, value: u64) {
        let now = self.clock.elapsed();
        self.lock().trace.note(now, who, what, about, value);
    }

    /// Counts a misfortune.
    pub(super) fn fault(&self, who: &str, fault: Fault, about: &str) {
        let now = self.clock.elapsed();
        let mut seen = self.lock();
        if let Some(count) = seen.tally.faults.get_mut(fault as usize) {
            *count += 1;
        }
        seen.trace.note(now, who, fault.label(), about, 0);
    }

    /// Counts a check, and keeps what it found.
    pub(super) fn check(
        &self,
        invariant: &'static str,
        holds: bool,
        what: impl FnOnce() -> String,
    ) {
        let now = self.clock.elapsed();
        let mut seen = self.lock();
        seen.tally.checks += 1;
        if !holds {
            let what = what();
            seen.trace.note(now, "!!", invariant, &what, 0);
            seen.violations.push(Violation {
                invariant,
                what,
                at: now,
            });
        }
    }

    /// Whether the world runs in circles.
    pub(super) fn is_endless(&self) -> bool {
        self.lock().trace.entries() > ENTRIES_MAX
    }
}
