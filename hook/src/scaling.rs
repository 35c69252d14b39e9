//! How many dispatchers are wanted, in the unit of their work: pieces that are done at once.
//!
//! The scaler divides the number by what one dispatcher does at once. It is the work that is left in
//! each lane over the time in which it should be done, so urgent lanes weigh more; never below what
//! is in flight, or replicas that work would be taken away; never above what the agents can do at
//! once, or more dispatchers would only move the queue; and one replica more while critical work
//! waits for too long. Dead letters and incidents that wait for a person are no work.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::ports::Backlog;
use incident::{Pace, Severity};
use runtime::config::{Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::Capacity;

/// How many dispatchers are asked for (`want` of `/api/v1/backlog`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The time in which critical work that waits should be done. Shorter: more dispatchers.
    pub critical_within: Span,
    /// The same for warnings.
    pub warning_within: Span,
    /// The same for what is for information.
    pub info_within: Span,
    /// The time in which events that wait should be ruled on.
    pub events_within: Span,
    /// Critical work that waits longer than this asks for one dispatcher more.
    pub critical_age: Span,
    /// How often the metrics of the backlog are measured.
    pub every: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            critical_within: Span::secs(60),
            warning_within: Span::secs(300),
            info_within: Span::secs(900),
            events_within: Span::secs(60),
            critical_age: Span::secs(60),
            every: Span::secs(5),
        }
    }
}

impl Config {
    fn within(&self, severity: Severity) -> Duration {
        match severity {
            Severity::Critical => self.critical_within.0,
            Severity::Warning => self.warning_within.0,
            Severity::Info => self.info_within.0,
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let spans = [
            ("critical_within", self.critical_within),
            ("warning_within", self.warning_within),
            ("info_within", self.info_within),
            ("events_within", self.events_within),
            ("critical_age", self.critical_age),
            ("every", self.every),
        ];
        for (field, value) in spans {
            if value < Span::secs(1) || value > Span::secs(86_400) {
                problems.push(Problem::new(
                    format!("{path}.{field}"),
                    format!("{value} is not between 1s and 1 day"),
                    "Leave it out for the default.",
                ));
            }
        }
    }
}

/// What is to be done in one lane, and how long one piece takes.
#[derive(Debug, Clone)]
pub struct Load {
    /// Entries.
    pub backlog: Backlog,
    /// One piece.
    pub mean: Duration,
    /// One piece after the other.
    pub left: Duration,
}

impl Load {
    /// From what was measured and observed of the lane.
    pub fn new(backlog: Backlog, pace: &Pace, lane: &str) -> Self {
        let usual = Pace::usual(lane);
        Self {
            backlog,
            mean: pace.mean(usual),
            left: pace.remaining(&backlog, usual),
        }
    }
}

/// What is asked for, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Want {
    /// Pieces of work at once.
    #[serde(rename = "want")]
    pub places: u64,
    /// What the work that is left asks for.
    pub need: f64,
    /// Claimed and not done.
    pub in_flight: u64,
    /// Critical work waits for too long.
    pub late: bool,
    /// What the agents can do at once, if that is known.
    pub most: Option<u64>,
}

/// What is asked for.
pub fn want(
    events: &Load,
    work: &BTreeMap<Severity, Load>,
    capacity: Capacity,
    config: &Config,
) -> Want {
    let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (one, batches) = (whole(capacity.work.max(1)), whole(capacity.triage.max(1)));
    let over = |left: Duration, within: Duration| left.as_secs_f64() / within.as_secs_f64();
    // Events take no place of work; they are counted in dispatchers.
    let dispatchers = over(events.left, config.events_within.0) / real(batches);
    let lanes = work
        .iter()
        .map(|(severity, load)| over(load.left, config.within(*severity)));
    let need = lanes.sum::<f64>() + dispatchers * real(one);
    let in_flight: u64 = work.values().map(|load| load.backlog.claimed).sum();
    let late = work.get(&Severity::Critical).is_some_and(|load| {
        let age = load.backlog.oldest_age.unwrap_or_default();
        load.backlog.waiting > 0 && age > config.critical_age.0
    });
    let most = capacity.work_max.map(whole);
    let any = events.backlog.total() + work.values().map(|load| load.backlog.total()).sum::<u64>();
    let late_need = if late {
        in_flight.saturating_add(one)
    } else {
        0
    };
    let places = ceil(need)
        .max(in_flight)
        .max(late_need)
        .min(most.unwrap_or(u64::MAX));
    Want {
        places: places.max(u64::from(any > 0)),
        need: (need * 100.0).round() / 100.0,
        in_flight,
        late,
        most,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "small numbers of the configuration"
)]
fn real(count: u64) -> f64 {
    count as f64
}

/// The next whole number, but for what is only rounding.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits"
)]
fn ceil(number: f64) -> u64 {
    (number - 1e-6).ceil().clamp(0.0, 1e15) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(waiting: u64, claimed: u64, mean: u64, age: u64) -> Load {
        let backlog = Backlog {
            waiting,
            claimed,
            dead: 1_000,
            oldest_age: Some(Duration::from_secs(age)),
        };
        let mut pace = Pace::default();
        for _ in 0..Pace::KEPT {
            pace.note(Duration::from_secs(mean));
        }
        Load::new(backlog, &pace, "critical")
    }

    fn idle() -> Load {
        load(0, 0, 60, 0)
    }

    fn check(lanes: [Load; 3], work_max: Option<usize>, expect: u64) {
        let work = Severity::ALL.into_iter().zip(lanes).collect();
        let capacity = Capacity {
            work: 4,
            triage: 2,
            work_max,
        };
        let want = want(&load(0, 0, 0, 0), &work, capacity, &Config::default());
        assert_eq!(want.places, expect, "{want:?}");
    }

    #[test]
    fn what_is_left_over_the_time_for_it() {
        check([idle(), idle(), idle()], None, 0);
        // A minute of work each: critical in one minute, warnings in five, information in fifteen.
        check([load(12, 0, 60, 1), idle(), idle()], None, 12);
        check([idle(), load(12, 0, 60, 1), idle()], None, 3);
        check([idle(), idle(), load(12, 0, 60, 1)], None, 1);
        // Twice as slow, twice as many.
        check([load(12, 0, 120, 1), idle(), idle()], None, 24);
        check([load(12, 0, 1, 1), idle(), idle()], None, 1);
    }

    #[test]
    fn never_below_what_is_in_flight_nor_above_what_agents_can_do() {
        check([idle(), load(0, 12, 60, 900), idle()], None, 12);
        check([load(0, 12, 1, 30), idle(), idle()], None, 12);
        check([load(40, 8, 60, 30), idle(), idle()], Some(10), 10);
        check([load(0, 8, 60, 30), idle(), idle()], Some(10), 8);
        // Half of what is claimed is left on average.
        check([load(10, 10, 60, 30), idle(), idle()], None, 15);
    }

    #[test]
    fn one_entry_anywhere_keeps_one_dispatcher() {
        check([idle(), idle(), load(1, 0, 0, 1)], None, 1);
        check([idle(), idle(), load(0, 1, 0, 1)], Some(0), 1);
        let work = BTreeMap::new();
        let capacity = Capacity {
            work: 4,
            triage: 2,
            work_max: None,
        };
        let of_events = |events: &Load| want(events, &work, capacity, &Config::default()).places;
        assert_eq!(of_events(&load(0, 0, 1, 0)), 0);
        assert_eq!(of_events(&load(0, 1, 0, 0)), 1);
        // Ten minutes of events, ruled on in one: five dispatchers with two batches at once.
        assert_eq!(of_events(&load(600, 0, 1, 0)), 20);
    }

    #[test]
    fn critical_work_that_waits_too_long_asks_for_one_replica_more() {
        check([load(1, 4, 1, 59), idle(), idle()], None, 4);
        check([load(1, 4, 1, 61), idle(), idle()], None, 8);
        check([load(1, 4, 1, 61), idle(), idle()], Some(6), 6);
        // It is being worked on, and an old warning is no hurry.
        check([load(0, 4, 1, 500), load(1, 0, 1, 500), idle()], None, 4);
    }
}
