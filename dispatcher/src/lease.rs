//! Leases that are held while an agent works.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use incident::ports::{Clock, Lease, Stream, StreamError};

/// Leases that are extended, and entries that are settled, at the same time. One after the other, a
/// large batch would take longer than a lease where each has to wait for replicas and disks; together
/// they wait once.
pub(crate) const AT_ONCE: usize = 16;

/// The leases of one job. A lease that is settled is let go first, and not extended after that.
#[derive(Debug)]
pub(crate) struct Leases {
    held: Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    /// When to stop believing in it, in [`Clock::elapsed`] time: a little before the stream does, so
    /// that the work has stopped by the time somebody else may have it.
    until: Duration,
}

/// How long a lease is believed in that was given or extended at `since`.
fn until(since: Duration, length: Duration) -> Duration {
    since.saturating_add(length.saturating_sub(length / 10))
}

impl Leases {
    /// Leases that were given just now. `since` is from before the claim: the stream counts from
    /// some moment after it, so that we never believe in a lease for longer than the stream does.
    pub(crate) fn new<'a>(
        leases: impl IntoIterator<Item = &'a Lease>,
        since: Duration,
        length: Duration,
    ) -> Self {
        let until = until(since, length);
        let held = leases.into_iter().map(|lease| {
            (
                lease.id.clone(),
                Held {
                    lease: lease.clone(),
                    until,
                },
            )
        });
        Self {
            held: Mutex::new(held.collect()),
        }
    }

    /// Lets go of a lease; false if it was lost before.
    pub(crate) fn let_go(&self, lease: &Lease) -> bool {
        self.lock().remove(&lease.id).is_some()
    }

    /// Whether the lease is held.
    pub(crate) fn holds(&self, lease: &Lease) -> bool {
        self.lock().contains_key(&lease.id)
    }

    /// Extends what is held, three times within each lease. Completes when a lease was lost and none
    /// is left: whoever works under them has to stop.
    pub(crate) async fn keep(&self, stream: &dyn Stream, clock: &dyn Clock) {
        let length = stream.lease();
        loop {
            let now = clock.elapsed();
            let first = self.lock().values().map(|held| held.until).min();
            let left = first.map_or(length, |until| until.saturating_sub(now));
            clock.sleep(left.min(length / 3)).await;
            let held: Vec<Held> = self.lock().values().cloned().collect();
            for some in held.chunks(AT_ONCE) {
                let kept = some.iter().map(|held| self.keep_one(stream, clock, held));
                let lost = join_all(kept).await.contains(&false);
                if lost && self.lock().is_empty() {
                    return;
                }
            }
        }
    }

    /// Extends one lease if it is still held; false if it was lost.
    async fn keep_one(&self, stream: &dyn Stream, clock: &dyn Clock, held: &Held) -> bool {
        let Held { lease, until } = held;
        if !self.holds(lease) || self.extend(stream, clock, lease, *until).await {
            return true;
        }
        self.lock().remove(&lease.id);
        tracing::warn!(stream = stream.name(), entry = lease.id, "lost a lease");
        false
    }

    /// Whether the lease is still ours. A stream that cannot be reached does not take it away before
    /// its time is over.
    async fn extend(
        &self,
        stream: &dyn Stream,
        clock: &dyn Clock,
        lease: &Lease,
        until: Duration,
    ) -> bool {
        let before = clock.elapsed();
        let left = until.saturating_sub(before);
        let result = tokio::select! {
            biased;
            result = stream.extend(lease) => result,
            () = clock.sleep(left) => return false,
        };
        match result {
            Ok(()) => {
                if let Some(held) = self.lock().get_mut(&lease.id) {
                    held.until = self::until(before, stream.lease());
                }
                true
            }
            Err(StreamError::LeaseLost { .. }) => false,
            Err(error) => {
                tracing::warn!(stream = stream.name(), entry = lease.id, %error, "cannot extend a lease");
                clock.elapsed() < until
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
