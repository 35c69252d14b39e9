//! The Stream port on a work queue of `JetStream` and the records beside it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future;
use incident::keys;
use incident::ports::{
    Appended, Backlog, Cause, DeadLetter, Delivery, Entry, Lease, Stream, StreamError,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::link::{Failure, Write};
use super::names::{Bucket, Names};
use super::record::{Record, Rules};
use super::time::Micros;
use super::{Server, Takeover, make};

/// What stands before the bytes of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) key: String,
    /// What stands for this entry in the bucket of remembered keys.
    pub(super) remembered: String,
}

/// What identifies an entry: its number in the stream and when it came. The time is part of it, because
/// a stream that was removed and made again numbers from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryId {
    pub(super) seq: u64,
    pub(super) nanos: i64,
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.seq, self.nanos)
    }
}

impl EntryId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seq, nanos) = text.split_once('-')?;
        let id = Self {
            seq: seq.parse().ok()?,
            nanos: nanos.parse().ok()?,
        };
        // Only as it was written: "+7" is no number.
        (id.to_string() == text && id.nanos >= 0).then_some(id)
    }

    pub(super) fn appended_at(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.nanos)).unwrap_or_default()
    }
}

/// A record and the revision at which it stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) rev: u64,
    pub(super) record: Record,
}

/// One stream seen by one consumer.
#[derive(Debug, Clone)]
pub(super) struct JetStream {
    pub(super) server: Arc<Server>,
    pub(super) name: String,
    pub(super) consumer: String,
    /// Its name on the server.
    pub(super) stream: String,
    pub(super) dead: Bucket,
    pub(super) leases: Bucket,
    keys: Bucket,
    pub(super) rules: Rules,
    pub(super) takeover: Takeover,
    /// Lives as long as any handle of the stream.
    pub(super) alive: Arc<()>,
}

impl JetStream {
    pub(super) fn new(
        server: Arc<Server>,
        name: &str,
        consumer: &str,
        takeover: Takeover,
        alive: Arc<()>,
    ) -> Self {
        let stream = server.names.stream(name);
        let config = &server.config;
        Self {
            name: name.to_owned(),
            consumer: consumer.to_owned(),
            dead: Names::dead(&stream),
            leases: server.names.leases(),
            keys: server.names.keys(),
            rules: Rules {
                lease: config.lease.0,
                attempts_max: config.attempts_max,
                restarts_forgiven: config.restarts_forgiven,
            },
            stream,
            takeover,
            alive,
            server,
        }
    }

    /// Subject of something about an entry: `e` its record, `l` the mark of a put-back one, `p` and `x`
    /// the plan and the fact that its letter is taken out.
    pub(super) fn about(&self, kind: &str, id: &str) -> String {
        self.leases.subject(&format!("{}.{kind}.{id}", self.stream))
    }

    /// Everything that the stream needs on the server.
    pub(super) async fn make(&self) -> Result<(), Failure> {
        let server = &self.server;
        server.make_buckets().await?;
        make::stream(server, &self.stream, &self.dead).await?;
        make::consumer(server, &self.stream).await
    }

    /// Does `work`; if something it needs is gone from the server, makes it and does it again.
    pub(super) async fn mended<T, F>(&self, work: impl Fn() -> F + Send) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        if !self.server.is_made(&self.stream) {
            self.make().await?;
            self.server.set_made(&self.stream, true);
        }
        match work().await {
            Err(Failure::Missing) => {
                tracing::warn!(
                    stream = self.name,
                    "it is gone from the server; it is made anew"
                );
                self.server.set_made(&self.stream, false);
                self.make().await?;
                self.server.set_made(&self.stream, true);
                work().await
            }
            other => other,
        }
    }

    pub(super) fn error(&self, failure: Failure) -> StreamError {
        match failure {
            Failure::TooLarge { .. } => StreamError::Limit {
                key: self.name.clone(),
                why: failure.to_string(),
            },
            other => StreamError::Unavailable(other.to_string()),
        }
    }

    /// The record of an entry.
    pub(super) async fn standing(&self, id: &str) -> Result<Option<Standing>, Failure> {
        let subject = self.about("e", id);
        let Some(found) = self.server.link.last(&self.leases.stream, &subject).await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&found.body) {
            Ok(record) => Ok(Some(Standing {
                rev: found.seq,
                record,
            })),
            Err(error) => {
                // Better delivered once more than never.
                tracing::error!(stream = self.name, id, %error, "an entry's record is unreadable; it starts over");
                self.server
                    .link
                    .erase(&self.leases.stream, found.seq)
                    .await?;
                Ok(None)
            }
        }
    }

    /// Writes a record over the revision `expect`; the new revision.
    pub(super) async fn save(
        &self,
        id: &str,
        record: &Record,
        expect: u64,
    ) -> Result<u64, Failure> {
        let body =
            serde_json::to_vec(record).map_err(|error| Failure::Unavailable(error.to_string()))?;
        let write = Write {
            subject: self.about("e", id),
            expect: Some(expect),
            body: Bytes::from(body),
            ..Write::default()
        };
        Ok(self.server.link.write(write).await?.seq)
    }

    pub(super) fn key_subject(&self, remembered: &str) -> String {
        self.keys.subject(&format!("{}.{remembered}", self.stream))
    }

    pub(super) async fn is_remembered(&self, remembered: &str) -> Result<bool, Failure> {
        let subject = self.key_subject(remembered);
        let found = self.server.link.last(&self.keys.stream, &subject).await?;
        Ok(found.is_some())
    }

    /// Remembers a key, unless it is remembered already or was stored too long ago.
    pub(super) async fn remember(&self, remembered: &str, stored: Micros) -> Result<(), Failure> {
        let now = self.server.now().await?;
        let window = self.server.config.dedup_window.0;
        let window = Micros::try_from(window.as_micros()).unwrap_or(Micros::MAX);
        if remembered.is_empty() || now.is_past(stored.saturating_add(window)) {
            return Ok(());
        }
        let write = Write {
            subject: self.key_subject(remembered),
            expect: Some(0),
            ..Write::default()
        };
        match self.server.link.write(write).await {
            Ok(_) | Err(Failure::Conflict) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn look(&self) -> Result<Backlog, Failure> {
        let link = &self.server.link;
        let verb = format!("CONSUMER.INFO.{}.{}", self.stream, keys::GROUP);
        let put_back = self.leases.subject(&format!("{}.l.*", self.stream));
        let empty = serde_json::json!({});
        let (group, info, dead, marks) = future::try_join4(
            link.api::<make::ConsumerInfo>(&verb, &empty),
            link.info(&self.stream),
            link.info(&self.dead.stream),
            link.subjects(&self.leases.stream, &put_back),
        )
        .await?;
        let now = self.server.now().await?;
        let total = group.num_pending + group.num_ack_pending;
        let put_back = (marks.len() as u64).min(group.num_ack_pending);
        let age = now
            .middle()
            .saturating_sub(info.state.first_ts.as_microsecond());
        Ok(Backlog {
            waiting: group.num_pending + put_back,
            claimed: group.num_ack_pending - put_back,
            dead: dead.state.messages,
            oldest_age: (total > 0).then(|| Duration::from_micros(age.max(0).unsigned_abs())),
        })
    }
}

#[async_trait]
impl Stream for JetStream {
    fn name(&self) -> &str {
        &self.name
    }

    fn lease(&self) -> Duration {
        self.rules.lease
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        self.append_all(&batch).await
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let claimed = self.claim_in_a_task(max, wait).await;
        claimed.map_err(|failure| self.error(failure))
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        self.settle(lease, super::settle::Verb::Extend).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        self.settle(lease, super::settle::Verb::Ack).await
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        let verb = super::settle::Verb::Retry { delay, cause };
        self.settle(lease, verb).await
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        self.settle(lease, super::settle::Verb::Bury { cause })
            .await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        let found = self.mended(|| self.look()).await;
        found.map_err(|failure| self.error(failure))
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let letters = self.mended(|| self.letters(after, limit)).await;
        letters.map_err(|failure| self.error(failure))
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        let redriven = self
            .mended(|| self.take_out(id, super::dead::Exit::Redrive))
            .await;
        redriven.map_err(|failure| self.error(failure))?
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        let discarded = self
            .mended(|| self.take_out(id, super::dead::Exit::Discard))
            .await;
        discarded.map_err(|failure| self.error(failure))?
    }
}
