//! Running one command: environment, limits, deadline.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use incident::ports::Cx;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::call::{Call, Overflow};
use super::config::Config;
use super::error::GitError;

/// Settings of every command, whatever a repository says. Hooks, helpers and monitors are programs;
/// none of them is ours.
const SETTINGS: [&str; 13] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.quotePath=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "http.followRedirects=false",
    "fetch.unpackLimit=1",
    "submodule.recurse=false",
    "i18n.logOutputEncoding=UTF-8",
    "i18n.commitEncoding=UTF-8",
];

/// How much of standard error is kept.
const STDERR_MAX: usize = 16 * 1024;

/// What a command wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 KiB.
    pub stderr: Vec<u8>,
    /// Its exit code.
    pub code: i32,
    /// Whether it was stopped because it wrote more than was asked for.
    pub cut: bool,
}

impl Output {
    /// Standard output as text, without the line break at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }
}

/// The executable and the environment it runs in.
#[derive(Debug, Clone)]
pub struct Git {
    config: Config,
    home: PathBuf,
    env: Vec<(&'static str, OsString)>,
}

impl Git {
    /// Runs Git with `home`, an empty directory, as home directory.
    pub fn new(config: Config, home: PathBuf) -> Self {
        Self {
            config,
            home,
            env: Vec::new(),
        }
    }

    /// The same with one more environment variable, such as where credentials are.
    #[must_use]
    pub fn with_env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Runs `call` in `directory` and collects what it writes.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn run(&self, directory: &Path, call: Call, cx: &Cx) -> Result<Output, GitError> {
        let limit = call.output_max.unwrap_or(self.config.output_max.get());
        let mut stdout = Vec::new();
        let mut sink = |chunk: &[u8]| {
            let room = limit.saturating_sub(stdout.len());
            stdout.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            chunk.len() <= room
        };
        let mut output = self.stream(directory, call, cx, &mut sink).await?;
        output.stdout = stdout;
        Ok(output)
    }

    /// Runs `call` in `directory` and hands what it writes to `sink`, until `sink` says false.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn stream(
        &self,
        directory: &Path,
        call: Call,
        cx: &Cx,
        sink: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<Output, GitError> {
        let what = call.name;
        if cx.cancel.is_cancelled() {
            return Err(GitError::Cancelled { what });
        }
        let mut group = self.spawn(directory, &call)?;
        let finished = cx.bound(converse(&mut group.child, call.stdin, sink)).await;
        let Some(conversation) = finished else {
            return Err(if cx.cancel.is_cancelled() {
                GitError::Cancelled { what }
            } else {
                GitError::Deadline { what }
            });
        };
        let (stderr, end) =
            conversation.map_err(|error| GitError::disk("the pipe to git", &error))?;
        let Some(status) = end else {
            drop(group);
            return match call.overflow {
                Overflow::Cut => Ok(Output {
                    stdout: Vec::new(),
                    stderr,
                    code: 0,
                    cut: true,
                }),
                Overflow::Fail => {
                    let limit = call.output_max.unwrap_or(self.config.output_max.get());
                    Err(GitError::TooLarge { what, limit })
                }
            };
        };
        group.over = true;
        let code = status.code().unwrap_or(-1);
        if call.answers.contains(&code) {
            Ok(Output {
                stdout: Vec::new(),
                stderr,
                code,
                cut: false,
            })
        } else {
            Err(GitError::from_stderr(what, &stderr))
        }
    }

    fn spawn(&self, directory: &Path, call: &Call) -> Result<Group, GitError> {
        let mut command = Command::new(&self.config.executable);
        command
            .env_clear()
            .envs(self.environment())
            .envs(call.env.iter().map(|(k, v)| (k, v)));
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.arg(call.name).args(&call.args);
        if !call.operands.is_empty() {
            command.arg("--").args(&call.operands);
        }
        command
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| GitError::Missing(error.to_string()))?;
        Ok(Group { child, over: false })
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut env: Vec<(&'static str, OsString)> = vec![
            ("PATH", self.config.search_path.clone().into()),
            ("HOME", self.home.clone().into()),
            ("XDG_CONFIG_HOME", self.home.clone().into()),
            ("LC_ALL", "C".into()),
            ("TZ", "UTC".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
            ("GIT_ATTR_NOSYSTEM", "1".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", "/bin/false".into()),
            ("SSH_ASKPASS", "/bin/false".into()),
            ("GIT_ALLOW_PROTOCOL", "file:http:https:ssh".into()),
            ("GIT_LITERAL_PATHSPECS", "1".into()),
            ("GIT_OPTIONAL_LOCKS", "0".into()),
            ("GIT_NO_REPLACE_OBJECTS", "1".into()),
            ("GIT_PAGER", "cat".into()),
        ];
        env.extend(self.env.iter().cloned());
        env
    }
}

/// A child and whatever it started. All of it dies with this value unless the child has ended.
struct Group {
    child: Child,
    over: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(id) = self.child.id().filter(|_| !self.over) else {
            return;
        };
        let group = i32::try_from(id).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
            tracing::debug!(%error, "a git process could not be killed");
        }
    }
}

/// Writes, reads and waits at once, so that no full pipe can block either side. No exit status means
/// that the sink had enough.
async fn converse(
    child: &mut Child,
    input: Vec<u8>,
    sink: &mut (dyn FnMut(&[u8]) -> bool + Send),
) -> std::io::Result<(Vec<u8>, Option<ExitStatus>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A command may end without reading its input; its exit code tells more than EPIPE.
            if let Err(error) = stdin.write_all(&input).await {
                tracing::trace!(%error, "git did not read its input");
            }
        }
    };
    let mut kept = Vec::new();
    let mut keep = |chunk: &[u8]| {
        let room = STDERR_MAX.saturating_sub(kept.len()).min(chunk.len());
        kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
        true
    };
    let out = async {
        let whole = drain(stdout, sink).await?;
        Ok::<bool, std::io::Error>(whole)
    };
    let err = drain(stderr, &mut keep);
    let all = async {
        let mut out = std::pin::pin!(out);
        let mut rest = std::pin::pin!(async { tokio::join!(write, err) });
        // The output decides: once the sink has enough, nothing else is waited for.
        tokio::select! {
            biased;
            whole = &mut out => {
                let whole = whole?;
                if whole {
                    rest.await.1?;
                }
                Ok(whole)
            }
            ends = &mut rest => {
                ends.1?;
                out.await
            }
        }
    };
    let whole: std::io::Result<bool> = all.await;
    let status = if whole? {
        Some(child.wait().await?)
    } else {
        None
    };
    Ok((kept, status))
}

/// Reads to the end; false if the sink had enough before.
async fn drain(
    from: Option<impl AsyncRead + Unpin>,
    sink: &mut (dyn FnMut(&[u8]) -> bool + Send),
) -> std::io::Result<bool> {
    let Some(mut from) = from else {
        return Ok(true);
    };
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(true);
        }
        if !sink(buffer.get(..read).unwrap_or_default()) {
            return Ok(false);
        }
    }
}
