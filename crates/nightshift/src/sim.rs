//! `nightshift sim`: the whole pipeline in one process, on one thread, in simulated time, with
//! everything failing that can. See `docs/simulation.md`.
//!
//! Real: the hook's router, the dispatcher, triage, the orchestrator with diagnosis and reporting.
//! Simulated: time, chance, the bus, the network between nodes, channels, the remote, Alertmanager,
//! people, and two nodes that crash, freeze and restart at any call. A seed decides everything; each
//! is run twice and must live the same life.
//!
//! Never: real time, a socket, a thread within a seed, an order that depends on a memory address.

mod breaks;
mod chance;
mod checks;
mod clock;
mod fate;
mod fleet;
mod gate;
mod life;
mod night;
mod node;
mod people;
mod plan;
mod ports;
mod scenario;
mod senders;
mod specialists;
mod watch;
mod world;

use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum as _};
use incident::ports::Clock as _;
use runtime::SystemClock;

use crate::output::{complain, say};
use breaks::Break;
use fleet::{Orders, Results};
use night::Outcome;
use watch::Fault;

/// Trace lines before the first violation that a failing seed prints.
const LINES_BEFORE: usize = 30;

/// What to simulate.
#[derive(Debug, Clone, Args)]
pub(crate) struct SimArgs {
    /// Which seeds: the first, and the first that is not run any more
    #[arg(long, value_name = "FROM..TO", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Take a safeguard out, and see it found
    #[arg(long = "break", value_enum, value_name = "SAFEGUARD")]
    broken: Option<Break>,
    /// Print everything that happens in each seed
    #[arg(long)]
    trace: bool,
    /// Seeds that run at once; one for each core by default
    #[arg(long)]
    threads: Option<usize>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("{text:?} is not a range of seeds such as 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(bad)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        return Err(format!(
            "{text:?} is empty; the second number is not run any more"
        ));
    }
    Ok(range)
}

/// Runs the seeds and says what came of them. Fails if a promise was broken; with a safeguard taken
/// out, fails if that was not noticed.
pub(crate) fn run(args: &SimArgs) -> Result<ExitCode> {
    if args.trace {
        return trace(args);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let clock = SystemClock::new();
    let results = fleet::run(Orders {
        seeds: args.seeds.clone(),
        broken: args.broken,
        threads: args.threads.unwrap_or(cores),
        first_only: args.broken.is_some(),
    });
    if let Some(why) = &results.broken_off {
        anyhow::bail!("a seed could not be run: {why}");
    }
    figures(&results, clock.elapsed())?;
    for (seed, line) in &results.uneven {
        complain!("seed {seed} is not the same twice:\n{line}");
    }
    for outcome in results.failed.values() {
        explain(outcome, args.broken)?;
    }
    let sound = results.failed.is_empty() && results.uneven.is_empty();
    let good = match args.broken {
        None => sound,
        Some(_) => !results.failed.is_empty() && results.uneven.is_empty(),
    };
    if args.broken.is_some() && results.failed.is_empty() {
        complain!("no seed noticed that the safeguard is missing");
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints each seed's whole trace.
fn trace(args: &SimArgs) -> Result<ExitCode> {
    let mut good = true;
    for seed in args.seeds.clone() {
        let outcome = night::run(seed, args.broken, true)?;
        for line in &outcome.lines {
            say!("{line}")?;
        }
        for violation in &outcome.violations {
            good = false;
            complain!("seed {seed}: {}: {}", violation.invariant, violation.what);
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn figures(results: &Results, took: Duration) -> Result<()> {
    let tally = &results.tally;
    let seconds = took.as_secs_f64().max(0.001);
    let whole = |seeds: u64| f64::from(u32::try_from(seeds).unwrap_or(u32::MAX));
    let per_second = whole(results.seeds) / seconds;
    say!(
        "seeds        {}, {per_second:.0}/s, {seconds:.1} s",
        results.seeds
    )?;
    let hours = tally.simulated.as_secs() / 3600;
    say!("simulated    {hours} h, {} port calls", tally.calls)?;
    say!("checks       {}", tally.checks)?;
    say!(
        "events       {} acknowledged, {} incidents, {} drafts, {} messages",
        tally.acknowledged,
        tally.incidents,
        tally.drafts,
        tally.messages
    )?;
    for fault in Fault::ALL {
        say!("fault        {:<30} {}", fault.label(), tally.of(fault))?;
    }
    Ok(())
}

/// What a seed found, how it came to that, and how to see it again.
fn explain(outcome: &Outcome, broken: Option<Break>) -> Result<()> {
    let seed = outcome.seed;
    say!("\nseed {seed}:")?;
    for violation in &outcome.violations {
        say!(
            "  {} (at {:.1} s): {}",
            violation.invariant,
            violation.at.as_secs_f64(),
            violation.what
        )?;
    }
    let again = night::run(seed, broken, true)?;
    let first = again.lines.iter().position(|line| line.contains(" !! "));
    let first = first.map_or(again.lines.len(), |place| place + 1);
    for line in again
        .lines
        .get(first.saturating_sub(LINES_BEFORE)..first)
        .unwrap_or_default()
    {
        say!("  {line}")?;
    }
    let broken = broken.and_then(|broken| broken.to_possible_value());
    let broken = broken.map_or_else(String::new, |value| {
        format!(" --break {}", value.get_name())
    });
    say!(
        "  again: nightshift sim --seeds {seed}..{}{broken} --trace",
        seed + 1
    )
}
