//! An incident: one cause being worked on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::AlertStatus;
use crate::ids::{Fingerprint, IncidentId};
use crate::severity::Severity;
use crate::untrusted::Untrusted;

/// What the incident is about: the owner of whatever fired, with generated name parts stripped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// `service`, `deployment`, `statefulset`, `daemonset`, `job`, `node`, `instance` or `alert`.
    pub kind: String,
    /// Its name.
    pub name: Untrusted,
    /// Its namespace, if it has one.
    pub namespace: Option<Untrusted>,
    /// Its cluster, if the labels say so.
    pub cluster: Option<Untrusted>,
}

impl Subject {
    /// `namespace/name` or `name`, as one printable line.
    pub fn display(&self) -> String {
        let name = self.name.one_line(120);
        match &self.namespace {
            Some(namespace) => format!("{}/{name}", namespace.one_line(80)),
            None => name,
        }
    }
}

/// Where an incident stands. Owned by triage: the alerts decide, not the investigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// At least one of its alerts fires.
    Open,
    /// All of its alerts resolved.
    Resolved,
}

impl fmt::Display for IncidentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        })
    }
}

/// One alert as a member of an incident: its newest known state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Newest status seen.
    pub status: AlertStatus,
    /// The alert's name.
    pub alert: Untrusted,
    /// Its severity.
    pub severity: Severity,
    /// Labels.
    pub labels: BTreeMap<String, Untrusted>,
    /// Annotations.
    pub annotations: BTreeMap<String, Untrusted>,
    /// The Prometheus page of the expression; the expression is read from it.
    pub generator_url: Untrusted,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it ended.
    pub ends_at: Option<Timestamp>,
}

/// One cause being worked on, as triage keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Identity, derived from content.
    pub id: IncidentId,
    /// The correlation key that alerts of this incident share.
    pub correlation: String,
    /// What it is about.
    pub subject: Subject,
    /// The highest severity of its alerts.
    pub severity: Severity,
    /// Open or resolved.
    pub status: IncidentStatus,
    /// Alerts by fingerprint; bounded, see `members_left_out`.
    pub members: BTreeMap<Fingerprint, Member>,
    /// Alerts that were attached after the member limit was reached: counted, not kept.
    pub members_left_out: u64,
    /// Alertmanager groups it was seen in.
    pub groups: BTreeSet<String>,
    /// Alerts of its groups that the sender cut off.
    pub truncated: u64,
    /// The earliest starts-at of its alerts.
    pub started_at: Timestamp,
    /// When triage opened it.
    pub opened_at: Timestamp,
    /// When the last alert resolved.
    pub resolved_at: Option<Timestamp>,
    /// Counts re-fires: grows when a resolved incident opens again within the re-fire window.
    pub generation: u32,
}

impl Incident {
    /// The alert that decides title and severity: the most severe, then the earliest, then the
    /// smallest fingerprint, so that the answer does not depend on the order of arrival.
    pub fn lead(&self) -> Option<&Member> {
        self.members
            .iter()
            .min_by_key(|(fingerprint, m)| {
                (std::cmp::Reverse(m.severity), m.starts_at, *fingerprint)
            })
            .map(|(_, member)| member)
    }

    /// One printable line: the leading alert and the subject.
    pub fn title(&self) -> String {
        let alert = self
            .lead()
            .map_or_else(|| "alert".to_owned(), |m| m.alert.one_line(100));
        format!("{alert} on {}", self.subject.display())
    }

    /// How many of its alerts fire.
    pub fn firing(&self) -> usize {
        self.members
            .values()
            .filter(|m| m.status == AlertStatus::Firing)
            .count()
    }
}
