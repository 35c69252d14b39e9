//! The benchmarks, started by `cargo xtask bench`: each figure beside a limit or a peer that was
//! measured in the same run, medians over interleaved rounds.
//!
//! Numbers and whether they clear their bars; never a test that fails because a machine was busy.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on standard output"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a stopwatch reads the clock, and the load generator has threads of its own"
)]

mod backend;
mod figure;
mod fire;
mod intake;
mod latency;
mod peer;
mod sample;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::figure::Figure;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Benchmarks of Nightshift")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

/// What else this program is while it measures.
#[derive(Debug, Subcommand)]
enum Role {
    /// The load generator
    #[command(hide = true)]
    Fire(fire::Fire),
    /// What the hook is measured against
    #[command(hide = true)]
    Peer(peer::Peer),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Benchmarks to run: intake, latency; all without a name
    names: Vec<String>,
    /// Also write the figures as JSON here
    #[arg(long)]
    json: Option<PathBuf>,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One run of the benchmarks.
pub(crate) struct Bench {
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// Whether what is measured and the load have a core each.
    pub(crate) pinned: bool,
    salt: u32,
    bar: ProgressBar,
}

impl Bench {
    /// Shows what is measured now.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.inc(1);
    }

    /// A number that no other load of this run has.
    pub(crate) fn salt(&mut self) -> u32 {
        self.salt += 1;
        self.salt
    }
}

const NAMES: [&str; 2] = ["intake", "latency"];

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    runtime::http::install_tls();
    if let Some(Role::Fire(fire)) = &cli.role {
        println!("{}", serde_json::to_string(&fire::run(fire)?)?);
        return Ok(());
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(Role::Peer(peer)) = cli.role {
        let runtime = builder.enable_all().build()?;
        return runtime.block_on(peer::run(peer));
    }
    let pinned = std::thread::available_parallelism()?.get() > 1 && site::stay_on("0");
    let runtime = builder.enable_all().build()?;
    runtime.block_on(measure(cli.options, pinned))
}

async fn measure(options: Options, pinned: bool) -> Result<()> {
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|n| n == name);
    if let Some(unknown) = options
        .names
        .iter()
        .find(|name| !NAMES.contains(&name.as_str()))
    {
        bail!(
            "there is no benchmark {unknown:?}; known: {}",
            NAMES.join(", ")
        );
    }
    let steps = |name: &str| match name {
        "intake" => intake::steps() * options.rounds,
        _ => latency::steps() * options.rounds,
    };
    let all: usize = NAMES
        .into_iter()
        .filter(|name| wanted(name))
        .map(steps)
        .sum();
    let bar = ProgressBar::new(all as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} {elapsed} {msg}",
    )?);
    let mut bench = Bench {
        rounds: options.rounds,
        pinned,
        salt: 0,
        bar,
    };
    if !pinned {
        eprintln!(
            "not pinned: there is one core only, or no taskset; figures \"on one core\" are not that"
        );
    }
    let load_before = load();
    let mut figures: Vec<Figure> = Vec::new();
    for name in NAMES.into_iter().filter(|name| wanted(name)) {
        figures.extend(match name {
            "intake" => intake::run(&mut bench).await?,
            _ => latency::run(&mut bench).await?,
        });
    }
    bench.bar.finish_and_clear();
    println!("{}", figure::table(&figures));
    if let Some(file) = &options.json {
        let report = json!({
            "about": about(&options, pinned, &load_before)?,
            "figures": figures,
        });
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// When, where and with what.
fn about(options: &Options, pinned: bool, load_before: &str) -> Result<Value> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib = memory.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(json!({
        "date": jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        "rounds": options.rounds,
        "cores": std::fs::read_to_string("/proc/cpuinfo")?.matches("processor\t").count(),
        "memory_gib": kib.unwrap_or_default() / 1_048_576,
        "pinned": pinned,
        "load_before": load_before,
        "load_after": load(),
        "nightshift": site::version(&site::product()?, "--version"),
        "redis": site::version("redis-server".as_ref(), "--version"),
    }))
}

/// The machine's load over one, five and fifteen minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}
