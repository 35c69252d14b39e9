//! The figures of docs/figures.md, measured on the machine it runs on: `cargo xtask figures`.
//!
//! Each figure stands beside the physical limit of the same run where there is one: a stored webhook
//! beside a bare fdatasync of as many bytes on the same disk. Numbers, no verdicts.
#![allow(
    clippy::print_stdout,
    reason = "a command line tool talks on standard output"
)]
#![allow(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
#![allow(clippy::disallowed_methods, reason = "a stopwatch reads the clock")]

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Rounds of whole-process figures.
const ROUNDS: usize = 7;
/// Webhooks sent one after the other, and then by several senders.
const WEBHOOKS: usize = 1_000;
/// Senders at once.
const SENDERS: usize = 16;
/// The bearer token that webhooks carry.
const TOKEN: &str = "figures";
/// Longest wait for a process to be ready.
const READY_MAX: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let binary = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .context("say where the nightshift binary is")?;
    let binary = std::path::absolute(binary)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let figures = runtime.block_on(measure(&binary))?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

async fn measure(binary: &Path) -> Result<Value> {
    let size = std::fs::metadata(binary)?.len();
    let mut starts = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        let node = Node::start(binary, "up").await?;
        starts.push(node.ready_after);
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.push(node.resident_kib()?);
    }
    let node = Node::start(binary, "hook").await?;
    let one = webhooks(&node, 1, 0).await?;
    let many = webhooks(&node, SENDERS, 1).await?;
    let disk = fdatasync(node.folder.path())?;
    let mut drills = Vec::new();
    for _ in 0..ROUNDS {
        drills.push(drill(binary)?);
    }
    let ratio = one.quantile(0.5) / disk.quantile(0.5);
    Ok(json!({
        "binary_mib": (size as f64 / 1_048_576.0 * 10.0).round() / 10.0,
        "start_to_ready_ms": Sample::of(starts).summary(),
        "idle_memory_all_roles_mib": median(memory.iter().map(|kib| *kib as f64 / 1024.0).collect()),
        "webhook_to_stored_one_sender_ms": one.summary(),
        "webhook_to_stored_16_senders_ms": many.summary(),
        "fdatasync_2kib_ms": disk.summary(),
        "webhook_to_stored_over_fdatasync_p50": (ratio * 100.0).round() / 100.0,
        "drill_webhook_to_report_ms": Sample::of(drills).summary(),
    }))
}

/// A running Nightshift with a folder of its own.
struct Node {
    child: Child,
    base: String,
    folder: tempfile::TempDir,
    ready_after: Duration,
    http: reqwest::Client,
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

impl Node {
    async fn start(binary: &Path, role: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (hook, agents) = (free_port()?, free_port()?);
        let config = format!(
            "data_dir = \"{}\"\n[hook]\nlisten = \"127.0.0.1:{hook}\"\nauth.token_files = [\"token\"]\n[agents]\nlisten = \"127.0.0.1:{agents}\"\n[a2a]\npublic_url = \"http://127.0.0.1:{agents}\"\n[log]\nfilter = \"warn\"\n",
            folder.path().join("data").display(),
        );
        let file = folder.path().join("nightshift.toml");
        std::fs::write(&file, config)?;
        std::fs::write(folder.path().join("token"), TOKEN)?;
        let http = runtime::http::client(Duration::from_secs(5))?;
        let base = format!("http://127.0.0.1:{hook}");
        let started = Instant::now();
        let child = Command::new(binary)
            .current_dir(folder.path())
            .args(["--config".as_ref(), file.as_os_str(), role.as_ref()])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut node = Self {
            child,
            base,
            folder,
            ready_after: Duration::ZERO,
            http,
        };
        while started.elapsed() < READY_MAX {
            let answer = node.http.get(format!("{}/readyz", node.base)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                node.ready_after = started.elapsed();
                return Ok(node);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("{role} was not ready after {READY_MAX:?}")
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("VmRSS")?;
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .context("VmRSS")
    }
}

async fn webhooks(node: &Node, senders: usize, salt: usize) -> Result<Sample> {
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..senders {
        let (http, url) = (
            node.http.clone(),
            format!("{}/webhook/alertmanager", node.base),
        );
        tasks.spawn(async move {
            let mut times = Vec::new();
            for round in 0..WEBHOOKS / senders {
                let body = body(salt, sender, round);
                let started = Instant::now();
                let answer = http
                    .post(&url)
                    .bearer_auth(TOKEN)
                    .header("content-type", "application/json")
                    .body(body)
                    .send()
                    .await?;
                times.push(started.elapsed());
                anyhow::ensure!(
                    answer.status().is_success(),
                    "webhook answered {}",
                    answer.status()
                );
            }
            Ok::<_, anyhow::Error>(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(Sample::of(all))
}

/// A body with one alert, each different.
fn body(salt: usize, sender: usize, round: usize) -> String {
    let name = format!("Figure{salt}x{sender}x{round}");
    let labels = json!({ "alertname": name, "severity": "warning", "service": name, "namespace": "figures" });
    json!({
        "version": "4", "groupKey": format!("{{}}:{{alertname=\"{name}\"}}"), "truncatedAlerts": 0,
        "status": "firing", "receiver": "nightshift", "groupLabels": { "alertname": name },
        "commonLabels": labels, "commonAnnotations": { "summary": "x".repeat(400) },
        "externalURL": "http://alertmanager.example:9093",
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": { "summary": "x".repeat(400) },
            "startsAt": "2026-01-01T00:00:00.000Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up", "fingerprint": format!("{:016x}", salt << 40 | sender << 20 | round),
        }],
    })
    .to_string()
}

/// The physical limit: 2 KiB appended and flushed to the same disk.
fn fdatasync(folder: &Path) -> Result<Sample> {
    let mut file = File::create(folder.join("fdatasync"))?;
    let mut times = Vec::new();
    for _ in 0..300 {
        let started = Instant::now();
        file.write_all(&[7; 2048])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(Sample::of(times))
}

fn drill(binary: &Path) -> Result<Duration> {
    let output = Command::new(binary)
        .args(["drill", "--times"])
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Value = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .context("the drill's times")?;
    let ms = times["webhook_to_report_ms"]
        .as_f64()
        .context("webhook_to_report_ms")?;
    Ok(Duration::from_secs_f64(ms / 1000.0))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Sorted times in milliseconds.
struct Sample(Vec<f64>);

impl Sample {
    fn of(times: Vec<Duration>) -> Self {
        let mut ms: Vec<f64> = times
            .into_iter()
            .map(|time| time.as_secs_f64() * 1000.0)
            .collect();
        ms.sort_by(f64::total_cmp);
        Self(ms)
    }

    fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index within the sample"
        )]
        let index = (last as f64 * q).round() as usize;
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }

    fn summary(&self) -> Value {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        json!({ "n": self.0.len(), "p50": round(self.quantile(0.5)), "p99": round(self.quantile(0.99)), "max": round(self.quantile(1.0)) })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values.get(values.len() / 2).copied().unwrap_or(f64::NAN) * 10.0).round() / 10.0
}
