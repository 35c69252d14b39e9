//! What a draft may be.

use runtime::config::{ByteSize, Problem, Section};
use runtime::git;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of drafts and how their repositories are mirrored: `[forge]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Files a revert may touch. More is no longer a change a tired person can read.
    pub files_max: usize,
    /// Lines a revert may add and remove together.
    pub lines_max: u32,
    /// Bytes the whole diff may have; all of it is shown and approved.
    pub diff_max: ByteSize,
    /// Bytes of a manifest that are read to see what kind of object it is; a larger one is refused.
    pub manifest_max: ByteSize,
    /// How mirrors are kept.
    pub git: git::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            files_max: 20,
            lines_max: 400,
            diff_max: ByteSize::kib(64),
            manifest_max: ByteSize::mib(1),
            git: git::Config::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let zero = [
            ("files_max", self.files_max == 0),
            ("lines_max", self.lines_max == 0),
            ("diff_max", self.diff_max.0 == 0),
            ("manifest_max", self.manifest_max.0 == 0),
        ];
        for (field, _) in zero.iter().filter(|(_, zero)| *zero) {
            problems.push(Problem::new(
                format!("{path}.{field}"),
                "with 0 no draft could ever be made",
                "Remove the line to get the default; to open no drafts, reject them or grant no write access.",
            ));
        }
        self.git.check(&format!("{path}.git"), problems);
    }
}
