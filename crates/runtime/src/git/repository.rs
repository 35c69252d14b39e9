//! A repository as the configuration names it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use incident::digest::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::GitError;
use crate::config::{Problem, Secret};

/// One repository whose history is read and, where allowed, reverted: `[[repositories]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its name in reports and on the command line: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Where it is: an absolute path, `https://`, `ssh://`, `file://`, or `user@host:path`. A path
    /// on this machine is trusted as far as its own hooks go: they run when a branch is pushed.
    pub remote: String,
    /// The branch that is deployed. It is read and never written.
    #[serde(default = "main_branch")]
    pub base: String,
    /// Which paths belong to which services. The longest matching prefix decides; a change whose
    /// paths match nothing reaches no known service and is ranked lower for it.
    #[serde(default)]
    pub paths: Vec<PathRule>,
    /// Paths (prefixes) that a revert may touch; empty means all. Pipelines, code owners and the
    /// like are refused whatever stands here.
    #[serde(default)]
    pub revert_paths: Vec<String>,
    /// How to sign in; nothing is needed for a path.
    #[serde(default)]
    pub credentials: Credentials,
    /// Who the commits on draft branches are by.
    #[serde(default)]
    pub author: Author,
    /// Page of a commit, without its object name at the end, such as
    /// `https://git.example.org/shop/commit/`. Without it reports carry no link.
    #[serde(default)]
    pub commit_url: Option<String>,
}

/// Paths and the services they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// A folder or file; `""` is everything.
    pub prefix: String,
    /// Names of services, as in the `service`, `job` or `app` label of their alerts.
    pub services: Vec<String>,
}

/// How to sign in. Secrets stand in files, never here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// A private key for `ssh`.
    pub ssh_key_file: Option<PathBuf>,
    /// The host keys `ssh` accepts; without it those of the machine.
    pub known_hosts_file: Option<PathBuf>,
    /// A token for `https`, read again for every command, so that it can be rotated.
    pub token_file: Option<PathBuf>,
    /// The user name that goes with the token.
    pub username: Option<String>,
}

/// A name in commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Author {
    /// Name.
    pub name: String,
    /// E-mail address; it need not exist.
    pub email: String,
}

impl Default for Author {
    fn default() -> Self {
        Self {
            name: "Nightshift".to_owned(),
            email: "nightshift@localhost".to_owned(),
        }
    }
}

fn main_branch() -> String {
    "main".to_owned()
}

/// How a remote is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Path,
    Http,
    Https,
    Ssh,
}

impl Repository {
    /// A repository with nothing but a name and a place.
    pub fn new(name: impl Into<String>, remote: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            remote: remote.into(),
            base: main_branch(),
            paths: Vec::new(),
            revert_paths: Vec::new(),
            credentials: Credentials::default(),
            author: Author::default(),
            commit_url: None,
        }
    }

    /// The services that the paths of a change belong to, sorted.
    pub fn services<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut services = std::collections::BTreeSet::new();
        for path in paths {
            let fitting = || self.paths.iter().filter(|rule| under(path, &rule.prefix));
            let longest = fitting().map(|rule| rule.prefix.len()).max();
            let deciding = fitting().filter(|rule| Some(rule.prefix.len()) == longest);
            services.extend(deciding.flat_map(|rule| rule.services.iter().cloned()));
        }
        services.into_iter().collect()
    }

    /// Whether a revert may touch `path`.
    pub fn may_revert(&self, path: &str) -> bool {
        let allowed = self.revert_paths.is_empty()
            || self.revert_paths.iter().any(|prefix| under(path, prefix));
        allowed && !never_touched(path)
    }

    /// The path, if the remote is one on this machine.
    pub fn local_path(&self) -> Option<&Path> {
        (self.transport() == Some(Transport::Path))
            .then(|| Path::new(self.remote.strip_prefix("file://").unwrap_or(&self.remote)))
    }

    /// Digest of name, remote and base: tells apart what shares nothing.
    pub fn identity(&self) -> Digest {
        Digest::of_fields(
            "repository/1",
            [self.name.as_str(), &self.remote, &self.base],
        )
    }

    /// Environment of Git commands that talk to the remote.
    pub(super) fn environment(&self) -> Result<Vec<(&'static str, String)>, GitError> {
        let mut env = Vec::new();
        let transport = self.transport();
        if transport == Some(Transport::Ssh) {
            env.push(("GIT_SSH_COMMAND", self.ssh_command()));
            env.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
        }
        let web = matches!(transport, Some(Transport::Http | Transport::Https));
        if let (true, Some(file)) = (web, &self.credentials.token_file) {
            let token = std::fs::read_to_string(file)
                .map(Secret::new)
                .map_err(|error| GitError::disk("the repository's token_file", &error))?;
            let user = self.credentials.username.as_deref().unwrap_or("git");
            let basic = BASE64.encode(format!("{user}:{}", token.expose()));
            // In the environment rather than on the command line, where every user could read it;
            // bound to this remote, so that no other host ever gets it.
            env.push(("GIT_CONFIG_COUNT", "1".to_owned()));
            env.push((
                "GIT_CONFIG_KEY_0",
                format!("http.{}.extraHeader", self.remote),
            ));
            env.push((
                "GIT_CONFIG_VALUE_0",
                format!("Authorization: Basic {basic}"),
            ));
        }
        Ok(env)
    }

    fn ssh_command(&self) -> String {
        let mut command = "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes \
                           -o StrictHostKeyChecking=yes -o ConnectTimeout=10 \
                           -o ServerAliveInterval=10 -o ServerAliveCountMax=3"
            .to_owned();
        if let Some(file) = &self.credentials.ssh_key_file {
            command.push_str(" -i ");
            command.push_str(&quoted(file));
        }
        if let Some(file) = &self.credentials.known_hosts_file {
            command.push_str(" -o UserKnownHostsFile=");
            command.push_str(&quoted(file));
        }
        command
    }

    fn transport(&self) -> Option<Transport> {
        let remote = self.remote.as_str();
        let plain = !remote.is_empty()
            && !remote.starts_with('-')
            && !remote.contains("::")
            && !remote.chars().any(|c| c.is_control() || c.is_whitespace());
        if !plain {
            return None;
        }
        match remote.split_once("://") {
            Some(("https", _)) => Some(Transport::Https),
            Some(("http", _)) => Some(Transport::Http),
            Some(("ssh", rest)) => (!rest.starts_with('-')).then_some(Transport::Ssh),
            Some(("file", rest)) => rest.starts_with('/').then_some(Transport::Path),
            Some(_) => None,
            None if remote.starts_with('/') => Some(Transport::Path),
            None => {
                let (host, path) = remote.split_once(':')?;
                let good = !host.is_empty() && !host.contains('/') && !path.starts_with('-');
                good.then_some(Transport::Ssh)
            }
        }
    }

    /// Adds a problem for everything that cannot work.
    pub fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut problem = |field: &str, what: String, remedy: &str| {
            problems.push(Problem::new(format!("{path}.{field}"), what, remedy));
        };
        if !is_name(&self.name) {
            problem(
                "name",
                format!("{:?} is not a name", self.name),
                "Use up to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit.",
            );
        }
        if !is_branch(&self.base) {
            let what = format!("{:?} is not a branch name", self.base);
            problem(
                "base",
                what,
                "Write the branch as Git shows it, such as \"main\".",
            );
        }
        match self.transport() {
            None => problem(
                "remote",
                format!("{:?} is not a place Git is allowed to go", self.remote),
                "Write an absolute path, https://, ssh://, file:// or user@host:path.",
            ),
            Some(transport) => self.check_credentials(transport, &mut problem),
        }
        if self.author.name.trim().is_empty() || !is_line(&self.author.name) {
            problem(
                "author.name",
                "it is empty or not one line".into(),
                "Write a name.",
            );
        }
        if self.author.email.trim().is_empty() || !is_line(&self.author.email) {
            problem(
                "author.email",
                "it is empty or not one line".into(),
                "Write an address.",
            );
        }
    }

    fn check_credentials(
        &self,
        transport: Transport,
        problem: &mut impl FnMut(&str, String, &str),
    ) {
        let authority = self.remote.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let web = matches!(transport, Transport::Http | Transport::Https);
        if web && authority.contains('@') {
            problem(
                "remote",
                "it carries a user name or password".into(),
                "Move them to credentials.username and credentials.token_file.",
            );
        }
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if transport == Transport::Http && self.credentials.token_file.is_some() && !here {
            problem(
                "credentials.token_file",
                "the token would travel in the clear".into(),
                "Use https:// for the remote.",
            );
        }
    }
}

/// Adds a problem for everything in `repositories` that cannot work, alone or together.
pub fn check_all(repositories: &[Repository], path: &str, problems: &mut Vec<Problem>) {
    let mut names = std::collections::BTreeSet::new();
    for (index, repository) in repositories.iter().enumerate() {
        let at = format!("{path}[{index}]");
        repository.check(&at, problems);
        if !names.insert(repository.name.as_str()) {
            let what = format!("{:?} is named twice", repository.name);
            problems.push(Problem::new(
                format!("{at}.name"),
                what,
                "Give each its own name.",
            ));
        }
    }
}

/// Paths that no proposal touches: what decides who may merge and what runs on a merge, and what
/// changes how Git itself reads the rest.
pub fn never_touched(path: &str) -> bool {
    const FOLDERS: [&str; 9] = [
        ".github",
        ".gitlab",
        ".forgejo",
        ".gitea",
        ".circleci",
        ".buildkite",
        ".woodpecker",
        ".tekton",
        ".git",
    ];
    const FILES: [&str; 12] = [
        "codeowners",
        "jenkinsfile",
        ".gitattributes",
        ".gitmodules",
        ".gitignore",
        ".mailmap",
        ".travis.yml",
        ".drone.yml",
        "azure-pipelines.yml",
        "bitbucket-pipelines.yml",
        "cloudbuild.yaml",
        ".pre-commit-config.yaml",
    ];
    const STARTS: [&str; 3] = [".gitlab-ci", ".woodpecker", "azure-pipelines"];
    // Some file systems fold case; so does this.
    let path = path.to_lowercase();
    let mut parts: Vec<&str> = path.split('/').collect();
    let file = parts.pop().unwrap_or_default();
    let starts = |part: &str| STARTS.iter().any(|start| part.starts_with(start));
    let folder = |part: &&str| FOLDERS.contains(part) || *part == ".." || starts(part);
    parts.iter().any(folder) || FILES.contains(&file) || FOLDERS.contains(&file) || starts(file)
}

/// Whether `path` is `prefix` or lies under it.
fn under(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => {
            prefix.is_empty() || prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/')
        }
        None => false,
    }
}

fn is_line(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '<' | '>'))
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.len() <= 64
        && name.bytes().all(good)
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// The rules of `git check-ref-format --branch`, a little stricter.
fn is_branch(name: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let lock = |part: &str| part.rsplit_once('.').is_some_and(|(_, end)| end == "lock");
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !lock(part);
    !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && name.len() <= 200
        && !name.chars().any(bad)
        && name.split('/').all(part)
}

/// For the shell that Git hands its SSH command to.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(repository: &Repository) -> String {
        let mut problems = Vec::new();
        repository.check("repositories[0]", &mut problems);
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn remotes_that_run_programs_or_look_like_options_are_refused() {
        for good in [
            "/srv/shop.git",
            "file:///srv/shop.git",
            "https://git.example.org/shop",
            "ssh://git@git.example.org/shop",
            "git@git.example.org:shop.git",
        ] {
            assert_eq!(problems(&Repository::new("shop", good)), "", "{good}");
        }
        for bad in [
            "",
            "ext::sh -c id",
            "ext::id",
            "fd::17",
            "-u",
            "--upload-pack=id",
            "./shop.git",
            "shop.git",
            "git://git.example.org/shop",
            "ftp://x/y",
            "ssh://-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "host:-x",
            "/srv/a\nb",
            "file://host/share",
        ] {
            assert!(
                problems(&Repository::new("shop", bad)).contains("is not a place"),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn secrets_do_not_travel_in_the_clear() {
        let mut repository = Repository::new("shop", "http://git.example.org/shop");
        repository.credentials.token_file = Some("/etc/token".into());
        assert!(problems(&repository).contains("in the clear"));
        repository.remote = "http://127.0.0.1:3000/shop".to_owned();
        assert_eq!(problems(&repository), "");
        repository.remote = "https://bot:pw@git.example.org/shop".to_owned();
        assert!(problems(&repository).contains("carries a user name"));
    }

    #[test]
    fn branches_and_names() {
        for (base, good) in [
            ("main", true),
            ("release/1.2", true),
            ("-f", false),
            ("a..b", false),
            ("a:b", false),
            ("+main", true),
            ("", false),
            ("a//b", false),
            ("x.lock", false),
            ("a b", false),
        ] {
            assert_eq!(is_branch(base), good, "{base:?}");
        }
        for (name, good) in [
            ("shop", true),
            ("shop-2.x", true),
            ("..", false),
            ("-x", false),
            ("a/b", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let rule = |prefix: &str, service: &str| PathRule {
            prefix: prefix.into(),
            services: vec![service.into()],
        };
        let mut repository = Repository::new("shop", "/srv/shop.git");
        repository.paths = vec![
            rule("", "all"),
            rule("services/cart", "cart"),
            rule("services/", "any"),
        ];
        let check = |path: &str, expect: &str| {
            assert_eq!(repository.services([path]).join(","), expect, "{path}");
        };
        check("services/cart/config.toml", "cart");
        check("services/cartoon/x", "any");
        check("services/cart", "cart");
        check("README.md", "all");
        assert_eq!(
            repository.services(["README.md", "services/cart/x"]),
            ["all", "cart"]
        );
    }

    #[test]
    fn pipelines_and_owners_are_never_reverted() {
        let repository = Repository::new("shop", "/srv/shop.git");
        for path in [
            ".github/workflows/x.yml",
            ".gitlab-ci.yml",
            ".gitlab-ci/x",
            "docs/CODEOWNERS",
            ".forgejo/a",
            "sub/.gitea/b",
            ".GitHub/x",
            "Jenkinsfile",
            ".gitmodules",
            "a/../b",
            ".git/hooks/x",
        ] {
            assert!(!repository.may_revert(path), "{path}");
        }
        assert!(repository.may_revert("services/cart/config.toml"));
        let narrow = Repository {
            revert_paths: vec!["services/".into()],
            ..repository
        };
        assert!(narrow.may_revert("services/cart/x") && !narrow.may_revert("infra/x"));
        assert!(!narrow.may_revert("services/.github/x"));
    }

    #[test]
    fn a_key_path_cannot_leave_its_quotes() {
        let mut repository = Repository::new("shop", "git@h:shop");
        repository.credentials.ssh_key_file = Some("/k'; id; '".into());
        assert!(repository.ssh_command().ends_with(r"-i '/k'\''; id; '\'''"));
    }
}
