//! Repositories made for tests, the drill and demonstrations: a bare one and somebody who commits to
//! it. Uses the plain executable with the caller's own environment kept out.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;

/// A bare repository with a `main` branch, and a clone to work in.
#[derive(Debug)]
pub struct Workbench {
    /// The bare repository.
    pub bare: PathBuf,
    /// The clone.
    pub work: PathBuf,
}

impl Workbench {
    /// Makes both under `parent`, which must exist.
    ///
    /// # Errors
    /// Git or the file system refuses.
    pub fn new(parent: &Path) -> Result<Self> {
        let bench = Self {
            bare: parent.join("origin.git"),
            work: parent.join("work"),
        };
        std::fs::create_dir_all(&bench.bare)?;
        std::fs::create_dir_all(&bench.work)?;
        git(
            &bench.bare,
            &["init", "--quiet", "--bare", "--initial-branch=main"],
        )?;
        git(&bench.work, &["init", "--quiet", "--initial-branch=main"])?;
        git(
            &bench.work,
            &["remote", "add", "origin", &bench.bare.to_string_lossy()],
        )?;
        Ok(bench)
    }

    /// Writes `files` (none removes), commits them as `author` at `at` and pushes to `main`. Returns
    /// the commit's full name.
    ///
    /// # Errors
    /// Git or the file system refuses.
    pub fn commit(
        &self,
        author: &str,
        at: Timestamp,
        message: &str,
        files: &[(&str, Option<&str>)],
    ) -> Result<String> {
        for (name, content) in files {
            let path = self.work.join(name);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap_or(&self.work))?;
                    std::fs::write(path, content)?;
                }
                None => std::fs::remove_file(path)?,
            }
        }
        self.commit_all(author, at, message)
    }

    /// Commits everything in the work tree as it is and pushes.
    ///
    /// # Errors
    /// Git refuses.
    pub fn commit_all(&self, author: &str, at: Timestamp, message: &str) -> Result<String> {
        git(&self.work, &["add", "--all"])?;
        let date = format!("{} +0000", at.as_second());
        let mut command = plain(&self.work);
        command
            .env("GIT_AUTHOR_NAME", author)
            .env("GIT_COMMITTER_NAME", author)
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .args([
                "commit",
                "--quiet",
                "--allow-empty",
                "--cleanup=verbatim",
                "-m",
                message,
            ]);
        finish(command)?;
        self.push()?;
        self.git(&["rev-parse", "HEAD"])
    }

    /// Pushes `main` as somebody who is not the bot.
    ///
    /// # Errors
    /// Git refuses.
    pub fn push(&self) -> Result<()> {
        self.git(&[
            "push",
            "--quiet",
            "--force",
            "origin",
            "HEAD:refs/heads/main",
        ])
        .map(drop)
    }

    /// Runs Git in the clone and returns what it prints.
    ///
    /// # Errors
    /// Git refuses.
    pub fn git(&self, args: &[&str]) -> Result<String> {
        git(&self.work, args)
    }

    /// Runs Git in the bare repository and returns what it prints.
    ///
    /// # Errors
    /// Git refuses.
    pub fn git_bare(&self, args: &[&str]) -> Result<String> {
        git(&self.bare, args)
    }
}

/// Runs Git in `directory` and returns what it prints, without the line break at its end.
///
/// # Errors
/// Git refuses; the error carries what it said.
pub fn git(directory: &Path, args: &[&str]) -> Result<String> {
    let mut command = plain(directory);
    command.args(args);
    let output = finish(command)?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

fn plain(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", directory)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "somebody@example.org")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "somebody@example.org")
        // Who pushes, for an `update` hook that asks.
        .env("REMOTE_USER", "somebody")
        .stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}
