//! What triage decided for one alert event, and why.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{EventKey, Fingerprint, IncidentId};

/// Every event gets exactly one; received = sum of dispositions, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "disposition", rename_all = "lowercase")]
pub enum Disposition {
    /// A new incident was opened for it.
    Opened {
        /// The new incident.
        incident: IncidentId,
    },
    /// It belongs to an incident that is already open.
    Attached {
        /// The open incident.
        incident: IncidentId,
    },
    /// It adds nothing that is not known.
    Suppressed {
        /// The incident that covers it, if any.
        incident: Option<IncidentId>,
    },
    /// It ended an alert.
    Resolved {
        /// The incident the alert belonged to; none if the firing event was never seen.
        incident: Option<IncidentId>,
    },
    /// It can never be handled.
    Rejected {
        /// Why not.
        reason: String,
    },
}

impl Disposition {
    /// The value of the `disposition` label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Attached { .. } => "attached",
            Self::Suppressed { .. } => "suppressed",
            Self::Resolved { .. } => "resolved",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// The incident it points to.
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            Self::Opened { incident } | Self::Attached { incident } => Some(incident),
            Self::Suppressed { incident } | Self::Resolved { incident } => incident.as_ref(),
            Self::Rejected { .. } => None,
        }
    }
}

/// A disposition with the rule that fired and the state it was based on: what `explain` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The event it is about.
    pub event: EventKey,
    /// The alert the event is about.
    pub fingerprint: Fingerprint,
    /// The alert's name, as one printable line.
    pub alert: String,
    /// What was decided.
    #[serde(flatten)]
    pub disposition: Disposition,
    /// The rule that fired, such as `duplicate` or `owner-group`.
    pub rule: String,
    /// The inputs and state the rule looked at, by name, as printable text.
    pub based_on: BTreeMap<String, String>,
    /// When it was decided.
    pub at: Timestamp,
}
