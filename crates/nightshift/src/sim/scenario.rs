//! What is wrong in the simulated world: causes, and the alerts that they make fire.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::{EventKey, Fingerprint, GroupKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::chance::Chance;

/// Alertmanager waits this long before it speaks of a new group.
const GROUP_WAIT_S: u64 = 5;

/// One cause: one service that is broken, and whether a commit broke it.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) service: String,
    /// The specialists will find a commit to blame.
    pub(super) has_culprit: bool,
    pub(super) alerts: Vec<Alert>,
    /// How often Alertmanager looks at the group again.
    pub(super) group_interval: Duration,
    pub(super) repeat_interval: Duration,
}

/// One alert of a cause.
#[derive(Debug, Clone)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) severity: &'static str,
    pub(super) group: usize,
    /// When it fires, in the world's time; the last one may never end.
    pub(super) fires: Vec<(Duration, Option<Duration>)>,
}

/// An alert as a body of Alertmanager shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) alert: usize,
    pub(super) starts: Duration,
    pub(super) ends: Option<Duration>,
}

impl Cause {
    /// Everything happens within `length` seconds, and so that it is one incident by the rules: all
    /// starts within the group window, every new start within the re-fire window.
    pub(super) fn draw(number: usize, length: u64, chance: &Chance) -> Self {
        let alerts = match chance.below(8) {
            0..=3 => 1,
            4 | 5 => 2,
            6 => 3,
            _ => 5,
        };
        let groups = chance.between(1, 2);
        let begins = chance.below(length / 4);
        let ends = if chance.one_in(4) {
            None
        } else {
            Some(chance.between(begins + length / 3, length + length / 4))
        };
        let alerts = (0..alerts)
            .map(|n| Alert::draw(n, groups, (begins, ends, length), chance))
            .collect();
        Self {
            service: format!("svc{number}"),
            has_culprit: !chance.one_in(4),
            alerts,
            group_interval: chance.millis(20_000, 60_000),
            repeat_interval: chance.millis(90_000, 300_000),
        }
    }

    pub(super) fn group_key(&self, group: usize) -> GroupKey {
        GroupKey::from_stored(format!(
            "{{}}/{{g=\"{group}\"}}:{{service=\"{}\"}}",
            self.service
        ))
    }

    pub(super) fn fingerprint(&self, alert: usize) -> Fingerprint {
        let labels = self.labels(alert);
        hook::fingerprint(labels.iter().map(|(name, value)| (*name, value.as_str())))
    }

    fn labels(&self, alert: usize) -> BTreeMap<&'static str, String> {
        let alert = self.alerts.get(alert);
        let name = alert.map_or_else(String::new, |alert| alert.name.clone());
        let severity = alert.map_or("warning", |alert| alert.severity);
        BTreeMap::from([
            ("alertname", name),
            ("namespace", String::from("shop")),
            ("service", self.service.clone()),
            ("severity", severity.to_owned()),
        ])
    }

    /// Groups that have alerts.
    pub(super) fn groups(&self) -> Vec<usize> {
        let mut groups: Vec<usize> = self.alerts.iter().map(|alert| alert.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// What a group's alerts are at `now`: every alert that ever fired, with its newest firing.
    pub(super) fn shown(&self, group: usize, now: Duration) -> Vec<Shown> {
        let alerts = self.alerts.iter().enumerate();
        alerts
            .filter(|(_, alert)| alert.group == group)
            .filter_map(|(alert, of)| {
                let (starts, ends) = *of.fires.iter().rfind(|(starts, _)| *starts <= now)?;
                let ends = ends.filter(|ends| *ends <= now);
                Some(Shown {
                    alert,
                    starts,
                    ends,
                })
            })
            .collect()
    }

    /// When something changes for the last time.
    pub(super) fn over(&self) -> Duration {
        let fires = self.alerts.iter().flat_map(|alert| &alert.fires);
        let times = fires.map(|(starts, ends)| ends.unwrap_or(*starts));
        times.max().unwrap_or_default()
    }

    /// Whether nothing fires in the end.
    pub(super) fn ends(&self) -> bool {
        self.alerts
            .iter()
            .all(|alert| alert.fires.last().is_none_or(|(_, ends)| ends.is_some()))
    }

    /// The key that the hook must give to what is shown.
    pub(super) fn event_key(
        &self,
        group: usize,
        shown: &Shown,
        at: impl Fn(Duration) -> Timestamp,
    ) -> EventKey {
        let status = if shown.ends.is_some() {
            "resolved"
        } else {
            "firing"
        };
        EventKey::derive(
            &self.group_key(group),
            &self.fingerprint(shown.alert),
            &at(shown.starts).to_string(),
            status,
        )
    }

    /// A body as Alertmanager sends it.
    pub(super) fn body(
        &self,
        group: usize,
        shown: &[Shown],
        at: impl Fn(Duration) -> Timestamp,
    ) -> Value {
        let alerts: Vec<Value> = shown
            .iter()
            .map(|one| {
                let ends = one.ends.map_or_else(
                    || "0001-01-01T00:00:00Z".to_owned(),
                    |ends| at(ends).to_string(),
                );
                json!({
                    "status": if one.ends.is_some() { "resolved" } else { "firing" },
                    "labels": self.labels(one.alert),
                    "annotations": { "summary": "too many requests fail" },
                    "startsAt": at(one.starts).to_string(),
                    "endsAt": ends,
                    "generatorURL": "http://prometheus.example/graph?g0.expr=errors+%3E+0.05",
                    "fingerprint": self.fingerprint(one.alert).as_str(),
                })
            })
            .collect();
        json!({
            "version": "4",
            "groupKey": self.group_key(group).as_str(),
            "truncatedAlerts": 0,
            "status": if shown.iter().all(|one| one.ends.is_some()) { "resolved" } else { "firing" },
            "receiver": "nightshift",
            "groupLabels": { "service": self.service },
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example",
            "alerts": alerts,
        })
    }
}

impl Alert {
    fn draw(
        number: usize,
        groups: u64,
        (begins, ends, length): (u64, Option<u64>, u64),
        chance: &Chance,
    ) -> Self {
        let first = begins + chance.below(length / 6 + 1);
        let at = Duration::from_secs;
        let severity = match chance.below(4) {
            0 => "critical",
            3 => "info",
            _ => "warning",
        };
        let ends = ends.map(|ends| ends.max(first + 1) + chance.below(20));
        let mut fires = vec![(at(first), ends.map(at))];
        // It flaps: an end and a new start before the last end.
        if chance.one_in(4) {
            let pause = first + GROUP_WAIT_S + chance.below(length / 3);
            let again = pause + chance.between(1, length / 3);
            let last = ends.map(|ends| ends.max(again + 1));
            fires = vec![(at(first), Some(at(pause))), (at(again), last.map(at))];
        }
        Self {
            name: format!("Alert{number}"),
            severity,
            group: usize::try_from(chance.below(groups)).unwrap_or(0),
            fires,
        }
    }
}

/// How long a group waits before its first message.
pub(super) fn group_wait() -> Duration {
    Duration::from_secs(GROUP_WAIT_S)
}
