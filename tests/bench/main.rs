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
mod claim;
mod figure;
mod fire;
mod footprint;
mod intake;
mod latency;
mod page;
mod peer;
mod sample;
mod site;
mod storm;
mod urgent;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum as _};
use indicatif::{ProgressBar, ProgressStyle};

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
    /// Benchmarks to run; all without a name
    #[arg(value_enum, value_name = "NAME")]
    names: Vec<Name>,
    /// Also write the figures as JSON here; what other benchmarks wrote stays
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also put the tables of the JSON file into this page, between its markers
    #[arg(long, requires = "json")]
    page: Option<PathBuf>,
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

/// The benchmarks, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// How many alerts the hook takes
    Intake,
    /// How long a sender waits at a fixed rate
    Latency,
    /// How many entries are claimed and acknowledged
    Claim,
    /// Ten thousand alerts from the webhook to the last report
    Storm,
    /// How soon work on a critical alert starts
    Urgent,
    /// Start, idle memory, the binary, the drill
    Footprint,
}

impl Name {
    /// Measurements of one round.
    fn steps(self) -> usize {
        match self {
            Self::Intake => intake::steps(),
            Self::Latency => latency::steps(),
            Self::Claim => claim::steps(),
            Self::Storm => storm::steps(),
            Self::Urgent => urgent::steps(),
            Self::Footprint => footprint::steps(),
        }
    }

    /// As on the command line.
    fn text(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Latency => "latency",
            Self::Claim => "claim",
            Self::Storm => "storm",
            Self::Urgent => "urgent",
            Self::Footprint => "footprint",
        }
    }

    async fn run(self, bench: &mut Bench) -> Result<Vec<Figure>> {
        match self {
            Self::Intake => intake::run(bench).await,
            Self::Latency => latency::run(bench).await,
            Self::Claim => claim::run(bench).await,
            Self::Storm => storm::run(bench).await,
            Self::Urgent => urgent::run(bench).await,
            Self::Footprint => footprint::run(bench).await,
        }
    }
}

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
    let all = Name::value_variants().iter().copied();
    let names: Vec<Name> = all
        .filter(|name| options.names.is_empty() || options.names.contains(name))
        .collect();
    let steps: usize = names.iter().map(|name| name.steps()).sum();
    let all = steps * options.rounds;
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
    let mut all = Vec::new();
    for name in names {
        let load_before = load();
        let figures = name.run(&mut bench).await?;
        let about = about(options.rounds, pinned, &load_before)?;
        if let Some(file) = &options.json {
            page::keep(
                file,
                name.text(),
                page::Run {
                    about,
                    figures: figures.clone(),
                },
            )?;
        }
        all.extend(figures);
    }
    bench.bar.finish_and_clear();
    println!("{}", figure::table(&all));
    if let (Some(file), Some(page)) = (&options.json, &options.page) {
        let order: Vec<&str> = Name::value_variants()
            .iter()
            .map(|name| name.text())
            .collect();
        page::write(file, page, &order)?;
    }
    Ok(())
}

/// When, where and with what.
fn about(rounds: usize, pinned: bool, load_before: &str) -> Result<page::About> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib = memory.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    Ok(page::About {
        date: jiff::Timestamp::now()
            .strftime("%Y-%m-%d %H:%M UTC")
            .to_string(),
        rounds,
        cores: std::fs::read_to_string("/proc/cpuinfo")?
            .matches("processor\t")
            .count(),
        memory_gib: kib.unwrap_or_default() / 1_048_576,
        pinned,
        load_before: load_before.to_owned(),
        load_after: load(),
        nightshift: site::version(&site::product()?, "--version"),
        redis: site::version("redis-server".as_ref(), "--version"),
    })
}

/// The machine's load over one, five and fifteen minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}
