//! Which queries to ask about a subject's metrics, most telling first.
//!
//! Conventions of names and types only: no metric of any particular system is known here beyond
//! what the common client libraries and container exporters expose.

use std::collections::BTreeSet;
use std::time::Duration;

use incident::SeriesRole;

use super::catalog::{Metric, Shape};
use super::promql::{Matcher, selector};

/// Series of one metric told apart by labels of its own, such as pools by name; more are summed.
const PARTS_MAX: usize = 4;

/// Labels that hold the outcome of a request.
const STATUS_LABELS: [&str; 9] = [
    "code",
    "status",
    "status_code",
    "http_status",
    "http_status_code",
    "http_response_status_code",
    "response_code",
    "grpc_code",
    "outcome",
];
/// gRPC codes that are the server's fault.
const GRPC_FAILURES: &str =
    "Unknown|DeadlineExceeded|Internal|Unavailable|DataLoss|ResourceExhausted|Aborted";
/// Words for a request that went wrong.
const FAILURE_WORDS: &str =
    "(?i:error|errors|err|failure|failed|fail|timeout|timed_out|exception|rejected|5xx)";
const ERROR_WORDS: [&str; 14] = [
    "error",
    "errors",
    "failure",
    "failures",
    "failed",
    "exception",
    "exceptions",
    "timeout",
    "timeouts",
    "rejected",
    "dropped",
    "retries",
    "panics",
    "throttled",
];
const TRAFFIC_WORDS: [&str; 13] = [
    "request",
    "requests",
    "calls",
    "rpcs",
    "handled",
    "queries",
    "messages",
    "jobs",
    "tasks",
    "operations",
    "commands",
    "hits",
    "events",
];
const LATENCY_WORDS: [&str; 9] = [
    "duration",
    "latency",
    "seconds",
    "milliseconds",
    "time",
    "wait",
    "delay",
    "ms",
    "elapsed",
];
const SATURATION_WORDS: [&str; 33] = [
    "pool",
    "queue",
    "queued",
    "depth",
    "backlog",
    "lag",
    "pending",
    "waiting",
    "inflight",
    "flight",
    "active",
    "busy",
    "idle",
    "connections",
    "workers",
    "threads",
    "goroutines",
    "sessions",
    "used",
    "usage",
    "use",
    "utilization",
    "utilisation",
    "saturation",
    "capacity",
    "size",
    "limit",
    "limits",
    "max",
    "fds",
    "ratio",
    "open",
    "cache",
];
/// Words that say how much is taken, against how much there is.
const TAKEN: [&str; 6] = ["in_use", "used", "usage", "active", "busy", "open"];
const THERE_IS: [&str; 7] = [
    "size",
    "limit",
    "max",
    "capacity",
    "limit_bytes",
    "total",
    "quota",
];

/// Words of counters that count events in the life of a process: a reload or a restart tells when
/// a change took effect.
const EVENT_WORDS: [&str; 6] = [
    "reload",
    "reloads",
    "restarts",
    "deploys",
    "deployments",
    "rollouts",
];

/// What the answer to a query is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Its level, and where that shifted.
    Level,
    /// The moments it stepped.
    Steps,
}

/// One query to ask.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    /// What the answer is read for.
    pub(super) reading: Reading,
    /// What it measures.
    pub(super) role: SeriesRole,
    /// What to call it; metric names inside come from Prometheus.
    pub(super) label: String,
    /// Unit of the values.
    pub(super) unit: &'static str,
    /// PromQL.
    pub(super) query: String,
    /// What the alert compares it with.
    pub(super) threshold: Option<f64>,
}

/// What the queries have in common.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Matchers that single out the subject.
    pub(super) subject: Vec<Matcher>,
    /// Window of rates.
    pub(super) rate: Duration,
}

impl Scope {
    fn select(&self, metric: &str) -> String {
        selector(metric, &self.subject)
    }

    fn select_with(&self, metric: &str, more: Matcher) -> String {
        let mut all = self.subject.clone();
        all.push(more);
        selector(metric, &all)
    }

    fn rate(&self, selector: &str) -> String {
        format!("rate({selector}[{}s])", self.rate.as_secs().max(1))
    }
}

/// Plans at most `limit` queries; the second number is how many more there would have been.
/// `named` are the metrics the alert's own expression reads: they come first in their role.
pub(super) fn plan(
    metrics: &[Metric],
    scope: &Scope,
    named: &BTreeSet<String>,
    limit: usize,
) -> (Vec<Planned>, usize) {
    let mut ranked: Vec<(u8, bool, Planned)> = Vec::new();
    for metric in metrics {
        let related = named.iter().any(|name| same_family(name, &metric.name));
        let found = queries(metric, metrics, scope);
        ranked.extend(
            found
                .into_iter()
                .map(|(rank, query)| (rank, !related, query)),
        );
    }
    // Roles take turns, so that many gauges cannot crowd out the one latency histogram.
    ranked.sort_by(|a, b| (a.1, a.0, &a.2.query).cmp(&(b.1, b.0, &b.2.query)));
    let mut turns: Vec<(usize, usize, Planned)> = Vec::new();
    for (order, (_, _, query)) in ranked.into_iter().enumerate() {
        let turn = turns
            .iter()
            .filter(|(_, _, q)| (q.role, q.reading) == (query.role, query.reading))
            .count();
        turns.push((turn, order, query));
    }
    turns.sort_by_key(|(turn, order, _)| (*turn, *order));
    let left_out = turns.len().saturating_sub(limit);
    (
        turns.into_iter().map(|(_, _, q)| q).take(limit).collect(),
        left_out,
    )
}

fn same_family(a: &str, b: &str) -> bool {
    fn family(name: &str) -> &str {
        ["_bucket", "_sum", "_count", "_total"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name)
    }
    family(a) == family(b)
}

/// The queries one metric is worth, each with a rank: smaller is asked earlier.
fn queries(metric: &Metric, all: &[Metric], scope: &Scope) -> Vec<(u8, Planned)> {
    let words = metric.words();
    let has = |list: &[&str]| list.iter().any(|word| words.contains(*word));
    // A runtime's own bookkeeping seldom explains anything and is plentiful.
    let internal = ["go_", "promhttp_", "scrape_", "python_gc_", "jvm_gc_"]
        .iter()
        .any(|prefix| metric.name.starts_with(prefix));
    if internal {
        return Vec::new();
    }
    match metric.shape {
        Shape::Counter if metric.unit == "s" && words.contains("cpu") => cpu(metric, scope),
        Shape::Counter if has(&EVENT_WORDS) && !has(&ERROR_WORDS) => {
            vec![(0, steps(metric, scope))]
        }
        Shape::Counter if has(&ERROR_WORDS) => vec![(1, errors(metric, scope))],
        Shape::Counter if has(&TRAFFIC_WORDS) => requests(metric, scope),
        Shape::Buckets if has(&LATENCY_WORDS) => latency(metric, scope),
        Shape::Quantiles if has(&LATENCY_WORDS) => vec![(1, quantiles(metric, scope))],
        Shape::Gauge if metric.name == "up" => vec![(0, up(metric, scope))],
        Shape::Gauge if metric.name == "process_start_time_seconds" => {
            vec![(1, steps(metric, scope))]
        }
        Shape::Gauge if metric.name.ends_with("_timestamp_seconds") => Vec::new(),
        Shape::Gauge if memory(&metric.name) || has(&SATURATION_WORDS) => gauge(metric, all, scope),
        Shape::Gauge if words.contains("config") || metric.name.ends_with("_timeout_seconds") => {
            gauge(metric, all, scope)
        }
        _ => Vec::new(),
    }
}

fn memory(name: &str) -> bool {
    matches!(
        name,
        "process_resident_memory_bytes" | "container_memory_working_set_bytes"
    )
}

fn steps(metric: &Metric, scope: &Scope) -> Planned {
    Planned {
        reading: Reading::Steps,
        role: SeriesRole::Saturation,
        label: metric.name.clone(),
        unit: "",
        query: format!("sum({})", scope.select(&metric.name)),
        threshold: None,
    }
}

fn up(metric: &Metric, scope: &Scope) -> Planned {
    Planned {
        reading: Reading::Level,
        role: SeriesRole::Errors,
        label: "up (1 = every instance answers)".to_owned(),
        unit: "",
        query: format!("min({})", scope.select(&metric.name)),
        threshold: None,
    }
}

fn cpu(metric: &Metric, scope: &Scope) -> Vec<(u8, Planned)> {
    let query = format!("sum({})", scope.rate(&scope.select(&metric.name)));
    let planned = Planned {
        reading: Reading::Level,
        role: SeriesRole::Saturation,
        label: format!("CPU use ({})", metric.name),
        unit: "cores",
        query,
        threshold: None,
    };
    vec![(4, planned)]
}

fn errors(metric: &Metric, scope: &Scope) -> Planned {
    Planned {
        reading: Reading::Level,
        role: SeriesRole::Errors,
        label: format!("rate of {}", metric.name),
        unit: "1/s",
        query: format!("sum({})", scope.rate(&scope.select(&metric.name))),
        threshold: None,
    }
}

/// Traffic, and where an outcome label tells failures apart, their rate and share.
fn requests(metric: &Metric, scope: &Scope) -> Vec<(u8, Planned)> {
    let all = format!("sum({})", scope.rate(&scope.select(&metric.name)));
    let mut found = vec![(
        0,
        Planned {
            reading: Reading::Level,
            role: SeriesRole::Traffic,
            label: format!("traffic ({})", metric.name),
            unit: "1/s",
            query: all.clone(),
            threshold: None,
        },
    )];
    let status = STATUS_LABELS
        .iter()
        .find(|label| metric.labels.contains_key(**label));
    if let Some(label) = status {
        let failed = scope.select_with(
            &metric.name,
            Matcher::regex(*label, failures(metric, label)),
        );
        // A failure series that does not exist yet is zero failures, not a hole in the plot.
        let rate = format!("(sum({}) or 0 * {all})", scope.rate(&failed));
        found.push((
            0,
            Planned {
                reading: Reading::Level,
                role: SeriesRole::Errors,
                label: format!("error ratio ({} with failing {label})", metric.name),
                unit: "ratio",
                query: format!("{rate} / {all}"),
                threshold: None,
            },
        ));
        found.push((
            2,
            Planned {
                reading: Reading::Level,
                role: SeriesRole::Errors,
                label: format!("error rate ({} with failing {label})", metric.name),
                unit: "1/s",
                query: rate,
                threshold: None,
            },
        ));
    }
    found
}

/// The values of an outcome label that are failures, in the vocabulary the metric uses.
fn failures(metric: &Metric, label: &str) -> &'static str {
    let values = metric.labels.get(label);
    let all = |test: fn(&String) -> bool| values.is_some_and(|v| v.iter().all(test));
    if all(|v| v.len() == 3 && v.bytes().all(|b| b.is_ascii_digit())) {
        "5.."
    } else if label.starts_with("grpc") || values.is_some_and(|v| v.contains("OK")) {
        GRPC_FAILURES
    } else {
        FAILURE_WORDS
    }
}

fn latency(metric: &Metric, scope: &Scope) -> Vec<(u8, Planned)> {
    let buckets = scope.rate(&scope.select(&metric.name));
    [(0, "p99", "0.99"), (1, "p90", "0.9")]
        .into_iter()
        .map(|(rank, name, q)| {
            let planned = Planned {
                reading: Reading::Level,
                role: SeriesRole::Latency,
                label: format!("{name} of {}", metric.base()),
                unit: metric.unit,
                query: format!("histogram_quantile({q}, sum by (le) ({buckets}))"),
                threshold: None,
            };
            (rank, planned)
        })
        .collect()
}

fn quantiles(metric: &Metric, scope: &Scope) -> Planned {
    let some = scope.select_with(&metric.name, Matcher::regex("quantile", "0\\.9|0\\.99"));
    Planned {
        reading: Reading::Level,
        role: SeriesRole::Latency,
        label: format!("worst instance's quantile of {}", metric.name),
        unit: metric.unit,
        query: format!("max by (quantile) ({some})"),
        threshold: None,
    }
}

/// A gauge, told apart by labels of its own where there are few; with its share of the limit where
/// a sibling says what the limit is.
fn gauge(metric: &Metric, all: &[Metric], scope: &Scope) -> Vec<(u8, Planned)> {
    let shared = metric.unit == "ratio" || metric.unit == "%" || metric.name.contains("timeout");
    let fold = if shared { "max" } else { "sum" };
    let by = parts(metric, scope);
    let query = format!("{fold}{by} ({})", scope.select(&metric.name));
    let own = Planned {
        reading: Reading::Level,
        role: SeriesRole::Saturation,
        label: metric.name.clone(),
        unit: metric.unit,
        query: query.clone(),
        threshold: None,
    };
    let name = metric.name.as_str();
    let fixed = THERE_IS.iter().any(|w| name.ends_with(&format!("_{w}")));
    // What every process exposes comes after what this one chose to.
    let late = if name.starts_with("process_") { 3 } else { 0 };
    let mut found = vec![(late + if fixed { 1 } else { 2 }, own)];
    if let Some(limit) = limit_of(name, all) {
        let there_is = format!("{fold}{by} ({})", scope.select(&limit.name));
        found.push((
            late,
            Planned {
                reading: Reading::Level,
                role: SeriesRole::Saturation,
                label: format!("{name} / {}", limit.name),
                unit: "ratio",
                query: format!("{query} / {there_is}"),
                threshold: None,
            },
        ));
    }
    found
}

/// The gauge that says how much there is of what `name` takes.
fn limit_of<'m>(name: &str, all: &'m [Metric]) -> Option<&'m Metric> {
    let gauge = |wanted: &str| {
        all.iter()
            .find(|m| m.name == wanted && m.shape == Shape::Gauge)
    };
    if let Some(stem) = name.strip_suffix("open_fds") {
        return gauge(&format!("{stem}max_fds"));
    }
    let taken = TAKEN
        .iter()
        .find_map(|word| name.strip_suffix(word)?.strip_suffix('_'))?;
    THERE_IS
        .iter()
        .find_map(|word| gauge(&format!("{taken}_{word}")))
}

/// ` by (label, ...)` of the labels that tell parts of a gauge apart within one instance.
fn parts(metric: &Metric, scope: &Scope) -> String {
    const PLACES: [&str; 8] = [
        "instance",
        "pod",
        "job",
        "namespace",
        "container",
        "node",
        "endpoint",
        "service",
    ];
    let subject = |label: &str| scope.subject.iter().any(|m| m.label == label);
    let own: Vec<(&str, usize)> = metric
        .labels
        .iter()
        .filter(|(label, values)| {
            !PLACES.contains(&label.as_str()) && !subject(label) && values.len() > 1
        })
        .map(|(label, values)| (label.as_str(), values.len()))
        .collect();
    let combinations = own.iter().map(|(_, n)| n).product::<usize>();
    if own.is_empty() || combinations > PARTS_MAX {
        return String::new();
    }
    let names: Vec<&str> = own.iter().map(|(label, _)| *label).collect();
    format!(" by ({})", names.join(", "))
}

#[cfg(test)]
mod tests;
