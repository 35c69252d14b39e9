//! The Stream port on a Redis stream and its consumer group.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::keys;
use incident::ports::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};
use jiff::Timestamp;
use redis::{Script, ScriptInvocation, Value};

use super::append::Appends;
use super::bell::Bell;
use super::link::{Certain, Failure, Request};
use super::{Server, Takeover, reply};
use crate::wait::{Taken, Waiter};

/// Everything that one stream and consumer is called on the server.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) name: String,
    consumer: String,
    pub(super) stream: String,
    states: String,
    leases: String,
    later: String,
    dead: String,
    graves: String,
    remembered: String,
    graves_by_id: String,
}

impl Names {
    pub(super) fn new(prefix: &str, name: &str, consumer: &str) -> Self {
        let own = |kind: &str| format!("{prefix}nightshift:{kind}:{name}");
        Self {
            name: name.to_owned(),
            consumer: consumer.to_owned(),
            stream: format!("{prefix}{name}"),
            states: own("states"),
            leases: own("leases"),
            later: own("later"),
            dead: format!("{prefix}{}", keys::DEAD),
            graves: own("dead"),
            graves_by_id: own("graves"),
            remembered: format!("{}:", own("key")),
        }
    }

    /// A call of `script` with what every script of a stream gets.
    pub(super) fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.key(&self.stream);
        for key in [
            &self.states,
            &self.leases,
            &self.later,
            &self.dead,
            &self.graves,
            &self.remembered,
            &self.graves_by_id,
        ] {
            call.key(key);
        }
        call.arg(keys::GROUP).arg(&self.consumer).arg(&self.name);
        call
    }

    pub(super) async fn sweep(&self, server: &Server) -> Result<(), String> {
        let config = &server.config;
        let mut call = self.call(&server.scripts.sweep);
        call.arg(millis(config.lease.0))
            .arg(config.sweep_rows)
            .arg(millis(config.consumer_idle.0));
        let answer = server
            .link
            .ask(&call, Certain::Never)
            .await
            .map_err(|failure| failure.error)?;
        let [trimmed, adopted] = reply::exactly(answer)?;
        let (trimmed, adopted) = (reply::count(&trimmed)?, reply::count(&adopted)?);
        if adopted > 0 {
            tracing::warn!(
                stream = self.name,
                adopted,
                "entries without a lease were taken back"
            );
        }
        tracing::trace!(stream = self.name, trimmed, "swept");
        Ok(())
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    // Scripts calculate with doubles; a span beyond this is for ever anyway.
    u64::try_from(span.as_millis())
        .unwrap_or(u64::MAX)
        .min(1 << 50)
}

/// One stream seen by one consumer.
#[derive(Debug)]
pub(super) struct RedisStream {
    server: Arc<Server>,
    pub(super) names: Names,
    takeover: Takeover,
    bell: Arc<Bell>,
    appends: Appends,
}

impl RedisStream {
    pub(super) fn new(
        server: Arc<Server>,
        names: Names,
        takeover: Takeover,
        bell: Arc<Bell>,
    ) -> Self {
        Self {
            appends: Appends::new(server.clone(), names.clone()),
            server,
            names,
            takeover,
            bell,
        }
    }

    async fn run(&self, call: ScriptInvocation<'_>) -> Result<Value, StreamError> {
        let answer = self.server.link.script(&call).await;
        answer.map_err(|failure| StreamError::Unavailable(failure.error))
    }

    /// Runs a script that changes nothing, for somebody who decides nothing by its answer.
    async fn look(&self, call: ScriptInvocation<'_>) -> Result<Value, StreamError> {
        let answer = self.server.link.ask(&call, Certain::Never).await;
        answer.map_err(|failure| StreamError::Unavailable(failure.error))
    }

    /// Makes stream and group.
    pub(super) async fn make(&self) -> Result<(), StreamError> {
        self.backlog().await.map(|_| ())
    }

    async fn take(&self, max: usize) -> Result<Taken, StreamError> {
        // Before the first claim, and never after it: by then the leases are this process's own.
        self.takeover
            .get_or_try_init(|| async {
                let call = self.names.call(&self.server.scripts.takeover);
                let freed = self.run(call).await?;
                if let Ok(freed @ 1..) = reply::int(&freed) {
                    tracing::info!(
                        stream = self.names.name,
                        freed,
                        "took over what this consumer held before"
                    );
                }
                Ok::<(), StreamError>(())
            })
            .await?;
        let config = &self.server.config;
        // The script knows the number.
        let unanswered = Cause::unanswered(u32::MAX);
        let text = unanswered.text.replace(&u32::MAX.to_string(), "{}");
        let mut call = self.names.call(&self.server.scripts.claim);
        call.arg(max)
            .arg(millis(config.lease.0))
            .arg(config.attempts_max);
        call.arg(config.restarts_forgiven)
            .arg(unanswered.code)
            .arg(text);
        let answer = self
            .server
            .link
            .send(Request::from(&call), Certain::If(hands_out));
        let (answer, confirmed) = answer
            .await
            .map_err(|failure| StreamError::Unavailable(failure.error))?;
        let taken = taken(answer).map_err(StreamError::Unavailable)?;
        if let Err(failure) = confirmed {
            self.give_back(&taken.deliveries).await;
            return Err(StreamError::Unavailable(failure.error));
        }
        Ok(taken)
    }

    /// Undoes deliveries that nobody gets. A lease that could be forgotten with its server would let
    /// two work on one entry; an attempt that was none must not count against the entry.
    async fn give_back(&self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let call = self.settlement("release", &delivery.lease, Duration::ZERO, None);
            if let Err(Failure { error, .. }) = self.server.link.ask(&call, Certain::Never).await {
                // The lease ends by itself; only the attempt stays counted.
                tracing::debug!(stream = self.names.name, %error, "a delivery was not undone");
                return;
            }
        }
    }

    /// What the holder of `lease` says.
    fn settlement(
        &self,
        verb: &str,
        lease: &Lease,
        span: Duration,
        cause: Option<&Cause>,
    ) -> ScriptInvocation<'_> {
        let config = &self.server.config;
        let mut call = self.names.call(&self.server.scripts.settle);
        call.arg(verb)
            .arg(&lease.id)
            .arg(lease.token)
            .arg(millis(span));
        call.arg(config.attempts_max).arg(config.restarts_forgiven);
        call.arg(cause.map_or("", |cause| &cause.code));
        call.arg(cause.map_or("", |cause| &cause.text));
        call
    }

    async fn settle(
        &self,
        verb: &str,
        lease: &Lease,
        span: Duration,
        cause: Option<&Cause>,
    ) -> Result<(), StreamError> {
        let answer = self.run(self.settlement(verb, lease, span, cause)).await?;
        match reply::int(&answer) {
            Ok(1) => Ok(()),
            Ok(_) => Err(StreamError::LeaseLost {
                id: lease.id.clone(),
            }),
            Err(odd) => Err(StreamError::Unavailable(odd)),
        }
    }

    async fn unbury(&self, verb: &str, id: &str) -> Result<bool, StreamError> {
        let limit = self.server.config.capacity;
        let mut call = self.names.call(&self.server.scripts.unbury);
        call.arg(verb).arg(id).arg(limit);
        let answer = self.run(call).await?;
        let read = || -> Result<(i64, u64), String> {
            let [outcome, held] = reply::exactly(answer)?;
            Ok((reply::int(&outcome)?, reply::count(&held)?))
        };
        match read().map_err(StreamError::Unavailable)? {
            (-1, entries) => Err(StreamError::Full { entries, limit }),
            (outcome, _) => Ok(outcome == 1),
        }
    }
}

/// Whether the answer of the claim script holds a delivery.
fn hands_out(answer: &Value) -> bool {
    let deliveries = match answer {
        Value::Array(parts) => parts.first(),
        _ => None,
    };
    matches!(deliveries, Some(Value::Array(deliveries)) if !deliveries.is_empty())
}

fn taken(answer: Value) -> Result<Taken, String> {
    let [deliveries, next] = reply::exactly(answer)?;
    let deliveries = reply::list(deliveries)?.into_iter().map(delivery);
    Ok(Taken {
        deliveries: deliveries.collect::<Result<_, _>>()?,
        next: reply::count(&next).ok().map(Duration::from_millis),
    })
}

fn delivery(value: Value) -> Result<Delivery, String> {
    let [id, attempt, key, payload] = reply::exactly(value)?;
    let id = reply::text(id)?;
    let attempt = reply::count(&attempt)?;
    Ok(Delivery {
        key: reply::text(key)?,
        payload: reply::bytes(payload)?,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        appended_at: time_of(&id),
        lease: Lease { id, token: attempt },
    })
}

/// The server's time in an entry's id.
fn time_of(id: &str) -> Timestamp {
    let ms = id.split('-').next().and_then(|ms| ms.parse().ok());
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default()
}

fn dead_letter(value: Value) -> Result<DeadLetter, String> {
    let mut fields = std::collections::BTreeMap::new();
    let mut flat = reply::list(value)?.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.insert(reply::text(name)?, reply::bytes(value)?);
    }
    let text = |name: &str| {
        let bytes = fields.get(name);
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let id = text("id").unwrap_or_default();
    let buried_at = text("buried_at").unwrap_or_default();
    let first = text("first_code").map(|code| Cause {
        code,
        text: text("first_text").unwrap_or_default(),
    });
    Ok(DeadLetter {
        stream: text("stream").unwrap_or_default(),
        key: text("key").unwrap_or_default(),
        attempts: text("attempts")
            .and_then(|n| n.parse().ok())
            .unwrap_or_default(),
        first,
        last: Cause {
            code: text("last_code").unwrap_or_default(),
            text: text("last_text").unwrap_or_default(),
        },
        appended_at: time_of(&id),
        buried_at: time_of(&buried_at),
        id,
        payload: fields.get("payload").cloned().unwrap_or_default(),
    })
}

#[async_trait]
impl Stream for RedisStream {
    fn name(&self) -> &str {
        &self.names.name
    }

    fn lease(&self) -> Duration {
        self.server.config.lease.0
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        Entry::check_batch(&batch)?;
        let appended = self.appends.append(batch).await?;
        self.bell.rung.notify_waiters();
        Ok(appended)
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        if !wait.is_zero() {
            self.bell.listen(&self.server);
        }
        let waiter = Waiter {
            bell: &self.bell.rung,
            clock: &*self.server.clock,
            poll: self.server.config.poll.0,
        };
        waiter.claim(wait, || self.take(max)).await
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        self.settle("extend", lease, self.lease(), None).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        self.settle("ack", lease, Duration::ZERO, None).await
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        self.settle("retry", lease, delay, Some(cause)).await?;
        self.bell.rung.notify_waiters();
        Ok(())
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        self.settle("bury", lease, Duration::ZERO, Some(cause))
            .await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        let answer = self
            .look(self.names.call(&self.server.scripts.backlog))
            .await?;
        let read = || -> Result<Backlog, String> {
            let [waiting, claimed, dead, age] = reply::exactly(answer)?;
            Ok(Backlog {
                waiting: reply::count(&waiting)?,
                claimed: reply::count(&claimed)?,
                dead: reply::count(&dead)?,
                oldest_age: reply::count(&age).ok().map(Duration::from_millis),
            })
        };
        read().map_err(StreamError::Unavailable)
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut call = self.names.call(&self.server.scripts.dead);
        call.arg(limit).arg(after.unwrap_or_default());
        let letters = reply::list(self.look(call).await?).map_err(StreamError::Unavailable)?;
        let letters = letters
            .into_iter()
            .map(dead_letter)
            .collect::<Result<_, _>>();
        letters.map_err(StreamError::Unavailable)
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        let redriven = self.unbury("redrive", id).await?;
        self.bell.rung.notify_waiters();
        Ok(redriven)
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        self.unbury("discard", id).await
    }
}
