//! The `dispatcher` section of the configuration.

use std::time::Duration;

use runtime::Policy;
use runtime::config::{Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How entries are carried to agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hop from events to triage.
    pub triage: Triage,
    /// The hop from work to the orchestrator.
    pub work: Work,
    /// How work that failed is tried again.
    pub retry: Retry,
    /// When an agent that keeps failing is left alone.
    pub breaker: Breaker,
    /// On shutdown, how long running work may take to finish before it is called off and given back.
    /// Keep it a few seconds below the process's own grace period.
    pub grace: Span,
    /// How often backlog and ages are measured. Ageing and scaling look at these figures.
    pub backlog_every: Span,
}

/// The hop from events to triage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Triage {
    /// Events in one request. Larger: fewer calls in a storm. Must not exceed `triage.events_max`.
    pub batch_max: usize,
    /// Longest wait for events in one claim; a shutdown may have to wait that long.
    pub batch_wait: Span,
    /// Requests that run at once.
    pub concurrency: usize,
    /// Longest time of one request.
    pub deadline: Span,
    /// From this delivery on, an event is sent alone, so that it cannot take others down with it.
    pub alone_from: u32,
}

/// The hop from work to the orchestrator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Work {
    /// Incidents that are worked on at once by this process.
    pub concurrency: usize,
    /// Of these, how many only critical work may use, so that it need not wait for lesser work.
    pub reserved_for_critical: usize,
    /// Longest time of one piece of work. Longer than the deadline of a report.
    pub deadline: Span,
    /// A lane whose oldest entry is older than this is served before more urgent ones at times.
    pub age_max: Span,
    /// One claim in so many goes to an aged lane first. 1: ageing beats urgency.
    pub aged_share: u32,
    /// Longest time before lanes below critical are looked at again when all were empty.
    pub poll: Span,
    /// Investigations that run at once in all processes together; 0: as many as each process may.
    /// All must say the same. Of these, `reserved_for_critical` are for critical work as well. A
    /// process that is killed keeps its part for 15 s.
    pub investigations_max: usize,
    /// From this delivery on, only critical work is started beside a piece of work, so that one that
    /// takes the process down takes little else with it.
    pub alone_from: u32,
}

/// How work that failed is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Wait after the first failure; it doubles with each further one, and half of it is chance. After
    /// a deadline it is four times as long, and twice as long where an agent is busy.
    pub wait_min: Span,
    /// Longest wait, also when an agent asks for a longer one.
    pub wait_max: Span,
    /// How long an agent that cannot be reached, or that is left alone because it keeps failing, is
    /// waited for with the entry in hand. Attempts are for work that fails; an agent that restarts
    /// must not use them up.
    pub unreachable_max: Span,
    /// How long an acknowledgement, a new entry or a put-back is tried while the stream is away.
    pub settle_within: Span,
}

/// When an agent that keeps failing is left alone. Nothing is claimed for it then; the other agent is
/// not concerned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row after which the agent is left alone; the same task failing again counts
    /// once, unless the agent cannot be reached at all. 0: never.
    pub failures: u32,
    /// Time before it is tried again with one call; it doubles with each one that fails.
    pub open_min: Span,
    /// Longest time before it is tried again: what a recovered agent may have to wait for work.
    pub open_max: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            triage: Triage::default(),
            work: Work::default(),
            retry: Retry::default(),
            breaker: Breaker::default(),
            grace: Span::secs(20),
            backlog_every: Span::secs(5),
        }
    }
}

impl Default for Triage {
    fn default() -> Self {
        Self {
            batch_max: 64,
            batch_wait: Span::secs(1),
            concurrency: 2,
            deadline: Span::secs(30),
            alone_from: 3,
        }
    }
}

impl Default for Work {
    fn default() -> Self {
        Self {
            concurrency: 4,
            reserved_for_critical: 1,
            deadline: Span::secs(240),
            age_max: Span::secs(300),
            aged_share: 4,
            poll: Span::millis(200),
            investigations_max: 0,
            alone_from: 3,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            open_min: Span::secs(1),
            open_max: Span::secs(15),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            wait_min: Span::secs(2),
            wait_max: Span::secs(120),
            unreachable_max: Span::secs(600),
            settle_within: Span::secs(60),
        }
    }
}

impl Retry {
    /// Waits between deliveries of an entry that failed.
    pub(crate) fn redeliver(&self) -> Policy {
        Policy {
            name: "redeliver",
            wait_min: self.wait_min.0,
            wait_max: self.wait_max.0,
            attempts_max: None,
        }
    }

    /// Waits between calls of an agent that cannot be reached.
    pub(crate) const UNREACHABLE: Policy = Policy {
        name: "unreachable",
        wait_min: Duration::from_millis(500),
        wait_max: Duration::from_secs(15),
        attempts_max: None,
    };
}

impl Work {
    fn check_shared(&self, add: &mut impl FnMut(&str, String, &str)) {
        let (max, reserved) = (self.investigations_max, self.reserved_for_critical);
        if max > 1024 {
            add(
                "work.investigations_max",
                format!("{max} is out of range"),
                "Choose a number from 1 to 1024, or 0 for no limit.",
            );
        }
        if max > 0 && reserved >= max {
            let what = format!("{reserved} of {max} are reserved, so nothing else would ever run");
            add(
                "work.investigations_max",
                what,
                "Choose more than work.reserved_for_critical, or 0 for no limit.",
            );
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut add = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        let counts = [
            ("triage.batch_max", self.triage.batch_max, 1000),
            ("triage.concurrency", self.triage.concurrency, 64),
            ("work.concurrency", self.work.concurrency, 256),
        ];
        for (field, value, max) in counts {
            if value == 0 || value > max {
                let remedy = format!("Choose a number from 1 to {max}.");
                add(field, format!("{value} is out of range"), &remedy);
            }
        }
        self.work.check_shared(&mut add);
        if self.work.reserved_for_critical >= self.work.concurrency {
            let what = format!(
                "{} of {} are reserved, so nothing else would ever run",
                self.work.reserved_for_critical, self.work.concurrency
            );
            add(
                "work.reserved_for_critical",
                what,
                "Choose less than work.concurrency.",
            );
        }
        if self.work.aged_share == 0 {
            add(
                "work.aged_share",
                String::from("0 is no share"),
                "Choose 1 or more.",
            );
        }
        let spans = [
            ("triage.batch_wait", self.triage.batch_wait),
            ("triage.deadline", self.triage.deadline),
            ("work.deadline", self.work.deadline),
            ("work.poll", self.work.poll),
            ("backlog_every", self.backlog_every),
            ("retry.settle_within", self.retry.settle_within),
            ("breaker.open_min", self.breaker.open_min),
        ];
        for (field, value) in spans {
            if value.0.is_zero() {
                add(
                    field,
                    String::from("it is zero"),
                    "Choose a length of time above zero.",
                );
            }
        }
        if self.breaker.open_min > self.breaker.open_max {
            let what = format!("{} is more than open_max", self.breaker.open_min);
            add("breaker.open_min", what, "Choose at most breaker.open_max.");
        }
        if self.retry.wait_min > self.retry.wait_max {
            let what = format!("{} is more than wait_max", self.retry.wait_min);
            add("retry.wait_min", what, "Choose at most retry.wait_max.");
        }
    }
}
