//! The Slack channel.

use std::path::PathBuf;

use runtime::config::{Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Slack channel that hears of incidents, by an incoming webhook: `[slack]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// File with the webhook's address. Whoever knows it can post to the channel, so it is a secret
    /// and stands in no configuration. It is read again for every message. Without it nothing is sent.
    pub url_file: Option<PathBuf>,
    /// How long one message may take. Longer delays the report's other steps.
    pub timeout: Span,
    /// The least time between two messages; Slack refuses more than about one a second.
    pub post_gap: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url_file: None,
            timeout: Span::secs(5),
            post_gap: Span::secs(1),
        }
    }
}

impl Config {
    /// Whether there is a channel.
    pub fn is_on(&self) -> bool {
        self.url_file.is_some()
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        if self.timeout.0.is_zero() {
            let at = format!("{path}.timeout");
            problems.push(Problem::new(
                at,
                "no message can be sent in 0s",
                "Write \"5s\".",
            ));
        }
    }
}
