//! The metrics of the made-up world, and a stand-in for Prometheus that serves them.
//!
//! The stand-in answers the Prometheus HTTP API for the five metrics of this world. It does not
//! evaluate PromQL: it looks for the metric's name in the query and answers with what that metric
//! shows. The tests run against the real Prometheus; the drill must run where nothing is installed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::world::{CHANGED_AGO, ONSET_AGO, SERVICE};
use crate::cli::Story;

/// Most points of one answer; Prometheus has the same cap.
const POINTS_MAX: i64 = 11_000;

/// What the drill's service did over time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metrics {
    pub(super) story: Story,
    /// When the drill began; the world's times count back from here.
    pub(super) now: Timestamp,
}

/// The metrics of this world: (name, type, unit, help).
const METADATA: [(&str, &str, &str, &str); 5] = [
    (
        "checkout_requests_total",
        "counter",
        "",
        "Requests answered, by code",
    ),
    (
        "checkout_request_duration_seconds",
        "histogram",
        "seconds",
        "Time to answer a request",
    ),
    (
        "checkout_db_pool_in_use",
        "gauge",
        "",
        "Database connections in use",
    ),
    (
        "checkout_db_pool_size",
        "gauge",
        "",
        "Database connections allowed",
    ),
    ("up", "gauge", "", "Whether the target was scraped"),
];

impl Metrics {
    /// How far into the trouble `at` is: 0 before the onset, rising to 1 within two minutes.
    fn trouble(self, at: Timestamp) -> f64 {
        let onset = self.now.checked_sub(ONSET_AGO).unwrap_or(self.now);
        (at.duration_since(onset).as_secs_f64() / 120.0).clamp(0.0, 1.0)
    }

    /// Requests a second.
    fn traffic(self, at: Timestamp) -> f64 {
        let base = match self.story {
            Story::BadChange => 42.0,
            Story::Surge => 42.0 * (1.0 + 2.1 * self.trouble(at)),
        };
        base * (1.0 + 0.04 * wobble(at, 1))
    }

    /// The share of requests that fail.
    fn error_ratio(self, at: Timestamp) -> f64 {
        let worst = match self.story {
            Story::BadChange => 0.31,
            Story::Surge => 0.17,
        };
        (0.002 * (1.0 + 0.5 * wobble(at, 2))
            + worst * self.trouble(at) * (1.0 + 0.05 * wobble(at, 3)))
        .max(0.0)
    }

    /// Seconds, for a quantile between 0.5 and 0.99.
    fn latency(self, at: Timestamp, quantile: f64) -> f64 {
        let calm = 0.03 + 0.15 * quantile * quantile;
        (calm + 0.8 * quantile * self.trouble(at)) * (1.0 + 0.06 * wobble(at, 4))
    }

    fn pool_size(self, at: Timestamp) -> f64 {
        let changed = self.now.checked_sub(CHANGED_AGO).unwrap_or(self.now);
        if self.story == Story::BadChange && at >= changed {
            6.0
        } else {
            64.0
        }
    }

    fn pool_in_use(self, at: Timestamp) -> f64 {
        let wanted = 9.0 + 0.6 * wobble(at, 5) + 70.0 * self.trouble(at);
        wanted.min(self.pool_size(at)).round()
    }

    /// The value a query shows at `at`; none if it names no metric of this world.
    fn value(self, query: &str, at: Timestamp) -> Option<f64> {
        let failed =
            query.contains("5..") || query.contains("\"500\"") || query.contains("\"503\"");
        if query.contains("checkout_request_duration_seconds") {
            let quantile = ["0.99", "0.95", "0.9", "0.5"]
                .into_iter()
                .find(|q| query.contains(q));
            return Some(self.latency(at, quantile.and_then(|q| q.parse().ok()).unwrap_or(0.5)));
        }
        if query.contains("checkout_db_pool_in_use") {
            let part = if query.contains("checkout_db_pool_size") {
                self.pool_size(at)
            } else {
                1.0
            };
            return Some(self.pool_in_use(at) / part);
        }
        if query.contains("checkout_db_pool_size") {
            return Some(self.pool_size(at));
        }
        if query.contains("checkout_requests_total") {
            return Some(match (failed, query.contains('/')) {
                (true, true) => self.error_ratio(at),
                (true, false) => self.error_ratio(at) * self.traffic(at),
                (false, _) => self.traffic(at),
            });
        }
        (query.starts_with("up") || query.contains("(up")).then_some(1.0)
    }
}

/// Repeatable noise between -1 and 1.
fn wobble(at: Timestamp, salt: u64) -> f64 {
    let mut z = at
        .as_second()
        .unsigned_abs()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(salt << 32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 27;
    let top = u32::try_from(z >> 32).unwrap_or(u32::MAX);
    f64::from(top) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// The stand-in's routes.
pub(super) fn router(metrics: Metrics) -> Router {
    Router::new()
        .route(
            "/api/v1/query_range",
            get(query_range).post(query_range_form),
        )
        .route("/api/v1/query", get(query_now).post(query_now_form))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/rules", get(rules))
        .route("/-/ready", get(|| async { "ready\n" }))
        .with_state(Arc::new(metrics))
}

#[derive(Debug, Deserialize)]
struct Range {
    query: String,
    start: String,
    end: String,
    step: String,
}

#[derive(Debug, Deserialize)]
struct Instant {
    query: String,
    time: Option<String>,
}

async fn query_range(
    State(metrics): State<Arc<Metrics>>,
    Query(range): Query<Range>,
) -> Json<Value> {
    Json(matrix(*metrics, &range))
}

async fn query_range_form(
    State(metrics): State<Arc<Metrics>>,
    Form(range): Form<Range>,
) -> Json<Value> {
    Json(matrix(*metrics, &range))
}

async fn query_now(
    State(metrics): State<Arc<Metrics>>,
    Query(instant): Query<Instant>,
) -> Json<Value> {
    Json(vector(*metrics, &instant))
}

async fn query_now_form(
    State(metrics): State<Arc<Metrics>>,
    Form(instant): Form<Instant>,
) -> Json<Value> {
    Json(vector(*metrics, &instant))
}

fn success(data: &Value) -> Value {
    json!({ "status": "success", "data": data })
}

fn refusal(why: &str) -> Value {
    json!({ "status": "error", "errorType": "bad_data", "error": why })
}

/// Prometheus takes both RFC 3339 and seconds.
fn instant(text: &str) -> Option<Timestamp> {
    let millis = |seconds: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a wall-clock time in milliseconds fits i64"
        )]
        Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()
    };
    text.parse()
        .ok()
        .or_else(|| text.parse::<f64>().ok().and_then(millis))
}

fn seconds(text: &str) -> Option<i64> {
    let plain = text.trim_end_matches('s');
    let whole = plain.split('.').next().unwrap_or(plain);
    whole.parse::<i64>().ok().filter(|step| *step > 0)
}

fn matrix(metrics: Metrics, range: &Range) -> Value {
    let (Some(start), Some(end), Some(step)) = (
        instant(&range.start),
        instant(&range.end),
        seconds(&range.step),
    ) else {
        return refusal("start, end and step must be times and a duration");
    };
    let (first, last) = (start.as_second(), end.as_second());
    if (last - first) / step > POINTS_MAX {
        return refusal("exceeded maximum resolution of 11,000 points per timeseries");
    }
    let mut values = Vec::new();
    let mut at = first;
    while at <= last {
        if let Some(value) = Timestamp::from_second(at)
            .ok()
            .and_then(|t| metrics.value(&range.query, t))
        {
            values.push(json!([at, value.to_string()]));
        }
        at += step;
    }
    let result = if values.is_empty() {
        json!([])
    } else {
        json!([{ "metric": {}, "values": values }])
    };
    success(&json!({ "resultType": "matrix", "result": result }))
}

fn vector(metrics: Metrics, query: &Instant) -> Value {
    let at = query
        .time
        .as_deref()
        .and_then(instant)
        .unwrap_or(metrics.now);
    let result = match metrics.value(&query.query, at) {
        Some(value) => json!([{ "metric": {}, "value": [at.as_second(), value.to_string()] }]),
        None => json!([]),
    };
    success(&json!({ "resultType": "vector", "result": result }))
}

/// The one rule, with its `for`.
async fn rules() -> Json<Value> {
    Json(success(&json!({ "groups": [{
        "name": "checkout",
        "file": "checkout.yml",
        "interval": 15,
        "rules": [{
            "type": "alerting", "name": super::alert::NAME, "query": super::alert::EXPRESSION,
            "duration": 240, "state": "firing", "health": "ok", "labels": { "severity": "critical" }, "annotations": {}, "alerts": [],
        }],
    }] })))
}

/// Every series of this world, whatever the matcher: all of it belongs to one service.
async fn series() -> Json<Value> {
    let labels = |name: &str| {
        let mut labels = BTreeMap::from([("__name__", name.to_owned())]);
        labels.extend([
            ("job", SERVICE.to_owned()),
            ("service", SERVICE.to_owned()),
            ("instance", "checkout-1:8080".to_owned()),
        ]);
        labels
    };
    let mut all = vec![
        labels("checkout_db_pool_in_use"),
        labels("checkout_db_pool_size"),
        labels("up"),
        labels("checkout_request_duration_seconds_count"),
        labels("checkout_request_duration_seconds_sum"),
    ];
    for code in ["200", "500", "503"] {
        let mut row = labels("checkout_requests_total");
        row.insert("code", code.to_owned());
        all.push(row);
    }
    for le in ["0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"] {
        let mut row = labels("checkout_request_duration_seconds_bucket");
        row.insert("le", le.to_owned());
        all.push(row);
    }
    Json(success(&json!(all)))
}

async fn metadata() -> Json<Value> {
    let all: BTreeMap<&str, Value> = METADATA
        .iter()
        .map(|(name, kind, unit, help)| {
            (*name, json!([{ "type": kind, "unit": unit, "help": help }]))
        })
        .collect();
    Json(success(&json!(all)))
}
