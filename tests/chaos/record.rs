//! What a run leaves behind: one JSON file, from which the report's tables are made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::fault::{Bus, Fault};
use crate::recovery::Recovery;

/// One run of the command on one bus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) bus: Bus,
    /// UTC.
    pub(crate) began: String,
    /// The arguments that make this run again.
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) build: String,
    pub(crate) cores: usize,
    pub(crate) seed: u64,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) scenarios: Vec<Outcome>,
    /// Scenarios that could not run here, and why.
    pub(crate) skipped: BTreeMap<String, String>,
}

/// What came of one scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) what: String,
    /// Whether the fault takes away what was never promised to be durable.
    pub(crate) outside: bool,
    /// Whether nothing may be acknowledged.
    pub(crate) refuses: bool,
    pub(crate) alertmanager: bool,
    pub(crate) server: String,
    pub(crate) seconds: f64,
    /// Strokes by fault.
    pub(crate) strokes: BTreeMap<Fault, u64>,
    pub(crate) requests: u64,
    pub(crate) requests_retried: u64,
    pub(crate) requests_refused: u64,
    pub(crate) events_sent: u64,
    pub(crate) events_acknowledged: u64,
    /// Rulings found, by disposition.
    pub(crate) dispositions: BTreeMap<String, u64>,
    pub(crate) events_lost: u64,
    pub(crate) events_ruled_twice: u64,
    pub(crate) dead_letters: u64,
    pub(crate) incidents: Incidents,
    pub(crate) effects: Effects,
    pub(crate) recoveries: BTreeMap<Fault, Vec<Recovery>>,
    /// Processes that ended without being killed and were started again.
    pub(crate) ended_by_themselves: u32,
    /// Bars that were missed; empty is good.
    pub(crate) missed: Vec<String>,
}

/// Incidents against the truth: one for each service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incidents {
    /// Services, without those below.
    pub(crate) expected: u64,
    /// Services that were well again before triage came to their first alert: nothing opens for them.
    #[serde(default)]
    pub(crate) over_before: u64,
    pub(crate) found: u64,
    /// Incidents beyond the first of one service.
    pub(crate) split: u64,
    /// Services beyond the first of one incident.
    pub(crate) merged: u64,
    /// Incidents that no ruling names.
    pub(crate) unexplained: u64,
    pub(crate) reports: u64,
    pub(crate) without_report: u64,
    /// Reports that a deadline cut short.
    pub(crate) partial: u64,
    /// Branches that reports name.
    #[serde(skip)]
    pub(crate) drafts: BTreeSet<String>,
}

/// What can be seen outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effects {
    pub(crate) messages: u64,
    /// Messages beyond the first with the same key.
    pub(crate) messages_repeated: u64,
    pub(crate) branches: u64,
    /// Branches beyond the first of one incident.
    pub(crate) branches_repeated: u64,
    /// Branches that no report names.
    pub(crate) branches_unreported: u64,
    pub(crate) commits: u64,
    /// Commits beyond the first of one branch.
    pub(crate) commits_repeated: u64,
}

impl Effects {
    /// Everything that was done twice.
    pub(crate) fn repeated(&self) -> u64 {
        self.messages_repeated + self.branches_repeated + self.commits_repeated
    }
}

impl Outcome {
    /// How many strokes there were.
    pub(crate) fn kills(&self) -> u64 {
        self.strokes.values().sum()
    }

    pub(crate) fn rulings(&self) -> u64 {
        self.dispositions.values().sum()
    }

    /// All recoveries, whatever the fault.
    pub(crate) fn all_recoveries(&self) -> impl Iterator<Item = &Recovery> {
        self.recoveries.values().flatten()
    }

    /// Longest recovery after a failover, from the election on.
    const FAILOVER_WITHIN_MS: f64 = 5000.0;

    /// Holds the outcome to the bars. Outside of the durability asked for, events may be lost with
    /// the fault; everything else holds there, too.
    pub(crate) fn judge(&mut self) {
        let zero = [
            ("events lost", self.events_lost, !self.outside),
            ("events ruled twice", self.events_ruled_twice, true),
            ("webhooks refused", self.requests_refused, true),
            ("incidents split", self.incidents.split, true),
            ("incidents merged", self.incidents.merged, true),
            (
                "incidents without report",
                self.incidents.without_report,
                !self.outside,
            ),
            (
                "messages repeated",
                self.effects.messages_repeated,
                !self.outside,
            ),
            ("branches repeated", self.effects.branches_repeated, true),
            ("commits repeated", self.effects.commits_repeated, true),
        ];
        for (what, count, counts) in zero {
            if counts && count > 0 {
                self.missed.push(format!("{count} {what}, the bar is 0"));
            }
        }
        let Incidents {
            expected, found, ..
        } = self.incidents;
        if found < expected && !self.outside {
            let missed = format!("{} incidents not found", expected - found);
            self.missed.push(missed);
        }
        if self.refuses && self.events_acknowledged > 0 {
            let count = self.events_acknowledged;
            let missed = format!("{count} events acknowledged that could not be made durable");
            self.missed.push(missed);
        }
        let failovers = self
            .recoveries
            .iter()
            .filter(|(fault, _)| fault.is_failover());
        let slow = failovers
            .flat_map(|(_, recoveries)| recoveries)
            .filter(|recovery| recovery.acknowledged_ms > Self::FAILOVER_WITHIN_MS)
            .count();
        if slow > 0 {
            let missed = format!("{slow} recoveries longer than 5 s after the new master was up");
            self.missed.push(missed);
        }
    }
}

impl Run {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}
