//! One alert of one webhook.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{EventKey, Fingerprint, GroupKey};
use crate::severity::Severity;
use crate::untrusted::Untrusted;

/// Alertmanager's alert status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// The condition holds.
    Firing,
    /// The condition no longer holds.
    Resolved,
}

impl AlertStatus {
    /// As Alertmanager writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One alert of one webhook body (Alertmanager webhook version 4), with what the body said of its
/// group. Everything a sender chose freely is [`Untrusted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// Identity: the same event sent again, or by a second Alertmanager, has the same key.
    pub key: EventKey,
    /// The group it was sent in.
    pub group_key: GroupKey,
    /// Digest of the labels, as Alertmanager computed it.
    pub fingerprint: Fingerprint,
    /// Firing or resolved: this alert's own, never the group's (a truncated group can claim
    /// `resolved` while cut-off alerts fire).
    pub status: AlertStatus,
    /// Label names and values.
    pub labels: BTreeMap<String, Untrusted>,
    /// Annotation names and values.
    pub annotations: BTreeMap<String, Untrusted>,
    /// When the condition began to hold (after the rule's `for`).
    pub starts_at: Timestamp,
    /// When it ended; none while it fires.
    pub ends_at: Option<Timestamp>,
    /// The Prometheus page of the expression.
    pub generator_url: Untrusted,
    /// The receiver's name in Alertmanager.
    pub receiver: Untrusted,
    /// The sending Alertmanager's own address.
    pub external_url: Untrusted,
    /// How many alerts of the group the sender cut off (`max_alerts`).
    pub truncated: u64,
    /// When the hook took it.
    pub received_at: Timestamp,
}

impl AlertEvent {
    /// A label's value, if it is there and not empty.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .get(name)
            .map(Untrusted::expose)
            .filter(|value| !value.is_empty())
    }

    /// An annotation's value, if it is there and not empty.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations
            .get(name)
            .map(Untrusted::expose)
            .filter(|value| !value.is_empty())
    }

    /// The `alertname` label, or `unnamed`.
    pub fn name(&self) -> &str {
        self.label("alertname").unwrap_or("unnamed")
    }

    /// From the `severity` label.
    pub fn severity(&self) -> Severity {
        Severity::from_label(self.label("severity"))
    }
}
