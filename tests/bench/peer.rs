//! What the hook is measured against, each a process of its own: a handler that only reads the body,
//! one that parses it and adds it to a Redis stream, and a Prometheus that knows nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;

/// Which.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Peer {
    /// Where it listens.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// The Redis it adds to; without one the body is only read.
    #[arg(long)]
    pub(crate) redis: Option<String>,
    /// Replicas that must have what was added.
    #[arg(long, default_value_t = 0)]
    pub(crate) replicas: u32,
}

/// What the adding handler has.
#[derive(Clone)]
struct Adder {
    connection: MultiplexedConnection,
    replicas: u32,
}

/// Longest wait for one answer of Redis.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Where peers take bodies.
pub(crate) const PATH: &str = "/webhook";

/// Serves until it is killed.
pub(crate) async fn run(peer: Peer) -> Result<()> {
    let router = Router::new().route("/readyz", get(|| async { "" }));
    let router = match peer.redis {
        None => router.route(PATH, post(bare)),
        Some(url) => {
            let connection = connect(url).await?;
            let xadd = post(add).with_state(Adder {
                connection,
                replicas: peer.replicas,
            });
            router.route(PATH, xadd)
        }
    };
    let listener = tokio::net::TcpListener::bind(peer.listen).await?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await.context("it serves")
}

/// A connection that waits for answers as long as a busy disk takes.
pub(crate) async fn connect(url: String) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_WITHIN));
    let client = redis::Client::open(url)?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    Ok(connecting.await?)
}

async fn bare(body: Bytes) -> StatusCode {
    std::hint::black_box(body.len());
    StatusCode::OK
}

/// Alertmanager's body as anybody would write it down.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed, as a plain receiver does")]
struct Webhook {
    version: String,
    group_key: String,
    #[serde(default)]
    truncated_alerts: u64,
    status: String,
    receiver: String,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "parsed, as a plain receiver does")]
struct Alert {
    status: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// No credentials, no limits, no keys: parse, add, answer.
async fn add(State(mut adder): State<Adder>, body: Bytes) -> StatusCode {
    match serde_json::from_slice::<Webhook>(&body) {
        Ok(webhook) => std::hint::black_box(&webhook),
        Err(_) => return StatusCode::BAD_REQUEST,
    };
    let mut command = redis::cmd("XADD");
    command.arg("plain").arg("*").arg("payload").arg(&body[..]);
    let is_stored = if adder.replicas == 0 {
        command.exec_async(&mut adder.connection).await.is_ok()
    } else {
        let mut both = redis::pipe();
        both.add_command(command).ignore();
        both.cmd("WAIT").arg(adder.replicas).arg(10_000);
        let reached: Result<(u32,), _> = both.query_async(&mut adder.connection).await;
        reached.is_ok_and(|(reached,)| reached >= adder.replicas)
    };
    if is_stored {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
