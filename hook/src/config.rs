//! The `[hook]` section.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use incident::ports::Entry;
use runtime::config::{ByteSize, Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Smallest [`Config::event_bytes_max`]: an event whose parts were all cut still fits.
const EVENT_BYTES_MIN: ByteSize = ByteSize::kib(128);
/// Smallest limit on a name or value: leaves room for the mark that says it was cut.
const TEXT_BYTES_MIN: ByteSize = ByteSize(128);

/// Who may send, and how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port of the webhook and the API. Anything but loopback needs `auth`.
    pub listen: SocketAddr,
    /// Who may call. Empty means everybody on this machine.
    pub auth: Auth,
    /// Serve `/metrics` without credentials even where `auth` asks for them. Counts only, no text.
    pub metrics_open: bool,
    /// Longest request body. A longer one is refused with 413 and its alerts are lost, so it is
    /// several times what a storm sends.
    pub body_max: ByteSize,
    /// How long a body may take to arrive; then 503, and the sender tries again.
    pub body_timeout: Span,
    /// Requests served at the same time; one more gets 503 at once. Bounds memory to about
    /// `requests_max` times `body_max` times 2.
    pub requests_max: u32,
    /// Alerts taken of one body; the rest is counted as cut off, as if the sender had cut it.
    pub alerts_max: usize,
    /// Labels kept of one alert: those that say what it is about first, then by name.
    pub labels_max: usize,
    /// Annotations kept of one alert: the usual ones first, then by name.
    pub annotations_max: usize,
    /// Longest label or annotation name; a longer one is cut and marked.
    pub name_bytes_max: ByteSize,
    /// Longest label value; a longer one is cut and marked.
    pub label_bytes_max: ByteSize,
    /// Longest annotation value or generator URL; a longer one is cut and marked.
    pub annotation_bytes_max: ByteSize,
    /// Longest stored event; the values of a longer one are cut shorter until it fits.
    pub event_bytes_max: ByteSize,
    /// How long storing a body's alerts may take; then 503, and the sender tries again.
    pub append_timeout: Span,
    /// How long a question to the store may take; then 503.
    pub store_timeout: Span,
    /// How long the readiness probe may take; then not ready.
    pub ready_timeout: Span,
    /// How long one answer of the readiness probe stands for the next ones.
    pub ready_cache: Span,
    /// The wait that a 503 asks for.
    pub retry_after: Span,
    /// Most items of one page of the API.
    pub page_max: usize,
    /// Most stored values one API request, or one look at Alertmanager's own view, goes through.
    pub scan_max: usize,
    /// When Alertmanager's own view is compared with what is stored.
    pub reconcile: crate::reconcile::Config,
    /// How many dispatchers are asked for.
    pub scaling: crate::scaling::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            auth: Auth::default(),
            metrics_open: false,
            body_max: ByteSize::mib(4),
            body_timeout: Span::secs(10),
            requests_max: 64,
            alerts_max: 5_000,
            labels_max: 128,
            annotations_max: 64,
            name_bytes_max: ByteSize(256),
            label_bytes_max: ByteSize::kib(4),
            annotation_bytes_max: ByteSize::kib(16),
            event_bytes_max: ByteSize::kib(256),
            append_timeout: Span::secs(10),
            store_timeout: Span::secs(5),
            ready_timeout: Span::secs(2),
            ready_cache: Span::millis(500),
            retry_after: Span::secs(5),
            page_max: 200,
            scan_max: 10_000,
            reconcile: crate::reconcile::Config::default(),
            scaling: crate::scaling::Config::default(),
        }
    }
}

/// Credentials that are accepted; any one of them is enough, so that they can be changed without a
/// gap. The secrets stand in files, never here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Files that each hold one bearer token.
    pub token_files: Vec<PathBuf>,
    /// Users that may come with a password.
    pub basic: Vec<BasicUser>,
}

impl Auth {
    /// Whether no credentials are asked for.
    pub fn is_empty(&self) -> bool {
        self.token_files.is_empty() && self.basic.is_empty()
    }
}

/// A user and where the password stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicUser {
    /// The name; no colon.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

impl Config {
    /// Whether only this machine can reach `listen`.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let at = |field: &str| format!("{path}.{field}");
        if !self.is_loopback() && self.auth.is_empty() {
            problems.push(Problem::new(
                at("listen"),
                format!(
                    "{} can be reached from other machines and no credentials are asked for (E-HOOK-001)",
                    self.listen
                ),
                format!("Set {path}.auth.token_files, or listen on 127.0.0.1."),
            ));
        }
        for (i, user) in self.auth.basic.iter().enumerate() {
            if user.username.is_empty() || user.username.contains(':') {
                problems.push(Problem::new(
                    format!("{path}.auth.basic[{i}].username"),
                    format!("{:?} cannot be sent as a user name", user.username),
                    "Write a name without a colon.",
                ));
            }
        }
        self.check_counts(&at, problems);
        self.check_sizes(&at, problems);
        self.check_spans(&at, problems);
        self.reconcile.check(&at("reconcile"), problems);
        self.scaling.check(&at("scaling"), problems);
    }
}

impl Config {
    fn check_counts(&self, at: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        let counts = [
            ("requests_max", u64::from(self.requests_max), 1, 65_536),
            ("alerts_max", self.alerts_max as u64, 1, 65_536),
            ("labels_max", self.labels_max as u64, 16, 4_096),
            ("annotations_max", self.annotations_max as u64, 1, 4_096),
            ("page_max", self.page_max as u64, 1, 10_000),
            ("scan_max", self.scan_max as u64, 1, 1_000_000),
        ];
        for (field, value, min, max) in counts {
            if !(min..=max).contains(&value) {
                problems.push(Problem::new(
                    at(field),
                    format!("{value} is not between {min} and {max}"),
                    "Leave it out for the default.",
                ));
            }
        }
    }

    fn check_sizes(&self, at: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        let entry_max = ByteSize(Entry::PAYLOAD_BYTES_MAX as u64);
        let sizes = [
            (
                "body_max",
                self.body_max,
                ByteSize::kib(4),
                ByteSize::mib(64),
            ),
            (
                "name_bytes_max",
                self.name_bytes_max,
                TEXT_BYTES_MIN,
                entry_max,
            ),
            (
                "label_bytes_max",
                self.label_bytes_max,
                TEXT_BYTES_MIN,
                entry_max,
            ),
            (
                "annotation_bytes_max",
                self.annotation_bytes_max,
                TEXT_BYTES_MIN,
                entry_max,
            ),
            (
                "event_bytes_max",
                self.event_bytes_max,
                EVENT_BYTES_MIN,
                entry_max,
            ),
        ];
        for (field, value, min, max) in sizes {
            if !(min..=max).contains(&value) {
                problems.push(Problem::new(
                    at(field),
                    format!("{value} is not between {min} and {max}"),
                    "Leave it out for the default.",
                ));
            }
        }
    }

    fn check_spans(&self, at: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        let spans = [
            ("body_timeout", self.body_timeout),
            ("append_timeout", self.append_timeout),
            ("store_timeout", self.store_timeout),
            ("ready_timeout", self.ready_timeout),
            ("retry_after", self.retry_after),
        ];
        for (field, value) in spans {
            if value < Span::millis(100) || value > Span::secs(300) {
                problems.push(Problem::new(
                    at(field),
                    format!("{value} is not between 100ms and 5m"),
                    "Leave it out for the default.",
                ));
            }
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
        config.check("hook", &mut problems);
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths.join(" "), expect);
    }

    fn listen(text: &str) -> impl FnOnce(&mut Config) {
        let listen = text.parse().expect("a test address");
        move |config| config.listen = listen
    }

    #[test]
    fn a_public_address_needs_credentials() {
        check(|_| {}, "");
        check(listen("127.8.9.10:1"), "");
        check(listen("[::1]:1"), "");
        check(listen("[::ffff:127.0.0.1]:1"), "");
        check(listen("0.0.0.0:1"), "hook.listen");
        check(listen("[::]:1"), "hook.listen");
        check(listen("10.0.0.1:1"), "hook.listen");
        check(
            |config| {
                config.listen = "0.0.0.0:1".parse().expect("an address");
                config.auth.token_files.push(PathBuf::from("token"));
            },
            "",
        );
    }

    #[test]
    fn every_limit_has_a_range() {
        check(
            |config| {
                config.requests_max = 0;
                config.alerts_max = 0;
                config.event_bytes_max = ByteSize::mib(2);
                config.append_timeout = Span::secs(0);
                config.auth.basic.push(BasicUser {
                    username: "a:b".into(),
                    password_file: PathBuf::from("p"),
                });
            },
            "hook.auth.basic[0].username hook.requests_max hook.alerts_max hook.event_bytes_max \
             hook.append_timeout",
        );
    }
}
