//! Load: an open loop, as users are. They do not wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use incident::ports::Clock;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use tokio::sync::{Semaphore, watch};

/// Requests at the same time; more are shed and counted.
const OPEN_MAX: usize = 512;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What came of the requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Answered 2xx.
    pub good: u64,
    /// Answered otherwise, or not at all.
    pub failed: u64,
    /// Not sent, because too many were open.
    pub shed: u64,
}

#[derive(Debug, Default)]
struct Tally {
    good: AtomicU64,
    failed: AtomicU64,
    shed: AtomicU64,
}

/// A running load. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    rate: watch::Sender<f64>,
    tally: Arc<Tally>,
    shutdown: Shutdown,
}

impl Load {
    /// Sends `rate` requests a second to `url` until stopped.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn start(url: impl Into<String>, rate: f64) -> anyhow::Result<Self> {
        let shutdown = Shutdown::new();
        let clock: Arc<dyn Clock> = SystemClock::new();
        let (sender, receiver) = watch::channel(rate);
        let tally = Arc::new(Tally::default());
        let source = Source {
            url: url.into(),
            client: runtime::http::client(TIMEOUT)?,
            supervisor: Supervisor::new(shutdown.clone(), Arc::clone(&clock)),
            tally: Arc::clone(&tally),
            clock,
        };
        let supervisor = source.supervisor.clone();
        supervisor.spawn(TaskKind::Work, "load", source.run(receiver));
        Ok(Self {
            rate: sender,
            tally,
            shutdown,
        })
    }

    /// Changes the rate from now on; 0 pauses.
    pub fn set_rate(&self, rate: f64) {
        self.rate.send_replace(rate);
    }

    /// What came of the requests so far.
    pub fn counts(&self) -> Counts {
        Counts {
            good: self.tally.good.load(Ordering::Relaxed),
            failed: self.tally.failed.load(Ordering::Relaxed),
            shed: self.tally.shed.load(Ordering::Relaxed),
        }
    }

    /// Stops; open requests are dropped.
    pub fn stop(&self) {
        self.shutdown.abort.cancel();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Source {
    url: String,
    client: reqwest::Client,
    supervisor: Supervisor,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
}

impl Source {
    async fn run(self, mut rate: watch::Receiver<f64>) {
        let open = Arc::new(Semaphore::new(OPEN_MAX));
        let mut due = self.clock.elapsed();
        loop {
            let per_second = *rate.borrow_and_update();
            let now = self.clock.elapsed();
            if per_second > 0.0 && due <= now {
                self.send(&open);
                due += Duration::from_secs_f64(1.0 / per_second);
                continue;
            }
            let wait = if per_second > 0.0 {
                due.saturating_sub(now)
            } else {
                Duration::from_hours(1)
            };
            tokio::select! {
                biased;
                changed = rate.changed() => match changed {
                    // What was due under the old rate is not made up for.
                    Ok(()) => due = self.clock.elapsed(),
                    Err(_) => return,
                },
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    fn send(&self, open: &Arc<Semaphore>) {
        let Ok(permit) = Arc::clone(open).try_acquire_owned() else {
            self.tally.shed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let request = self.client.get(&self.url);
        let tally = Arc::clone(&self.tally);
        self.supervisor
            .spawn(TaskKind::Work, "request", async move {
                let answer = request.send().await;
                let good = answer.is_ok_and(|answer| answer.status().is_success());
                let counter = if good { &tally.good } else { &tally.failed };
                counter.fetch_add(1, Ordering::Relaxed);
                drop(permit);
            });
    }
}
