//! Stand-ins for systems a test does not want to be about: a Prometheus in which every service fails
//! since a known instant, and a Slack that counts what it hears.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::{Form, RawForm, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Serves a router on a free loopback port until it is dropped.
#[derive(Debug)]
pub struct Fake {
    /// `http://127.0.0.1:port`.
    pub url: String,
    shutdown: Shutdown,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

impl Fake {
    /// Starts serving.
    ///
    /// # Errors
    /// No port is free.
    pub async fn serve(router: Router) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        Supervisor::new(shutdown.clone(), SystemClock::new()).spawn(
            TaskKind::Work,
            "fake",
            async move {
                if let Err(error) = runtime::http::serve(listener, router, stop).await {
                    tracing::error!(%error, "a fake stopped");
                }
            },
        );
        Ok(Self { url, shutdown })
    }
}

/// A Prometheus that knows one counter, `app_requests_total{service, code}`: 20 requests a second, of
/// which one in five fails from `onset` on. It looks for words in the query; it evaluates nothing.
///
/// # Errors
/// No port is free.
pub async fn prometheus(onset: Timestamp) -> Result<Fake> {
    let router = Router::new()
        .route("/api/v1/query_range", get(range).post(range))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/metadata", get(metadata))
        .with_state(onset);
    Fake::serve(router).await
}

fn success(data: &Value) -> Json<Value> {
    Json(json!({ "status": "success", "data": data }))
}

#[derive(Debug, Deserialize)]
struct Range {
    query: String,
    start: String,
    end: String,
    step: String,
}

async fn range(State(onset): State<Timestamp>, Form(range): Form<Range>) -> Json<Value> {
    let seconds = |text: &str| {
        let instant = text.parse::<Timestamp>().map(Timestamp::as_second);
        instant.unwrap_or_else(|_| {
            text.split('.')
                .next()
                .and_then(|whole| whole.trim_end_matches('s').parse().ok())
                .unwrap_or(0)
        })
    };
    let (start, end, step) = (
        seconds(&range.start),
        seconds(&range.end),
        seconds(&range.step).max(1),
    );
    let failed = range.query.contains("5..");
    let values: Vec<Value> = (0..=((end - start) / step).min(11_000))
        .map(|index| {
            let at = start + index * step;
            let ratio = if at >= onset.as_second() { 0.2 } else { 0.001 };
            let noise = 1.0 + f64::from(i32::try_from(at % 7).unwrap_or(0)) * 0.004;
            let value = match (failed, range.query.contains('/')) {
                (true, true) => ratio * noise,
                (true, false) => ratio * 20.0 * noise,
                (false, _) => 20.0 * noise,
            };
            json!([at, value.to_string()])
        })
        .collect();
    success(&json!({ "resultType": "matrix", "result": [{ "metric": {}, "values": values }] }))
}

async fn series(RawForm(form): RawForm) -> Json<Value> {
    let text = String::from_utf8_lossy(&form).into_owned();
    let service = text
        .split("service%3D%22")
        .nth(1)
        .and_then(|rest| rest.split("%22").next())
        .unwrap_or("svc");
    let row = |code: &str| json!({ "__name__": "app_requests_total", "service": service, "job": service, "code": code });
    success(&json!([row("200"), row("500")]))
}

async fn metadata() -> Json<Value> {
    success(
        &json!({ "app_requests_total": [{ "type": "counter", "unit": "", "help": "Requests" }] }),
    )
}

/// What a fake Slack heard: how often each text came.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<BTreeMap<String, u32>>>);

impl Heard {
    /// The bodies that came, each with how often.
    pub fn bodies(&self) -> BTreeMap<String, u32> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// An incoming webhook that takes everything.
///
/// # Errors
/// No port is free.
pub async fn slack() -> Result<(Fake, Heard)> {
    let heard = Heard::default();
    let router = Router::new()
        .route("/hook", post(hear))
        .with_state(heard.clone());
    Ok((Fake::serve(router).await?, heard))
}

async fn hear(State(heard): State<Heard>, body: String) -> (StatusCode, &'static str) {
    *heard
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(body)
        .or_default() += 1;
    (StatusCode::OK, "ok")
}
