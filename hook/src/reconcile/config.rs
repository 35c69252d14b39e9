//! The `[hook.reconcile]` section.

use runtime::config::{Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which alerts may be taken for ended because Alertmanager no longer holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// Those that an earlier look found in Alertmanager. Safe where other Alertmanagers post here
    /// too; an alert that came and went between two looks is not covered.
    #[default]
    Seen,
    /// All. Right only where `alertmanager.urls` names everybody that posts here: an alert of another
    /// one would be ended while it fires.
    All,
    /// None. An incident whose last notification was lost stays open.
    Never,
}

/// When Alertmanager's own view is compared with what is stored. Off while `alertmanager.urls` is
/// empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often. An alert whose notification was lost is known after this and `settle` at the
    /// latest.
    pub every: Span,
    /// The receiver in Alertmanager's configuration that posts here. Alerts routed elsewhere are
    /// none of our business.
    pub receiver: String,
    /// An alert must have fired this long before it counts as missed. Longer than `group_wait`, or
    /// alerts are stored before they are notified.
    pub settle: Span,
    /// How long after a body that was cut short (`truncatedAlerts`) a look follows.
    pub soon: Span,
    /// While events wait for triage, an alert without a ruling may be among them; after this time it
    /// is stored anyway, and triage recognises it.
    pub unruled_max: Span,
    /// Which alerts may be taken for ended because Alertmanager no longer holds them.
    pub resolve: Resolve,
    /// Looks in a row that must miss an alert before it is taken for ended.
    pub absent_looks: u32,
    /// How long an Alertmanager must have been up before what it does not hold counts; its own
    /// `resolve_timeout` counts if it is longer. Prometheus has sent everything again by then.
    pub uptime_min: Span,
    /// Name of an alert that always fires. Where it is set, an Alertmanager that does not hold it
    /// hears nobody, and what else it does not hold means nothing.
    pub witness: Option<String>,
    /// Most alerts of one look; where Alertmanager holds more, nothing is taken for ended.
    pub alerts_max: usize,
    /// Most events that one look stores; the rest is left to the next one.
    pub fills_max: usize,
    /// Longest time of one look.
    pub within: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            every: Span::secs(120),
            receiver: String::from("nightshift"),
            settle: Span::secs(120),
            soon: Span::secs(5),
            unruled_max: Span::secs(600),
            resolve: Resolve::Seen,
            absent_looks: 3,
            uptime_min: Span::secs(300),
            witness: None,
            alerts_max: 20_000,
            fills_max: 1_000,
            within: Span::secs(60),
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut add = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        for (field, value, min) in [
            ("every", self.every, Span::millis(200)),
            ("soon", self.soon, Span::millis(10)),
            ("within", self.within, Span::millis(200)),
        ] {
            if value < min || value > Span::secs(86_400) {
                let what = format!("{value} is not between {min} and 1 day");
                add(field, what, "Leave it out for the default.");
            }
        }
        for (field, value, max) in [
            ("absent_looks", u64::from(self.absent_looks), 1_000),
            ("alerts_max", self.alerts_max as u64, 200_000),
            ("fills_max", self.fills_max as u64, 10_000),
        ] {
            if value == 0 || value > max {
                let what = format!("{value} is not between 1 and {max}");
                add(field, what, "Leave it out for the default.");
            }
        }
        if self.receiver.is_empty() {
            let what = String::from("no receiver is named");
            add(
                "receiver",
                what,
                "Write the name of the receiver in Alertmanager's configuration.",
            );
        }
    }
}
