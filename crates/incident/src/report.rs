//! The report: one typed document. Slack, pull-request body, Markdown, HTML, terminal and JSON are
//! renderers of it and add nothing of their own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::diagnosis::Diagnosis;
use crate::evidence::{Evidence, EvidenceId};
use crate::ids::IncidentId;
use crate::incident::{IncidentStatus, Subject};
use crate::proposal::{DraftPr, Proposal};
use crate::severity::Severity;

/// Version of the document's shape; grows only when a reader could misread it.
pub const VERSION: u32 = 1;

/// One sentence and the facts that carry it. A claim without evidence does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// One sentence.
    pub text: String,
    /// The facts that carry it; never empty.
    pub evidence: Vec<EvidenceId>,
}

/// What became of the proposed change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "one per report, never kept in bulk"
)]
pub enum ChangeOutcome {
    /// Nothing to change, and why.
    None {
        /// One sentence.
        why: String,
    },
    /// A person is asked.
    AwaitingApproval {
        /// What is proposed.
        proposal: Proposal,
    },
    /// A person said no.
    Rejected {
        /// What was proposed.
        proposal: Proposal,
        /// Who said no.
        by: String,
    },
    /// The draft is open.
    Opened {
        /// What was proposed.
        proposal: Proposal,
        /// The draft.
        draft: DraftPr,
    },
    /// It could not be made.
    Failed {
        /// One sentence, with the remedy.
        why: String,
    },
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What happened, one sentence.
    pub text: String,
    /// The fact behind it, if there is one.
    pub evidence: Option<EvidenceId>,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The incident.
    pub incident: IncidentId,
    /// One printable line.
    pub title: String,
    /// What it is about.
    pub subject: Subject,
    /// How urgent it is.
    pub severity: Severity,
    /// Open or resolved, when the report was written.
    pub status: IncidentStatus,
    /// How many alerts it covers.
    pub alerts: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// What is going on: impact with numbers, most important first.
    pub impact: Vec<Claim>,
    /// What caused it: the leading cause in sentences, or that none fits.
    pub cause: Vec<Claim>,
    /// Ranked hypotheses, what was ruled out, gaps.
    pub diagnosis: Diagnosis,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// What to do next; each a thing a person can do.
    pub next_steps: Vec<String>,
    /// The proposed change.
    pub change: ChangeOutcome,
    /// All numbered facts.
    pub evidence: Vec<Evidence>,
    /// Whether the deadline cut the investigation short.
    pub partial: bool,
    /// The model that helped; none means plain code wrote all of it.
    pub model: Option<String>,
    /// When it was written.
    pub written_at: Timestamp,
}
