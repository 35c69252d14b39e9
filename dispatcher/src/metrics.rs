//! Figures of the dispatcher.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::telemetry::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    hop: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hop {
    hop: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct Figures {
    handled: Family<Handled, Counter>,
    seconds: Family<Hop, Histogram>,
    in_flight: Family<Hop, Gauge>,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let seconds = Family::<Hop, Histogram>::new_with_constructor(|| {
            Histogram::new([
                0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0, 60.0, 120.0, 240.0, 480.0,
            ])
        });
        Self {
            handled: metrics.register(
                "dispatch_handled",
                "Deliveries by hop and by what became of them",
                Family::default(),
            ),
            seconds: metrics.register(
                "dispatch_seconds",
                "Time of one job from claim to the last acknowledgement",
                seconds,
            ),
            in_flight: metrics.register("in_flight", "Jobs that run now", Family::default()),
        }
    }

    pub(crate) fn handled(&self, hop: &'static str, outcome: &'static str) {
        self.handled.get_or_create(&Handled { hop, outcome }).inc();
    }

    pub(crate) fn seconds(&self, hop: &'static str, seconds: f64) {
        self.seconds.get_or_create(&Hop { hop }).observe(seconds);
    }

    /// Counts a job as running until the guard is dropped.
    pub(crate) fn running(&self, hop: &'static str) -> Running {
        let gauge = self.in_flight.get_or_create(&Hop { hop }).clone();
        gauge.inc();
        Running(gauge)
    }
}

#[derive(Debug)]
pub(crate) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
