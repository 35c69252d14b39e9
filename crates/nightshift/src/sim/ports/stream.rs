//! The Stream port of one node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};

use super::super::breaks::BrokenStream;
use super::super::gate::{Fate, Gate};
use super::super::watch::{Fault, Holder, of_bytes};

/// One stream as one node reaches it.
#[derive(Debug, Clone)]
pub(in crate::sim) struct GatedStream {
    gate: Gate,
    watched: Watched,
}

/// Below the gate: sees what the stream really answers.
#[derive(Debug, Clone)]
struct Watched {
    gate: Gate,
    inner: BrokenStream,
}

fn away(why: &str) -> StreamError {
    StreamError::Unavailable(why.to_owned())
}

impl GatedStream {
    pub(in crate::sim) fn new(gate: Gate, inner: BrokenStream) -> Arc<Self> {
        let watched = Watched {
            gate: gate.clone(),
            inner,
        };
        Arc::new(Self { gate, watched })
    }
}

impl Watched {
    fn name(&self) -> String {
        self.inner.name().to_owned()
    }

    async fn append(self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        let keys: Vec<String> = batch.iter().map(|entry| entry.key.clone()).collect();
        let result = self.inner.append(batch).await;
        if let Ok(appended) = &result {
            let (watch, stream) = (&self.gate.world.watch, self.name());
            for (key, appended) in keys.into_iter().zip(appended) {
                let about = (stream.clone(), key);
                let was_there = watch.lock().books.stored.contains(&about);
                watch.check(
                    "a key is stored once",
                    !was_there || *appended == Appended::Duplicate,
                    || format!("{} was stored again in {}", about.1, about.0),
                );
                watch.lock().books.stored.insert(about);
            }
        }
        result
    }

    async fn claim(self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        let result = self.inner.claim(max, wait).await;
        let (world, who) = (&self.gate.world, self.gate.life.name());
        let now = world.clock.elapsed();
        for delivery in result.iter().flatten() {
            let place = (self.name(), delivery.lease.id.clone());
            let payload = of_bytes(&delivery.payload);
            world.watch.note(
                who,
                "  is handed",
                &delivery.key,
                payload ^ u64::from(delivery.attempt),
            );
            let before = world.watch.lock().books.leases.get(&place).copied();
            world.watch.check(
                "no two holders of a live lease",
                before.is_none_or(|holder| {
                    holder.until <= now && holder.token < delivery.lease.token
                }),
                || {
                    format!(
                        "{who} is handed {} of {}, which is held by {before:?}",
                        place.1, place.0
                    )
                },
            );
            let holder = Holder {
                who,
                token: delivery.lease.token,
                until: now.saturating_add(self.inner.lease()),
            };
            world.watch.lock().books.leases.insert(place, holder);
        }
        result
    }

    async fn extend(self, lease: Lease) -> Result<(), StreamError> {
        let result = self.inner.extend(&lease).await;
        if result.is_ok() {
            let now = self.gate.world.clock.elapsed();
            let place = (self.name(), lease.id);
            if let Some(holder) = self.gate.world.watch.lock().books.leases.get_mut(&place) {
                holder.until = now.saturating_add(self.inner.lease());
            }
        }
        result
    }

    /// After an ack, a put-back or a burial: only the newest holder may have been heard.
    fn settled(&self, lease: &Lease, result: &Result<(), StreamError>) {
        if result.is_err() {
            return;
        }
        let place = (self.name(), lease.id.clone());
        let watch = &self.gate.world.watch;
        let holder = watch.lock().books.leases.remove(&place);
        watch.check(
            "a stale lease settles nothing",
            holder.is_none_or(|holder| holder.token == lease.token),
            || {
                format!(
                    "{} of {} was settled with token {}, held by {holder:?}",
                    place.1, place.0, lease.token
                )
            },
        );
        if let Some(holder) = holder.filter(|holder| holder.token != lease.token) {
            watch.lock().books.leases.insert(place, holder);
        }
    }
}

#[async_trait]
impl Stream for GatedStream {
    fn name(&self) -> &str {
        self.watched.inner.name()
    }

    fn lease(&self) -> Duration {
        self.watched.inner.lease()
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        let first = batch.first().map_or("", |entry| entry.key.as_str());
        let effect = || self.watched.clone().append(batch.clone());
        self.gate.call("append", first, away, effect).await
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        let fate = self.gate.before("claim", self.name()).await;
        let effect = || self.watched.clone().claim(max, wait);
        let mut result = self.gate.make(fate, away, effect).await;
        if let Ok(deliveries) = &mut result
            && deliveries.len() > 1
            && fate == Fate::Pass
            && self.gate.world.is_hit(self.gate.world.plan.rates.reorder)
        {
            self.gate
                .world
                .watch
                .fault(self.gate.life.name(), Fault::Reorder, "claim");
            self.gate.world.chance.shuffle(deliveries);
        }
        result
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        let effect = || self.watched.clone().extend(lease.clone());
        self.gate.call("extend", &lease.id, away, effect).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        let effect = || {
            let (watched, lease) = (self.watched.clone(), lease.clone());
            async move {
                let result = watched.inner.ack(&lease).await;
                watched.settled(&lease, &result);
                result
            }
        };
        self.gate.call("ack", &lease.id, away, effect).await
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        let about = cause.code.as_str();
        self.gate
            .world
            .watch
            .check("nothing panics", about != "E-DISPATCH-003", || {
                cause.text.clone()
            });
        let effect = || {
            let (watched, lease, cause) = (self.watched.clone(), lease.clone(), cause.clone());
            async move {
                let result = watched.inner.retry_later(&lease, delay, &cause).await;
                watched.settled(&lease, &result);
                result
            }
        };
        self.gate.call("retry_later", about, away, effect).await
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        let effect = || {
            let (watched, lease, cause) = (self.watched.clone(), lease.clone(), cause.clone());
            async move {
                let result = watched.inner.bury(&lease, &cause).await;
                watched.settled(&lease, &result);
                result
            }
        };
        self.gate.call("bury", &cause.text, away, effect).await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        let effect = || {
            let watched = self.watched.clone();
            async move { watched.inner.memory().backlog().await }
        };
        self.gate.call("backlog", self.name(), away, effect).await
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        let effect = || {
            let (watched, after) = (self.watched.clone(), after.map(str::to_owned));
            async move { watched.inner.memory().dead(after.as_deref(), limit).await }
        };
        self.gate.call("dead", self.name(), away, effect).await
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        let effect = || {
            let (watched, id) = (self.watched.clone(), id.to_owned());
            async move { watched.inner.memory().redrive(&id).await }
        };
        self.gate.call("redrive", id, away, effect).await
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        let effect = || {
            let (watched, id) = (self.watched.clone(), id.to_owned());
            async move { watched.inner.memory().discard(&id).await }
        };
        self.gate.call("discard", id, away, effect).await
    }
}
