//! What the hook counts.

use incident::order::Action;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use runtime::telemetry::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    route: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Alert {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Rejected {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Grave {
    stream: &'static str,
    action: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Counts {
    requests: Family<Request, Counter>,
    alerts: Family<Alert, Counter>,
    rejected: Family<Rejected, Counter>,
    received: Counter,
    dead_letters: Family<Grave, Counter>,
    in_flight: Gauge,
    pub(crate) store_seconds: Histogram,
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let buckets = exponential_buckets(0.000_5, 2.0, 15);
        Self {
            requests: metrics.register(
                "hook_requests",
                "Requests by route and status code",
                Family::default(),
            ),
            alerts: metrics.register(
                "hook_alerts",
                "Alerts of webhook bodies: accepted, duplicate, rejected or cut",
                Family::default(),
            ),
            rejected: metrics.register(
                "hook_rejected",
                "Requests and alerts that were not taken, by reason",
                Family::default(),
            ),
            received: metrics.register(
                "received",
                "Alert events stored for the first time; each gets one disposition",
                Counter::default(),
            ),
            dead_letters: metrics.register(
                "hook_dead_letters",
                "Dead letters that a person redrove or dropped",
                Family::default(),
            ),
            in_flight: metrics.register(
                "hook_requests_in_flight",
                "Requests that hold a permit",
                Gauge::default(),
            ),
            store_seconds: metrics.register(
                "hook_store_seconds",
                "Time from a parsed body to all of its alerts being durable",
                Histogram::new(buckets),
            ),
        }
    }

    pub(crate) fn request(&self, route: String, code: u16) {
        let labels = Request { route, code };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a request as running until the answer is dropped.
    pub(crate) fn running(&self) -> Running {
        self.in_flight.inc();
        Running(self.in_flight.clone())
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Rejected { reason }).inc();
    }

    pub(crate) fn alerts(&self, outcome: &'static str, count: u64) {
        if count > 0 {
            self.alerts.get_or_create(&Alert { outcome }).inc_by(count);
        }
    }

    pub(crate) fn dead_letter(&self, stream: &'static str, action: Action) {
        let labels = Grave {
            stream,
            action: action.to_string(),
        };
        self.dead_letters.get_or_create(&labels).inc();
    }

    pub(crate) fn received(&self, count: u64) {
        self.received.inc_by(count);
    }
}

/// A request that holds a permit.
#[derive(Debug)]
pub(crate) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
