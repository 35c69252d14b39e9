//! Real Redis servers of their own for a test: each in a folder of its own, every write flushed. One
//! server, servers behind sentinels, a cluster.

pub mod cluster;
pub mod sentinel;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use incident::ports::Clock as _;
use runtime::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for the server to answer after its start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Lines of the log shown when something went wrong.
const LOG_LINES: usize = 60;
/// Its own configuration file.
const FILE: &str = "redis.conf";
/// Starts before giving up: somebody else may take the port first.
const STARTS_MAX: usize = 5;

/// A running server. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct RedisServer {
    dir: tempfile::TempDir,
    address: SocketAddr,
    role: Role,
    arguments: Vec<String>,
    child: Child,
}

/// What the program is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It keeps data.
    Keeps,
    /// It watches others.
    Watches,
}

impl RedisServer {
    /// Starts Debian's `redis-server` on a free port, with `appendonly yes` and `appendfsync always`.
    ///
    /// # Errors
    /// It is not installed or does not answer.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with more arguments, such as `["--requirepass", "word"]`.
    ///
    /// # Errors
    /// It is not installed or does not answer.
    pub async fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::begin(Role::Keeps, "", arguments).await
    }

    /// A sentinel with these lines in its configuration.
    async fn sentinel(lines: &str) -> anyhow::Result<Self> {
        Self::begin(Role::Watches, lines, &[]).await
    }

    async fn begin(role: Role, lines: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        // The server writes its own changes into it.
        std::fs::write(dir.path().join(FILE), lines)?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let mut failure = None;
        for _ in 0..STARTS_MAX {
            let address = crate::ports::free()?;
            let mut child = spawn(&dir, address, role, &arguments)?;
            match answers(address, &mut child).await {
                Ok(()) => {
                    return Ok(Self {
                        dir,
                        address,
                        role,
                        arguments,
                        child,
                    });
                }
                Err(error) => failure = Some(error),
            }
            child.kill().ok();
            child.wait()?;
        }
        Err(failure.context("no start was tried")?)
    }

    /// Its address without a password.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("redis.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("--- {} ---\n{}", self.address, tail.join("\n"))
    }

    /// One field of what `INFO <section>` says.
    ///
    /// # Errors
    /// It does not answer or has no such field.
    pub fn info(&self, section: &str, field: &str) -> anyhow::Result<String> {
        let text = self.cli(0, &["INFO", section])?;
        let found = text.lines().find_map(|line| {
            let (name, value) = line.trim().split_once(':')?;
            (name == field).then(|| value.to_owned())
        });
        found.with_context(|| format!("INFO {section} has no {field}"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without warning.
    ///
    /// # Errors
    /// The process cannot be reached.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on its port and its files, after [`RedisServer::kill`].
    ///
    /// # Errors
    /// It does not answer.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.dir, self.address, self.role, &self.arguments)?;
        answers(self.address, &mut self.child).await
    }

    /// Freezes it: connections stay, answers do not come.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status()?;
        anyhow::ensure!(status.success(), "kill {signal} {id} ended with {status}");
        Ok(())
    }

    /// What `redis-cli` prints for a command in `database`.
    ///
    /// # Errors
    /// It is not installed or the server refuses.
    pub fn cli(&self, database: u32, command: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("redis-cli")
            .args([
                "-e",
                "-p",
                &self.port().to_string(),
                "-n",
                &database.to_string(),
            ])
            .args(command)
            .output()
            .context("redis-cli cannot be started; is it installed?")?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        anyhow::ensure!(output.status.success(), "redis-cli {command:?}: {text}");
        Ok(text)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be gone already.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

fn spawn(
    dir: &tempfile::TempDir,
    address: SocketAddr,
    role: Role,
    more: &[String],
) -> anyhow::Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.path().join("redis.log"))?;
    let mut command = Command::new("redis-server");
    command.arg(dir.path().join(FILE));
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    command.args(["--bind", &host, "--port", &port]);
    match role {
        Role::Keeps => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
        Role::Watches => command.arg("--sentinel"),
    };
    if role == Role::Keeps {
        command.args(["--save", ""]);
    }
    command
        .arg("--dir")
        .arg(dir.path())
        .args(more)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("redis-server cannot be started; is it installed?")
}

/// Waits until the server answers with anything but "loading".
async fn answers(address: SocketAddr, child: &mut Child) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    while clock.elapsed() < START_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            bail!("redis-server ended with {status}");
        }
        if let Ok(answer) = ping(address).await
            && (answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
        {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    bail!("redis-server does not answer on {address}")
}

async fn ping(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
}
