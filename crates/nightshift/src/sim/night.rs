//! One night: everything that one seed stands for, from the first alert until all is quiet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use incident::ports::Stream as _;
use tokio::runtime::Builder;

use super::breaks::Break;
use super::plan::Plan;
use super::watch::{Tally, Violation};
use super::world::World;
use super::{checks, fate, people, senders};

/// How often somebody looks whether all is quiet.
const LOOK_EVERY: Duration = Duration::from_secs(8);
/// After this, what is not done will never be.
const NIGHT_MAX: Duration = Duration::from_hours(4);
/// Dead letters that are taken up again at most.
const LETTERS_MAX: usize = 1000;

/// What a seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    /// Stands for the whole trace.
    pub(super) digest: u64,
    pub(super) entries: u64,
    pub(super) tally: Tally,
    pub(super) violations: Vec<Violation>,
    pub(super) lines: Vec<String>,
}

/// Lives through one seed.
///
/// # Errors
/// The operating system gives no thread of control to run it on.
pub(super) fn run(seed: u64, broken: Option<Break>, keeps_lines: bool) -> std::io::Result<Outcome> {
    let world = World::new(Plan::draw(seed), broken, keeps_lines);
    let clock = Arc::clone(&world.clock);
    let runtime = Builder::new_current_thread()
        .on_thread_park(move || clock.advance())
        .build()?;
    runtime.block_on(world.clock.drive(night(&world)));
    // Every task is dropped here, and with them what holds the world in a circle.
    drop(runtime);
    for place in 0..world.plan.nodes {
        world.set_node(place, None);
    }
    let mut watched = world.watch.lock();
    watched.tally.simulated = world.clock.elapsed();
    Ok(Outcome {
        seed,
        digest: watched.trace.digest(),
        entries: watched.trace.entries(),
        tally: watched.tally.clone(),
        violations: std::mem::take(&mut watched.violations),
        lines: watched.trace.take_lines(),
    })
}

async fn night(world: &Arc<World>) {
    fate::start(world);
    senders::start(world);
    people::start(world);
    let mut quiet = calms_down(world).await;
    if quiet && world.plan.refused.is_some() {
        checks::refused(world).await;
        redrive(world).await;
        quiet = calms_down(world).await;
    }
    if quiet {
        checks::morning(world).await;
    }
}

/// Waits until nothing is left to do; false if that never comes.
async fn calms_down(world: &Arc<World>) -> bool {
    loop {
        world.clock.pause(LOOK_EVERY).await;
        let backlog = world.backlog().await;
        let running = world.running.load(Ordering::Relaxed);
        let busy = world.busy.load(Ordering::Relaxed);
        let asked = world.told().asked.len();
        let is_idle = backlog.is_empty() && running == 0 && busy == 0 && asked == 0;
        if is_idle && !world.is_stormy() {
            return true;
        }
        let late = world.clock.elapsed() > NIGHT_MAX;
        world.watch.check("everything comes to an end", !late, || {
            format!("in the streams: {backlog:?}; tasks: {running}; senders and people: {busy}")
        });
        world
            .watch
            .check("nothing runs in circles", !world.watch.is_endless(), || {
                format!("in the streams: {backlog:?}; tasks: {running}; senders and people: {busy}")
            });
        if late || world.watch.is_endless() {
            return false;
        }
    }
}

/// The agent takes again what it refused, and an operator redrives the dead letters.
async fn redrive(world: &World) {
    world.appeased.store(true, Ordering::Relaxed);
    for stream in world.streams() {
        for letter in stream.dead(None, LETTERS_MAX).await.unwrap_or_default() {
            let redriven = stream.redrive(&letter.id).await;
            world.watch.check(
                "a dead letter can be redriven",
                matches!(redriven, Ok(true)),
                || format!("{}: {redriven:?}", letter.key),
            );
        }
    }
}
