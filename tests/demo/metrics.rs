//! What the service says of itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::config::Config;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Code {
    code: String,
}

/// All metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<Code, Counter>,
    duration: Histogram,
    pub(crate) pool_in_use: Gauge,
    pub(crate) pool_size: Gauge,
    pub(crate) queue_depth: Gauge,
    wait_timeout: Gauge<f64, AtomicU64>,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) retries: Counter,
    pub(crate) reloads: Counter,
    pub(crate) reload_failures: Counter,
    registry: Arc<Registry>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        const BUCKETS: [f64; 12] = [
            0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
        ];
        let mut all = Self {
            requests: Family::default(),
            duration: Histogram::new(BUCKETS),
            pool_in_use: Gauge::default(),
            pool_size: Gauge::default(),
            queue_depth: Gauge::default(),
            wait_timeout: Gauge::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            retries: Counter::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            registry: Arc::default(),
        };
        let mut r = Registry::default();
        r.register("requests", "Requests by status code", all.requests.clone());
        let seconds = Unit::Seconds;
        r.register_with_unit(
            "request_duration",
            "From arrival to answer",
            seconds.clone(),
            all.duration.clone(),
        );
        let connections = "Database connections that a request holds";
        r.register("pool_in_use", connections, all.pool_in_use.clone());
        r.register("pool_size", "Database connections", all.pool_size.clone());
        let queue = "Requests that wait for a database connection";
        r.register("queue_depth", queue, all.queue_depth.clone());
        r.register_with_unit(
            "pool_wait_timeout",
            "Longest wait for a database connection",
            seconds,
            all.wait_timeout.clone(),
        );
        let hits = "Requests the cache answered";
        r.register("cache_hits", hits, all.cache_hits.clone());
        let misses = "Requests the cache did not answer";
        r.register("cache_misses", misses, all.cache_misses.clone());
        let retries = "Times a request queued again";
        r.register("retries", retries, all.retries.clone());
        let reloads = "Times the configuration changed";
        r.register("config_reloads", reloads, all.reloads.clone());
        let failures = "Times the configuration could not be used";
        r.register(
            "config_reload_failures",
            failures,
            all.reload_failures.clone(),
        );
        all.registry = Arc::new(r);
        all
    }

    /// Shows what the configuration says.
    pub(crate) fn configured(&self, config: &Config) {
        let size = i64::try_from(config.pool.size).unwrap_or(i64::MAX);
        self.pool_size.set(size);
        self.wait_timeout
            .set(config.pool.wait_timeout.0.as_secs_f64());
    }

    /// Counts one answer.
    pub(crate) fn answered(&self, code: u16, took: Duration) {
        let code = code.to_string();
        self.requests.get_or_create(&Code { code }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// OpenMetrics text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a string takes all that is written");
        text
    }
}

/// Adds one to a gauge for as long as it lives: a caller that goes away is counted out too.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
