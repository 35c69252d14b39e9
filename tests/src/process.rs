//! Child processes: started with a log of their own, never left behind.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::wait::until;

/// Lines of the log shown when something went wrong.
const TAIL_LINES: usize = 30;
/// Longest part of the log that is read for that.
const TAIL_BYTES: usize = 64 * 1024;
/// Longest wait for one look at a health page.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; output goes to `<folder>/<name>.log`, which grows over restarts.
    ///
    /// # Errors
    /// The program is not there or the log cannot be made.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)?;
        let program = command.as_std().get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{} cannot be started; is it installed?", program.display())
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Process id; none after it ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- {} ---\n{}", self.name, tail.join("\n"))
    }

    /// Waits until `url` answers 2xx.
    ///
    /// # Errors
    /// It ended or did not answer in time; the message has the end of the log.
    pub async fn ready(&mut self, url: &str, within: Duration) -> anyhow::Result<()> {
        let client = runtime::http::client(LOOK_TIMEOUT)?;
        let mut ended = false;
        let waited = until(url, within, async || {
            if !self.is_running() {
                ended = true;
                return Some(());
            }
            let answer = client.get(url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        if ended {
            bail!("{} ended\n{}", self.name, self.log_tail());
        }
        waited.with_context(|| self.log_tail())
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill_9(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGSTOP: it keeps its connections and its leases, and does nothing.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP").await
    }

    /// SIGCONT: it goes on where it was.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal("-CONT").await
    }

    /// Sends a signal if it still runs.
    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        // The shell's own kill is there on every machine, and no unsafe code is needed.
        let script = format!("kill {signal} {id}");
        let sent = Command::new("sh").args(["-c", &script]).status().await?;
        if !sent.success() {
            bail!("{} could not be signalled", self.name);
        }
        Ok(())
    }

    /// SIGTERM, and waits until it ends.
    ///
    /// # Errors
    /// It does not end in time; it is still running then.
    pub async fn terminate(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal("-TERM").await?;
        let what = format!("the end of {} after SIGTERM", self.name);
        let ended = until(&what, within, async || self.child.try_wait().ok().flatten()).await;
        ended.with_context(|| self.log_tail())
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a failed test shows why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}
