//! Chaos on real servers: `cargo xtask chaos --bus redis --kills 60 --json docs/chaos/redis.json`.
//!
//! Starts the product as installed, sends alerts whose truth is known, breaks one thing after the
//! other, and counts what was lost and what was done twice. `--report` writes the tables of
//! docs/chaos.md from the JSON files.
//!
//! Never: a figure that a person typed.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on its outputs"
)]

mod audit;
mod channel;
mod disk;
mod fault;
mod ledger;
mod page;
mod real;
mod record;
mod recovery;
mod scenario;
mod schedule;
mod sender;
mod server;
mod settings;
mod show;
mod system;
mod wall;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use incident::ports::{Clock as _, Entropy as _};
use runtime::{OsEntropy, SystemClock};

use crate::disk::Disk;
use crate::fault::{Bus, Fault, Scenario};
use crate::record::Run;
use crate::scenario::Order;
use crate::show::Show;

/// Kills, freezes and starves Nightshift on real servers, and counts what was lost.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    /// Where streams and state live.
    #[arg(long, required_unless_present = "report")]
    bus: Option<Bus>,
    /// How often something is broken, over all scenarios together.
    #[arg(long, default_value_t = 60)]
    kills: usize,
    /// Where the figures are written.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only these scenarios; by default all there are on the bus.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<String>,
    /// The named ones mixed into one scenario.
    #[arg(long, requires = "faults")]
    mixed: bool,
    /// The seed of a run that is to be made again.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep what the scenarios leave behind, logs above all, also when every bar was reached.
    #[arg(long)]
    keep: bool,
    /// Writes the tables of this page from the JSON files beside it, and does nothing else.
    #[arg(long, value_name = "PAGE", conflicts_with = "bus")]
    report: Option<PathBuf>,
    /// With `--report`: fails if the page is not what it would write.
    #[arg(long, requires = "report")]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let all = async {
        match &cli.report {
            Some(page) => page::write(page, cli.check).map(|()| true),
            None => chaos(&cli).await,
        }
    };
    // Interrupted, it still ends its processes and unmounts its disks.
    let result = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        result = all => result,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; whether every bar was reached.
async fn chaos(cli: &Cli) -> Result<bool> {
    let bus = cli.bus.context("--bus says which")?;
    let mut chosen = bus.chosen(&cli.faults)?;
    if cli.mixed {
        chosen = vec![Scenario::mixed(&chosen)];
    }
    let (scenarios, skipped) = possible(chosen);
    if scenarios.is_empty() {
        bail!("nothing of this can run here");
    }
    let seed = cli.seed.unwrap_or_else(seed);
    let strokes = cli.kills.div_ceil(scenarios.len()).max(1);
    let command = format!("cargo xtask chaos {} --seed {seed}", arguments(bus, cli));
    println!("{command}");
    let clock = SystemClock::new();
    let mut run = Run {
        bus,
        began: clock.now().strftime("%Y-%m-%d %H:%M").to_string(),
        command,
        commit: commit().await,
        build: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        seed,
        settings: settings::settings(),
        scenarios: Vec::new(),
        skipped,
    };
    let show = Show::new(strokes * scenarios.len());
    for (name, why) in &run.skipped {
        show.say(&format!("SKIPPED {name}: {why}"));
    }
    for scenario in &scenarios {
        let order = Order {
            bus,
            seed,
            strokes,
            keep: cli.keep,
        };
        let outcome = scenario::run(order, scenario, &show).await?;
        show.outcome(&outcome);
        run.scenarios.push(outcome);
        // After each, so that a run that is cut short leaves what it has.
        if let Some(json) = &cli.json {
            run.write(json)?;
        }
    }
    show.finish();
    let good = run
        .scenarios
        .iter()
        .all(|outcome| outcome.missed.is_empty());
    let kills: u64 = run.scenarios.iter().map(record::Outcome::kills).sum();
    println!(
        "{bus}: {kills} kills in {} scenarios, seed {seed}: {}",
        run.scenarios.len(),
        if good {
            "every bar was reached"
        } else {
            "BARS MISSED"
        }
    );
    Ok(good)
}

/// What can run here. A mixed scenario goes on without a fault that cannot.
fn possible(scenarios: Vec<Scenario>) -> (Vec<Scenario>, BTreeMap<String, String>) {
    let mut skipped = BTreeMap::new();
    let mut possible = Vec::new();
    for mut scenario in scenarios {
        if scenario.has(Fault::DiskFull) && !Disk::is_allowed() {
            let why = "a disk of its own can be mounted by root only; run as root";
            skipped.insert(format!("disk-full in {}", scenario.name), why.to_owned());
            scenario.faults.retain(|fault| *fault != Fault::DiskFull);
        }
        if !scenario.faults.is_empty() {
            possible.push(scenario);
        }
    }
    (possible, skipped)
}

fn arguments(bus: Bus, cli: &Cli) -> String {
    let mut arguments = vec![format!("--bus {bus} --kills {}", cli.kills)];
    let faults = cli.faults.iter();
    arguments.extend(faults.map(|fault| format!("--fault {fault}")));
    arguments.extend(cli.mixed.then(|| "--mixed".to_owned()));
    let json = cli.json.iter();
    arguments.extend(json.map(|json| format!("--json {}", json.display())));
    arguments.join(" ")
}

fn seed() -> u64 {
    let mut bytes = [0; 4];
    OsEntropy.fill(&mut bytes);
    u64::from(u32::from_be_bytes(bytes))
}

/// What was built, as far as Git knows.
async fn commit() -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let head = tests::repository::git(&folder, &["rev-parse", "--short=12", "HEAD"]).await;
    head.unwrap_or_else(|_| "unknown".to_owned())
}
