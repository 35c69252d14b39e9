//! Handing out.
//!
//! A claim asks the server for as many entries as it wants and no more, so that nothing waits in this
//! process. It runs in a task of its own: whoever claims may drop the claim at any point, and what was
//! on its way then is handed back instead of being stranded until its lease ends.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use incident::keys;
use incident::ports::{Delivery, Lease};
use runtime::TaskKind;
use serde_json::json;
use tokio::sync::oneshot;

use super::link::Failure;
use super::record::{Arrival, Record, State, Verdict};
use super::stream::{About, EntryId, JetStream, Standing};
use super::{AT_ONCE, envelope};

/// Longest pause between two entries of one answer.
const IDLE: Duration = Duration::from_millis(100);
/// Looks at one record that somebody else changes at the same time.
const TRIES: usize = 8;

type Claimed = Result<Vec<Delivery>, Failure>;

/// What the server sent.
struct Pulled {
    messages: Vec<Message>,
    /// Nobody waits for it any more.
    is_cut: bool,
}

impl Pulled {
    /// Whether the server said with the last message that there is more.
    fn is_more(&self) -> bool {
        let last = self.messages.last().and_then(|last| last.reply.as_deref());
        last.is_some_and(|reply| pending(reply) > 0)
    }
}

/// A delivery's place in the stream, from where it is to be acknowledged.
pub(super) fn entry_id(reply: &str) -> Option<EntryId> {
    // $JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer's seq>.<time>.<pending>, and newer
    // servers say domain and account after the first two.
    let tokens: Vec<&str> = reply.split('.').collect();
    let seq = match tokens.len() {
        9 => 5,
        11.. => 7,
        _ => return None,
    };
    EntryId::parse(&format!("{}-{}", tokens.get(seq)?, tokens.get(seq + 2)?))
}

/// Whether the server says that the entry was delivered before.
fn is_redelivery(reply: &str) -> bool {
    let tokens: Vec<&str> = reply.split('.').collect();
    let delivered = if tokens.len() == 9 { 4 } else { 6 };
    tokens.get(delivered) != Some(&"1")
}

/// How many entries the server had not delivered when it delivered this one.
fn pending(reply: &str) -> u64 {
    let tokens: Vec<&str> = reply.split('.').collect();
    let at = if tokens.len() == 9 { 8 } else { 10 };
    let pending = tokens.get(at).and_then(|text| text.parse().ok());
    pending.unwrap_or_default()
}

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
            let pulled = match self.pull(asker, max - deliveries.len(), None).await {
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

    /// Asks for up to `max` entries: those that are there now, or, with `wait`, those that come.
    async fn pull(
        &self,
        asker: &mut oneshot::Sender<Claimed>,
        max: usize,
        wait: Option<Duration>,
    ) -> Result<Pulled, Failure> {
        let link = &self.server.link;
        link.ready().await?;
        let lost = |error: &dyn std::fmt::Display| Failure::Unavailable(format!("nats: {error}"));
        let inbox = link.client().new_inbox();
        let answers = link.client().subscribe(inbox.clone()).await;
        let mut answers = answers.map_err(|error| lost(&error))?;
        let mut body = json!({ "batch": max });
        match wait {
            Some(wait) => {
                body["expires"] = json!(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
            }
            None => body["no_wait"] = json!(true),
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, keys::GROUP);
        let body = Bytes::from(body.to_string());
        let sent = link.client().publish_with_reply(subject, inbox, body).await;
        sent.map_err(|error| lost(&error))?;
        let bound = wait.unwrap_or_default().saturating_add(link.timeout());
        let mut pulled = Pulled {
            messages: Vec::new(),
            is_cut: false,
        };
        let end = self
            .receive(&mut answers, asker, &mut pulled, (max, bound))
            .await;
        if pulled.messages.len() < max {
            self.empty(&mut answers, &mut pulled).await;
        }
        match end {
            Err(failure) if pulled.messages.is_empty() => Err(failure),
            _ => Ok(pulled),
        }
    }

    async fn receive(
        &self,
        answers: &mut Subscriber,
        asker: &mut oneshot::Sender<Claimed>,
        pulled: &mut Pulled,
        (max, bound): (usize, Duration),
    ) -> Result<(), Failure> {
        let clock = &self.server.clock;
        while pulled.messages.len() < max {
            let idle = if pulled.messages.is_empty() {
                bound
            } else {
                IDLE
            };
            let message = tokio::select! {
                biased;
                message = answers.next() => message,
                () = asker.closed() => {
                    pulled.is_cut = true;
                    return Ok(());
                }
                () = clock.sleep(idle) => {
                    let why = "nats did not answer a claim in time";
                    return Err(Failure::Unavailable(why.to_owned()));
                }
            };
            let Some(message) = message else {
                let why = "the connection to nats was closed";
                return Err(Failure::Unavailable(why.to_owned()));
            };
            match message.status {
                None => pulled.messages.push(message),
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(status) => return ended(status, message.description.as_deref()),
            }
        }
        Ok(())
    }

    /// Leaves, and takes what was on its way.
    async fn empty(&self, answers: &mut Subscriber, pulled: &mut Pulled) {
        if answers.drain().await.is_err() {
            return;
        }
        let rest = async {
            while let Some(message) = answers.next().await {
                if message.status.is_none() {
                    pulled.messages.push(message);
                }
            }
        };
        let clock = &*self.server.clock;
        if crate::wait::within(clock, self.server.link.timeout(), rest)
            .await
            .is_none()
        {
            tracing::debug!(stream = self.name, "what was on its way comes back later");
        }
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

/// What the server's last word about a claim means.
fn ended(status: StatusCode, description: Option<&str>) -> Result<(), Failure> {
    let description = description.unwrap_or_default();
    match status.as_u16() {
        404 | 408 => Ok(()),
        503 => Err(Failure::Missing),
        409 if description.contains("Deleted") => Err(Failure::Missing),
        number => Err(Failure::Unavailable(format!(
            "nats refuses a claim: {number} {description}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reply: &str, expect: Option<(&str, bool)>) {
        let found = entry_id(reply).map(|id| id.to_string());
        let found = found.as_deref().map(|id| (id, is_redelivery(reply)));
        assert_eq!(found, expect, "{reply}");
    }

    #[test]
    fn deliveries_say_where_they_belong() {
        check(
            "$JS.ACK.incident-events.dispatch-group.1.7.3.1700000000000000001.4",
            Some(("7-1700000000000000001", false)),
        );
        check(
            "$JS.ACK.hub.Xh4.incident-events.dispatch-group.2.7.3.1700000000000000001.4",
            Some(("7-1700000000000000001", true)),
        );
        check(
            "$JS.ACK.hub.Xh4.incident-events.dispatch-group.1.7.3.1700000000000000001.4.x",
            Some(("7-1700000000000000001", false)),
        );
        check("_INBOX.1", None);
        check("", None);
    }
}
