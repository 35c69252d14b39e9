//! Many seeds on all cores: each on one thread, twice.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::breaks::Break;
use super::night::{self, Outcome};
use super::watch::Tally;

/// Seeds that failed, after which no further ones are begun.
const FAILED_MAX: usize = 8;
/// How often a seed that differed from itself is run again, to be caught with its trace.
const AGAIN_MAX: usize = 8;

/// What is to be run.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    pub(super) seeds: Range<u64>,
    pub(super) broken: Option<Break>,
    pub(super) threads: usize,
    /// The first seed that fails is enough.
    pub(super) first_only: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) seeds: u64,
    pub(super) tally: Tally,
    /// Seeds that found something.
    pub(super) failed: BTreeMap<u64, Outcome>,
    /// Seeds that were not the same twice, with the first line that differs.
    pub(super) uneven: BTreeMap<u64, String>,
    /// Why a seed could not be run.
    pub(super) broken_off: Option<String>,
}

struct Fleet {
    orders: Orders,
    next: AtomicU64,
    stop: AtomicBool,
    bar: ProgressBar,
    results: Mutex<Results>,
}

/// Runs them all.
pub(super) fn run(orders: Orders) -> Results {
    let bar = bar(orders.seeds.end.saturating_sub(orders.seeds.start));
    let threads = orders.threads.max(1);
    let fleet = Fleet {
        next: AtomicU64::new(orders.seeds.start),
        orders,
        stop: AtomicBool::new(false),
        bar,
        results: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| fleet.work());
        }
    });
    fleet.bar.finish_and_clear();
    fleet
        .results
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

fn bar(seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

impl Fleet {
    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.orders.seeds.end {
                return;
            }
            if let Err(error) = self.one(seed) {
                self.results().broken_off = Some(error.to_string());
                self.stop.store(true, Ordering::Relaxed);
            }
            self.bar.inc(1);
        }
    }

    fn one(&self, seed: u64) -> std::io::Result<()> {
        let broken = self.orders.broken;
        let first = night::run(seed, broken, false)?;
        if self.orders.first_only && first.violations.is_empty() {
            // What is looked for is a seed that notices; only that one has to be the same twice.
            let mut results = self.results();
            results.seeds += 1;
            results.tally.add(&first.tally);
            return Ok(());
        }
        let second = night::run(seed, broken, false)?;
        let uneven = if first == second {
            None
        } else {
            Some(difference(seed, broken)?)
        };
        let mut results = self.results();
        results.seeds += 1;
        results.tally.add(&first.tally);
        results.tally.add(&second.tally);
        let failed = !first.violations.is_empty();
        if failed {
            results.failed.insert(seed, first);
        }
        if let Some(line) = uneven {
            results.uneven.insert(seed, line);
        }
        let many = results.failed.len() + results.uneven.len() >= FAILED_MAX;
        if many || (failed && self.orders.first_only) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The first line in which two runs of a seed differ.
fn difference(seed: u64, broken: Option<Break>) -> std::io::Result<String> {
    let first = night::run(seed, broken, true)?;
    for _ in 0..AGAIN_MAX {
        let again = night::run(seed, broken, true)?;
        let mut pairs = first.lines.iter().zip(&again.lines);
        if let Some((one, other)) = pairs.find(|(one, other)| one != other) {
            return Ok(format!("first:  {one}\nagain:  {other}"));
        }
        if first.lines.len() != again.lines.len() {
            return Ok(format!(
                "{} lines, then {}",
                first.lines.len(),
                again.lines.len()
            ));
        }
    }
    Ok(String::from("it differed once and not again"))
}
