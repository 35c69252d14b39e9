//! Fetching: bounded, one at a time, and able to recover from a process that was killed half way.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use incident::ports::Cx;

use super::call::Call;
use super::error::GitError;
use super::mirror::{Fetched, Mirror, make_folder, remove_folder};

/// How often a taken lock is looked at.
const LOCK_POLL: Duration = Duration::from_millis(25);
/// Git holds a lock file for moments; one older than this was left by a killed process.
const LOCK_FILE_AGE: Duration = Duration::from_secs(5);
/// Unfinished packs and scratch folders older than this were left by a killed process.
const DEBRIS_AGE: Duration = Duration::from_hours(1);
/// The wait before trying again when a lock file is in the way.
const LOCK_FILE_WAIT: Duration = Duration::from_millis(500);

impl Mirror {
    /// Brings the mirror up to date, unless it was fetched less than `fresh_for` ago.
    ///
    /// # Errors
    /// Any [`GitError`]; the mirror is then as it was, see [`Mirror::last`].
    pub async fn fetch(&self, cx: &Cx) -> Result<Fetched, GitError> {
        self.fetch_if_older(self.config.fresh_for.0, cx).await
    }

    /// Brings the mirror up to date, however fresh it is.
    ///
    /// # Errors
    /// As [`Mirror::fetch`].
    pub async fn refresh(&self, cx: &Cx) -> Result<Fetched, GitError> {
        self.fetch_if_older(Duration::ZERO, cx).await
    }

    async fn fetch_if_older(&self, fresh_for: Duration, cx: &Cx) -> Result<Fetched, GitError> {
        let cx = &cx.child(self.config.fetch_timeout.0);
        make_folder(&self.root)?;
        let _lock = self.lock(cx).await?;
        if let Some(last) = self.last(cx).await.unwrap_or_default() {
            let age = cx.clock.now().duration_since(last.at);
            if Duration::try_from(age).is_ok_and(|age| age < fresh_for) {
                return Ok(last);
            }
        }
        self.sweep();
        let existed = self.marker().exists();
        let mut result = self.fetch_now(cx).await;
        if let Err(error) = &result
            && existed
            && error.is_corruption()
        {
            tracing::warn!(repository = self.repository.name, %error, "the mirror is damaged and is made anew");
            remove_folder(&self.directory)?;
            result = self.fetch_now(cx).await;
        }
        result?;
        self.repack_if_needed(cx).await;
        let missing = || GitError::unreadable("the tip of the base branch", b"");
        self.last(cx).await?.ok_or_else(missing)
    }

    async fn fetch_now(&self, cx: &Cx) -> Result<(), GitError> {
        self.prepare(cx).await?;
        let base = &self.repository.base;
        let call = Call::new("fetch")
            .flags(&[
                "--quiet",
                "--force",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--no-auto-gc",
            ])
            .operand(&self.repository.remote)
            .operand(format!("+refs/heads/{base}:refs/remotes/origin/{base}"));
        let started = cx.clock.now();
        loop {
            match self.talk(call.clone(), cx).await {
                Ok(_) => break,
                Err(GitError::Failed { said, .. }) if said.expose().contains(".lock'") => {
                    tracing::debug!(
                        repository = self.repository.name,
                        "a lock file is in the way"
                    );
                    let wait = cx.clock.sleep(LOCK_FILE_WAIT);
                    cx.bound(wait)
                        .await
                        .ok_or(GitError::Deadline { what: "fetch" })?;
                    sweep_locks(&self.directory, now_on_disk(&self.lock_path()));
                }
                Err(error) => return Err(error),
            }
        }
        let marker = self.marker();
        let new = marker.with_extension("new");
        std::fs::write(&new, started.to_string())
            .and_then(|()| std::fs::rename(&new, &marker))
            .map_err(|error| GitError::disk("the mirror's time stamp", &error))
    }

    async fn lock(&self, cx: &Cx) -> Result<File, GitError> {
        let disk = |error: &std::io::Error| GitError::disk("the mirror's lock", error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.lock_path())
            .map_err(|error| disk(&error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    let wait = cx.clock.sleep(LOCK_POLL);
                    cx.bound(wait)
                        .await
                        .ok_or(GitError::Deadline { what: "fetch" })?;
                }
                Err(TryLockError::Error(error)) => return Err(disk(&error)),
            }
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.with_extension("lock")
    }

    /// Removes what killed processes left. Only while the lock is held.
    fn sweep(&self) {
        let now = now_on_disk(&self.lock_path());
        sweep_locks(&self.directory, now);
        remove_older(
            &self.directory.join("objects/pack"),
            now,
            DEBRIS_AGE,
            |name| name.starts_with("tmp_"),
        );
        remove_older(&self.root.join("scratch"), now, DEBRIS_AGE, |_| true);
    }

    async fn repack_if_needed(&self, cx: &Cx) {
        let packs = std::fs::read_dir(self.directory.join("objects/pack")).map_or(0, |entries| {
            let pack =
                |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|e| e == "pack");
            entries.flatten().filter(pack).count()
        });
        if packs > self.config.packs_max {
            let call = Call::new("repack").flags(&["-d", "--quiet", "--geometric=2"]);
            if let Err(error) = self.read(call, cx).await {
                tracing::warn!(repository = self.repository.name, %error, "the mirror could not be repacked");
            }
        }
    }
}

/// The file system's own time: what file times are compared with.
fn now_on_disk(lock: &Path) -> Option<SystemTime> {
    std::fs::write(lock, b"\n").ok()?;
    std::fs::metadata(lock).ok()?.modified().ok()
}

fn sweep_locks(directory: &Path, now: Option<SystemTime>) {
    let mut folders = vec![(directory.to_owned(), 0), (directory.join("refs"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        remove_older(&folder, now, LOCK_FILE_AGE, is_lock);
        if folder == directory || depth > 8 {
            continue;
        }
        let children = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            children
                .map(|c| c.path())
                .filter(|p| p.is_dir())
                .map(|p| (p, depth + 1)),
        );
    }
}

fn is_lock(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "lock")
}

fn remove_older(
    folder: &Path,
    now: Option<SystemTime>,
    age: Duration,
    wanted: impl Fn(&str) -> bool,
) {
    let Some(now) = now else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| now.duration_since(at).is_ok_and(|old| old > age));
        if !old || !wanted(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = removed {
            tracing::debug!(%error, "debris could not be removed");
        }
    }
}
