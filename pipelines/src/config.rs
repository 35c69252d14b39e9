//! The `[pipelines]` section of the configuration.

use incident::approval::ApprovalPolicy;
use incident::proposal::ChangeKind;
use jiff::SignedDuration;
use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnosis;
use crate::journal::Tries;
use crate::outbox::Patience;

/// How an incident is worked on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The report is out this long after the work began, complete or partial. Shorter means more
    /// partial reports, longer means on call waits.
    pub report_within: Span,
    /// How long the first message to each channel may take before the investigation goes on
    /// without it. The message is then made up for together with the report.
    pub announce_timeout: Span,
    /// How long one specialist may take. What it has not answered by then becomes a gap.
    pub specialist_timeout: Span,
    /// How long the forge may take to say what a change would do, each time it is asked.
    pub preview_timeout: Span,
    /// How long the forge may take to open a draft before the work is put back for later.
    pub draft_timeout: Span,
    /// How long one message to one channel may take.
    pub notify_timeout: Span,
    /// How often one message to one channel is tried, with growing waits between, before the report
    /// stands without it. Between tries nothing is held: each is work of its own.
    pub notify_tries_max: u32,
    /// Wait before something outside that failed (a message, a draft) is tried again; it doubles with
    /// each further failure.
    pub retry_wait_min: Span,
    /// Longest such wait. With the defaults a remote may be away for about 40 minutes before its
    /// draft is given up.
    pub retry_wait_max: Span,
    /// How long an attempt whose answer was lost is left alone before the outside is asked whether it
    /// got through: a channel may take so long to show what it was sent. Too short, and a message may
    /// come twice.
    pub settle: Span,
    /// Time kept free at the end of every deadline for writing the report.
    pub reserve: Span,
    /// What specialists get at least when an interrupted investigation is taken up again after its
    /// deadline. Zero would mean an empty report after every long outage.
    pub resume_least: Span,
    /// How many runs may give the specialists that time again. Runs that keep taking an incident over
    /// from each other come to an end with it.
    pub resumes_max: u32,
    /// How long before the first alert the evidence begins: long enough to show what normal is.
    pub lookback: Span,
    /// The longest stretch of time that is looked at; an alert that fires for days is looked at
    /// around its onset.
    pub window_max: Span,
    /// How many numbered facts a report has at most. The rest is counted in a gap.
    pub observations_max: usize,
    /// How large the numbered facts of a report are at most, together. The rest is counted in a gap.
    pub evidence_bytes_max: ByteSize,
    /// How many gaps one specialist may name; the rest is counted.
    pub gaps_max: usize,
    /// How many lines the orchestrator adds to a report's timeline at most; the oldest but one go first.
    pub moments_max: usize,
    /// How many steps one run takes at most before it gives up; a guard against going in circles.
    pub steps_max: u32,
    /// How long the journal, its parts and the report of an incident are kept after the last write.
    pub keep: Span,
    /// Who must agree to a change, and how late.
    pub approval: Approval,
    /// How causes are ranked.
    pub diagnosis: diagnosis::Config,
}

/// When a person must agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// Kinds of change that a person must approve before the draft is opened. A kind that is not
    /// listed becomes a draft without asking.
    #[schemars(with = "Vec<String>")]
    pub needed_for: Vec<ChangeKind>,
    /// How long after its end a token still counts, because it waited in the queue and was valid
    /// when it came in. Longer lets older decisions through.
    pub late_max: Span,
    /// How many proposals are made for one incident when its base branch keeps moving.
    pub proposals_max: u32,
    /// How many refused decisions lead to a new message each; later ones are only counted.
    pub refusals_max: u32,
    /// How often the forge is asked what a change would do, and then to open its draft, with growing
    /// waits between, before the report says that it failed.
    pub draft_tries_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            report_within: Span::secs(150),
            announce_timeout: Span::secs(5),
            specialist_timeout: Span::secs(60),
            preview_timeout: Span::secs(30),
            draft_timeout: Span::secs(60),
            notify_timeout: Span::secs(10),
            notify_tries_max: 12,
            retry_wait_min: Span::secs(2),
            retry_wait_max: Span::secs(10 * 60),
            settle: Span::secs(2),
            reserve: Span::secs(10),
            resume_least: Span::secs(30),
            resumes_max: 3,
            lookback: Span::secs(60 * 60),
            window_max: Span::secs(24 * 60 * 60),
            observations_max: 60,
            evidence_bytes_max: ByteSize::mib(3),
            gaps_max: 16,
            moments_max: 64,
            steps_max: 200,
            keep: Span::secs(90 * 24 * 60 * 60),
            approval: Approval::default(),
            diagnosis: diagnosis::Config::default(),
        }
    }
}

impl Default for Approval {
    fn default() -> Self {
        Self {
            needed_for: vec![ChangeKind::Revert],
            late_max: Span::secs(15 * 60),
            proposals_max: 5,
            refusals_max: 5,
            draft_tries_max: 12,
        }
    }
}

impl Approval {
    /// As the vocabulary has it.
    pub(crate) fn policy(&self) -> ApprovalPolicy {
        ApprovalPolicy {
            needed_for: self.needed_for.clone(),
        }
    }
}

/// The longest that any length of time here may be: it must fit calendar arithmetic.
const SPAN_MAX: Span = Span::secs(10 * 366 * 24 * 60 * 60);
/// The store takes values of 8 MiB; report and draft must fit beside the evidence.
const EVIDENCE_BYTES_MAX: ByteSize = ByteSize::mib(4);

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut at = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        for (field, span) in self.spans() {
            if span.0.is_zero() {
                at(
                    field,
                    "it is zero".to_owned(),
                    "Write a length such as \"30s\".",
                );
            } else if span > SPAN_MAX {
                at(
                    field,
                    format!("{span} is longer than ten years"),
                    "Write a shorter length.",
                );
            }
        }
        let before_report = self.announce_timeout.0 + self.specialist_timeout.0 + self.reserve.0;
        if before_report > self.report_within.0 {
            at(
                "report_within",
                format!(
                    "{} is shorter than announce_timeout + specialist_timeout + reserve",
                    self.report_within
                ),
                "Raise it, or give the specialists less.",
            );
        }
        for (field, count) in self.counts() {
            if count == 0 {
                at(field, "it is zero".to_owned(), "Write at least 1.");
            }
        }
        if self.retry_wait_min > self.retry_wait_max {
            at(
                "retry_wait_min",
                format!("{} is more than retry_wait_max", self.retry_wait_min),
                "Choose at most retry_wait_max.",
            );
        }
        if self.evidence_bytes_max > EVIDENCE_BYTES_MAX {
            at(
                "evidence_bytes_max",
                format!(
                    "{} does not fit the store beside the report",
                    self.evidence_bytes_max
                ),
                "Write at most \"4MiB\".",
            );
        }
        self.diagnosis.check(&format!("{path}.diagnosis"), problems);
    }
}

impl Config {
    /// How often each effect is tried.
    pub(crate) fn tries(&self) -> Tries {
        Tries {
            notify: self.notify_tries_max,
            draft: self.approval.draft_tries_max,
        }
    }

    /// The patience with an effect whose attempts take at most `timeout`.
    pub(crate) fn patience(&self, timeout: Span) -> Patience {
        Patience {
            timeout: timeout.0,
            wait_min: self.retry_wait_min.0,
            wait_max: self.retry_wait_max.0,
            settle: self.settle.0,
        }
    }

    fn spans(&self) -> [(&'static str, Span); 15] {
        [
            ("report_within", self.report_within),
            ("announce_timeout", self.announce_timeout),
            ("specialist_timeout", self.specialist_timeout),
            ("preview_timeout", self.preview_timeout),
            ("draft_timeout", self.draft_timeout),
            ("notify_timeout", self.notify_timeout),
            ("retry_wait_min", self.retry_wait_min),
            ("retry_wait_max", self.retry_wait_max),
            ("settle", self.settle),
            ("reserve", self.reserve),
            ("resume_least", self.resume_least),
            ("lookback", self.lookback),
            ("window_max", self.window_max),
            ("keep", self.keep),
            ("approval.late_max", self.approval.late_max),
        ]
    }

    fn counts(&self) -> [(&'static str, u64); 8] {
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        [
            ("notify_tries_max", self.notify_tries_max.into()),
            ("observations_max", size(self.observations_max)),
            ("evidence_bytes_max", self.evidence_bytes_max.0),
            ("gaps_max", size(self.gaps_max)),
            ("moments_max", size(self.moments_max)),
            ("steps_max", self.steps_max.into()),
            ("approval.proposals_max", self.approval.proposals_max.into()),
            (
                "approval.draft_tries_max",
                self.approval.draft_tries_max.into(),
            ),
        ]
    }
}

/// A configured length as calendar arithmetic wants it.
pub(crate) fn signed(span: Span) -> SignedDuration {
    SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, expect: &[&str]) {
        let config: Config = serde_json::from_str(toml).expect("the test's own config parses");
        let mut problems = Vec::new();
        config.check("pipelines", &mut problems);
        let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn defaults_work_and_contradictions_are_named() {
        check("{}", &[]);
        check(
            r#"{"report_within": "30s", "keep": "0s", "steps_max": 0, "approval": {"needed_for": []}}"#,
            &[
                "pipelines.keep: it is zero. Write a length such as \"30s\".",
                "pipelines.report_within: 30s is shorter than announce_timeout + specialist_timeout + reserve. Raise it, or give the specialists less.",
                "pipelines.steps_max: it is zero. Write at least 1.",
            ],
        );
    }
}
