//! Where one effect stands, and when it is its turn.

use std::time::Duration;

use incident::digest::Digest;
use incident::error::Kind;
use incident::ports::Entropy;
use jiff::{SignedDuration, Timestamp};
use runtime::Policy;
use runtime::config::Span;
use serde::{Deserialize, Serialize};

use crate::config::signed;

/// Where one effect stands; kept in the journal's head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The same key is the same effect.
    pub(crate) key: Digest,
    /// How often it was tried.
    pub(crate) tries: u32,
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    /// About to be done. Found at the start of a step it means that an earlier run stopped in between:
    /// whether it was done is not known.
    Intended {
        /// When that attempt is over for certain.
        over_by: Timestamp,
    },
    /// It is done.
    #[serde(alias = "posted")]
    Done {
        /// It may be there twice.
        maybe_repeat: bool,
    },
    /// It is not done.
    Failed {
        why: String,
        /// Trying again will not help.
        lasting: bool,
        /// It may have been done all the same.
        unsure: bool,
        /// When another try may begin.
        retry_at: Timestamp,
    },
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Of one attempt.
    pub(crate) timeout: Duration,
    /// Before the second attempt; it doubles with each further one.
    pub(crate) wait_min: Duration,
    pub(crate) wait_max: Duration,
    /// The outside may take so long to show what it was sent.
    pub(crate) settle: Duration,
}

/// One attempt that is due.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn {
    pub(crate) key: Digest,
    /// From 1.
    pub(crate) number: u32,
    /// An earlier attempt may have got through.
    pub(crate) doubtful: bool,
    /// Not before this: until then that attempt may be under way.
    pub(crate) after: Timestamp,
    /// There will be no other.
    pub(crate) last: bool,
}

impl Entry {
    /// Whether it can be tried now.
    pub(crate) fn is_due(&self, tries_max: u32, now: Timestamp) -> bool {
        match self.state {
            State::Intended { .. } => true,
            State::Done { .. } => false,
            State::Failed { retry_at, .. } => retry_at <= now && self.is_open(tries_max),
        }
    }

    /// When it is tried again, if it failed and that is of use.
    pub(crate) fn later(&self, tries_max: u32) -> Option<Timestamp> {
        match self.state {
            State::Failed { retry_at, .. } => self.is_open(tries_max).then_some(retry_at),
            State::Intended { .. } | State::Done { .. } => None,
        }
    }

    fn is_open(&self, tries_max: u32) -> bool {
        match self.state {
            State::Intended { .. } => true,
            State::Done { .. } => false,
            State::Failed { lasting, .. } => !lasting && self.tries < tries_max,
        }
    }

    /// Whether it may have been done although it is not recorded as done.
    pub(crate) fn is_unsure(&self) -> bool {
        match self.state {
            State::Intended { .. } => true,
            State::Done { .. } => false,
            State::Failed { unsure, .. } => unsure,
        }
    }

    /// When an attempt that may be under way is over for certain. It was written down before now,
    /// whatever the clocks say (one may have been ahead and set back since), so what is left of it is
    /// never more than its whole length.
    fn over_at_most(&self, now: Timestamp) -> Option<Timestamp> {
        let State::Intended { over_by } = self.state else {
            return None;
        };
        let length = over_by.duration_since(self.at);
        Some(over_by.min(now.checked_add(length).unwrap_or(over_by)))
    }

    /// Why it is not done.
    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.state {
            State::Failed { why, .. } => Some(why),
            State::Intended { .. } | State::Done { .. } => None,
        }
    }
}

impl Turn {
    /// The next turn of the effect `key`, where `before` stands in its place.
    pub(crate) fn next(
        before: Option<&Entry>,
        key: Digest,
        tries_max: u32,
        now: Timestamp,
    ) -> Self {
        let same = before.filter(|entry| entry.key == key);
        let number = same.map_or(0, |entry| entry.tries).saturating_add(1);
        let after = before
            .and_then(|entry| entry.over_at_most(now))
            .unwrap_or(now);
        Self {
            key,
            number,
            doubtful: same.is_some_and(Entry::is_unsure),
            after,
            last: number >= tries_max,
        }
    }

    pub(super) fn intent(&self, now: Timestamp, patience: &Patience) -> Entry {
        let over_by = add(self.acts_until(now, patience), patience.settle);
        self.entry(now, State::Intended { over_by })
    }

    /// After this nothing more is sent in this turn.
    pub(super) fn acts_until(&self, now: Timestamp, patience: &Patience) -> Timestamp {
        add(self.after.max(now), patience.timeout)
    }

    pub(super) fn entry(&self, at: Timestamp, state: State) -> Entry {
        Entry {
            key: self.key.clone(),
            tries: self.number,
            at,
            state,
        }
    }
}

fn add(at: Timestamp, length: Duration) -> Timestamp {
    at.checked_add(signed(Span(length)))
        .unwrap_or(Timestamp::MAX)
}

impl Patience {
    /// The wait after a failed attempt.
    pub(crate) fn wait(
        &self,
        number: u32,
        kind: Kind,
        unsure: bool,
        entropy: &dyn Entropy,
    ) -> SignedDuration {
        let policy = Policy {
            name: "outbox",
            wait_min: self.wait_min,
            wait_max: self.wait_max,
            attempts_max: None,
        };
        let wait = policy.wait_after(number, kind, entropy);
        // What may have got through is looked for once it must be visible.
        let least = if unsure { self.settle } else { Duration::ZERO };
        signed(Span(wait.max(least)))
    }
}
