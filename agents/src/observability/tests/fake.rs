//! A Prometheus of our own: records what it is asked and misbehaves on request.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::json;

/// What it does with range queries; everything else always works unless said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Status(u16),
    /// Never answers, whatever is asked.
    Hang,
    /// More than the client reads.
    Huge,
    Empty,
    Warning,
    Garbage,
}

#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) form: Vec<(String, String)>,
    pub(super) authorization: Option<String>,
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) url: String,
    fault: Fault,
    asked: Arc<Mutex<Vec<Asked>>>,
    shutdown: Shutdown,
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Two of the clones live in the server itself.
        if Arc::strong_count(&self.asked) <= 2 {
            self.shutdown.abort.cancel();
        }
    }
}

impl Fake {
    pub(super) async fn start(fault: Fault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let fake = Self {
            url,
            fault,
            asked: Arc::default(),
            shutdown: shutdown.clone(),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        supervisor.spawn(TaskKind::Work, "fake prometheus", async move {
            runtime::http::serve(listener, router, shutdown)
                .await
                .unwrap();
        });
        fake
    }

    pub(super) fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|a| a.path.ends_with(path))
            .cloned()
            .collect()
    }

    pub(super) fn values(&self, path: &str, field: &str) -> Vec<String> {
        let form = self.asked(path).into_iter().flat_map(|a| a.form);
        form.filter(|(k, _)| k == field).map(|(_, v)| v).collect()
    }
}

async fn answer(State(fake): State<Fake>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let form = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    let form: Vec<(String, String)> = form.query_pairs().into_owned().collect();
    let header = headers.get("authorization");
    fake.asked.lock().unwrap().push(Asked {
        path: uri.path().to_owned(),
        form: form.clone(),
        authorization: header.map(|v| v.to_str().unwrap().to_owned()),
    });
    if fake.fault == Fault::Hang {
        std::future::pending::<()>().await;
    }
    match uri.path() {
        "/prefix/api/v1/rules" => success(&json!({"groups": [{"rules": [
            {"name": "HighErrorRatio", "query": "errors:ratio > 0.2", "duration": 60}
        ]}]})),
        "/prefix/api/v1/metadata" => success(&json!({})),
        "/prefix/api/v1/series" => success(&json!([
            {"__name__": "http_requests_total", "job": "checkout", "code": "200"},
            {"__name__": "pool_size", "job": "checkout"},
        ])),
        "/prefix/api/v1/query" => success(&json!({"resultType": "matrix", "result": []})),
        "/prefix/api/v1/query_range" => range(fake.fault, &form),
        other => panic!("no such endpoint: {other}"),
    }
}

fn success(data: &serde_json::Value) -> Response {
    axum::Json(json!({"status": "success", "data": data})).into_response()
}

fn range(fault: Fault, form: &[(String, String)]) -> Response {
    let number = |name: &str| -> f64 {
        let field = form.iter().find(|(k, _)| k == name).unwrap();
        field.1.parse().unwrap()
    };
    let start = number("start");
    let points: Vec<_> = (0_u32..120)
        .map(|i| {
            let value = match i {
                7 => "NaN",
                8 => "+Inf",
                i if i < 110 => "1",
                _ => "9",
            };
            json!([start + f64::from(i) * number("step"), value])
        })
        .collect();
    let good = json!({"resultType": "matrix", "result": [{"metric": {}, "values": points}]});
    match fault {
        Fault::None | Fault::Hang => success(&good),
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            let body = json!({"status": "error", "errorType": "execution", "error": "too\nmany"});
            (status, axum::Json(body)).into_response()
        }
        Fault::Huge => success(&json!({"result": "x".repeat(3 << 20)})),
        Fault::Empty => success(&json!({"resultType": "matrix", "result": []})),
        Fault::Warning => axum::Json(
            json!({"status": "success", "data": good, "warnings": ["a shard\u{202e} is away"]}),
        )
        .into_response(),
        Fault::Garbage => "<html>".into_response(),
    }
}
