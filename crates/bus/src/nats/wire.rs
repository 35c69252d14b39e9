//! What is said to the server and what it answers.

use async_nats::jetstream::Error as ApiError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

/// The header that carries what is known about a message without its bytes.
pub(super) const META: &str = "Nightshift-Meta";
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
pub(super) enum Answer<T> {
    Err { error: ApiError },
    Ok(T),
}

#[derive(Deserialize)]
pub(super) struct Got {
    pub(super) message: Raw,
}

#[derive(Deserialize)]
pub(super) struct Raw {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    time: Timestamp,
}

impl Raw {
    pub(super) fn decode(self) -> Result<Found, base64::DecodeError> {
        let headers = BASE64_STANDARD.decode(&self.hdrs)?;
        let headers = String::from_utf8_lossy(&headers);
        Ok(Found {
            meta: header(&headers, META).map(str::to_owned),
            is_removal: header(&headers, "KV-Operation").is_some(),
            subject: self.subject,
            seq: self.seq,
            body: Bytes::from(BASE64_STANDARD.decode(&self.data)?),
            time: self.time,
        })
    }
}

/// A stream as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: StreamSettings,
    pub(super) state: StreamState,
    #[serde(default)]
    pub(super) cluster: Option<ClusterInfo>,
    #[serde(default)]
    pub(super) total: u64,
}

/// The servers that keep a stream besides its leader.
#[derive(Debug, Deserialize)]
pub(super) struct ClusterInfo {
    #[serde(default)]
    pub(super) replicas: Vec<CopyInfo>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CopyInfo {
    #[serde(default)]
    pub(super) current: bool,
    #[serde(default)]
    pub(super) offline: bool,
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
    pub(super) subjects: std::collections::BTreeMap<String, u64>,
}

/// The value of a header in the text of all headers.
fn header<'h>(headers: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = headers.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim())
}
