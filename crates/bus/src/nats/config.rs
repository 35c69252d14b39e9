//! The `[bus.nats]` section.

use std::path::PathBuf;

use runtime::config::{Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings that only a bus on NATS JetStream has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Addresses of the servers, such as `nats://nats:4222`; `tls://` asks for TLS. One is enough to
    /// find the others of a cluster; more help while that one is away. They are read by people, so
    /// credentials belong in the files below.
    pub addresses: Vec<String>,
    /// File with user credentials (JWT and seed), as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// File that holds an authorization token.
    pub token_file: Option<PathBuf>,
    /// Name of the user whose password is in `password_file`.
    pub user: Option<String>,
    /// File that holds the password of `user`.
    pub password_file: Option<PathBuf>,
    /// File with the certificates of the authorities that sign the servers' certificates. Without it
    /// the system's are trusted. With it, TLS is required.
    pub ca_file: Option<PathBuf>,
    /// Servers that keep a copy of everything: 1, 3 or 5. With 3, one server may be lost; with 1, what
    /// was acknowledged goes with the disk of its server.
    pub replicas: usize,
    /// Put before the name of every stream and bucket, so that installations can share a server.
    /// Letters, digits, `-` and `_`. Scalers rely on the names, so leave it empty unless you must.
    pub prefix: String,
    /// Claims of one stream that may wait on the server at once, over all processes. A claim beyond
    /// fails as unavailable.
    pub waiting_max: usize,
    /// How long the trace of what was acknowledged, put back or deleted is kept, so that a server that
    /// was killed cannot bring it to life again. Longer than the `sync_interval` of the server.
    pub grace: Span,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            addresses: vec![String::from("nats://127.0.0.1:4222")],
            credentials_file: None,
            token_file: None,
            user: None,
            password_file: None,
            ca_file: None,
            replicas: 1,
            prefix: String::new(),
            waiting_max: 512,
            grace: Span::secs(600),
        }
    }
}

impl NatsConfig {
    /// The files whose content is secret, by the name of their setting.
    pub fn secret_files(&self) -> Vec<(&'static str, &PathBuf)> {
        let files = [
            ("credentials_file", &self.credentials_file),
            ("token_file", &self.token_file),
            ("password_file", &self.password_file),
        ];
        files
            .into_iter()
            .filter_map(|(name, file)| Some((name, file.as_ref()?)))
            .collect()
    }
}

impl Section for NatsConfig {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut problem = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        if self.addresses.is_empty() {
            let what = String::from("it names no server");
            problem(
                "addresses",
                what,
                "Give at least one, such as \"nats://nats:4222\"",
            );
        }
        for address in &self.addresses {
            if address.contains('@') {
                let what = String::from("it holds credentials");
                let remedy = "Put them in a file and name it in `credentials_file`, `token_file` or \
                              `password_file`";
                problem("addresses", what, remedy);
            } else if let Err(why) = super::connect::address(address) {
                let what = format!("{address:?}: {why}");
                problem("addresses", what, "Write it like \"nats://nats:4222\"");
            }
        }
        let ways = [
            self.credentials_file.is_some(),
            self.token_file.is_some(),
            self.user.is_some() || self.password_file.is_some(),
        ];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            let what = String::from("it is not the only way to authenticate");
            problem(
                "credentials_file",
                what,
                "Keep one: `credentials_file`, `token_file`, or `user` with `password_file`",
            );
        }
        if self.user.is_some() != self.password_file.is_some() {
            let what = String::from("`user` and `password_file` belong together");
            problem("user", what, "Give both or neither");
        }
        if ![1, 3, 5].contains(&self.replicas) {
            let what = format!("{} replicas cannot agree", self.replicas);
            problem("replicas", what, "Give 1, 3 or 5");
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !self.prefix.chars().all(fits) || self.prefix.len() > 64 {
            let what = format!("{:?} cannot begin the name of a stream", self.prefix);
            problem("prefix", what, "Use up to 64 letters, digits, `-` and `_`");
        }
        if self.waiting_max == 0 {
            let what = String::from("0 allows nothing");
            problem("waiting_max", what, "Give at least 1");
        }
        if self.grace.0 < std::time::Duration::from_secs(1) {
            let what = format!("{} is too short", self.grace);
            problem(
                "grace",
                what,
                "Give at least \"1s\", and more than the server's sync_interval",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut NatsConfig), expect: &[&str]) {
        let mut config = NatsConfig::default();
        change(&mut config);
        let mut problems = Vec::new();
        config.check("bus.nats", &mut problems);
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, expect, "{problems:?}");
    }

    fn addresses(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_work_and_nonsense_is_named() {
        check(|_| {}, &[]);
        check(|c| c.addresses = addresses(&["tls://a", "b:4222"]), &[]);
        check(|c| c.addresses.clear(), &["bus.nats.addresses"]);
        check(
            |c| c.addresses = addresses(&["http://a:1"]),
            &["bus.nats.addresses"],
        );
        check(
            |c| c.addresses = addresses(&["nats://me:word@a:4222"]),
            &["bus.nats.addresses"],
        );
        check(|c| c.replicas = 2, &["bus.nats.replicas"]);
        check(|c| c.prefix = String::from("a.b"), &["bus.nats.prefix"]);
        check(|c| c.waiting_max = 0, &["bus.nats.waiting_max"]);
        check(|c| c.grace = Span::millis(5), &["bus.nats.grace"]);
        check(|c| c.user = Some(String::from("me")), &["bus.nats.user"]);
        check(
            |c| {
                c.token_file = Some(PathBuf::from("token"));
                c.credentials_file = Some(PathBuf::from("creds"));
            },
            &["bus.nats.credentials_file"],
        );
    }
}
