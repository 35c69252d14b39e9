//! A relay before a webhook: it passes every body on, and tells of those that were answered 2xx. What
//! a real Alertmanager was promised can be known in no other way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;

use crate::fakes::Fake;

/// Longest wait for the answer behind.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Hears of a body and of the status it was answered with; 502 when nobody answered.
pub type Hears = Arc<dyn Fn(&Value, StatusCode) + Send + Sync>;

#[derive(Clone)]
struct Wire {
    target: String,
    http: reqwest::Client,
    hears: Hears,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Starts a relay to `target`; its own webhook is `<url>/webhook`.
///
/// # Errors
/// No port is free.
pub async fn start(target: String, hears: Hears) -> Result<Fake> {
    let wire = Wire {
        target,
        http: runtime::http::client(ANSWER_WITHIN)?,
        hears,
    };
    Fake::serve(Router::new().route("/webhook", post(pass)).with_state(wire)).await
}

async fn pass(State(wire): State<Wire>, headers: HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    let mut request = wire
        .http
        .post(&wire.target)
        .header("content-type", "application/json")
        .body(body.clone());
    if let Some(authorization) = headers.get("authorization") {
        request = request.header("authorization", authorization.as_bytes());
    }
    let (status, said) = match request.send().await {
        Ok(answer) => {
            let status = StatusCode::from_u16(answer.status().as_u16());
            let said = answer.bytes().await.unwrap_or_default();
            (status.unwrap_or(StatusCode::BAD_GATEWAY), said)
        }
        Err(_) => (StatusCode::BAD_GATEWAY, Bytes::new()),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    (wire.hears)(&body, status);
    (status, said)
}
