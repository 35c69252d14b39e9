//! The made-up world of the drill: a Git repository with a history, and one change that may be bad.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Timestamp};
use tokio::process::Command;

use crate::cli::Story;

/// The service that breaks.
pub(super) const SERVICE: &str = "checkout";
/// The repository's name in the configuration.
pub(super) const REPOSITORY: &str = "shop";
/// How long ago the culprit landed, and the metrics began to move, and the alert fired.
pub(super) const CHANGED_AGO: SignedDuration = SignedDuration::from_mins(14);
pub(super) const ONSET_AGO: SignedDuration = SignedDuration::from_mins(12);
pub(super) const FIRED_AGO: SignedDuration = SignedDuration::from_mins(7);

/// One commit of the history: how long ago, who, what it says, and the files it writes.
struct Commit {
    minutes_ago: i64,
    author: &'static str,
    subject: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const HISTORY: [Commit; 5] = [
    Commit {
        minutes_ago: 3 * 24 * 60,
        author: "Mina Okafor",
        subject: "Import the shop",
        files: &[
            (
                "services/checkout/config.toml",
                "[database]\npool_size = 64\nacquire_timeout_ms = 800\n\n[http]\nworkers = 32\n",
            ),
            (
                "services/cart/config.toml",
                "[cache]\nttl_s = 60\nentries_max = 5000\n",
            ),
            ("services/web/index.html", "<h1>Shop</h1>\n"),
            ("dashboards/checkout.json", "{\"panels\": [\"requests\"]}\n"),
            ("docs/runbook.md", "# Runbook\n\nAsk in #shop.\n"),
        ],
    },
    Commit {
        minutes_ago: 130,
        author: "Jonas Lind",
        subject: "Runbook: say where the checkout logs are",
        files: &[(
            "docs/runbook.md",
            "# Runbook\n\nAsk in #shop. Checkout logs to standard output.\n",
        )],
    },
    Commit {
        minutes_ago: 48,
        author: "Priya Raman",
        subject: "cart: keep entries for two minutes",
        files: &[(
            "services/cart/config.toml",
            "[cache]\nttl_s = 120\nentries_max = 5000\n",
        )],
    },
    Commit {
        minutes_ago: 21,
        author: "Jonas Lind",
        subject: "Dashboard: add a latency panel for checkout",
        files: &[(
            "dashboards/checkout.json",
            "{\"panels\": [\"requests\", \"latency\"]}\n",
        )],
    },
    Commit {
        minutes_ago: 9,
        author: "Mina Okafor",
        subject: "web: friendlier heading",
        files: &[("services/web/index.html", "<h1>Welcome to the shop</h1>\n")],
    },
];

const CULPRIT: Commit = Commit {
    minutes_ago: CHANGED_AGO.as_mins(),
    author: "Tomas Berg",
    subject: "checkout: save database connections",
    files: &[(
        "services/checkout/config.toml",
        "[database]\npool_size = 6\nacquire_timeout_ms = 800\n\n[http]\nworkers = 32\n",
    )],
};

/// The repository of the drill.
#[derive(Debug)]
pub(super) struct World {
    /// The bare repository everyone pushes to.
    pub(super) remote: PathBuf,
    /// What the culprit is, if there is one: its object name.
    pub(super) culprit: Option<String>,
}

impl World {
    /// Makes the repository under `folder`, its commits dated back from `now`.
    pub(super) async fn make(folder: &Path, story: Story, now: Timestamp) -> Result<Self> {
        let remote = folder.join("shop.git");
        let tree = folder.join("shop");
        tokio::fs::create_dir_all(&tree)
            .await
            .context("the drill's folder cannot be made")?;
        git(
            folder,
            now,
            "drill",
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                &remote.to_string_lossy(),
            ],
        )
        .await?;
        git(
            &tree,
            now,
            "drill",
            &["init", "--quiet", "--initial-branch=main"],
        )
        .await?;
        let mut commits: Vec<&Commit> = HISTORY.iter().collect();
        if story == Story::BadChange {
            commits.push(&CULPRIT);
        }
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.minutes_ago));
        let mut culprit = None;
        for commit in commits {
            let name = commit.write(&tree, now).await?;
            if commit.subject == CULPRIT.subject {
                culprit = Some(name);
            }
        }
        git(
            &tree,
            now,
            "drill",
            &["push", "--quiet", &remote.to_string_lossy(), "main"],
        )
        .await?;
        Ok(Self { remote, culprit })
    }
}

impl Commit {
    async fn write(&self, tree: &Path, now: Timestamp) -> Result<String> {
        for (path, content) in self.files {
            let path = tree.join(path);
            if let Some(folder) = path.parent() {
                tokio::fs::create_dir_all(folder).await?;
            }
            tokio::fs::write(&path, content).await?;
        }
        let at = now.checked_sub(SignedDuration::from_mins(self.minutes_ago))?;
        git(tree, at, self.author, &["add", "--all"]).await?;
        git(
            tree,
            at,
            self.author,
            &["commit", "--quiet", "--message", self.subject],
        )
        .await?;
        git(tree, at, self.author, &["rev-parse", "HEAD"]).await
    }
}

/// Runs git in `folder` as `author` at `at`, untouched by the person's own configuration.
async fn git(folder: &Path, at: Timestamp, author: &str, args: &[&str]) -> Result<String> {
    let email = format!("{}@shop.example", author.to_lowercase().replace(' ', "."));
    let date = format!("{} +0000", at.as_second());
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", author), ("GIT_COMMITTER_NAME", author)])
        .envs([
            ("GIT_AUTHOR_EMAIL", &email),
            ("GIT_COMMITTER_EMAIL", &email),
        ])
        .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
        .output()
        .await
        .context("git cannot be started; install git")?;
    if !output.status.success() {
        bail!(
            "git {} failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
