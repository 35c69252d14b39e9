//! Ten thousand alerts of two hundred groups at once, from the webhook to the last report, with one,
//! two and four dispatchers, each role a process of its own on a Redis that flushes before every
//! answer; and in one process on the embedded log. Both cores are used.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::nightshift::Install;
use tests::process::Process;
use tests::storm::{TEN_THOUSAND, drained, start_roles};

use crate::Bench;
use crate::backend::{Backend, Flush, Running};
use crate::figure::Figure;
use crate::sample::median;
use crate::site;

const NAME: &str = "storm";
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
    let alerts = (TEN_THOUSAND.groups * TEN_THOUSAND.alerts) as f64;
    let figure = |what, value, unit| Figure::new(NAME, name, what, (value, unit));
    let drained = median(took.iter().map(|took| took.drained));
    let stored = median(took.iter().map(|took| took.stored));
    let out = figure("10,000 alerts drained, 200 reports out", drained, "s");
    let mut figures = vec![
        figure("10,000 alerts stored", stored, "s"),
        match (dispatchers, alone) {
            (Some(2..), Some(alone)) => out.beside("1 dispatcher", alone, drained / alone),
            _ => out,
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
        let figure = figure(what, peak, "MiB").beside("limit", limit, peak / limit);
        figures.push(figure.at_most(limit));
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
    let install = Install::new(folder.path(), &running.toml(folder.path())?)?;
    let processes = match dispatchers {
        Some(dispatchers) => start_roles(&install, folder.path(), dispatchers).await?,
        None => vec![("up", install.start(&["up"]).await?)],
    };
    let started = Instant::now();
    TEN_THOUSAND.post(&install).await?;
    let stored = started.elapsed().as_secs_f64();
    let quiet = drained(&install, DRAINED_WITHIN).await;
    let quiet = quiet.with_context(|| {
        let tails = processes.iter().map(|(_, process)| process.log_tail());
        tails.collect::<Vec<_>>().join("\n")
    })?;
    let drained = started.elapsed().saturating_sub(quiet).as_secs_f64();
    let incidents = install.incidents().await.len();
    let groups = TEN_THOUSAND.groups;
    ensure!(
        incidents == groups,
        "{incidents} incidents of {groups} groups"
    );
    Ok(Took {
        stored,
        drained,
        peaks: peaks(&processes, &running)?,
    })
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
