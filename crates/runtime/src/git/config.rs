//! How Git is run.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Problem, Section, Span};

/// How the `git` executable is run and how mirrors are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The executable: a name to look up in `search_path`, or an absolute path. Git 2.38 or newer.
    pub executable: PathBuf,
    /// Where `git` and `ssh` are looked for; the process's own `PATH` is not used.
    pub search_path: String,
    /// The longest a fetch may take. A first fetch of a large repository needs more than a later one;
    /// one that is cut off starts over.
    pub fetch_timeout: Span,
    /// A mirror fetched less than this ago is not fetched again. Longer spares the remote, and may
    /// miss a commit pushed in the meantime.
    pub fresh_for: Span,
    /// The most output of one Git command that is kept in memory; a command that writes more fails.
    pub output_max: ByteSize,
    /// The most packs a mirror holds before they are joined. More packs make reading slower.
    pub packs_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            executable: "git".into(),
            search_path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
            fetch_timeout: Span::secs(60),
            fresh_for: Span::secs(5),
            output_max: ByteSize::mib(8),
            packs_max: 50,
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut problem = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        if self.executable.as_os_str().is_empty() {
            problem(
                "executable",
                "it is empty".into(),
                "Write \"git\" or an absolute path.",
            );
        }
        if self.fetch_timeout.0.is_zero() {
            problem(
                "fetch_timeout",
                "no fetch can finish in 0s".into(),
                "Write \"60s\".",
            );
        }
        if self.output_max.get() < 64 * 1024 {
            let what = format!("{} is too little to read one commit", self.output_max);
            problem("output_max", what, "Write at least \"64KiB\".");
        }
        if self.packs_max < 2 {
            problem(
                "packs_max",
                format!("{} is too few", self.packs_max),
                "Write at least 2.",
            );
        }
    }
}
