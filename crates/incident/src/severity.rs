//! Severity of an alert or incident, and the work lane that goes with it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgent it is. Ordered: `Info < Warning < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody needs to wake up.
    Info,
    /// Soon a person should look.
    Warning,
    /// A person is awake already.
    Critical,
}

impl Severity {
    /// All, most urgent first: the order in which work lanes are served.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Info];

    /// Reads the usual values of the `severity` label, whatever their case. An alert without the
    /// label, or with an unknown value, is a warning: neither hidden nor louder than it asked to be.
    pub fn from_label(value: Option<&str>) -> Self {
        match value.unwrap_or_default().to_ascii_lowercase().as_str() {
            "critical" | "crit" | "page" | "fatal" | "emergency" | "sev1" | "p1" => Self::Critical,
            "info" | "informational" | "notice" | "none" | "low" | "debug" => Self::Info,
            _ => Self::Warning,
        }
    }

    /// The lane's name in streams and metrics.
    pub fn lane(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.lane())
    }
}
