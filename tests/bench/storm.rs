//! Ten thousand alerts of two hundred groups at once, from the webhook to the last report, with one,
//! two and four dispatchers, each role a process of its own on a Redis that flushes before every
//! answer; and in one process on the embedded log. Both cores are used.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tests::nightshift::Install;
use tests::ports;
use tests::process::Process;
use tests::wait::until;

use crate::Bench;
use crate::backend::{Backend, Flush, Running};
use crate::figure::Figure;
use crate::sample::median;
use crate::site;

const NAME: &str = "storm";
/// Groups of Alertmanager, each with one cause.
const GROUPS: usize = 200;
/// Alerts of each group.
const ALERTS: usize = 50;
/// Bodies under way at once.
const SENDERS: usize = 8;
/// Longest storm.
const DRAINED_WITHIN: Duration = Duration::from_mins(5);
/// What is started, and with how many dispatchers; none: everything in one process.
const CASES: [(Option<usize>, &str); 4] = [
    (Some(1), "redis, always, 1 dispatcher"),
    (Some(2), "redis, always, 2 dispatchers"),
    (Some(4), "redis, always, 4 dispatchers"),
    (None, "embedded, one process"),
];

/// What one storm took.
#[derive(Debug, Default)]
struct Took {
    stored: f64,
    drained: f64,
    /// Peak memory in MiB, by role.
    peaks: Vec<(&'static str, f64)>,
}

/// How many measurements one round takes.
pub(crate) fn steps() -> usize {
    CASES.len()
}

/// Measures all of them in turn.
pub(crate) async fn run(bench: &mut Bench) -> Result<Vec<Figure>> {
    site::stay_on("0-1");
    let mut all: Vec<Vec<Took>> = CASES.iter().map(|_| Vec::new()).collect();
    for round in 0..bench.rounds {
        for ((dispatchers, name), took) in CASES.iter().zip(&mut all) {
            bench.step(&format!("{NAME}: {name}, round {}", round + 1));
            took.push(storm(*dispatchers).await?);
        }
    }
    if bench.pinned {
        site::stay_on("0");
    }
    let mut figures = Vec::new();
    let alone = all
        .first()
        .map(|took| median(took.iter().map(|took| took.drained)));
    for ((dispatchers, name), took) in CASES.into_iter().zip(&all) {
        figures.extend(figures_of(dispatchers, name, took, alone)?);
    }
    Ok(figures)
}

fn figures_of(
    dispatchers: Option<usize>,
    name: &str,
    took: &[Took],
    alone: Option<f64>,
) -> Result<Vec<Figure>> {
    #[allow(clippy::cast_precision_loss, reason = "ten thousand")]
    let alerts = (GROUPS * ALERTS) as f64;
    let figure = |what, value, unit| Figure::new(NAME, name, what, (value, unit));
    let drained = median(took.iter().map(|took| took.drained));
    let stored = median(took.iter().map(|took| took.stored));
    let mut figures = vec![
        figure("10,000 alerts stored", stored, "s"),
        match (dispatchers, alone) {
            (Some(2..), Some(alone)) => figure("200 reports out", drained, "s").beside(
                "1 dispatcher",
                alone,
                drained / alone,
            ),
            _ => figure("200 reports out", drained, "s"),
        },
        figure("time an alert", drained * 1000.0 / alerts, "ms"),
    ];
    let roles = took
        .first()
        .map(|took| took.peaks.clone())
        .unwrap_or_default();
    for (at, (role, _)) in roles.into_iter().enumerate() {
        let peaks = took.iter().filter_map(|took| took.peaks.get(at));
        let peak = peaks.map(|(_, peak)| *peak).fold(0.0, f64::max);
        let limit = limit_mib(role)?;
        let what = match role {
            "hook" => "peak memory, hook",
            "agents" => "peak memory, agents",
            "dispatcher" => "peak memory, dispatcher",
            "redis" => "peak memory, redis",
            _ => "peak memory, everything",
        };
        figures.push(
            figure(what, peak, "MiB")
                .beside("limit", limit, peak / limit)
                .at_most(limit),
        );
    }
    Ok(figures)
}

/// The memory that the manifests give a role; all roles in one process get that of the hook.
fn limit_mib(role: &str) -> Result<f64> {
    let file = if role == "up" { "hook" } else { role };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base");
    let text = std::fs::read_to_string(format!("{root}/{file}.yaml"))?;
    let limit = text.lines().find_map(|line| {
        let rest = line.split_once("limits: { memory: ")?.1;
        let number = |unit: &str| rest.split_once(unit)?.0.parse::<f64>().ok();
        number("Mi").or_else(|| Some(number("Gi")? * 1024.0))
    });
    limit.with_context(|| format!("the manifest of {file} names its memory"))
}

async fn storm(dispatchers: Option<usize>) -> Result<Took> {
    let backend = match dispatchers {
        Some(_) => Backend::Redis(Flush::Always),
        None => Backend::Embedded,
    };
    let running = backend.start().await?;
    let folder = tempfile::tempdir()?;
    let install = Install::new(folder.path(), &running.toml())?;
    let processes = start(&install, folder.path(), dispatchers).await?;
    let started = Instant::now();
    let bodies = stream::iter(0..GROUPS).map(|group| {
        let (install, body) = (&install, body(group));
        async move {
            let status = install.post(&body).await;
            ensure!(status == Some(200), "the webhook answered {status:?}");
            Ok(())
        }
    });
    bodies.buffer_unordered(SENDERS).try_collect::<()>().await?;
    let stored = started.elapsed().as_secs_f64();
    let drained = drained(&install).await;
    let drained = drained.with_context(|| {
        let tails = processes.iter().map(|(_, process)| process.log_tail());
        tails.collect::<Vec<_>>().join("\n")
    })?;
    let drained = drained.saturating_duration_since(started).as_secs_f64();
    let incidents = install.incidents().await.len();
    ensure!(
        incidents == GROUPS,
        "{incidents} incidents of {GROUPS} groups"
    );
    Ok(Took {
        stored,
        drained,
        peaks: peaks(&processes, &running)?,
    })
}

/// Starts the roles, several dispatchers each with a metrics port of its own.
async fn start(
    install: &Install,
    folder: &std::path::Path,
    dispatchers: Option<usize>,
) -> Result<Vec<(&'static str, Process)>> {
    let Some(dispatchers) = dispatchers else {
        return Ok(vec![("up", install.start(&["up"]).await?)]);
    };
    let mut processes = vec![
        ("hook", install.start(&["hook"]).await?),
        ("agents", install.start(&["agent", "all"]).await?),
    ];
    for number in 0..dispatchers {
        let mut command = install.command(&["dispatcher"])?;
        command.env("NIGHTSHIFT__METRICS_LISTEN", ports::free()?.to_string());
        // Consumers are told apart by it.
        command.env("HOSTNAME", format!("dispatcher-{number}"));
        let process = Process::start(&format!("dispatcher-{number}"), folder, &mut command)?;
        processes.push(("dispatcher", process));
    }
    Ok(processes)
}

/// When nothing waited and nothing was worked on any more.
async fn drained(install: &Install) -> Result<Instant> {
    let mut empty_since = None;
    until("the end of the storm", DRAINED_WITHIN, async || {
        let backlog = install.get("/api/v1/backlog").await?;
        if backlog.get("total").and_then(Value::as_u64)? > 0 {
            empty_since = None;
            return None;
        }
        // Between two streams there is a moment in which neither has it.
        let since = *empty_since.get_or_insert_with(Instant::now);
        (since.elapsed() > Duration::from_millis(300)).then_some(since)
    })
    .await
}

/// The most that each role held at a time; of several dispatchers the largest.
fn peaks(
    processes: &[(&'static str, Process)],
    running: &Running,
) -> Result<Vec<(&'static str, f64)>> {
    let mut peaks: Vec<(&'static str, f64)> = Vec::new();
    let ids = processes
        .iter()
        .map(|(role, process)| (*role, process.id()));
    let redis = running.ids().into_iter().map(|id| ("redis", Some(id)));
    for (role, id) in ids.chain(redis) {
        let peak = site::memory_mib(id.context("it runs")?, "VmHWM")?;
        match peaks.iter_mut().find(|(known, _)| *known == role) {
            Some((_, known)) => *known = known.max(peak),
            None => peaks.push((role, peak)),
        }
    }
    Ok(peaks)
}

/// One group's body.
fn body(group: usize) -> Value {
    let service = format!("service-{group:03}");
    let common = json!({
        "alertname": "HighErrorRate", "severity": "warning", "service": service,
        "namespace": format!("team-{}", group % 20), "cluster": "eu-1",
    });
    let alerts = (0..ALERTS).map(|alert| {
        let mut labels = common.clone();
        labels["pod"] = json!(format!("{service}-7d9c5b6f4-{alert:05}"));
        json!({
            "status": "firing", "labels": labels,
            "annotations": { "summary": "Too many requests fail.", "description": "x".repeat(300) },
            "startsAt": "2026-01-20T10:20:30.623Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up",
            "fingerprint": format!("{group:08x}{alert:08x}"),
        })
    });
    json!({
        "version": "4", "receiver": "nightshift", "status": "firing", "truncatedAlerts": 0,
        "groupKey": format!("{{}}:{{alertname=\"HighErrorRate\", service=\"{service}\"}}"),
        "groupLabels": { "alertname": "HighErrorRate", "service": service },
        "commonLabels": common, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": alerts.collect::<Vec<_>>(),
    })
}
