//! How much there is to do, as metrics. Roles that share a process share them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use incident::ports::Backlog;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::telemetry::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lane {
    stream: String,
    lane: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Entries {
    stream: String,
    lane: String,
    state: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of backlogs. What cannot be measured keeps its last value.
#[derive(Debug, Clone)]
pub struct Gauges {
    total: Family<Lane, Gauge>,
    entries: Family<Entries, Gauge>,
    oldest: Family<Lane, Seconds>,
    work: Family<Lane, Seconds>,
}

impl Gauges {
    /// Those of this process.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            total: metrics.share(
                "backlog",
                "Entries of a stream that are not done: waiting + claimed",
            ),
            entries: metrics.share(
                "backlog_entries",
                "Entries of a stream: waiting, claimed, dead",
            ),
            oldest: metrics.share(
                "oldest_age_seconds",
                "Age of the oldest entry that is not done",
            ),
            work: metrics.share(
                "backlog_work_seconds",
                "Time that what is not done is expected to take, one after the other",
            ),
        }
    }

    /// What was measured of one stream, and how long it is expected to take.
    pub fn set(&self, stream: &str, lane: &str, backlog: &Backlog, work: Duration) {
        let labels = Lane {
            stream: stream.to_owned(),
            lane: lane.to_owned(),
        };
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.total
            .get_or_create(&labels)
            .set(whole(backlog.total()));
        let age = backlog.oldest_age.unwrap_or_default();
        self.oldest.get_or_create(&labels).set(age.as_secs_f64());
        self.work.get_or_create(&labels).set(work.as_secs_f64());
        for (state, count) in [
            ("waiting", backlog.waiting),
            ("claimed", backlog.claimed),
            ("dead", backlog.dead),
        ] {
            let labels = Entries {
                stream: stream.to_owned(),
                lane: lane.to_owned(),
                state,
            };
            self.entries.get_or_create(&labels).set(whole(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_of_one_process_have_one_set() {
        let metrics = Metrics::new();
        let (one, other) = (Gauges::new(&metrics), Gauges::new(&metrics));
        let backlog = Backlog {
            waiting: 7,
            claimed: 3,
            dead: 1,
            oldest_age: Some(Duration::from_secs(15)),
        };
        one.set(
            "incident:work:warning",
            "warning",
            &Backlog::default(),
            Duration::ZERO,
        );
        other.set(
            "incident:work:warning",
            "warning",
            &backlog,
            Duration::from_secs(510),
        );
        let text = metrics.render();
        let mut lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("nightshift"))
            .collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        nightshift_backlog_entries{stream="incident:work:warning",lane="warning",state="claimed"} 3
        nightshift_backlog_entries{stream="incident:work:warning",lane="warning",state="dead"} 1
        nightshift_backlog_entries{stream="incident:work:warning",lane="warning",state="waiting"} 7
        nightshift_backlog_work_seconds{stream="incident:work:warning",lane="warning"} 510.0
        nightshift_backlog{stream="incident:work:warning",lane="warning"} 10
        nightshift_oldest_age_seconds{stream="incident:work:warning",lane="warning"} 15.0
        "#);
        assert_eq!(text.matches("# TYPE nightshift_backlog gauge").count(), 1);
    }
}
