//! Files that the configuration names: whether they are there and hold what they should.
//!
//! Only who needs a file looks at it: the command line of a person has no business with the agents'
//! token, and a role may run where the secrets of another are not mounted.

use std::path::Path;

use incident::ApprovalKey;
use incident::message::agent;
use runtime::config::{Problem, read_secret};

use super::Config;
use crate::roles::Role;

/// Who is going to read files.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader<'a> {
    /// A command that talks to a running Nightshift; reads what it needs when it needs it.
    Command,
    /// A process that is about to play these roles.
    Roles(&'a [Role]),
    /// Somebody who wants to know everything.
    Check,
}

impl Reader<'_> {
    fn hook(self) -> bool {
        self.reads(|role| matches!(role, Role::Hook))
    }

    fn orchestrator(self) -> bool {
        self.reads(
            |role| matches!(role, Role::Agents(names) if names.contains(&agent::ORCHESTRATOR)),
        )
    }

    fn reads(self, of: impl Fn(&Role) -> bool) -> bool {
        match self {
            Self::Command => false,
            Self::Roles(roles) => roles.iter().any(of),
            Self::Check => true,
        }
    }
}

/// Adds a problem for every file that `reader` could not use.
pub(crate) fn check(config: &Config, reader: Reader<'_>, problems: &mut Vec<Problem>) {
    let mut secret = |field: String, file: &Path| {
        if let Err(error) = read_secret(file) {
            let code = if field.starts_with("hook.") {
                " (E-HOOK-002)"
            } else {
                ""
            };
            problems.push(Problem::new(
                field,
                format!("{error}{code}"),
                "Name a file that this user can read and that holds nothing but the secret.",
            ));
        }
    };
    if reader.reads(|_| true) {
        for (field, file) in config.bus.redis_secret_files() {
            secret(field.to_owned(), file);
        }
        if config.bus.kind == bus::Kind::Nats {
            for (field, file) in config.bus.nats.secret_files() {
                secret(format!("bus.nats.{field}"), file);
            }
        }
    }
    if reader.hook() {
        for (i, file) in config.hook.auth.token_files.iter().enumerate() {
            secret(format!("hook.auth.token_files[{i}]"), file);
        }
        for (i, user) in config.hook.auth.basic.iter().enumerate() {
            let field = format!("hook.auth.basic[{i}].password_file");
            secret(field, &user.password_file);
        }
    }
    if reader.hook() {
        for (field, file) in config.alertmanager.secret_files() {
            secret(format!("alertmanager.{field}"), file);
        }
    }
    if reader.reads(|role| !matches!(role, Role::Hook))
        && let Some(file) = &config.a2a.token_file
    {
        secret("a2a.token_file".to_owned(), file);
    }
    // What is read again at each use may still come while the process runs.
    if matches!(reader, Reader::Check) {
        if let Some(file) = &config.slack.url_file {
            secret("slack.url_file".to_owned(), file);
        }
        if let Some(file) = &config.slack.token_file {
            secret("slack.token_file".to_owned(), file);
        }
        for (i, repository) in config.repositories.iter().enumerate() {
            let at = format!("repositories[{i}].credentials");
            if let Some(file) = &repository.credentials.token_file {
                secret(format!("{at}.token_file"), file);
            }
            if let Some(file) = &repository.credentials.ssh_key_file {
                secret(format!("{at}.ssh_key_file"), file);
            }
        }
    }
    if reader.hook() || reader.orchestrator() {
        approval_key(config, problems);
    }
}

fn approval_key(config: &Config, problems: &mut Vec<Problem>) {
    let Some(file) = &config.approval.key_file else {
        return;
    };
    let why = match read_secret(file) {
        Ok(secret) => match ApprovalKey::new(secret.expose()) {
            Ok(_) => return,
            Err(error) => format!("{}: {error}", file.display()),
        },
        Err(error) => error.to_string(),
    };
    problems.push(Problem::new(
        "approval.key_file",
        why,
        "Write 32 random bytes as text into it, or leave it out to have one made.",
    ));
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A configuration every file of which is missing.
    fn config() -> Config {
        let mut config = Config::default();
        let missing = |name: &str| PathBuf::from(format!("/nowhere/{name}"));
        config.hook.auth.token_files = vec![missing("token")];
        config.a2a.token_file = Some(missing("agents"));
        config.slack.url_file = Some(missing("slack"));
        config.slack.token_file = Some(missing("slack-token"));
        config.approval.key_file = Some(missing("key"));
        config
    }

    fn check(reader: Reader<'_>, expect: &str) {
        let mut problems = Vec::new();
        super::check(&config(), reader, &mut problems);
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths.join(" "), expect);
    }

    #[test]
    fn who_reads_a_file_hears_of_it() {
        check(Reader::Command, "");
        check(
            Reader::Roles(&[Role::Hook]),
            "hook.auth.token_files[0] approval.key_file",
        );
        check(Reader::Roles(&[Role::Dispatcher]), "a2a.token_file");
        check(
            Reader::Roles(&[Role::Agents(vec![agent::TRIAGE])]),
            "a2a.token_file",
        );
        check(
            Reader::Roles(&[Role::Agents(vec![agent::ORCHESTRATOR])]),
            "a2a.token_file approval.key_file",
        );
        check(
            Reader::Check,
            "hook.auth.token_files[0] a2a.token_file slack.url_file slack.token_file approval.key_file",
        );
    }

    #[test]
    fn a_key_that_is_too_short_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let file = folder.path().join("key");
        std::fs::write(&file, "short").unwrap();
        config.approval.key_file = Some(file);
        let mut problems = Vec::new();
        super::check(&config, Reader::Check, &mut problems);
        assert!(problems[0].what.contains("32"), "{problems:?}");
    }
}
