//! What the git-agent looks at.

use runtime::config::{Problem, Section, Span};
use runtime::git::{self, ReadLimits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The git-agent: `[agents.git]`. Which repositories it reads stands under `[[repositories]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long after the alert fired a change still counts: two clocks never agree. Longer brings in
    /// changes that cannot be the cause.
    pub margin: Span,
    /// How long before the alert changes are still listed, behind those of the window: some changes
    /// break only hours later. Zero lists the window's only.
    pub lookback: Span,
    /// Changes listed for one repository. What is beyond is counted and named as a gap.
    pub changes_max: usize,
    /// Changes listed for all repositories together.
    pub observations_max: usize,
    /// Steps of the base branch that are looked at for their times. A window with more is cut, and
    /// that is named as a gap.
    pub scan_max: usize,
    /// Repositories read at the same time.
    pub repositories_at_once: usize,
    /// Outcomes kept, so that a message sent twice is answered once.
    pub tasks_kept: usize,
    /// How much of each change is kept.
    pub read: ReadLimits,
    /// How mirrors are kept.
    pub git: git::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            margin: Span::secs(120),
            lookback: Span::secs(24 * 3600),
            changes_max: 25,
            observations_max: 60,
            scan_max: 500,
            repositories_at_once: 4,
            tasks_kept: 256,
            read: ReadLimits::default(),
            git: git::Config::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let numbers = [
            ("changes_max", self.changes_max),
            ("observations_max", self.observations_max),
            ("scan_max", self.scan_max),
            ("repositories_at_once", self.repositories_at_once),
            ("tasks_kept", self.tasks_kept),
            ("read.files_max", self.read.files_max),
        ];
        for (field, _) in numbers.iter().filter(|(_, number)| *number == 0) {
            problems.push(Problem::new(
                format!("{path}.{field}"),
                "with 0 no change would ever be found",
                "Write 1 or more, or remove the line to get the default.",
            ));
        }
        if self.scan_max > 5000 {
            problems.push(Problem::new(
                format!("{path}.scan_max"),
                format!("{} steps take too long to put in order", self.scan_max),
                "Write at most 5000.",
            ));
        }
        self.git.check(&format!("{path}.git"), problems);
    }
}
