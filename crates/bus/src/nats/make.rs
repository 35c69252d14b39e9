//! What has to exist on the server, as it has to be.

use std::time::Duration;

use incident::keys;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Server;
use super::link::Failure;
use super::names::{Bucket, Names};

/// How much longer the server waits than a lease lasts, so that it does not deliver an entry again just
/// before the lease ends.
const LATER: Duration = Duration::from_millis(50);
/// How much longer a key is remembered by its own record than by the server, so that it is never
/// forgotten by the first alone.
const REMEMBERED_LONGER: Duration = Duration::from_millis(250);
/// How long the record of an entry is kept at most after its last change.
const RECORDS_KEPT: Duration = Duration::from_hours(24 * 7);

/// A consumer as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ConsumerInfo {
    #[serde(default)]
    pub(super) num_pending: u64,
    #[serde(default)]
    pub(super) num_ack_pending: u64,
    pub(super) config: ConsumerSettings,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ConsumerSettings {
    #[serde(default)]
    pub(super) max_deliver: i64,
    #[serde(default)]
    pub(super) ack_wait: i64,
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Creates a stream; changes it if it is there and different.
async fn ensure(server: &Server, mut config: Value) -> Result<(), Failure> {
    if let Some(fields) = config.as_object_mut() {
        fields.insert(String::from("storage"), json!("file"));
        fields.insert(String::from("discard"), json!("new"));
        fields.insert(String::from("max_bytes"), json!(-1));
        fields.insert(String::from("max_consumers"), json!(-1));
        fields.insert(String::from("max_msg_size"), json!(-1));
        fields.insert(
            String::from("num_replicas"),
            json!(server.config.nats.replicas),
        );
    }
    let name = config["name"].as_str().unwrap_or_default().to_owned();
    let created: Result<Value, Failure> = server
        .link
        .api(&format!("STREAM.CREATE.{name}"), &config)
        .await;
    let Err(Failure::Refused(_)) = created else {
        return created.map(|_| ());
    };
    let updated: Result<Value, Failure> = server
        .link
        .api(&format!("STREAM.UPDATE.{name}"), &config)
        .await;
    updated.map(|_| ())
}

/// A bucket of keys and values that keeps `history` revisions of each, for `max_age`.
pub(super) async fn bucket(
    server: &Server,
    bucket: &Bucket,
    history: u8,
    max_age: Duration,
) -> Result<(), Failure> {
    let config = json!({
        "name": bucket.stream,
        "subjects": [bucket.subject(">")],
        "retention": "limits",
        "max_msgs": -1,
        "max_msgs_per_subject": history,
        "max_age": nanos(max_age),
        "duplicate_window": nanos(Duration::from_mins(2).min(max_age_or_more(max_age))),
        "allow_rollup_hdrs": true,
    });
    ensure(server, config).await
}

/// A window may not be longer than messages live; zero is for ever.
fn max_age_or_more(max_age: Duration) -> Duration {
    if max_age.is_zero() {
        Duration::MAX
    } else {
        max_age
    }
}

/// The buckets that all streams share, and the store.
pub(super) async fn buckets(server: &Server) -> Result<(), Failure> {
    let names = &server.names;
    let remembered = server.config.dedup_window.0 + REMEMBERED_LONGER;
    bucket(server, &names.keys(), 1, remembered).await?;
    bucket(server, &names.leases(), 1, RECORDS_KEPT).await?;
    // Two, because whoever meets a value that is being written reads the one before it.
    bucket(server, &names.store(), 2, Duration::ZERO).await
}

/// A work queue and the bucket of its dead letters.
pub(super) async fn stream(server: &Server, stream: &str, dead: &Bucket) -> Result<(), Failure> {
    bucket(server, dead, 1, Duration::ZERO).await?;
    let config = json!({
        "name": stream,
        "subjects": [Names::entries(stream)],
        "retention": "workqueue",
        "max_msgs": server.config.capacity,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "duplicate_window": nanos(server.config.dedup_window.0),
    });
    ensure(server, config).await
}

/// How long the server waits for an acknowledgement.
pub(super) fn ack_wait(server: &Server) -> Duration {
    server.config.lease.0 + LATER
}

/// The consumer that all dispatchers share. Deliveries are not counted by the server: one that it
/// counted out would be delivered no more and stay for ever.
pub(super) async fn consumer(server: &Server, stream: &str) -> Result<(), Failure> {
    let body = json!({
        "stream_name": stream,
        "config": {
            "durable_name": keys::GROUP,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanos(ack_wait(server)),
            "max_deliver": -1,
            // The stream is the limit. A server that was killed may count some that are gone.
            "max_ack_pending": -1,
            "max_waiting": server.config.nats.waiting_max,
            "replay_policy": "instant",
        },
    });
    let verb = format!("CONSUMER.DURABLE.CREATE.{stream}.{}", keys::GROUP);
    let made: Result<Value, Failure> = server.link.api(&verb, &body).await;
    match made {
        Ok(_) => Ok(()),
        Err(failure) if !is_unchangeable(&failure) => Err(failure),
        Err(failure) => {
            // One that somebody made, of a kind that cannot be changed.
            tracing::warn!(stream, %failure, "the consumer is made anew");
            remove_consumer(server, stream).await?;
            let made: Result<Value, Failure> = server.link.api(&verb, &body).await;
            made.map(|_| ())
        }
    }
}

/// Whether there is one that cannot be changed into ours.
fn is_unchangeable(failure: &Failure) -> bool {
    // The server has several numbers for it, and the first for other things, too.
    let numbers = [
        "error code 10012)",
        "error code 10013)",
        "error code 10148)",
    ];
    match failure {
        Failure::Unavailable(why) | Failure::Refused(why) => {
            numbers.iter().any(|number| why.contains(number))
        }
        _ => false,
    }
}

/// Removes the shared consumer. What it delivered is delivered again by the next one; the records of
/// the entries say what that means.
pub(super) async fn remove_consumer(server: &Server, stream: &str) -> Result<(), Failure> {
    let verb = format!("CONSUMER.DELETE.{stream}.{}", keys::GROUP);
    let removed: Result<Value, Failure> = server.link.api(&verb, &json!({})).await;
    match removed {
        Ok(_) | Err(Failure::Missing) => Ok(()),
        Err(failure) => Err(failure),
    }
}
