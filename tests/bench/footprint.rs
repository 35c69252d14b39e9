//! What a role costs before it does anything: time to start, memory when idle, the binary. And the
//! whole way once: from the webhook to the report, in the drill.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use incident::ports::Clock as _;
use runtime::SystemClock;
use serde_json::Value;
use tests::nightshift::Install;
use tests::ports;
use tests::process::Process;

use crate::Bench;
use crate::backend::{Backend, Flush};
use crate::figure::Figure;
use crate::sample::{median, ms};
use crate::site;

const NAME: &str = "footprint";
/// Longest start in milliseconds.
const START: f64 = 100.0;
/// Most memory of an idle role in MiB.
const IDLE: f64 = 20.0;
/// How long a role is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// Between looks whether a role has started.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Longest start of all.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is started, and whether on the embedded log.
const ROLES: [(&[&str], &str, bool); 4] = [
    (&["up"], "up, all roles in one process", true),
    (&["hook"], "hook", false),
    (&["dispatcher"], "dispatcher", false),
    (&["agent", "all"], "agents", false),
];

/// How many measurements one round takes.
pub(crate) fn steps() -> usize {
    ROLES.len() + 1
}

/// Measures all of them in turn.
pub(crate) async fn run(bench: &mut Bench) -> Result<Vec<Figure>> {
    site::stay_on("0-1");
    let mut measured: Vec<Vec<(f64, f64)>> = ROLES.iter().map(|_| Vec::new()).collect();
    let mut drills = Vec::new();
    for round in 0..bench.rounds {
        for ((role, name, is_embedded), measured) in ROLES.iter().zip(&mut measured) {
            bench.step(&format!("{NAME}: {name}, round {}", round + 1));
            measured.push(measure(role, *is_embedded).await?);
        }
        bench.step(&format!("{NAME}: drill, round {}", round + 1));
        drills.push(drill().await?);
    }
    if bench.pinned {
        site::stay_on("0");
    }
    let mut figures = Vec::new();
    for ((_, name, _), measured) in ROLES.into_iter().zip(&measured) {
        let start = median(measured.iter().map(|(start, _)| *start));
        let idle = median(measured.iter().map(|(_, idle)| *idle));
        figures
            .push(Figure::new(NAME, name, "start until it answers", (start, "ms")).at_most(START));
        figures.push(Figure::new(NAME, name, "resident memory, idle", (idle, "MiB")).at_most(IDLE));
    }
    #[allow(clippy::cast_precision_loss, reason = "some MiB")]
    let size = std::fs::metadata(site::product()?)?.len() as f64 / 1_048_576.0;
    figures.push(Figure::new(
        NAME,
        "release build",
        "the binary",
        (size, "MiB"),
    ));
    let drill = Figure::new(NAME, "drill", "webhook to report", (median(drills), "ms"));
    figures.push(drill);
    Ok(figures)
}

/// Milliseconds until it answers, and MiB when idle.
async fn measure(role: &[&str], is_embedded: bool) -> Result<(f64, f64)> {
    let backend = if is_embedded {
        Backend::Embedded
    } else {
        Backend::Redis(Flush::Always)
    };
    let running = backend.start().await?;
    let folder = tempfile::tempdir()?;
    let install = Install::new(folder.path(), &running.toml(folder.path())?)?;
    let metrics = ports::free()?;
    let mut command = install.command(role)?;
    command.env("NIGHTSHIFT__METRICS_LISTEN", metrics.to_string());
    let agents = ports::free()?;
    command.env("NIGHTSHIFT__AGENTS__LISTEN", agents.to_string());
    command.env("NIGHTSHIFT__A2A__PUBLIC_URL", format!("http://{agents}"));
    let page = match role {
        ["up" | "hook"] => format!("{}/readyz", install.url()),
        ["agent", ..] => format!("http://{agents}/healthz"),
        _ => format!("http://{metrics}/healthz"),
    };
    let http = runtime::http::client(Duration::from_secs(5))?;
    let clock = SystemClock::new();
    let started = Instant::now();
    let process = Process::start("role", folder.path(), &mut command)?;
    loop {
        let answer = http.get(&page).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            break;
        }
        anyhow::ensure!(
            started.elapsed() < PATIENCE,
            "{page} does not answer\n{}",
            process.log_tail()
        );
        clock.sleep(LOOK_EVERY).await;
    }
    let start = ms(started.elapsed());
    clock.sleep(SETTLE).await;
    let idle = site::memory_mib(process.id().context("it runs")?, "VmRSS")?;
    Ok((start, idle))
}

/// Milliseconds from the webhook to the report on the drill's small world.
async fn drill() -> Result<f64> {
    let output = tokio::process::Command::new(site::product()?)
        .args(["drill", "--times"])
        .stderr(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Option<Value> = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    let times = times.context("the drill's times")?;
    times["webhook_to_report_ms"]
        .as_f64()
        .context("webhook_to_report_ms")
}
