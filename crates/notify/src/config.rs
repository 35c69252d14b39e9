//! The Slack channel.

use std::path::PathBuf;

use reqwest::Url;
use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Slack channel that hears of incidents: `[slack]`.
///
/// With `token_file` and `channel` Nightshift is a bot: it keeps one message per incident, edits it in
/// place, and after a crash looks whether a message got through. With `url_file` alone it posts through
/// an incoming webhook, which can neither edit nor look: each change is a new message, and a message
/// whose fate is unknown comes again, marked as a possible repeat. If both are set, the token is used
/// and the webhook is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// File with an incoming webhook's address. Whoever knows it can post to the channel, so it is a
    /// secret and stands in no configuration. It is read again for every message. Not used if
    /// `token_file` is set.
    pub url_file: Option<PathBuf>,
    /// File with the bot's token (`xoxb-...`), with the scopes `chat:write` and `channels:history`
    /// (`groups:history` for a private channel). It is read again for every call, so a new token needs
    /// no restart. Wins over `url_file`.
    pub token_file: Option<PathBuf>,
    /// The channel's id, such as `C0123456789`. The bot must be a member of it, or it cannot look for
    /// its own messages.
    pub channel: Option<String>,
    /// Where Slack's Web API is. Another one only to go through a proxy; whoever answers there gets
    /// the token.
    pub api_url: String,
    /// How long one call may take. Longer delays the report's other steps.
    pub timeout: Span,
    /// The least time between two messages; Slack refuses more than about one a second.
    pub post_gap: Span,
    /// Messages that may wait for their turn in this process. Beyond that a message is put off until
    /// later instead.
    pub queue_max: usize,
    /// Messages asked for at once when looking for one in the channel's history.
    pub history_page: u32,
    /// How many such pages are looked at. In a channel that is busier than this nobody can know whether
    /// a message got through, and it may come twice, marked as a possible repeat.
    pub history_pages_max: u32,
    /// How much older a message may be than the work it is of, by Slack's clock and ours.
    pub clock_margin: Span,
    /// How much of one answer is read. A page of history that is larger counts as not looked at.
    pub answer_max: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url_file: None,
            token_file: None,
            channel: None,
            api_url: "https://slack.com/api".to_owned(),
            timeout: Span::secs(5),
            post_gap: Span::secs(1),
            queue_max: 64,
            history_page: 100,
            history_pages_max: 10,
            clock_margin: Span::secs(60),
            answer_max: ByteSize::mib(4),
        }
    }
}

impl Config {
    /// Whether there is a channel.
    pub fn is_on(&self) -> bool {
        self.url_file.is_some() || self.is_bot()
    }

    /// Whether messages go over the Web API.
    pub fn is_bot(&self) -> bool {
        self.token_file.is_some()
    }
}

/// Whether a secret may be sent there: nobody on the way can read it.
pub(crate) fn keeps_secrets(url: &Url) -> bool {
    let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && here)
}

/// Whether it is the id of a channel, rather than its name.
fn is_id(channel: &str) -> bool {
    let mut chars = channel.chars();
    let kind = chars.next();
    matches!(kind, Some('C' | 'G' | 'D'))
        && channel.len() >= 2
        && chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut add = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        if self.timeout.0.is_zero() {
            add(
                "timeout",
                "no message can be sent in 0s".to_owned(),
                "Write \"5s\".",
            );
        }
        match (&self.token_file, &self.channel) {
            (Some(_), None) => add(
                "channel",
                "a token is set and no channel to post to".to_owned(),
                "Write the channel's id, such as \"C0123456789\"; it stands at the end of the \
                 channel's details in Slack.",
            ),
            (None, Some(_)) => add(
                "token_file",
                "a channel is set and no token to post with".to_owned(),
                "Name a file with the bot's token, or leave the channel out: a webhook has its own.",
            ),
            (_, Some(channel)) if !is_id(channel) => add(
                "channel",
                format!("{channel:?} is not the id of a channel"),
                "Write its id, such as \"C0123456789\"; a name can change.",
            ),
            _ => {}
        }
        if !Url::parse(&self.api_url).is_ok_and(|url| keeps_secrets(&url)) {
            add(
                "api_url",
                format!("the token cannot be sent to {:?}", self.api_url),
                "Write an address that begins with https:// (http:// on this machine only).",
            );
        }
        let counts = [
            ("queue_max", self.queue_max as u64, 10_000),
            ("history_page", self.history_page.into(), 999),
            ("history_pages_max", self.history_pages_max.into(), 1000),
        ];
        for (field, value, max) in counts {
            if value == 0 || value > max {
                let remedy = format!("Choose a number from 1 to {max}.");
                add(field, format!("{value} is out of range"), &remedy);
            }
        }
        if self.answer_max < ByteSize::kib(64) {
            let what = format!("Slack's answers do not fit into {}", self.answer_max);
            add("answer_max", what, "Write \"4MiB\".");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config), expect: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        let mut problems = Vec::new();
        config.check("slack", &mut problems);
        let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(got, expect);
    }

    fn bot(config: &mut Config, channel: Option<&str>) {
        config.token_file = Some("/etc/nightshift/slack-token".into());
        config.channel = channel.map(str::to_owned);
    }

    #[test]
    fn what_cannot_work_is_named_with_its_remedy() {
        check(|_| (), &[]);
        check(|config| bot(config, Some("C0123456789")), &[]);
        check(
            |config| bot(config, None),
            &[
                "slack.channel: a token is set and no channel to post to. Write the channel's id, such as \"C0123456789\"; it stands at the end of the channel's details in Slack.",
            ],
        );
        check(
            |config| bot(config, Some("#alerts")),
            &[
                "slack.channel: \"#alerts\" is not the id of a channel. Write its id, such as \"C0123456789\"; a name can change.",
            ],
        );
        check(
            |config| config.channel = Some("C0123456789".to_owned()),
            &[
                "slack.token_file: a channel is set and no token to post with. Name a file with the bot's token, or leave the channel out: a webhook has its own.",
            ],
        );
        check(
            |config| {
                config.api_url = "http://slack.example/api".to_owned();
                config.history_page = 1000;
                config.queue_max = 0;
                config.answer_max = ByteSize::kib(1);
                config.timeout = Span::secs(0);
            },
            &[
                "slack.timeout: no message can be sent in 0s. Write \"5s\".",
                "slack.api_url: the token cannot be sent to \"http://slack.example/api\". Write an address that begins with https:// (http:// on this machine only).",
                "slack.queue_max: 0 is out of range. Choose a number from 1 to 10000.",
                "slack.history_page: 1000 is out of range. Choose a number from 1 to 999.",
                "slack.answer_max: Slack's answers do not fit into 1KiB. Write \"4MiB\".",
            ],
        );
    }
}
