//! What can be set about A2A, both ways.

use std::path::PathBuf;

use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the Store port takes as one value. (The official routers would take 10 MiB.)
const BODY_MAX: ByteSize = ByteSize::mib(8);

/// Agents on the network: how they are served and how they are called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where callers reach this process, without the path. Agent cards carry it, and callers
    /// refuse a card that names another origin than the one they fetched it from.
    pub public_url: String,
    /// File with the bearer token that callers must show, and that this process shows to other
    /// agents. Without one, agents are served on loopback addresses only.
    pub token_file: Option<PathBuf>,
    /// Largest request body; a larger one is refused with HTTP 413. At most 8 MiB.
    pub request_bytes_max: ByteSize,
    /// Tasks that one agent works on at a time; one more is answered OVERLOADED and tried again by
    /// its caller.
    pub executions_max: u32,
    /// Requests that one agent answers at a time, open streams included; one more is answered
    /// OVERLOADED.
    pub requests_max: u32,
    /// Longest time one agent works on one task without being asked again; also how long a stream
    /// stays open.
    pub execution_max: Span,
    /// How long a task belongs to a process that stopped giving signs of life. Shorter means faster
    /// continuation after a crash and more writes; it must exceed the clock skew between replicas.
    pub lease: Span,
    /// How often a task that another process works on is looked at.
    pub poll: Span,
    /// How long a task is kept after its last change. A message sent again later than this starts a
    /// new task, so it must exceed the time for which callers try again.
    pub task_ttl: Span,
    /// Progress notes kept per task; older ones are forgotten.
    pub notes_max: u32,
    /// Tasks looked at to answer one listing; an agent with more lists only some.
    pub list_scan_max: u32,
    /// Longest silence on a stream before the caller opens it again.
    pub stream_silence_max: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8083".to_owned(),
            token_file: None,
            request_bytes_max: ByteSize::mib(4),
            executions_max: 64,
            requests_max: 512,
            execution_max: Span::secs(15 * 60),
            lease: Span::secs(15),
            poll: Span::millis(500),
            task_ttl: Span::secs(72 * 3600),
            notes_max: 64,
            list_scan_max: 10_000,
            stream_silence_max: Span::secs(60),
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut problem = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        if let Err(why) = origin(&self.public_url) {
            problem(
                "public_url",
                format!("{:?} {why}", self.public_url),
                "Write scheme, host and port, such as \"http://127.0.0.1:8083\".",
            );
        }
        if self.request_bytes_max.0 == 0 || self.request_bytes_max > BODY_MAX {
            problem(
                "request_bytes_max",
                format!(
                    "{} is not between 1B and {BODY_MAX}",
                    self.request_bytes_max
                ),
                "Set it to \"4MiB\", or split the input.",
            );
        }
        let counts = [
            ("executions_max", self.executions_max),
            ("requests_max", self.requests_max),
            ("notes_max", self.notes_max),
            ("list_scan_max", self.list_scan_max),
        ];
        for (field, value) in counts {
            if value == 0 {
                problem(
                    field,
                    "0 lets nothing through".to_owned(),
                    "Set it to 1 or more.",
                );
            }
        }
        let spans = [
            ("execution_max", self.execution_max),
            ("lease", self.lease),
            ("poll", self.poll),
            ("task_ttl", self.task_ttl),
            ("stream_silence_max", self.stream_silence_max),
        ];
        for (field, value) in spans {
            if value.0.is_zero() {
                problem(
                    field,
                    "0s is no time at all".to_owned(),
                    "Set it to more than 0s.",
                );
            }
        }
        if self.task_ttl <= self.execution_max {
            problem(
                "task_ttl",
                format!("{} is not longer than execution_max", self.task_ttl),
                "Set it to at least twice execution_max, better to days.",
            );
        }
    }
}

/// Scheme, host and port of `url`, or why it has none that can be called.
pub(crate) fn origin(url: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(url).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is neither http nor https".to_owned());
    }
    if url.host_str().is_none() {
        return Err("names no host".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        let mut problems = Vec::new();
        config.check("a2a", &mut problems);
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_default_works() {
        insta::assert_snapshot!(check(|_| ()), @"");
    }

    #[test]
    fn every_problem_is_told() {
        insta::assert_snapshot!(check(|config| {
            config.public_url = "triage:8083".to_owned();
            config.request_bytes_max = ByteSize::mib(11);
            config.executions_max = 0;
            config.lease = Span::secs(0);
            config.task_ttl = Span::secs(60);
        }), @r#"
    a2a.public_url: "triage:8083" is neither http nor https. Write scheme, host and port, such as "http://127.0.0.1:8083".
    a2a.request_bytes_max: 11MiB is not between 1B and 8MiB. Set it to "4MiB", or split the input.
    a2a.executions_max: 0 lets nothing through. Set it to 1 or more.
    a2a.lease: 0s is no time at all. Set it to more than 0s.
    a2a.task_ttl: 1m is not longer than execution_max. Set it to at least twice execution_max, better to days.
    "#);
    }
}
