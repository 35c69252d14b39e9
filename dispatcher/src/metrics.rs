//! Figures of the dispatcher.

use std::sync::atomic::AtomicU64;

use incident::ports::Backlog;
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Entries {
    stream: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whole {
    stream: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Figures {
    handled: Family<Handled, Counter>,
    seconds: Family<Hop, Histogram>,
    in_flight: Family<Hop, Gauge>,
    backlog: Family<Entries, Gauge>,
    oldest: Family<Whole, Gauge<f64, AtomicU64>>,
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
            backlog: metrics.register(
                "backlog",
                "Entries of a stream: waiting, claimed, dead. Scaling looks at waiting + claimed",
                Family::default(),
            ),
            oldest: metrics.register(
                "oldest_age_seconds",
                "Age of the oldest entry that is not done",
                Family::default(),
            ),
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

    pub(crate) fn backlog(&self, stream: &str, backlog: &Backlog) {
        let states = [
            ("waiting", backlog.waiting),
            ("claimed", backlog.claimed),
            ("dead", backlog.dead),
        ];
        for (state, entries) in states {
            let labels = Entries {
                stream: stream.to_owned(),
                state,
            };
            let entries = i64::try_from(entries).unwrap_or(i64::MAX);
            self.backlog.get_or_create(&labels).set(entries);
        }
        let age = backlog.oldest_age.unwrap_or_default().as_secs_f64();
        self.oldest
            .get_or_create(&Whole {
                stream: stream.to_owned(),
            })
            .set(age);
    }
}

#[derive(Debug)]
pub(crate) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
