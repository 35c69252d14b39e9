//! What triage remembers, and under which keys.
//!
//! One value per owner serialises everything about it: every ruling is written together with the
//! owner's next version, so two dispatchers that work on one owner at the same time conflict and one
//! of them looks again. What is stored per alert hangs on that version.

use std::collections::{BTreeMap, BTreeSet};

use incident::digest::Digest;
use incident::incident::IncidentStatus;
use incident::{AlertEvent, AlertStatus, EventKey, Fingerprint, Incident, IncidentId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The incidents of one owner.
pub(super) fn owner_key(correlation: &str) -> String {
    format!("triage/owner/{correlation}")
}

/// The newest state of one alert.
pub(super) fn alert_key(correlation: &str, alert: &Fingerprint) -> String {
    format!("triage/alert/{correlation}/{alert}")
}

/// The work that followed from one event.
pub(super) fn work_key(event: &EventKey) -> String {
    format!("triage/work/{event}")
}

/// A change of one alert, ordered by when it happened and not by when it was heard of: the newest
/// change is the alert's state, whatever the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) at: Timestamp,
    pub(super) status: AlertStatus,
}

impl Change {
    pub(super) fn of(event: &AlertEvent) -> Self {
        let at = match event.status {
            AlertStatus::Firing => event.starts_at,
            AlertStatus::Resolved => end(event),
        };
        Self {
            at,
            status: event.status,
        }
    }
}

/// When a resolved alert ended; an end before its start is a clock's fault.
pub(super) fn end(event: &AlertEvent) -> Timestamp {
    event
        .ends_at
        .unwrap_or(event.starts_at)
        .max(event.starts_at)
}

/// The newest state of one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AlertState {
    pub(super) change: Change,
    pub(super) starts_at: Timestamp,
    /// None if it was only ever heard of as resolved.
    pub(super) incident: Option<IncidentId>,
}

/// What is remembered of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnerState {
    pub(super) incidents: BTreeMap<IncidentId, Slot>,
}

/// One incident as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) status: IncidentStatus,
    pub(super) generation: u32,
    pub(super) first_start: Timestamp,
    pub(super) last_start: Timestamp,
    pub(super) last_end: Option<Timestamp>,
    /// Alerts that fire, kept as members or not.
    pub(super) firing: u64,
    /// Different alerts ever seen in it.
    pub(super) alerts: u64,
    /// Its Alertmanager groups, by digest, with what was cut off from them.
    pub(super) groups: BTreeMap<String, Cut>,
    /// Its alert names, by digest.
    pub(super) names: BTreeSet<String>,
}

/// How many alerts the newest body of a group left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cut {
    pub(super) received_at: Timestamp,
    pub(super) alerts: u64,
}

impl Slot {
    /// An incident that `event` opens.
    pub(super) fn new(event: &AlertEvent) -> Self {
        Self {
            status: IncidentStatus::Open,
            generation: 0,
            first_start: event.starts_at,
            last_start: event.starts_at,
            last_end: None,
            firing: 0,
            alerts: 0,
            groups: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }

    /// An incident whose owner was forgotten.
    pub(super) fn recall(incident: &Incident, event: &AlertEvent) -> Self {
        let starts = incident.members.values().map(|member| member.starts_at);
        Self {
            status: incident.status,
            generation: incident.generation,
            first_start: incident.started_at,
            last_start: starts.max().unwrap_or(incident.started_at),
            last_end: incident.resolved_at,
            alerts: u64::try_from(incident.members.len()).unwrap_or(u64::MAX),
            ..Self::new(event)
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.status == IncidentStatus::Open
    }

    /// Whether it has seen the alert's group or its name.
    pub(super) fn knows(&self, event: &AlertEvent) -> bool {
        self.groups.contains_key(&group_digest(event)) || self.names.contains(&name_digest(event))
    }

    /// Alerts of its groups that were cut off.
    pub(super) fn cut_off(&self) -> u64 {
        self.groups
            .values()
            .fold(0, |sum, cut| sum.saturating_add(cut.alerts))
    }
}

pub(super) fn group_digest(event: &AlertEvent) -> String {
    Digest::of(event.group_key.as_str().as_bytes())
        .short(16)
        .to_owned()
}

pub(super) fn name_digest(event: &AlertEvent) -> String {
    Digest::of(event.name().as_bytes()).short(16).to_owned()
}
