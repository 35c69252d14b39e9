//! What can go wrong with Git.

use incident::error::{Classify, Code, Kind};
use incident::untrusted::Untrusted;

/// Why Git did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The executable cannot be started.
    #[error("git cannot be started: {0}; install git 2.38 or newer, or set `executable`")]
    Missing(String),
    /// Git answered with an error that fits no other case.
    #[error("git {what} failed: {}", said.one_line(300))]
    Failed {
        /// The subcommand.
        what: &'static str,
        /// What it wrote to standard error.
        said: Untrusted,
    },
    /// The remote cannot be reached.
    #[error("git {what} cannot reach the remote: {}", said.one_line(300))]
    Unreachable {
        /// The subcommand.
        what: &'static str,
        /// What it wrote to standard error.
        said: Untrusted,
    },
    /// The remote refuses the credentials, or wants some.
    #[error("git {what} was denied by the remote: {}; check the repository's credentials", said.one_line(300))]
    Denied {
        /// The subcommand.
        what: &'static str,
        /// What it wrote to standard error.
        said: Untrusted,
    },
    /// The repository, branch or object does not exist.
    #[error("git {what} found nothing there: {}", said.one_line(300))]
    NotFound {
        /// The subcommand.
        what: &'static str,
        /// What it wrote to standard error.
        said: Untrusted,
    },
    /// More output than the limit.
    #[error("git {what} wrote more than {limit} bytes")]
    TooLarge {
        /// The subcommand.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The deadline passed first.
    #[error("git {what} did not finish by the deadline")]
    Deadline {
        /// The subcommand.
        what: &'static str,
    },
    /// The work was called off.
    #[error("git {what} was cancelled")]
    Cancelled {
        /// The subcommand.
        what: &'static str,
    },
    /// Git's output is not what it should be.
    #[error("git wrote something unreadable where {expected} belongs: {}", found.one_line(120))]
    Unreadable {
        /// What was expected.
        expected: &'static str,
        /// What was there.
        found: Untrusted,
    },
    /// A file of the mirror, or a credential, cannot be read or written.
    #[error("{what}: {why}")]
    Disk {
        /// Which file, by its role.
        what: &'static str,
        /// What the operating system said.
        why: String,
    },
}

impl GitError {
    pub(super) fn unreadable(expected: &'static str, found: &[u8]) -> Self {
        let found = found.get(..found.len().min(400)).unwrap_or_default();
        Self::Unreadable {
            expected,
            found: Untrusted::new(String::from_utf8_lossy(found)),
        }
    }

    pub(super) fn disk(what: &'static str, error: &std::io::Error) -> Self {
        Self::Disk {
            what,
            why: error.to_string(),
        }
    }

    /// Sorts a failure by what Git wrote in the C locale. Git has no error codes to go by.
    pub(super) fn from_stderr(what: &'static str, stderr: &[u8]) -> Self {
        const DENIED: [&str; 8] = [
            "authentication failed",
            "could not read username",
            "could not read password",
            "permission denied",
            "access denied",
            "host key verification failed",
            "dubious ownership",
            "returned error: 403",
        ];
        const NOT_FOUND: [&str; 8] = [
            "couldn't find remote ref",
            "does not appear to be a git repository",
            "repository not found",
            "returned error: 404",
            "not a valid object name",
            "bad object",
            "unknown revision",
            "does not exist in",
        ];
        const UNREACHABLE: [&str; 10] = [
            "could not resolve host",
            "unable to access",
            "connection refused",
            "connection timed out",
            "connection closed",
            "connection reset",
            "network is unreachable",
            "no route to host",
            "early eof",
            "the remote end hung up",
        ];
        let text = String::from_utf8_lossy(stderr);
        let lower = text.to_ascii_lowercase();
        let said = Untrusted::new(telling(&text));
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&DENIED) {
            Self::Denied { what, said }
        } else if has(&NOT_FOUND) {
            Self::NotFound { what, said }
        } else if has(&UNREACHABLE) {
            Self::Unreachable { what, said }
        } else {
            Self::Failed { what, said }
        }
    }

    /// Whether it says that there is no repository at the remote's address, for now or for good.
    pub fn is_no_remote(&self) -> bool {
        let Self::NotFound { said, .. } = self else {
            return false;
        };
        let lower = said.expose().to_ascii_lowercase();
        let words = [
            "does not appear to be a git repository",
            "repository not found",
            "returned error: 404",
        ];
        words.iter().any(|word| lower.contains(word))
    }

    /// Whether it says that a mirror's own files are damaged, so that a new mirror helps.
    pub(super) fn is_corruption(&self) -> bool {
        let (Self::Failed { said, .. } | Self::NotFound { said, .. }) = self else {
            return false;
        };
        let lower = said.expose().to_ascii_lowercase();
        let words = [
            "corrupt",
            "loose object",
            "bad object",
            "not a git repository",
            "unable to read",
            "missing blob",
            "missing tree",
            "invalid index-pack",
            "packfile",
            "bad config",
        ];
        words.iter().any(|word| lower.contains(word))
    }
}

/// The lines that say what happened: the remote's and the first fatal one, without Git's advice.
fn telling(stderr: &str) -> String {
    let is_fatal = |line: &&str| line.starts_with("fatal:");
    let told = |line: &&str| line.starts_with("remote:") || line.starts_with("error:");
    let first = stderr.lines().find(is_fatal);
    let lines: Vec<&str> = stderr.lines().filter(told).chain(first).collect();
    if lines.is_empty() {
        stderr.to_owned()
    } else {
        lines.join("\n")
    }
}

impl Classify for GitError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } | Self::Disk { .. } => Kind::Transient,
            Self::Deadline { .. } => Kind::Exhausted,
            Self::Cancelled { .. } => Kind::Cancelled,
            _ => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        Code(match self {
            Self::Missing(_) => "E-GIT-001",
            Self::Failed { .. } => "E-GIT-002",
            Self::Unreachable { .. } => "E-GIT-003",
            Self::Denied { .. } => "E-GIT-004",
            Self::NotFound { .. } => "E-GIT-005",
            Self::TooLarge { .. } => "E-GIT-006",
            Self::Deadline { .. } => "E-GIT-007",
            Self::Cancelled { .. } => "E-GIT-008",
            Self::Unreadable { .. } => "E-GIT-009",
            Self::Disk { .. } => "E-GIT-010",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stderr: &str, code: &str) {
        assert_eq!(
            GitError::from_stderr("fetch", stderr.as_bytes()).code().0,
            code,
            "{stderr}"
        );
    }

    #[test]
    fn failures_are_sorted_by_what_git_says() {
        check(
            "fatal: unable to access 'https://x/': Could not resolve host: x",
            "E-GIT-003",
        );
        check(
            "fatal: unable to access 'https://x/': The requested URL returned error: 403",
            "E-GIT-004",
        );
        check("fatal: Authentication failed for 'https://x/'", "E-GIT-004");
        check(
            "fatal: detected dubious ownership in repository at '/srv/x.git'",
            "E-GIT-004",
        );
        check(
            "fatal: couldn't find remote ref refs/heads/nope",
            "E-GIT-005",
        );
        check(
            "fatal: '/nowhere' does not appear to be a git repository",
            "E-GIT-005",
        );
        check("fatal: something new", "E-GIT-002");
    }

    #[test]
    fn what_git_says_cannot_break_a_log_line() {
        let error = GitError::from_stderr("push", b"a\x1b[31mb\r\nc\xff");
        assert_eq!(error.to_string(), "git push failed: a [31mb c\u{fffd}");
    }
}
