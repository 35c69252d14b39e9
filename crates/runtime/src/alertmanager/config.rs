//! Where Alertmanager is and how to log in.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Problem, Section, Span};

/// Most peers of one cluster.
const PEERS_MAX: usize = 16;

/// Where Alertmanager is and how to log in. Only read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses, such as `http://alertmanager:9093`: every peer of a cluster by its own name, not
    /// the name of a Service in front of them. Empty: nothing asks Alertmanager, and an alert whose
    /// notification was lost stays unknown.
    pub urls: Vec<String>,
    /// File with a bearer token. Read again for every request.
    pub token_file: Option<PathBuf>,
    /// User and password instead of a token.
    pub basic: Option<Basic>,
    /// File with the certificates (PEM) of the authority that signed Alertmanager's; no other is
    /// trusted then. Read at the start.
    pub ca_file: Option<PathBuf>,
    /// Longest time of one request.
    pub timeout: Span,
    /// Longest answer that is read; a longer one counts as no answer.
    pub body_max: ByteSize,
}

/// A user and where the password stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The name.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            token_file: None,
            basic: None,
            ca_file: None,
            timeout: Span::secs(10),
            body_max: ByteSize::mib(32),
        }
    }
}

impl Config {
    /// Files with secrets, by the name of their field.
    pub fn secret_files(&self) -> Vec<(&'static str, &PathBuf)> {
        let token = self.token_file.iter().map(|file| ("token_file", file));
        let basic = self.basic.iter();
        let basic = basic.map(|basic| ("basic.password_file", &basic.password_file));
        token.chain(basic).collect()
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut add = |field: String, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        for (i, url) in self.urls.iter().enumerate() {
            let parsed = reqwest::Url::parse(url).ok();
            let good = parsed.as_ref().is_some_and(|url| {
                matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
            });
            let login =
                parsed.is_some_and(|url| !url.username().is_empty() || url.password().is_some());
            if !good {
                add(
                    format!("urls[{i}]"),
                    format!("{url:?} is no address that can be called"),
                    "Write scheme, host and port, such as \"http://alertmanager:9093\".",
                );
            } else if login {
                add(
                    format!("urls[{i}]"),
                    String::from("it holds credentials"),
                    "Put the password in a file and name it in basic.password_file.",
                );
            }
        }
        if self.urls.len() > PEERS_MAX {
            let what = format!("{} peers are more than {PEERS_MAX}", self.urls.len());
            add(String::from("urls"), what, "Name one cluster.");
        }
        if self.token_file.is_some() && self.basic.is_some() {
            let what = String::from("a token and a password cannot both be sent");
            add(
                String::from("basic"),
                what,
                "Keep one of token_file and basic.",
            );
        }
        if self.timeout < Span::millis(100) || self.timeout > Span::secs(300) {
            let what = format!("{} is not between 100ms and 5m", self.timeout);
            add(
                String::from("timeout"),
                what,
                "Leave it out for the default.",
            );
        }
        if self.body_max < ByteSize::kib(64) || self.body_max > ByteSize::mib(512) {
            let what = format!("{} is not between 64KiB and 512MiB", self.body_max);
            add(
                String::from("body_max"),
                what,
                "Leave it out for the default.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config), expect: &str) {
        let mut config = Config::default();
        change(&mut config);
        let mut problems = Vec::new();
        config.check("alertmanager", &mut problems);
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths.join(" "), expect);
    }

    #[test]
    fn addresses_and_logins_are_checked() {
        let urls = |urls: &[&str]| {
            let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
            move |config: &mut Config| config.urls = urls
        };
        check(|_| {}, "");
        check(urls(&["http://a:9093", "https://b/prefix/"]), "");
        check(urls(&["a:9093"]), "alertmanager.urls[0]");
        check(urls(&["http://a", "ftp://b"]), "alertmanager.urls[1]");
        check(urls(&["http://me:word@a:9093"]), "alertmanager.urls[0]");
        check(urls(&["http://a?x=y"]), "alertmanager.urls[0]");
        check(urls(&["http://a"; 17]), "alertmanager.urls");
        check(
            |config| {
                config.token_file = Some(PathBuf::from("t"));
                config.basic = Some(Basic {
                    username: "me".into(),
                    password_file: PathBuf::from("p"),
                });
                config.timeout = Span::millis(1);
                config.body_max = ByteSize(1);
            },
            "alertmanager.basic alertmanager.timeout alertmanager.body_max",
        );
    }
}
