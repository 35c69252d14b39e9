//! How long work takes: observed here, kept in the store for all dispatchers and for the hook, which
//! says how many of them are wanted. An estimate: losing some of it changes no piece of work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use incident::ports::{Delivery, Expect, Put, Store, StoreError};
use incident::{Pace, keys};

/// What is running, and what was observed and is not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: BTreeMap<(String, String), Run>,
    /// At most [`Pace::KEPT`] of each lane.
    observed: BTreeMap<&'static str, Vec<Duration>>,
    known: BTreeMap<&'static str, Pace>,
}

#[derive(Debug)]
struct Run {
    lane: &'static str,
    since: Duration,
    /// Entries that are done in one go.
    together: u32,
}

fn name(delivery: &Delivery) -> (String, String) {
    (delivery.key.clone(), delivery.lease.id.clone())
}

impl Paces {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on `deliveries` begins.
    pub(crate) fn begin(&self, lane: &'static str, deliveries: &[Delivery], now: Duration) {
        let together = u32::try_from(deliveries.len()).unwrap_or(u32::MAX).max(1);
        let runs = deliveries.iter().map(|delivery| {
            let run = Run {
                lane,
                since: now,
                together,
            };
            (name(delivery), run)
        });
        self.lock().running.extend(runs);
    }

    /// Work on `delivery` reached its end; what failed or was given back says nothing about how long
    /// it takes.
    pub(crate) fn done(&self, delivery: &Delivery, now: Duration) {
        let mut inner = self.lock();
        let Some(run) = inner.running.remove(&name(delivery)) else {
            return;
        };
        let observed = inner.observed.entry(run.lane).or_default();
        if observed.len() < Pace::KEPT {
            observed.push(now.saturating_sub(run.since) / run.together);
        }
    }

    /// Nobody works on `deliveries` any more.
    pub(crate) fn end(&self, deliveries: &[Delivery]) {
        let mut inner = self.lock();
        for delivery in deliveries {
            inner.running.remove(&name(delivery));
        }
    }

    /// What is known of the lane, from all dispatchers.
    pub(crate) fn known(&self, lane: &'static str) -> Pace {
        self.lock().known.get(lane).cloned().unwrap_or_default()
    }

    /// Stores what was observed of the lane, and learns what others did.
    pub(crate) async fn exchange(
        &self,
        store: &dyn Store,
        lane: &'static str,
    ) -> Result<(), StoreError> {
        let key = keys::pace(lane);
        let stored = store.get(&key).await?;
        let mut pace: Pace = stored
            .as_ref()
            .and_then(|stored| serde_json::from_slice(&stored.value).ok())
            .unwrap_or_default();
        let fresh = self.lock().observed.get(lane).cloned().unwrap_or_default();
        if !fresh.is_empty() {
            for took in &fresh {
                pace.note(*took);
            }
            let value = serde_json::to_vec(&pace).unwrap_or_default();
            let expect = stored.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
            match store.put(Put::new(key, value, expect)).await {
                Ok(_) => {
                    if let Some(observed) = self.lock().observed.get_mut(lane) {
                        observed.drain(..fresh.len().min(observed.len()));
                    }
                }
                // Another dispatcher was faster; the next time it is our turn.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.lock().known.insert(lane, pace);
        Ok(())
    }
}
