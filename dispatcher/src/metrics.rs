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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Agent {
    agent: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentState {
    agent: String,
    state: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct Figures {
    breaker: Family<AgentState, Gauge>,
    breaker_opened: Family<Agent, Counter>,
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
            breaker: metrics.register(
                "breaker",
                "1 for the state an agent's circuit breaker is in: closed, open, half_open",
                Family::default(),
            ),
            breaker_opened: metrics.register(
                "breaker_opened",
                "How often an agent was left alone because it kept failing",
                Family::default(),
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

    pub(crate) fn breaker(&self, agent: &str, now: &'static str) {
        for state in ["closed", "open", "half_open"] {
            let labels = AgentState {
                agent: agent.to_owned(),
                state,
            };
            self.breaker
                .get_or_create(&labels)
                .set(i64::from(state == now));
        }
        if now == "open" {
            let labels = Agent {
                agent: agent.to_owned(),
            };
            self.breaker_opened.get_or_create(&labels).inc();
        }
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
