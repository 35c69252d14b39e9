//! A Git repository with people in it: a bare remote, a work tree they commit in, and a work tree
//! that is deployed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use incident::ports::Clock as _;
use jiff::Timestamp;
use runtime::SystemClock;
use tokio::process::Command;

/// The base branch.
pub const BRANCH: &str = "main";

/// Somebody who commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Name.
    pub name: &'static str,
    /// Address, at a domain that is reserved for examples.
    pub mail: &'static str,
}

/// Looks after the checkout service.
pub const ADA: Person = Person {
    name: "Ada Example",
    mail: "ada@example.org",
};
/// Looks after the payments service.
pub const BEN: Person = Person {
    name: "Ben Example",
    mail: "ben@example.org",
};
/// Looks after dashboards and documentation.
pub const CLEO: Person = Person {
    name: "Cleo Example",
    mail: "cleo@example.org",
};

/// One commit of one file.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// Who.
    pub author: Person,
    /// When; the present if none.
    pub at: Option<Timestamp>,
    /// Which file, from the root of the repository.
    pub path: &'a str,
    /// Its whole new content.
    pub content: &'a str,
    /// The message.
    pub message: &'a str,
}

/// The three copies.
#[derive(Debug)]
pub struct Repository {
    /// The bare remote: what forges and agents use.
    pub remote: PathBuf,
    /// Where people work.
    pub desk: PathBuf,
    /// What runs.
    pub deployed: PathBuf,
}

impl Repository {
    /// An empty repository under `folder`.
    ///
    /// # Errors
    /// Git is not installed or refuses.
    pub async fn create(folder: &Path) -> anyhow::Result<Self> {
        let made = Self {
            remote: folder.join("shop.git"),
            desk: folder.join("desk"),
            deployed: folder.join("deployed"),
        };
        let branch = format!("--initial-branch={BRANCH}");
        let remote = made.remote.to_string_lossy().into_owned();
        git(folder, &["init", "--quiet", "--bare", &branch, &remote]).await?;
        for tree in [&made.desk, &made.deployed] {
            let tree = tree.to_string_lossy().into_owned();
            git(folder, &["init", "--quiet", &branch, &tree]).await?;
            git(folder, &["-C", &tree, "remote", "add", "origin", &remote]).await?;
        }
        Ok(made)
    }

    /// Commits at the desk; returns the commit's full id.
    ///
    /// # Errors
    /// Git refuses, for example because nothing changed.
    pub async fn commit(&self, commit: Commit<'_>) -> anyhow::Result<String> {
        let path = self.desk.join(commit.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, commit.content)?;
        git(&self.desk, &["add", "--", commit.path]).await?;
        let at = commit.at.unwrap_or_else(|| SystemClock::new().now());
        let message = ["commit", "--quiet", "-m", commit.message];
        run(&self.desk, &message, Some((commit.author, at))).await?;
        self.head().await
    }

    /// The newest commit at the desk.
    ///
    /// # Errors
    /// There is none.
    pub async fn head(&self) -> anyhow::Result<String> {
        git(&self.desk, &["rev-parse", "HEAD"]).await
    }

    /// Publishes what was committed at the desk.
    ///
    /// # Errors
    /// Git refuses.
    pub async fn push(&self) -> anyhow::Result<()> {
        let to = format!("HEAD:refs/heads/{BRANCH}");
        git(&self.desk, &["push", "--quiet", "origin", &to]).await?;
        Ok(())
    }

    /// Brings what was published to what runs.
    ///
    /// # Errors
    /// Git refuses.
    pub async fn pull(&self) -> anyhow::Result<()> {
        git(
            &self.deployed,
            &["pull", "--quiet", "--ff-only", "origin", BRANCH],
        )
        .await?;
        Ok(())
    }

    /// What a person does with a draft: merges a published branch, publishes the result.
    ///
    /// # Errors
    /// Git refuses, for example because of a conflict.
    pub async fn merge(&self, branch: &str, author: Person) -> anyhow::Result<String> {
        git(&self.desk, &["fetch", "--quiet", "origin", branch]).await?;
        let message = format!("Merge {branch}");
        let merge = ["merge", "--quiet", "--no-ff", "-m", &message, "FETCH_HEAD"];
        let now = SystemClock::new().now();
        run(&self.desk, &merge, Some((author, now))).await?;
        self.push().await?;
        self.head().await
    }

    /// The branches of the remote.
    ///
    /// # Errors
    /// Git refuses.
    pub async fn branches(&self) -> anyhow::Result<Vec<String>> {
        let format = "--format=%(refname:short)";
        let names = git(&self.remote, &["for-each-ref", format, "refs/heads"]).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }
}

/// Runs git without anybody's own settings; returns what it printed, trimmed.
///
/// # Errors
/// Git is not installed or fails; the message has what it said.
pub async fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    run(folder, arguments, None).await
}

async fn run(
    folder: &Path,
    arguments: &[&str],
    author: Option<(Person, Timestamp)>,
) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    if let Some((person, at)) = author {
        let at = format!("{} +0000", at.as_second());
        command
            .env("GIT_AUTHOR_NAME", person.name)
            .env("GIT_AUTHOR_EMAIL", person.mail)
            .env("GIT_AUTHOR_DATE", &at)
            .env("GIT_COMMITTER_NAME", person.name)
            .env("GIT_COMMITTER_EMAIL", person.mail)
            .env("GIT_COMMITTER_DATE", &at);
    }
    let output = command.output().await.context("git cannot be started")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {}: {}", arguments.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
