//! One life of one node: from a start to the crash, the kill or the shutdown that ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use incident::ports::{Cancel as _, Clock};
use runtime::{CancelToken, Shutdown, Supervisor};

use super::clock::{OutsideClock, SimClock};

/// Names of nodes in traces.
const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// One life of one node.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) node: usize,
    clock: Arc<SimClock>,
    died: CancelToken,
    /// Until when it is frozen, in milliseconds of the world's time.
    frozen_until: AtomicU64,
    /// Owns what takes work in.
    pub(super) front: Supervisor,
    /// Owns the agents' tasks.
    pub(super) back: Supervisor,
}

impl Life {
    pub(super) fn new(node: usize, clock: &Arc<SimClock>) -> Arc<Self> {
        let outside: Arc<dyn Clock> = Arc::new(OutsideClock(Arc::clone(clock)));
        Arc::new(Self {
            node,
            clock: Arc::clone(clock),
            died: CancelToken::new(),
            frozen_until: AtomicU64::new(0),
            front: Supervisor::new(Shutdown::new(), Arc::clone(&outside)),
            back: Supervisor::new(Shutdown::new(), outside),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        NAMES.get(self.node).copied().unwrap_or("n?")
    }

    /// The end without warning: nothing of it runs any more, from this very instruction on.
    pub(super) fn crash(&self) {
        self.died.cancel();
        self.front.shutdown().abort.cancel();
        self.back.shutdown().abort.cancel();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.died.is_cancelled()
    }

    /// Completes when it has died.
    pub(super) async fn dead(&self) {
        self.died.wait().await;
    }

    /// Nothing of it moves for so long; its connections stay open.
    pub(super) fn freeze(&self, length: Duration) {
        let until = self.clock.elapsed().saturating_add(length);
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.frozen_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Completes when it moves (again); never, if it has died.
    pub(super) async fn awake(&self) {
        loop {
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            let until = Duration::from_millis(self.frozen_until.load(Ordering::Relaxed));
            let left = until.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return;
            }
            self.clock.pause(left).await;
        }
    }
}
