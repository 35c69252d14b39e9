//! Slots that all processes share, on a real Redis: never too many, also when a process dies with
//! slots in hand and when the server is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use incident::ports::{Clock, Cx};
use runtime::slots::{Rules, Slots, Want};
use runtime::{OsEntropy, SystemClock};
use tests::conformance::{Open, redis};
use tests::redis::RedisServer;
use tests::wait::until;

const SLOTS: usize = 3;
const WORKERS: usize = 4;
const JOBS: usize = 12;
/// Of everything, with a server that is restarted in between.
const DONE_WITHIN: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
}

struct Entered<'a>(&'a Inside);

impl Inside {
    fn enter(&self) -> Entered<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Entered(self)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn worker(slots: Slots, inside: Arc<Inside>, clock: Arc<dyn Clock>) {
    let cx = Cx::root(Arc::clone(&clock), DONE_WITHIN, "0".repeat(32));
    let mut done = 0;
    while done < JOBS {
        let want = if done % 3 == 0 {
            Want::Urgent
        } else {
            Want::Usual
        };
        let slot = slots.acquire(want, &cx).await.expect("its turn comes");
        let entered = inside.enter();
        let lost = tokio::select! {
            biased;
            () = slot.keep() => true,
            () = clock.sleep(Duration::from_millis(40)) => false,
        };
        drop(entered);
        if !lost {
            done += 1;
            inside.done.fetch_add(1, Ordering::SeqCst);
            slot.release().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_there_are_slots_in_three_processes() -> anyhow::Result<()> {
    let mut server = RedisServer::start().await?;
    let rules = Rules {
        ttl: Duration::from_secs(2),
        poll: Duration::from_millis(50),
        ..Rules::new(SLOTS, 1)
    };
    let clock: Arc<dyn Clock> = SystemClock::new();
    let inside = Arc::new(Inside::default());
    let (mut open, mut processes) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let one = Open::new(&redis(&server, tests::conformance::Rules::default())).await?;
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..WORKERS {
            let store = one.bus.store();
            let slots = Slots::new("it", rules, store, Arc::clone(&clock), Arc::new(OsEntropy));
            workers.spawn(worker(slots, Arc::clone(&inside), Arc::clone(&clock)));
        }
        open.push(one);
        processes.push(workers);
    }
    let done = |at_least: usize| {
        let inside = Arc::clone(&inside);
        until("enough jobs are done", DONE_WITHIN, async move || {
            (inside.done.load(Ordering::SeqCst) >= at_least).then_some(())
        })
    };
    done(10).await?;
    // One process dies with whatever it holds.
    let mut dead = processes.remove(0);
    dead.shutdown().await;
    done(20).await?;
    server.kill()?;
    server.restart().await?;
    for mut workers in processes {
        while let Some(worker) = workers.join_next().await {
            worker?;
        }
    }
    let most = inside.most.load(Ordering::SeqCst);
    ensure!(most == SLOTS, "{most} at once with {SLOTS} slots");
    ensure!(inside.done.load(Ordering::SeqCst) >= 2 * WORKERS * JOBS);
    for one in open {
        one.close().await;
    }
    Ok(())
}
