//! The `triage` section of the configuration.

use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most events that one atomic write may rule on; the store takes 256 puts at once.
pub(super) const CHUNK: usize = 48;

/// How alerts are put together and how long it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An alert that fires this soon after its incident resolved opens the same incident again.
    /// Longer: fewer incidents for a flapping cause. Shorter: a second outage gets its own report.
    pub refire_window: Span,
    /// Alerts of one owner with different names belong together when they start within this time
    /// of one another. Longer: more alerts in one report. Shorter: more reports.
    pub group_window: Span,
    /// How long rulings, the history that `explain` prints, and resolved alerts are remembered. An
    /// event delivered again after that is looked at anew.
    pub history_kept: Span,
    /// How long a resolved incident is kept. An open one is kept until it resolves.
    pub incidents_kept: Span,
    /// Alerts kept with their labels in one incident; the most severe stay, the rest is counted.
    pub members_max: usize,
    /// Room for the labels and annotations of one incident's alerts; beyond it alerts are counted.
    pub members_size_max: ByteSize,
    /// A label, annotation or address longer than this is cut in the incident.
    pub text_max: ByteSize,
    /// Incidents remembered for one owner. When all of them are open, a further alert joins the
    /// newest instead of opening one more.
    pub incidents_per_owner_max: usize,
    /// Alertmanager groups and alert names remembered for one incident.
    pub groups_max: usize,
    /// Events in one request; a larger request is refused.
    pub events_max: usize,
    /// Names of exporters. A `service`, `job` or `pod` label with such a name, or with one that ends
    /// in `-name`, says who measured and not what is broken, so it names no owner.
    pub exporters: Vec<String>,
    /// Labels that always keep alerts apart: different values, different incidents.
    pub separate_by: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let exporters = [
            "kube-state-metrics",
            "node-exporter",
            "node",
            "kubelet",
            "cadvisor",
            "blackbox",
            "blackbox-exporter",
            "pushgateway",
        ];
        Self {
            refire_window: Span::secs(15 * 60),
            group_window: Span::secs(10 * 60),
            history_kept: Span::secs(7 * 24 * 3600),
            incidents_kept: Span::secs(30 * 24 * 3600),
            members_max: 500,
            members_size_max: ByteSize::mib(2),
            text_max: ByteSize::kib(4),
            incidents_per_owner_max: 16,
            groups_max: 64,
            events_max: 1000,
            exporters: exporters.map(str::to_owned).to_vec(),
            separate_by: vec![String::from("cluster")],
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut add = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        let counts = [
            ("members_max", self.members_max, 5_000),
            ("incidents_per_owner_max", self.incidents_per_owner_max, 32),
            ("groups_max", self.groups_max, 1_000),
            ("events_max", self.events_max, 10_000),
        ];
        for (field, value, max) in counts {
            if value == 0 || value > max {
                let remedy = format!("Choose a number from 1 to {max}.");
                add(field, format!("{value} is out of range"), &remedy);
            }
        }
        if self.members_size_max > ByteSize::mib(6) {
            let what = format!(
                "{} does not fit into one stored value",
                self.members_size_max
            );
            add("members_size_max", what, "Choose at most 6MiB.");
        }
        if self.history_kept < self.refire_window || self.incidents_kept < self.refire_window {
            let what = String::from("state would be forgotten before the window ends");
            let remedy = "Keep history_kept and incidents_kept longer than refire_window.";
            add("refire_window", what, remedy);
        }
    }
}
