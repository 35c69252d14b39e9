//! Handing out.
//!
//! A claim asks the server for as many entries as it wants and no more, so that nothing waits in this
//! process. It runs in a task of its own: whoever claims may drop the claim at any point, and what was
//! on its way then is handed back instead of being stranded until its lease ends.

use std::time::Duration;

use async_nats::Message;
use futures_util::{StreamExt as _, stream};
use incident::ports::{Delivery, Lease};
use runtime::TaskKind;
use tokio::sync::oneshot;

use super::link::Failure;
use super::pull::{IDLE, Pulled, entry_id, is_redelivery};
use super::record::{Arrival, Record, State, Verdict};
use super::stream::{About, JetStream, Standing};
use super::{AT_ONCE, envelope};

/// Looks at one record that somebody else changes at the same time.
const TRIES: usize = 8;

pub(super) type Claimed = Result<Vec<Delivery>, Failure>;

impl JetStream {
    /// Hands out up to `max` entries; waits up to `wait` for the first.
    pub(super) async fn claim_in_a_task(&self, max: usize, wait: Duration) -> Claimed {
        let (sender, receiver) = oneshot::channel();
        let stream = self.clone();
        let supervisor = self.server.supervisor.clone();
        supervisor.spawn(TaskKind::Work, "bus-claim", async move {
            stream.claim_for(sender, max, wait).await;
        });
        let ended = |_| Err(Failure::Unavailable(String::from("the process ends")));
        receiver.await.unwrap_or_else(ended)
    }

    async fn claim_for(&self, mut asker: oneshot::Sender<Claimed>, max: usize, wait: Duration) {
        let claimed = self.look_until(&mut asker, max, wait).await;
        if let Err(Ok(deliveries)) = asker.send(claimed) {
            for delivery in deliveries {
                self.take_back(&delivery.lease).await;
            }
        }
    }

    async fn look_until(
        &self,
        asker: &mut oneshot::Sender<Claimed>,
        max: usize,
        wait: Duration,
    ) -> Claimed {
        let clock = &self.server.clock;
        let until = clock.elapsed().saturating_add(wait);
        self.mended(|| self.take_over()).await?;
        let mut is_mended = false;
        loop {
            let looked = self.look_once(asker, max, until).await;
            match looked {
                Ok(deliveries) => {
                    let is_over = clock.elapsed() >= until || asker.is_closed();
                    if !deliveries.is_empty() || is_over {
                        return Ok(deliveries);
                    }
                }
                Err(Failure::Missing) if !is_mended => {
                    is_mended = true;
                    self.server.set_made(&self.stream, false);
                    self.mended(|| async { Ok(()) }).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// What is there now; if that is nothing, what comes first.
    async fn look_once(
        &self,
        asker: &mut oneshot::Sender<Claimed>,
        max: usize,
        until: Duration,
    ) -> Claimed {
        let mut deliveries = Vec::new();
        loop {
            let pulled = match self.pull_now(asker, max - deliveries.len()).await {
                // What is handed out already counts more than this failing.
                Err(_) if !deliveries.is_empty() => return Ok(deliveries),
                pulled => pulled?,
            };
            // A server that was just started sometimes stops in the middle.
            let (is_empty, is_more) = (pulled.messages.is_empty(), pulled.is_more());
            match self.admit_all(pulled).await {
                Err(failure) if deliveries.is_empty() => return Err(failure),
                admitted => deliveries.extend(admitted.unwrap_or_default()),
            }
            let is_done = deliveries.len() >= max || is_empty || !is_more;
            if (is_done && !deliveries.is_empty()) || asker.is_closed() {
                return Ok(deliveries);
            }
            // If something came, but nothing of it may be handed out, there may be more behind it.
            if is_empty {
                break;
            }
        }
        let left = until.saturating_sub(self.server.clock.elapsed());
        if left.is_zero() {
            return Ok(Vec::new());
        }
        let wait = left.min(self.server.config.block.0);
        let pulled = self.pull(asker, 1, Some(wait)).await?;
        let mut deliveries = self.admit_all(pulled).await?;
        if !deliveries.is_empty() && deliveries.len() < max && !asker.is_closed() {
            // Seldom alone. What is handed out already counts more than this failing.
            if let Ok(pulled) = self.pull(asker, max - deliveries.len(), None).await {
                deliveries.extend(self.admit_all(pulled).await.unwrap_or_default());
            }
        }
        Ok(deliveries)
    }

    async fn admit_all(&self, pulled: Pulled) -> Claimed {
        if pulled.is_cut {
            for message in &pulled.messages {
                self.give_back(message.reply.as_deref().unwrap_or_default(), Duration::ZERO)
                    .await;
            }
            return Ok(Vec::new());
        }
        let admitting: Vec<_> = pulled
            .messages
            .iter()
            .map(|message| self.admit(message))
            .collect();
        let admitted: Vec<_> = stream::iter(admitting).buffered(AT_ONCE).collect().await;
        let (mut deliveries, mut failed) = (Vec::new(), None);
        for (admitted, message) in admitted.into_iter().zip(&pulled.messages) {
            match admitted {
                Ok(Some(delivery)) => deliveries.push(delivery),
                Ok(None) => {}
                Err(failure) => {
                    self.give_back(message.reply.as_deref().unwrap_or_default(), Duration::ZERO)
                        .await;
                    failed = Some(failure);
                }
            }
        }
        match failed {
            Some(failure) if deliveries.is_empty() => Err(failure),
            _ => Ok(deliveries),
        }
    }

    /// Takes the lease of a delivered entry, if it may be handed out now.
    async fn admit(&self, message: &Message) -> Result<Option<Delivery>, Failure> {
        let reply = message.reply.as_deref().unwrap_or_default();
        let Some(id) = entry_id(reply) else {
            tracing::warn!(stream = self.name, reply, "a delivery cannot be understood");
            return Ok(None);
        };
        let (about, payload) = envelope::unpack(&message.payload).unwrap_or_else(|| {
            // Somebody else put it there.
            let key = id.to_string();
            let remembered = String::new();
            (About { key, remembered }, message.payload.clone())
        });
        let arrival = Arrival {
            holder: &self.consumer,
            reply,
            remembered: &about.remembered,
        };
        let name = id.to_string();
        let mut standing = None;
        if is_redelivery(reply) {
            standing = self.standing(&name).await?;
        }
        for _ in 0..TRIES {
            match self.take(&name, standing.as_ref(), arrival).await {
                Ok(Some(record)) => {
                    return Ok(Some(Delivery {
                        lease: Lease {
                            id: name,
                            token: record.token,
                        },
                        key: about.key,
                        payload: payload.to_vec(),
                        attempt: record.attempt,
                        appended_at: id.appended_at(),
                    }));
                }
                Ok(None) => return Ok(None),
                Err(Failure::Conflict) => standing = self.standing(&name).await?,
                Err(failure) => return Err(failure),
            }
        }
        self.give_back(reply, IDLE).await;
        Ok(None)
    }

    /// Writes the lease. None if the entry may not be handed out; a conflict if somebody else wrote.
    async fn take(
        &self,
        id: &str,
        standing: Option<&Standing>,
        arrival: Arrival<'_>,
    ) -> Result<Option<Record>, Failure> {
        let now = self.server.now().await?;
        let rev = standing.map_or(0, |standing| standing.rev);
        let verdict = match standing {
            None => Verdict::Take(Record::new(arrival, now, &self.rules)),
            Some(standing) => standing.record.on_delivery(arrival, now, &self.rules),
        };
        match verdict {
            Verdict::Take(record) => {
                self.save(id, &record, rev).await?;
                if let Some(State::Later { mark, .. }) = standing.map(|s| &s.record.state) {
                    self.unmark(*mark).await;
                }
                Ok(Some(record))
            }
            Verdict::NotYet(left) => {
                self.give_back(arrival.reply, left).await;
                Ok(None)
            }
            Verdict::Acknowledge => {
                self.confirm(arrival.reply).await;
                Ok(None)
            }
            Verdict::Bury(record) => {
                let rev = self.save(id, &record, rev).await?;
                if let Some(State::Later { mark, .. }) = standing.map(|s| &s.record.state) {
                    self.unmark(*mark).await;
                }
                self.finish_burial(id, Standing { rev, record }, arrival.reply)
                    .await?;
                Ok(None)
            }
            Verdict::Unburied(record) => {
                self.finish_burial(id, Standing { rev, record }, arrival.reply)
                    .await?;
                Ok(None)
            }
        }
    }

    /// Undoes a lease that nobody heard of.
    async fn take_back(&self, lease: &Lease) {
        let undone = async {
            let Some(standing) = self.standing(&lease.id).await? else {
                return Ok(());
            };
            if standing.record.is_held_by(lease.token) {
                let record = standing.record.taken_back(self.server.now().await?);
                self.save(&lease.id, &record, standing.rev).await?;
                self.give_back(&record.reply, Duration::ZERO).await;
            }
            Ok::<(), Failure>(())
        };
        if let Err(failure) = undone.await {
            tracing::debug!(stream = self.name, %failure, "a dropped claim's lease ends by itself");
        }
    }
}
