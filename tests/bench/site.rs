//! Processes and the cores they are kept on.
//!
//! Whatever a benchmark starts runs where this process runs, which is one core; the load generator
//! gets the other. On a machine with one core, or without `taskset`, nothing is pinned and the
//! result says so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::nightshift::Install;
use tests::ports;
use tests::process::Process;

use crate::fire::{Fire, Fired};

/// Longest start of anything.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Where this process, and so everything it starts, runs from now on: `0`, or `0-1`. False where
/// that cannot be said.
pub(crate) fn stay_on(cores: &str) -> bool {
    let me = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["-a", "-p", "-c", cores, &me]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A server that can be fired at.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    path: &'static str,
    token: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// The hook, with this text added to its configuration.
    pub(crate) async fn hook(toml: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let install = Install::new(folder.path(), toml)?;
        let process = install.start(&["hook"]).await?;
        let address = install.url().trim_start_matches("http://").parse()?;
        Ok(Self {
            process,
            address,
            path: "/webhook/alertmanager",
            token: install.token,
            _folder: folder,
        })
    }

    /// A peer: a handler that reads, or one that adds to the Redis at `url` and waits for so many
    /// replicas.
    pub(crate) async fn peer(url: Option<&str>, replicas: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = ports::free()?;
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["peer", "--listen", &address.to_string()]);
        if let Some(url) = url {
            command.args(["--redis", url, "--replicas", &replicas.to_string()]);
        }
        let mut process = Process::start("peer", folder.path(), &mut command)?;
        let ready = format!("http://{address}/readyz");
        process.ready(&ready, READY_WITHIN).await?;
        Ok(Self {
            process,
            address,
            path: crate::peer::PATH,
            token: String::from("unused-and-as-long-as-the-other"),
            _folder: folder,
        })
    }

    /// What the firing needs to know of this server.
    pub(crate) fn fire(&self, connections: usize, seconds: f64, rate: Option<f64>) -> Fire {
        Fire {
            address: self.address,
            path: self.path.to_owned(),
            token: self.token.clone(),
            connections,
            seconds,
            warm: 0.5,
            rate,
            salt: 0,
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("it runs")
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// Fires from the second core.
pub(crate) async fn fire(fire: &Fire, pinned: bool) -> Result<Fired> {
    let me = std::env::current_exe()?;
    let mut command = if pinned {
        let mut command = tokio::process::Command::new("taskset");
        command.args(["-c", "1"]).arg(me);
        command
    } else {
        tokio::process::Command::new(me)
    };
    command.args(["fire", "--address", &fire.address.to_string()]);
    command.args(["--path", &fire.path, "--token", &fire.token]);
    command.args(["--connections", &fire.connections.to_string()]);
    command.args(["--seconds", &fire.seconds.to_string()]);
    command.args(["--warm", &fire.warm.to_string()]);
    command.args(["--salt", &fire.salt.to_string()]);
    if let Some(rate) = fire.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let output = command
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "firing failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the load generator's answer")
}

/// Seconds of processor time that a process has used.
pub(crate) fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after = stat.rsplit_once(')').context("stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let tick = |at: usize| -> Option<f64> { fields.get(at)?.parse().ok() };
    // Fields 14 and 15 of proc(5), in ticks of which Linux shows 100 a second.
    Ok((tick(11).context("utime")? + tick(12).context("stime")?) / 100.0)
}

/// A memory field of a process, such as `VmRSS` or `VmHWM`, in MiB.
pub(crate) fn memory_mib(id: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    Ok(kib.with_context(|| field.to_owned())? / 1024.0)
}

/// The product's binary of this build.
pub(crate) fn product() -> Result<PathBuf> {
    tests::nightshift::program("nightshift")
}

/// What a program says its version is, in its first line.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let line = text.lines().next().unwrap_or("not there");
    // Redis goes on with how it was built.
    line.split(" sha=").next().unwrap_or(line).trim().to_owned()
}
