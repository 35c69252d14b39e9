//! What the orchestrator counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use runtime::telemetry::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DraftOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeOutcome {
    notifier: String,
    outcome: &'static str,
}

/// Seconds; the deadlines 15, 60, 150 and 180 are bounds of their own.
const BUCKETS: [f64; 12] = [
    0.05, 0.25, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0,
];

/// Counters and times; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Instruments {
    stages: Family<Stage, Histogram, fn() -> Histogram>,
    report: Histogram,
    reports: Family<Verdict, Counter>,
    drafts: Family<DraftOutcome, Counter>,
    notices: Family<NoticeOutcome, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Instruments {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let stages = Family::new_with_constructor(histogram as fn() -> Histogram);
        Self {
            stages: metrics.register(
                "pipeline_stage_seconds",
                "How long one step of the pipeline took",
                stages,
            ),
            report: metrics.register(
                "report_seconds",
                "From the beginning of the work to the first report",
                histogram(),
            ),
            reports: metrics.register("reports", "First reports by verdict", Family::default()),
            drafts: metrics.register(
                "drafts",
                "What became of proposed changes",
                Family::default(),
            ),
            notices: metrics.register(
                "notices",
                "Messages by channel and outcome",
                Family::default(),
            ),
        }
    }

    pub(super) fn stage(&self, stage: &'static str, took: Duration) {
        self.stages
            .get_or_create(&Stage { stage })
            .observe(took.as_secs_f64());
    }

    pub(super) fn first_report(&self, verdict: &str, took: Duration) {
        let verdict = verdict.to_owned();
        self.reports.get_or_create(&Verdict { verdict }).inc();
        self.report.observe(took.as_secs_f64());
    }

    pub(super) fn draft(&self, outcome: &'static str) {
        self.drafts.get_or_create(&DraftOutcome { outcome }).inc();
    }

    pub(super) fn notice(&self, notifier: &str, outcome: &'static str) {
        let notifier = notifier.to_owned();
        self.notices
            .get_or_create(&NoticeOutcome { notifier, outcome })
            .inc();
    }
}
