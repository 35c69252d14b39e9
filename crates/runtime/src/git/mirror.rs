//! A bare mirror of one repository's base branch, under the data directory.
//!
//! Everything is read from the mirror; only fetching, looking up a branch and pushing talk to the
//! remote. Fetches of one mirror are serialised between tasks and processes by a file lock, and one
//! that finds a fresh mirror does nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use incident::ports::Cx;
use jiff::Timestamp;

use super::call::Call;
use super::config::Config;
use super::error::GitError;
use super::oid::Oid;
use super::repository::Repository;
use super::run::{Git, Output};

/// The state of a mirror after a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The newest commit of the base branch.
    pub tip: Oid,
    /// When it was fetched.
    pub at: Timestamp,
}

/// A bare mirror.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub(super) repository: Repository,
    pub(super) config: Config,
    pub(super) root: PathBuf,
    pub(super) directory: PathBuf,
    git: Git,
}

impl Mirror {
    /// The mirror of `repository` under `data_dir`. Nothing is made before the first fetch. Another
    /// remote or base branch is another mirror.
    pub fn new(repository: Repository, data_dir: &Path, config: Config) -> Self {
        let root = data_dir.join("git");
        let stem = format!("{}-{}", repository.name, repository.identity().short(12));
        let mut git = Git::new(config.clone(), root.join("home"));
        if repository.local_path().is_some() {
            git = git.with_env("GIT_CONFIG_GLOBAL", root.join(format!("{stem}.gitconfig")));
        }
        Self {
            directory: root.join(format!("{stem}.git")),
            repository,
            config,
            root,
            git,
        }
    }

    /// The repository as configured.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Where the mirror is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The last fetch, if there was one.
    ///
    /// # Errors
    /// The mirror exists but cannot be read.
    pub async fn last(&self, cx: &Cx) -> Result<Option<Fetched>, GitError> {
        let Ok(text) = std::fs::read_to_string(self.marker()) else {
            return Ok(None);
        };
        let Ok(at) = text.trim().parse::<Timestamp>() else {
            return Ok(None);
        };
        let call = Call::new("rev-parse")
            .flags(&["--verify", "--quiet"])
            .option(
                "refs/remotes/origin/",
                format!("{}^{{commit}}", self.repository.base),
            )
            .answers(&[0, 1]);
        let output = self.read(call, cx).await?;
        if output.code != 0 {
            return Ok(None);
        }
        Ok(Some(Fetched {
            tip: Oid::parse(&output.text())?,
            at,
        }))
    }

    /// Runs a command that reads the mirror only.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn read(&self, call: Call, cx: &Cx) -> Result<Output, GitError> {
        self.git.run(&self.directory, call, cx).await
    }

    /// Runs a command that reads the mirror only, and hands its output to `sink`.
    pub(super) async fn read_into(
        &self,
        call: Call,
        cx: &Cx,
        sink: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<Output, GitError> {
        self.git.stream(&self.directory, call, cx, sink).await
    }

    /// Runs a command that talks to the remote, with the repository's credentials.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn talk(&self, call: Call, cx: &Cx) -> Result<Output, GitError> {
        let mut git = self.git.clone();
        for (name, value) in self.repository.environment()? {
            git = git.with_env(name, value);
        }
        git.run(&self.directory, call, cx).await
    }

    /// What the remote's branch `branch` holds now, if it exists.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn branch_at_remote(&self, branch: &str, cx: &Cx) -> Result<Option<Oid>, GitError> {
        let full = format!("refs/heads/{branch}");
        let call = Call::new("ls-remote")
            .flags(&["--quiet", "--refs"])
            .operand(&self.repository.remote)
            .operand(&full);
        let output = self.talk(call, cx).await?.text();
        // The pattern matches tails too: `refs/heads/x/refs/heads/<branch>` would be listed.
        let found = output.lines().find_map(|line| {
            let (oid, name) = line.split_once('\t')?;
            (name == full).then_some(oid)
        });
        found.map(Oid::parse).transpose()
    }

    /// A folder for objects that nobody will need afterwards; it goes when the value goes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch, GitError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = self.root.join("scratch");
        make_folder(&parent)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch(path)),
                // Left by a process of the same number that was killed, or used by one elsewhere.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(GitError::disk("the scratch folder", &error)),
            }
        }
    }

    pub(super) fn marker(&self) -> PathBuf {
        self.directory.join("nightshift-fetched")
    }

    /// Makes an empty mirror if there is none.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn prepare(&self, cx: &Cx) -> Result<(), GitError> {
        make_folder(&self.root.join("home"))?;
        if let Some(path) = self.repository.local_path() {
            // Git refuses repositories of other users unless told otherwise. The operator named this
            // one; nothing else is allowed by it.
            let path = path
                .to_string_lossy()
                .replace('\\', "\\\\")
                .replace('"', "\\\"");
            let text = format!("[safe]\n\tdirectory = \"{path}\"\n\tdirectory = \"{path}/.git\"\n");
            let file = self.directory.with_extension("gitconfig");
            std::fs::write(file, text).map_err(|e| GitError::disk("the mirror's settings", &e))?;
        }
        if self.directory.join("HEAD").is_file() {
            return Ok(());
        }
        let new = self.directory.with_extension("new");
        remove_folder(&new)?;
        make_folder(&new)?;
        let init = Call::new("init").flags(&["--quiet", "--bare", "--template="]);
        self.git.run(&new, init, cx).await?;
        remove_folder(&self.directory)?;
        std::fs::rename(&new, &self.directory).map_err(|e| GitError::disk("the mirror", &e))
    }
}

/// A folder that goes when the value goes.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "a scratch folder could not be removed");
        }
    }
}

pub(super) fn make_folder(path: &Path) -> Result<(), GitError> {
    std::fs::create_dir_all(path).map_err(|error| GitError::disk("the mirror's folder", &error))
}

pub(super) fn remove_folder(path: &Path) -> Result<(), GitError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(GitError::disk("the mirror's folder", &error))
        }
        _ => Ok(()),
    }
}
