//! Who may call: bearer tokens and passwords, read once from files, kept as digests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use incident::digest::Digest;
use runtime::config::{self, Problem, Secret, Section as _};
use subtle::{Choice, ConstantTimeEq as _};

use crate::config::Config;

/// A shorter secret is taken, with a warning.
const SECRET_BYTES_GOOD: usize = 16;

/// The credentials that are accepted. The only way to have one is [`Credentials::read`], which
/// refuses a public address without any.
#[derive(Clone)]
pub struct Credentials {
    /// Digests of what may be presented; comparing digests takes the same time for every guess.
    accepted: Vec<Digest>,
    /// The value of `WWW-Authenticate`.
    challenge: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} accepted)", self.accepted.len())
    }
}

impl Credentials {
    /// Checks the section and reads its secrets. `path` is where the section stands.
    ///
    /// # Errors
    /// Everything that is wrong, at once: an address that needs credentials and has none, files
    /// that cannot be read, empty secrets.
    pub fn read(config: &Config, path: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        config.check(path, &mut problems);
        let mut accepted = Vec::new();
        for (i, file) in config.auth.token_files.iter().enumerate() {
            let at = format!("{path}.auth.token_files[{i}]");
            match read_secret(file, &at) {
                Ok(secret) => accepted.push(bearer(secret.expose().as_bytes())),
                Err(problem) => problems.push(problem),
            }
        }
        for (i, user) in config.auth.basic.iter().enumerate() {
            let at = format!("{path}.auth.basic[{i}].password_file");
            match read_secret(&user.password_file, &at) {
                Ok(secret) => {
                    let pair = format!("{}:{}", user.username, secret.expose());
                    accepted.push(basic(pair.as_bytes()));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut challenges = Vec::new();
        if !config.auth.token_files.is_empty() {
            challenges.push("Bearer realm=\"nightshift\"");
        }
        if !config.auth.basic.is_empty() {
            challenges.push("Basic realm=\"nightshift\", charset=\"UTF-8\"");
        }
        Ok(Self {
            accepted,
            challenge: challenges.join(", "),
        })
    }

    /// Whether no credentials are asked for, because only this machine can call.
    pub fn is_open(&self) -> bool {
        self.accepted.is_empty()
    }

    /// The value of `WWW-Authenticate`.
    pub(crate) fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Whether the request shows one of the accepted credentials, in time that does not depend on
    /// which, or on how much of it is right.
    pub(crate) fn accept(&self, headers: &HeaderMap) -> bool {
        if self.is_open() {
            return true;
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some(shown) = shown(value.as_bytes()) else {
            return false;
        };
        let shown = shown.as_str().as_bytes();
        let matches = self.accepted.iter().fold(Choice::from(0), |any, accepted| {
            any | accepted.as_str().as_bytes().ct_eq(shown)
        });
        matches.into()
    }
}

fn shown(header: &[u8]) -> Option<Digest> {
    let space = header.iter().position(|b| *b == b' ')?;
    let (scheme, rest) = header.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        Some(bearer(rest))
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        STANDARD.decode(rest).ok().map(|pair| basic(&pair))
    } else {
        None
    }
}

fn bearer(token: &[u8]) -> Digest {
    Digest::of(&[b"bearer\0", token].concat())
}

fn basic(pair: &[u8]) -> Digest {
    Digest::of(&[b"basic\0", pair].concat())
}

fn read_secret(file: &Path, at: &str) -> Result<Secret, Problem> {
    let secret = config::read_secret(file).map_err(|error| {
        Problem::new(
            at,
            format!("{error} (E-HOOK-002)"),
            "Point it at a file that holds nothing but the secret and that this user may read.",
        )
    })?;
    if secret.expose().len() < SECRET_BYTES_GOOD {
        tracing::warn!(file = %file.display(), bytes_good = SECRET_BYTES_GOOD, "a secret is short enough to be guessed");
    }
    let mode = fs::metadata(file).map_or(0, |file| file.permissions().mode());
    if mode & 0o004 != 0 {
        tracing::warn!(file = %file.display(), mode = format!("{:o}", mode & 0o777), "a secret can be read by every user of this machine");
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Auth, BasicUser};

    fn guarded() -> Credentials {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            fs::write(&file, text).expect("a file");
            file
        };
        let auth = Auth {
            token_files: vec![
                write("old", "old-token-0123456\n"),
                write("new", "new-token-0123456"),
            ],
            basic: vec![BasicUser {
                username: "alertmanager".into(),
                password_file: write("password", "pass:word\n"),
            }],
        };
        let config = Config {
            auth,
            ..Config::default()
        };
        Credentials::read(&config, "hook").expect("credentials")
    }

    fn check(headers: &[&str], expect: bool) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(AUTHORIZATION, header.parse().expect("a header"));
        }
        assert_eq!(guarded().accept(&map), expect, "{headers:?}");
    }

    #[test]
    fn only_what_was_configured_is_accepted() {
        check(&["Bearer old-token-0123456"], true);
        check(&["bearer new-token-0123456"], true);
        check(&["BEARER  new-token-0123456 "], true);
        let pair = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&[&pair("alertmanager:pass:word")], true);
        check(&[], false);
        check(&["Bearer"], false);
        check(&["Bearer "], false);
        check(&["Bearer old-token-012345"], false);
        check(&["old-token-0123456"], false);
        check(&["Basic old-token-0123456"], false);
        check(&["Bearer alertmanager:pass:word"], false);
        check(&[&pair("alertmanager:pass")], false);
        check(&[&pair("other:pass:word")], false);
        check(
            &["Bearer old-token-0123456", "Bearer old-token-0123456"],
            false,
        );
    }

    #[test]
    fn every_bad_secret_is_reported_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let empty = dir.path().join("empty");
        fs::write(&empty, " \n").expect("a file");
        let long = dir.path().join("long");
        fs::write(&long, "x".repeat(70_000)).expect("a file");
        let config = Config {
            listen: "0.0.0.0:8080".parse().expect("an address"),
            auth: Auth {
                token_files: vec![dir.path().join("missing"), empty, long],
                basic: vec![BasicUser {
                    username: String::new(),
                    password_file: PathBuf::from("/nowhere/at/all"),
                }],
            },
            ..Config::default()
        };
        let problems = Credentials::read(&config, "hook").expect_err("all are bad");
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "hook.auth.basic[0].username",
                "hook.auth.token_files[0]",
                "hook.auth.token_files[1]",
                "hook.auth.token_files[2]",
                "hook.auth.basic[0].password_file",
            ]
        );
    }

    #[test]
    fn a_public_address_without_credentials_cannot_be_had() {
        let config = Config {
            listen: "0.0.0.0:8080".parse().expect("an address"),
            ..Config::default()
        };
        let problems = Credentials::read(&config, "hook").expect_err("no credentials");
        assert!(problems[0].what.contains("E-HOOK-001"), "{problems:?}");
    }
}
