//! An Alertmanager that says what a test wants it to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::alert;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Status(u16),
    Garbage,
    Huge,
    Hang,
}

/// What a fake Alertmanager says.
#[derive(Debug, Clone)]
pub(crate) struct Says {
    pub(crate) fault: Fault,
    /// Alerts in the group of our receiver.
    pub(crate) ours: Vec<Value>,
    /// Alerts of other receivers.
    pub(crate) others: Vec<Value>,
    pub(crate) receivers: Vec<&'static str>,
    pub(crate) started: &'static str,
    pub(crate) cluster: &'static str,
    pub(crate) config: &'static str,
}

pub(crate) struct Fake {
    pub(crate) url: String,
    says: Arc<Mutex<Says>>,
    shutdown: Shutdown,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let says = Arc::new(Mutex::new(Says {
            fault: Fault::None,
            ours: Vec::new(),
            others: Vec::new(),
            receivers: vec!["nightshift"],
            started: "2026-11-20T11:00:00Z",
            cluster: "disabled",
            config: "global:\n  resolve_timeout: 5m\n",
        }));
        let router = Router::new()
            .route("/api/v2/{*what}", get(answer))
            .with_state(says.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        supervisor.spawn(TaskKind::Work, "fake", async move {
            runtime::http::serve(listener, router, stop)
                .await
                .expect("it serves");
        });
        Self {
            url,
            says,
            shutdown,
        }
    }

    pub(crate) fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().expect("no panic holds it"));
    }
}

async fn answer(
    State(says): State<Arc<Mutex<Says>>>,
    axum::extract::Path(what): axum::extract::Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let says = says.lock().expect("no panic holds it").clone();
    match says.fault {
        Fault::None => {}
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).expect("a status");
            return (status, "no").into_response();
        }
        Fault::Garbage => return "{\"cluster\":".into_response(),
        Fault::Huge => return format!("[{}]", " ".repeat(300 << 10)).into_response(),
        Fault::Hang => std::future::pending::<()>().await,
    }
    Json(match what.as_str() {
        "status" => json!({
            "cluster": {"status": says.cluster, "peers": []},
            "config": {"original": says.config},
            "uptime": says.started,
            "versionInfo": {"version": "0.25.0"},
        }),
        "receivers" => says
            .receivers
            .iter()
            .map(|name| json!({"name": name}))
            .collect(),
        "alerts/groups" => {
            assert_eq!(
                query.get("receiver").map(String::as_str),
                Some("nightshift")
            );
            if says.ours.is_empty() {
                json!([])
            } else {
                json!([{"labels": {}, "receiver": {"name": "nightshift"}, "alerts": says.ours}])
            }
        }
        "alerts" => {
            let filter = query.get("filter").cloned().unwrap_or_default();
            let all = says.ours.iter().chain(&says.others);
            let named = |alert: &&Value| {
                let name = alert["labels"]["alertname"].as_str().unwrap_or_default();
                filter == format!("alertname=\"{name}\"")
            };
            all.filter(named).cloned().collect()
        }
        other => panic!("nobody should ask for {other}"),
    })
    .into_response()
}

/// An alert as the API shows it, with the fingerprint of [`alert`].
pub(crate) fn held(name: &str) -> Value {
    let mut held = alert(name);
    held["status"] = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
    held["endsAt"] = json!("2026-11-20T13:00:00Z");
    held["receivers"] = json!([{"name": "nightshift"}]);
    held
}
