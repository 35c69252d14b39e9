//! What became of an entry so far, and what may happen to it next.
//!
//! `JetStream` delivers an entry when it thinks it should and takes an acknowledgement from whoever
//! sends one. Who may work on an entry, how often it was tried and when it may be tried again stands in
//! this record, which only changes by compare-and-set. A record is made by the first delivery and
//! stays a while after the last, because a server that was killed may deliver again what was done.

use std::time::Duration;

use incident::ports::Cause;
use serde::{Deserialize, Serialize};

use super::time::{Micros, Now};

/// Where an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Handed out until then.
    Claimed { until: Micros },
    /// Put back until then; the number of the mark that says so.
    Later { ready: Micros, mark: u64 },
    /// Given up; it becomes a dead letter if it is not one yet.
    Dead { at: Micros, last: Cause },
    /// Acknowledged, or a dead letter: it is not delivered again.
    Done,
}

/// One entry's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Deliveries.
    pub(super) attempt: u32,
    /// Deliveries that a restart of the worker cut short.
    pub(super) restarts: u32,
    /// The newest lease's token. It also grows when a delivery is taken back.
    pub(super) token: u64,
    /// The consumer that holds it, or held it last.
    pub(super) holder: String,
    /// Where the newest delivery is acknowledged.
    pub(super) reply: String,
    /// What stands for its key in the bucket of remembered keys.
    pub(super) remembered: String,
    pub(super) state: State,
    pub(super) first: Option<Cause>,
    pub(super) last: Option<Cause>,
}

/// Limits of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) lease: Duration,
    pub(super) attempts_max: u32,
    pub(super) restarts_forgiven: u32,
}

/// What to do with a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand it out under this record.
    Take(Record),
    /// It came early: again after that.
    NotYet(Duration),
    /// It reached its last attempt: give it up under this record.
    Bury(Record),
    /// It was given up, and whoever did it did not finish.
    Unburied(Record),
    /// It is done: acknowledge it for good.
    Acknowledge,
}

/// A delivery as the server made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) holder: &'a str,
    pub(super) reply: &'a str,
    pub(super) remembered: &'a str,
}

impl Record {
    /// The record of an entry's first delivery.
    pub(super) fn new(arrival: Arrival<'_>, now: Now, rules: &Rules) -> Self {
        Self {
            attempt: 1,
            restarts: 0,
            token: 1,
            holder: arrival.holder.to_owned(),
            reply: arrival.reply.to_owned(),
            remembered: arrival.remembered.to_owned(),
            state: State::Claimed {
                until: now.end(rules.lease),
            },
            first: None,
            last: None,
        }
    }

    pub(super) fn is_exhausted(&self, rules: &Rules) -> bool {
        let forgiven = self.restarts.min(rules.restarts_forgiven);
        self.attempt.saturating_sub(forgiven) >= rules.attempts_max
    }

    /// Whether `token` is the lease that is out.
    pub(super) fn is_held_by(&self, token: u64) -> bool {
        self.token == token && matches!(self.state, State::Claimed { .. })
    }

    /// What a delivery of this entry means.
    pub(super) fn on_delivery(&self, arrival: Arrival<'_>, now: Now, rules: &Rules) -> Verdict {
        match self.state {
            State::Done => return Verdict::Acknowledge,
            State::Dead { .. } => return Verdict::Unburied(self.clone()),
            State::Claimed { until: end } | State::Later { ready: end, .. } => {
                if !now.is_past(end) {
                    return Verdict::NotYet(now.until(end).max(Duration::from_millis(1)));
                }
            }
        }
        if self.is_exhausted(rules) {
            let last = self.last.clone();
            let last = last.unwrap_or_else(|| Cause::unanswered(self.attempt));
            return Verdict::Bury(self.dead(last, now));
        }
        Verdict::Take(Self {
            attempt: self.attempt.saturating_add(1),
            token: self.token + 1,
            holder: arrival.holder.to_owned(),
            reply: arrival.reply.to_owned(),
            state: State::Claimed {
                until: now.end(rules.lease),
            },
            ..self.clone()
        })
    }

    /// The same, held for the full length from now.
    pub(super) fn extended(&self, now: Now, rules: &Rules) -> Self {
        let until = now.end(rules.lease);
        self.with(State::Claimed { until })
    }

    /// The same, put back because of `cause`; given up if that was the last attempt.
    pub(super) fn put_back(&self, cause: &Cause, now: Now, delay: Duration, rules: &Rules) -> Self {
        let mut next = self.clone();
        next.first.get_or_insert_with(|| cause.clone());
        next.last = Some(cause.clone());
        if next.is_exhausted(rules) {
            return next.dead(cause.clone(), now);
        }
        let ready = now.end(delay);
        next.with(State::Later { ready, mark: 0 })
    }

    /// The same, given up.
    pub(super) fn dead(&self, last: Cause, now: Now) -> Self {
        let at = now.middle();
        self.with(State::Dead { at, last })
    }

    /// The same, with its lease ended because its holder died.
    pub(super) fn freed(&self, now: Now) -> Self {
        Self {
            restarts: self.restarts.saturating_add(1),
            ..self.with(State::Claimed { until: now.early })
        }
    }

    /// The same, as if the delivery had not been: nobody heard of it.
    pub(super) fn taken_back(&self, now: Now) -> Self {
        Self {
            attempt: self.attempt.saturating_sub(1),
            token: self.token + 1,
            ..self.with(State::Claimed { until: now.early })
        }
    }

    pub(super) fn with(&self, state: State) -> Self {
        Self {
            state,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        lease: Duration::from_secs(1),
        attempts_max: 2,
        restarts_forgiven: 1,
    };
    const ARRIVAL: Arrival<'static> = Arrival {
        holder: "a",
        reply: "r",
        remembered: "k",
    };

    /// The time is known up to a millisecond.
    fn at(micros: Micros) -> Now {
        Now {
            early: micros,
            late: micros + 1000,
        }
    }

    fn cause(code: &str) -> Cause {
        Cause {
            code: code.to_owned(),
            text: String::new(),
        }
    }

    fn again(record: &Record, now: Now) -> Verdict {
        record.on_delivery(ARRIVAL, now, &RULES)
    }

    fn taken(record: &Record, now: Now) -> Record {
        match again(record, now) {
            Verdict::Take(next) => next,
            other => panic!("not taken: {other:?}"),
        }
    }

    #[test]
    fn a_lease_ends_late_and_attempts_are_counted() {
        let first = Record::new(ARRIVAL, at(0), &RULES);
        assert!(first.is_held_by(1) && !first.is_held_by(0) && !first.is_held_by(2));
        // It ends when even the latest start is a second ago.
        let left = Verdict::NotYet(Duration::from_millis(1));
        assert_eq!(again(&first, at(1_000_001)), left);
        let second = taken(&first, at(1_001_001));
        assert!(second.attempt == 2 && second.is_held_by(2) && !second.is_held_by(1));
        let Verdict::Bury(dead) = again(&second, at(3_000_000)) else {
            panic!("it is not buried");
        };
        let State::Dead { last, .. } = &dead.state else {
            panic!("{dead:?}");
        };
        assert_eq!(*last, Cause::unanswered(2));
        assert!(!dead.is_held_by(2));
        assert_eq!(again(&dead, at(0)), Verdict::Unburied(dead.clone()));
        assert_eq!(again(&dead.with(State::Done), at(0)), Verdict::Acknowledge);
    }

    #[test]
    fn what_is_put_back_keeps_its_causes_and_dies_of_the_last() {
        let first = Record::new(ARRIVAL, at(0), &RULES);
        let back = first.put_back(&cause("E-1"), at(0), Duration::from_secs(5), &RULES);
        assert!(!back.is_held_by(1));
        assert!(matches!(again(&back, at(5_000_000)), Verdict::NotYet(_)));
        let second = taken(&back, at(5_002_000));
        let dead = second.put_back(&cause("E-2"), at(0), Duration::ZERO, &RULES);
        assert_eq!(dead.first, Some(cause("E-1")));
        let expect = State::Dead {
            at: 500,
            last: cause("E-2"),
        };
        assert_eq!(dead.state, expect);
    }

    #[test]
    fn restarts_are_forgiven_up_to_a_bound_and_what_nobody_saw_does_not_count() {
        let mut record = Record::new(ARRIVAL, at(0), &RULES).freed(at(10));
        record = taken(&record, at(20));
        assert_eq!(record.attempt, 2);
        // The second is the first that counts.
        record = taken(&record.freed(at(30)), at(40));
        assert_eq!(record.attempt, 3);
        // The bound is reached: two count.
        let end = at(50);
        assert!(matches!(
            again(&record.freed(end), at(60)),
            Verdict::Bury(_)
        ));
        let back = record.taken_back(end);
        let again = taken(&back, at(60));
        assert_eq!((again.attempt, again.token), (3, record.token + 2));
    }
}
