//! The connection, and the few requests that everything else is made of.
//!
//! The client reconnects by itself. Every request is bounded by the configured timeout, and waits for
//! the connection before it sends: what is sent while there is none could arrive much later, when
//! nobody expects it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Error as ApiError;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Request, ServerAddr};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use incident::ports::Clock;
use jiff::Timestamp;
use runtime::config::read_secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NatsConfig;
use crate::error::OpenError;
use crate::wait::within;

/// The header that carries what is known about a message without its bytes.
pub(super) const META: &str = "Nightshift-Meta";
/// Longest pause between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// Between two looks at the state of the connection.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Requests that may wait in line for the connection.
const LINE: usize = 4096;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Somebody wrote to the subject meanwhile.
    Conflict,
    /// A message of that size is not taken.
    TooLarge { limit: usize },
    /// The stream holds as much as it may.
    Full,
    /// There is no such stream or consumer (any more).
    Missing,
    /// There is no such message (any more).
    Nothing,
    /// The server answers, and will answer the same again.
    Refused(String),
    /// No answer.
    Unavailable(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Conflict => f.write_str("somebody else wrote first"),
            Self::TooLarge { limit } => write!(
                f,
                "it is larger than max_payload of the nats server allows ({limit} bytes); raise \
                 max_payload there"
            ),
            Self::Full => f.write_str("the stream is full"),
            Self::Missing => f.write_str("jetstream has no such stream or consumer"),
            Self::Nothing => f.write_str("jetstream has no such message"),
            Self::Refused(why) | Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl From<&ApiError> for Failure {
    fn from(error: &ApiError) -> Self {
        // Numbers of the JetStream API.
        match error.error_code().0 {
            10071 | 10164 => Self::Conflict,
            10077 => Self::Full,
            10037 | 10043 => Self::Nothing,
            10014 | 10059 => Self::Missing,
            10054 => Self::TooLarge { limit: 0 },
            10039 | 10052 | 10058 | 10065 | 10074 | 10076 => Self::Refused(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// A message that a stream holds.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) subject: String,
    /// Its number in the stream: the revision of what is at its subject.
    pub(super) seq: u64,
    pub(super) meta: Option<String>,
    /// Removed with a tool's "delete" or "purge" of a key.
    pub(super) is_removal: bool,
    pub(super) body: Bytes,
    /// When the server stored it.
    pub(super) time: Timestamp,
}

/// A message to be stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Write {
    pub(super) subject: String,
    /// The same id within the stream's window is stored once.
    pub(super) id: Option<String>,
    /// The revision that the subject must have; zero for none.
    pub(super) expect: Option<u64>,
    pub(super) meta: Option<String>,
    pub(super) body: Bytes,
}

/// Where it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) duplicate: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Err { error: ApiError },
    Ok(T),
}

#[derive(Deserialize)]
struct Got {
    message: Raw,
}

#[derive(Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    time: Timestamp,
}

/// A stream as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: StreamSettings,
    pub(super) state: StreamState,
    #[serde(default)]
    total: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamSettings {
    #[serde(default)]
    pub(super) num_replicas: usize,
    #[serde(default)]
    pub(super) storage: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) messages: u64,
    pub(super) first_ts: Timestamp,
    pub(super) last_seq: u64,
    #[serde(default)]
    subjects: std::collections::BTreeMap<String, u64>,
}

/// Address of a server.
pub(super) fn address(text: &str) -> Result<ServerAddr, String> {
    // The text of the error is ours, because the client's may show the address and what is in it.
    let address: ServerAddr = text
        .parse()
        .map_err(|_| String::from("it is no nats address"))?;
    match address.scheme() {
        "nats" | "tls" => Ok(address),
        other => Err(format!("{other} is not spoken here")),
    }
}

fn secret(path: &std::path::Path) -> Result<String, OpenError> {
    let secret = read_secret(path).map_err(|error| OpenError::Nats(error.to_string()))?;
    Ok(secret.expose().to_owned())
}

fn options(config: &NatsConfig, timeout: Duration) -> Result<ConnectOptions, OpenError> {
    let mut options = ConnectOptions::new()
        .name("nightshift")
        .connection_timeout(timeout)
        .request_timeout(Some(timeout))
        // A server that is gone without a word is noticed by two pings that stay unanswered.
        .ping_interval(timeout)
        .client_capacity(LINE)
        .max_reconnects(None)
        .reconnect_delay_callback(|tries| {
            let exponent = u32::try_from(tries.min(8)).unwrap_or(8);
            (Duration::from_millis(20) * 2_u32.pow(exponent)).min(RECONNECT_MAX)
        })
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("nats can be reached"),
                Event::Disconnected => tracing::warn!("nats cannot be reached"),
                Event::ServerError(error) => tracing::warn!(%error, "nats refuses something"),
                other => tracing::debug!(event = %other, "the connection to nats changed"),
            }
        });
    if let Some(path) = &config.credentials_file {
        let credentials = secret(path)?;
        options = options
            .credentials(&credentials)
            .map_err(|error| OpenError::Nats(format!("{}: {error}", path.display())))?;
    }
    if let Some(path) = &config.token_file {
        options = options.token(secret(path)?);
    }
    if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
        options = options.user_and_password(user.clone(), secret(path)?);
    }
    if let Some(path) = &config.ca_file {
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    Ok(options)
}

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
        let addresses: Vec<ServerAddr> = config
            .addresses
            .iter()
            .map(|text| address(text))
            .collect::<Result<_, _>>()
            .map_err(OpenError::Nats)?;
        let options = options(config, timeout)?;
        let connecting = options.clone().connect(addresses.as_slice());
        let client = match within(&*clock, timeout, connecting).await {
            Some(Ok(client)) => client,
            Some(Err(error))
                if matches!(
                    error.kind(),
                    ConnectErrorKind::Authentication
                        | ConnectErrorKind::AuthorizationViolation
                        | ConnectErrorKind::Tls
                ) =>
            {
                return Err(OpenError::Nats(error.to_string()));
            }
            other => {
                let error = other.and_then(Result::err).map(|error| error.to_string());
                let error = error.unwrap_or_else(|| String::from("it does not answer in time"));
                tracing::warn!(%error, "nats cannot be reached yet; calls fail until it is");
                let options = options.retry_on_initial_connect();
                let client = options.connect(addresses.as_slice()).await;
                client.map_err(|error| OpenError::Nats(error.to_string()))?
            }
        };
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
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|error| odd(&error));
        let headers = String::from_utf8_lossy(&decode(&raw.hdrs)?).into_owned();
        Ok(Some(Found {
            meta: header(&headers, META).map(str::to_owned),
            is_removal: header(&headers, "KV-Operation").is_some(),
            subject: raw.subject,
            seq: raw.seq,
            body: Bytes::from(decode(&raw.data)?),
            time: raw.time,
        }))
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

/// The value of a header in the text of all headers.
pub(super) fn header<'h>(headers: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = headers.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim())
}
