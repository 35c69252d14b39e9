//! Asking the server for entries, and what its deliveries say.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use incident::keys;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::claim::Claimed;
use super::link::Failure;
use super::stream::{EntryId, JetStream};
use crate::wait::within;

/// Longest pause between two entries of one answer.
pub(super) const IDLE: Duration = Duration::from_millis(100);

/// Longest time without any answer before the server is asked again.
const SILENCE: Duration = Duration::from_millis(500);

/// What the server sent.
pub(super) struct Pulled {
    pub(super) messages: Vec<Message>,
    /// Nobody waits for it any more.
    pub(super) is_cut: bool,
}

impl Pulled {
    /// Whether the server said with the last message that there is more.
    pub(super) fn is_more(&self) -> bool {
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
pub(super) fn is_redelivery(reply: &str) -> bool {
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
    /// Asks for up to `max` entries that are there now, again if there is no answer: a consumer that is
    /// made anew at that moment gives none.
    pub(super) async fn pull_now(
        &self,
        asker: &mut oneshot::Sender<Claimed>,
        max: usize,
    ) -> Result<Pulled, Failure> {
        let clock = &self.server.clock;
        let until = clock.elapsed().saturating_add(self.server.link.timeout());
        let verb = format!("CONSUMER.INFO.{}.{}", self.stream, keys::GROUP);
        loop {
            let pulled = self.pull(asker, max, None).await;
            let is_late = clock.elapsed() >= until || asker.is_closed();
            if is_late || !matches!(pulled, Err(Failure::Unavailable(_))) {
                return pulled;
            }
            // The server does not say that there is no such consumer unless it is asked that.
            let group = self.server.link.api::<Value>(&verb, &json!({})).await;
            if let Err(Failure::Missing) = group {
                return Err(Failure::Missing);
            }
            clock.sleep(IDLE).await;
        }
    }

    /// Asks for up to `max` entries: those that are there now, or, with `wait`, those that come.
    pub(super) async fn pull(
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
                body["expires"] = json!(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
            }
            None => body["no_wait"] = json!(true),
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, keys::GROUP);
        let body = Bytes::from(body.to_string());
        let sent = link.client().publish_with_reply(subject, inbox, body).await;
        sent.map_err(|error| lost(&error))?;
        let bound = wait
            .unwrap_or_default()
            .saturating_add(link.timeout().min(SILENCE));
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
            // What comes of asking again says more than that nothing came.
            Err(_) if wait.is_some() && link.is_connected() => Ok(pulled),
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
        let bound = self.server.link.timeout().min(SILENCE);
        if within(&*self.server.clock, bound, rest).await.is_none() {
            tracing::debug!(stream = self.name, "what was on its way comes back later");
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
