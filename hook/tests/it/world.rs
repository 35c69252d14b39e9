//! A hook over memory ports, and short words for asking it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::FutureExt as _;
use hook::{Capacity, Config, Credentials, Deps, Hook};
use incident::ports::{Clock, Stream};
use incident::{AlertEvent, ApprovalKey, Severity, keys};
use runtime::CancelToken;
use runtime::alertmanager::Alertmanager;
use runtime::telemetry::Metrics;
use runtime::testing::TestClock;
use runtime::testing::memory::{MemoryStore, MemoryStream};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::faulty::{Fault, Faulty};

const CAPACITY: Capacity = Capacity {
    work: 4,
    triage: 2,
    work_max: None,
};
pub(crate) const KEY: &[u8] = b"an approval key of thirty-two by";

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) hook: Hook,
    pub(crate) router: Router,
    pub(crate) events: Arc<Faulty>,
    pub(crate) critical: Arc<Faulty>,
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) metrics: Metrics,
    pub(crate) drain: CancelToken,
    /// What the readiness probe says.
    pub(crate) ready: Arc<Mutex<Result<(), String>>>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Status, code and field: what tests of refusals look at.
    pub(crate) fn brief(&self) -> String {
        let json = self.json();
        let text = |name: &str| json[name].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {}",
            self.status.as_u16(),
            text("code"),
            text("field")
        )
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::watching(&[], change)
    }

    /// With Alertmanagers at these addresses.
    pub(crate) fn watching(urls: &[String], change: impl FnOnce(&mut Config)) -> Self {
        let section = runtime::alertmanager::Config {
            urls: urls.to_vec(),
            timeout: runtime::config::Span::millis(500),
            body_max: runtime::config::ByteSize::kib(256),
            ..Default::default()
        };
        let alertmanager = Alertmanager::new(&section).expect("good addresses");
        let mut config = Config::default();
        change(&mut config);
        let credentials = Credentials::read(&config, "hook").expect("a good configuration");
        let clock = TestClock::at("2026-11-20T12:00:00Z".parse().expect("a time"));
        let ports: Arc<dyn Clock> = clock.clone();
        let stream = |name: &str| Arc::new(Faulty::new(MemoryStream::new(name, ports.clone())));
        let events = stream(keys::EVENTS);
        let lanes = Severity::ALL.map(|severity| (severity, stream(&keys::work(severity))));
        let critical = lanes[0].1.clone();
        let work = lanes.map(|(severity, lane)| (severity, lane as Arc<dyn Stream>));
        let store = MemoryStore::new(ports.clone());
        let ready = Arc::new(Mutex::new(Ok(())));
        let (metrics, drain, probe) = (Metrics::new(), CancelToken::new(), ready.clone());
        let deps = Deps {
            events: events.clone(),
            work: BTreeMap::from(work),
            store: Arc::new(store.clone()),
            clock: ports,
            metrics: metrics.clone(),
            credentials,
            approval_key: Some(ApprovalKey::new(KEY).expect("long enough")),
            ready: Arc::new(move || {
                let result = probe.lock().expect("no panic holds it").clone();
                async move { result }.boxed()
            }),
            render_html: |report| format!("<!doctype html><p>{}</p>", report.title.len()),
            drain: drain.clone(),
            alertmanager: Some(alertmanager).filter(|_| !urls.is_empty()),
            capacity: CAPACITY,
        };
        let hook = Hook::new(config.clone(), deps);
        Self {
            router: hook.router(),
            hook,
            config,
            events,
            critical,
            store,
            clock,
            metrics,
            drain,
            ready,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await;
        let (parts, body) = answer.expect("a router never fails").into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole answer");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty());
        self.send(request.expect("a request")).await
    }

    pub(crate) async fn post_to(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).body(body.into());
        self.send(request.expect("a request")).await
    }

    /// Sends a webhook body.
    pub(crate) async fn post(&self, body: impl Into<Body>) -> Answer {
        self.post_to("/webhook/alertmanager", body).await
    }

    /// How many events the stream holds.
    pub(crate) async fn held(&self) -> u64 {
        self.events.set(Fault::None);
        self.events.backlog().await.expect("it is up").total()
    }

    /// Takes the events that wait and is done with them.
    pub(crate) async fn settle(&self) {
        let waiting = self.events.claim(100_000, Duration::ZERO).await;
        for delivery in waiting.expect("it is up") {
            self.events.ack(&delivery.lease).await.expect("it is held");
        }
    }

    /// Takes the events that wait, in order.
    pub(crate) async fn take(&self) -> Vec<AlertEvent> {
        let waiting = self
            .events
            .claim(100_000, Duration::ZERO)
            .await
            .expect("it is up");
        let read = |payload: &[u8]| serde_json::from_slice(payload).expect("an alert event");
        waiting
            .iter()
            .map(|delivery| read(&delivery.payload))
            .collect()
    }

    /// The value of one line of `/metrics`; 0 if it is not there.
    pub(crate) fn count(&self, line: &str) -> u64 {
        let text = self.metrics.render();
        let found = text
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse().expect("a count"))
    }
}

/// A body with these alerts.
pub(crate) fn body(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"HighErrorRate\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "nightshift",
        "externalURL": "http://alertmanager.example:9093",
        "alerts": alerts,
    })
}

/// A firing alert like Alertmanager's, with nothing wrong.
pub(crate) fn alert(name: &str) -> Value {
    json!({
        "status": "firing",
        "labels": {"alertname": name, "namespace": "shop", "severity": "critical"},
        "annotations": {"summary": "Too many errors."},
        "startsAt": "2026-11-20T11:58:00.5Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up",
        "fingerprint": format!("{:016x}", name.len() as u64 * 0x9e37_79b9 + u64::from(name.as_bytes()[0])),
    })
}

/// The folder of real Alertmanager bodies; none, said loudly, where it is missing.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub(crate) fn real_bodies() -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/alertmanager");
    let mut bodies = Vec::new();
    for version in ["v0.25.0", "v0.33.1"] {
        let Ok(folder) = std::fs::read_dir(root.join(version)) else {
            eprintln!(
                "SKIPPED: there are no real bodies at {}",
                root.join(version).display()
            );
            continue;
        };
        for file in folder {
            let path = file.expect("a file").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            bodies.push((
                format!("{version}/{name}"),
                std::fs::read(&path).expect("a body"),
            ));
        }
    }
    bodies.sort();
    bodies
}
