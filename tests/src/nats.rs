//! A real NATS server with JetStream of its own for a test, in a folder of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use incident::ports::Clock as _;
use runtime::SystemClock;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::ports;

/// Longest wait for the server to answer after its start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for one look at its monitoring page.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Starts before giving up: somebody else may take a port first.
const STARTS_MAX: usize = 5;

/// A running server. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct NatsServer {
    dir: tempfile::TempDir,
    address: SocketAddr,
    monitor: SocketAddr,
    child: Child,
}

impl NatsServer {
    /// Starts Debian's `nats-server` with JetStream and room for the largest value.
    ///
    /// # Errors
    /// It is not installed or does not answer.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with("max_payload: 9437184").await
    }

    /// The same with other lines in its configuration.
    ///
    /// # Errors
    /// It is not installed or does not answer.
    pub async fn start_with(lines: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut failure = None;
        for _ in 0..STARTS_MAX {
            let (address, monitor) = (ports::free()?, ports::free()?);
            let mut text = String::new();
            writeln!(text, "listen: \"{address}\"\nhttp: \"{monitor}\"")?;
            writeln!(
                text,
                "jetstream {{ store_dir: \"{}\" }}",
                dir.path().display()
            )?;
            writeln!(text, "{lines}")?;
            std::fs::write(dir.path().join("nats.conf"), text)?;
            let mut child = spawn(&dir)?;
            match answers(address, monitor, &mut child).await {
                Ok(()) => {
                    return Ok(Self {
                        dir,
                        address,
                        monitor,
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

    /// Its address without credentials.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its monitoring page says at `path`, such as `/jsz?consumers=true`.
    ///
    /// # Errors
    /// It does not answer or answers no JSON.
    pub async fn monitoring(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let client = runtime::http::client(LOOK_TIMEOUT)?;
        let answer = client.get(format!("http://{}{path}", self.monitor)).send();
        Ok(serde_json::from_str(&answer.await?.text().await?)?)
    }

    /// What the server answers to `body` at `subject`, as any other client would be told.
    ///
    /// # Errors
    /// It does not answer, or no JSON.
    pub async fn ask(
        &self,
        subject: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await?);
        let body = body.to_string();
        let words = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{body}\r\n",
            body.len()
        );
        stream.write_all(words.as_bytes()).await?;
        let mut line = String::new();
        while !line.starts_with("MSG ") {
            line.clear();
            let read = stream.read_line(&mut line).await?;
            anyhow::ensure!(read > 0, "nats-server hung up");
        }
        let length = line.split_whitespace().last().context("no length")?;
        let mut answer = vec![0; length.parse()?];
        stream.read_exact(&mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
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

    /// Lets it end in order.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("-TERM")?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on its ports and its files, after [`NatsServer::kill`].
    ///
    /// # Errors
    /// It does not answer.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.dir)?;
        answers(self.address, self.monitor, &mut self.child).await
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
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // It may be gone already.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

fn spawn(dir: &tempfile::TempDir) -> anyhow::Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.path().join("nats.log"))?;
    Command::new("nats-server")
        .arg("-c")
        .arg(dir.path().join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("nats-server cannot be started; is it installed?")
}

/// Waits until the server greets clients and says that it is well.
async fn answers(
    address: SocketAddr,
    monitor: SocketAddr,
    child: &mut Child,
) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let client = runtime::http::client(LOOK_TIMEOUT)?;
    while clock.elapsed() < START_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            bail!("nats-server ended with {status}");
        }
        let health = client.get(format!("http://{monitor}/healthz")).send().await;
        if health.is_ok_and(|answer| answer.status().is_success())
            && greeting(address)
                .await
                .is_ok_and(|text| text.starts_with("INFO "))
        {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    bail!("nats-server does not answer on {address}")
}

async fn greeting(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
}
