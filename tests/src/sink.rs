//! A webhook receiver that records what it is sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::Value;

use crate::wait::until;

/// Bodies kept; later ones are answered 503.
const KEPT_MAX: usize = 10_000;

/// One request.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// The body.
    pub body: Value,
}

/// The receiver. Dropping it closes it.
#[derive(Debug)]
pub struct Sink {
    /// Where to post to.
    pub url: String,
    posted: Arc<Mutex<Vec<Posted>>>,
    shutdown: Shutdown,
}

impl Sink {
    /// Listens on loopback.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/webhook", listener.local_addr()?);
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let shutdown = Shutdown::new();
        let router = Router::new()
            .route("/webhook", post(record))
            .with_state(Arc::clone(&posted));
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        let stop = shutdown.clone();
        supervisor.spawn(TaskKind::Work, "sink", async move {
            if let Err(error) = runtime::http::serve(listener, router, stop).await {
                tracing::error!(%error, "the sink broke");
            }
        });
        Ok(Self {
            url,
            posted,
            shutdown,
        })
    }

    /// Everything so far, in order.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first Alertmanager body with this status, waited for.
    ///
    /// # Errors
    /// None comes within half a minute.
    pub async fn first(&self, status: &str) -> anyhow::Result<Posted> {
        let what = format!("a body that is {status}");
        until(&what, Duration::from_secs(30), async || {
            let mut posted = self.posted().into_iter();
            posted.find(|posted| posted.body["status"] == status)
        })
        .await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

async fn record(
    State(posted): State<Arc<Mutex<Vec<Posted>>>>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> StatusCode {
    let header = headers.get("authorization");
    let authorization = header.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
    if posted.len() >= KEPT_MAX {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    posted.push(Posted {
        authorization,
        body,
    });
    StatusCode::OK
}
