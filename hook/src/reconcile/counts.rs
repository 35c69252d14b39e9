//! What reconciliation counts.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::telemetry::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Look {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Gap {
    kind: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct Counts {
    looks: Family<Look, Counter>,
    filled: Family<Gap, Counter>,
    last: Gauge,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            looks: metrics.register(
                "reconcile_looks",
                "Comparisons with Alertmanager's own view: complete, partial or failed",
                Family::default(),
            ),
            filled: metrics.register(
                "reconcile_filled",
                "Events stored because their notification was missed, by kind",
                Family::default(),
            ),
            last: metrics.register(
                "reconcile_last_success_timestamp_seconds",
                "When Alertmanager's own view was last compared; 0 if never",
                Gauge::default(),
            ),
        }
    }

    pub(super) fn look(&self, outcome: &'static str) {
        self.looks.get_or_create(&Look { outcome }).inc();
    }

    pub(super) fn filled(&self, kind: &'static str) {
        self.filled.get_or_create(&Gap { kind }).inc();
    }

    pub(super) fn succeeded(&self, at: Timestamp) {
        self.last.set(at.as_second());
    }
}
