//! The connection, and the few requests that everything else is made of.
//!
//! The client reconnects by itself. Every request is bounded by the configured timeout, and waits for
//! the connection before it sends: what is sent while there is none could arrive much later, when
//! nobody expects it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, Request};
use bytes::Bytes;
use incident::ports::Clock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::wire::{Answer, Got};
pub(super) use super::wire::{Failure, Found, META, Stored, StreamInfo, Write};
use super::{NatsConfig, connect};
use crate::error::OpenError;
use crate::wait::within;

/// Between two looks at the state of the connection.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Requests that may wait in line for the connection.
pub(super) const LINE: usize = 4096;

/// Requests on one connection.
pub(super) struct Link {
    client: Client,
    context: Context,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    closed: AtomicBool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Connects, or keeps trying if the servers are not there yet.
    pub(super) async fn open(
        config: &NatsConfig,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let client = connect::client(config, timeout, &*clock).await?;
        let context = ContextBuilder::new()
            .timeout(timeout)
            .ack_timeout(timeout)
            .max_ack_inflight(LINE)
            .build(client.clone());
        Ok(Self {
            client,
            context,
            clock,
            timeout,
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Largest message that the server takes; none while that is unknown.
    pub(super) fn max_payload(&self) -> Option<usize> {
        let known = self.client.try_server_info();
        known.map(|info| info.max_payload).filter(|max| *max > 0)
    }

    /// Waits for the connection.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let until = self.clock.elapsed().saturating_add(self.timeout);
        loop {
            if self.closed.load(Ordering::SeqCst) {
                return Err(Failure::Unavailable(String::from("the bus is closed")));
            }
            if self.is_connected() {
                return Ok(());
            }
            if self.clock.elapsed() >= until {
                let why = format!("nats could not be reached within {:?}", self.timeout);
                return Err(Failure::Unavailable(why));
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// One request and its answer.
    pub(super) async fn request(&self, subject: String, body: Bytes) -> Result<Bytes, Failure> {
        self.ready().await?;
        let request = Request::new().payload(body).timeout(Some(self.timeout));
        match self.client.send_request(subject, request).await {
            Ok(answer) => Ok(answer.payload),
            Err(error) => Err(Failure::Unavailable(format!(
                "nats did not answer: {error}"
            ))),
        }
    }

    /// A request to the JetStream API.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let odd = |error: serde_json::Error| Failure::Unavailable(format!("jetstream: {error}"));
        let body = serde_json::to_vec(body).map_err(odd)?;
        let answer = self
            .request(format!("$JS.API.{verb}"), Bytes::from(body))
            .await?;
        match serde_json::from_slice(&answer).map_err(odd)? {
            Answer::Ok(answer) => Ok(answer),
            Answer::Err { error } => Err(Failure::from(&error)),
        }
    }

    /// Stores messages in this order; what became of each.
    pub(super) async fn write_all(&self, writes: Vec<Write>) -> Vec<Result<Stored, Failure>> {
        if let Err(failure) = self.ready().await {
            return writes.iter().map(|_| Err(failure.clone())).collect();
        }
        let mut sent = Vec::with_capacity(writes.len());
        for write in writes {
            let mut message = PublishMessage::build().payload(write.body);
            if let Some(id) = &write.id {
                message = message.message_id(id);
            }
            if let Some(seq) = write.expect {
                message = message.expected_last_subject_sequence(seq);
            }
            if let Some(meta) = &write.meta {
                message = message.header(META, meta.as_str());
            }
            sent.push(self.context.send_publish(write.subject, message).await);
        }
        let mut stored = Vec::with_capacity(sent.len());
        for sent in sent {
            let answer = match sent {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            stored.push(match answer {
                Ok(ack) => Ok(Stored {
                    seq: ack.sequence,
                    duplicate: ack.duplicate,
                }),
                Err(error) => Err(self.publish_failure(&error)),
            });
        }
        stored
    }

    fn publish_failure(&self, error: &async_nats::jetstream::context::PublishError) -> Failure {
        let told = std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref);
        match (error.kind(), told) {
            (PublishErrorKind::MaxPayloadExceeded, _) => self.too_large(),
            (PublishErrorKind::WrongLastSequence, _) => Failure::Conflict,
            (PublishErrorKind::StreamNotFound, _) => Failure::Missing,
            (_, Some(told)) => match Failure::from(told) {
                Failure::TooLarge { .. } => self.too_large(),
                failure => failure,
            },
            _ => Failure::Unavailable(format!("nats did not store it: {error}")),
        }
    }

    fn too_large(&self) -> Failure {
        Failure::TooLarge {
            limit: self.max_payload().unwrap_or_default(),
        }
    }

    /// Stores one message.
    pub(super) async fn write(&self, write: Write) -> Result<Stored, Failure> {
        let stored = self.write_all(vec![write]).await.into_iter().next();
        stored.expect("there is one answer for one message")
    }

    /// The newest message at `subject`, as the stream's leader knows it.
    pub(super) async fn last(&self, stream: &str, subject: &str) -> Result<Option<Found>, Failure> {
        self.get(stream, &json!({ "last_by_subj": subject })).await
    }

    /// The message with that number.
    pub(super) async fn at(&self, stream: &str, seq: u64) -> Result<Option<Found>, Failure> {
        self.get(stream, &json!({ "seq": seq })).await
    }

    /// The first message at a subject like `filter` whose number is `seq` or greater.
    pub(super) async fn next(
        &self,
        stream: &str,
        filter: &str,
        seq: u64,
    ) -> Result<Option<Found>, Failure> {
        self.get(stream, &json!({ "seq": seq, "next_by_subj": filter }))
            .await
    }

    async fn get(&self, stream: &str, query: &Value) -> Result<Option<Found>, Failure> {
        let odd =
            |error: &dyn std::fmt::Display| Failure::Unavailable(format!("jetstream: {error}"));
        let body = Bytes::from(query.to_string());
        let answer = self
            .request(format!("$JS.API.STREAM.MSG.GET.{stream}"), body)
            .await?;
        let raw = match serde_json::from_slice(&answer).map_err(|error| odd(&error))? {
            Answer::Ok(Got { message }) => message,
            Answer::Err { error } => match Failure::from(&error) {
                Failure::Nothing => return Ok(None),
                failure => return Err(failure),
            },
        };
        raw.decode().map(Some).map_err(|error| odd(&error))
    }

    /// Removes the message with that number; whether it was there. `last`, `at` and `next` do not find
    /// it again, but a server that is killed soon after may bring it back.
    pub(super) async fn erase(&self, stream: &str, seq: u64) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Done {
            success: bool,
        }
        let verb = format!("STREAM.MSG.DELETE.{stream}");
        let answer: Result<Done, Failure> = self.api(&verb, &json!({ "seq": seq })).await;
        match answer {
            Ok(done) => Ok(done.success),
            Err(Failure::Nothing) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Removes everything at `subject` up to and including `seq`.
    pub(super) async fn purge(&self, stream: &str, subject: &str, seq: u64) -> Result<(), Failure> {
        let body = json!({ "filter": subject, "seq": seq + 1 });
        let _: Value = self.api(&format!("STREAM.PURGE.{stream}"), &body).await?;
        Ok(())
    }

    pub(super) async fn info(&self, stream: &str) -> Result<StreamInfo, Failure> {
        self.api(&format!("STREAM.INFO.{stream}"), &json!({})).await
    }

    /// Subjects like `filter` that hold something, in no order.
    pub(super) async fn subjects(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        loop {
            let query = json!({ "subjects_filter": filter, "offset": found.len() });
            let info: StreamInfo = self.api(&format!("STREAM.INFO.{stream}"), &query).await?;
            let page = info.state.subjects.into_keys();
            let before = found.len();
            found.extend(page);
            let total = usize::try_from(info.total).unwrap_or(usize::MAX);
            if found.len() >= total || found.len() == before {
                return Ok(found);
            }
        }
    }

    /// Nothing works from now on.
    pub(super) async fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let drained = within(&*self.clock, self.timeout, self.client.drain()).await;
        if !matches!(drained, Some(Ok(()))) {
            tracing::debug!("the connection to nats was cut");
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
