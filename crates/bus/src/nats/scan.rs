//! Reading many messages of a stream.

use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Server;
use super::link::{Failure, Found, META};

/// Messages asked for at once.
const PAGE: usize = 512;
/// How long the server keeps a reader that went away.
const READER_KEPT: Duration = Duration::from_secs(30);

/// What to read.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    pub(super) stream: &'a str,
    /// Subjects.
    pub(super) filter: &'a str,
    /// From this number; none for the newest of each subject.
    pub(super) from: Option<u64>,
    /// Without the bytes.
    pub(super) is_bare: bool,
}

#[derive(Deserialize)]
struct Reader {
    name: String,
    #[serde(default)]
    num_pending: u64,
}

impl Scan<'_> {
    /// Reads at most `max` messages, in the order of their numbers, and shows each to `see`; how many
    /// there were.
    pub(super) async fn read(
        &self,
        server: &Server,
        max: usize,
        mut see: impl FnMut(Found) + Send,
    ) -> Result<usize, Failure> {
        let mut config = json!({
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": self.filter,
            "headers_only": self.is_bare,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": u64::try_from(READER_KEPT.as_nanos()).unwrap_or(u64::MAX),
        });
        if let Some(from) = self.from {
            config["deliver_policy"] = json!("by_start_sequence");
            config["opt_start_seq"] = json!(from.max(1));
        }
        let body = json!({ "stream_name": self.stream, "config": config });
        let verb = format!("CONSUMER.CREATE.{}", self.stream);
        let reader: Reader = server.link.api(&verb, &body).await?;
        let wanted = usize::try_from(reader.num_pending)
            .unwrap_or(usize::MAX)
            .min(max);
        let read = self.pages(server, &reader.name, wanted, &mut see).await;
        let verb = format!("CONSUMER.DELETE.{}.{}", self.stream, reader.name);
        let removed: Result<Value, Failure> = server.link.api(&verb, &json!({})).await;
        if let Err(failure) = removed {
            tracing::debug!(stream = self.stream, %failure, "a reader goes away by itself");
        }
        read
    }

    async fn pages(
        &self,
        server: &Server,
        reader: &str,
        wanted: usize,
        see: &mut (impl FnMut(Found) + Send),
    ) -> Result<usize, Failure> {
        let link = &server.link;
        let lost = |error: &dyn std::fmt::Display| Failure::Unavailable(format!("nats: {error}"));
        let mut read = 0;
        while read < wanted {
            let batch = PAGE.min(wanted - read);
            let inbox = link.client().new_inbox();
            let answers = link.client().subscribe(inbox.clone()).await;
            let mut answers = answers.map_err(|error| lost(&error))?;
            let verb = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{reader}", self.stream);
            let body = json!({ "batch": batch, "no_wait": true }).to_string();
            let asked = link
                .client()
                .publish_with_reply(verb, inbox, body.into())
                .await;
            asked.map_err(|error| lost(&error))?;
            let before = read;
            while read - before < batch {
                let next = crate::wait::within(&*server.clock, link.timeout(), answers.next());
                let Some(Some(message)) = next.await else {
                    let why = "nats did not go on with what was read";
                    return Err(Failure::Unavailable(why.to_owned()));
                };
                if message.status.is_some() {
                    break;
                }
                read += 1;
                if let Some(found) = found(&message) {
                    see(found);
                }
            }
            if read == before {
                break;
            }
        }
        Ok(read)
    }
}

fn found(message: &async_nats::Message) -> Option<Found> {
    let id = super::pull::entry_id(message.reply.as_deref()?)?;
    let headers = message.headers.as_ref();
    let header = |name: &str| headers?.get(name).map(ToString::to_string);
    Some(Found {
        subject: message.subject.to_string(),
        seq: id.seq,
        meta: header(META),
        is_removal: header("KV-Operation").is_some(),
        body: message.payload.clone(),
        time: Timestamp::from_nanosecond(i128::from(id.nanos)).ok()?,
    })
}
