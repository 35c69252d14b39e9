//! What we think happened, how sure we are, and what speaks against it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::evidence::{EvidenceId, Gap};

/// How far the evidence carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The cause is shown by several independent facts.
    Confirmed,
    /// One cause fits clearly better than the others.
    Likely,
    /// Nothing fits well enough to name.
    Inconclusive,
    /// Nothing is broken (any more).
    NoFault,
}

impl Verdict {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Likely => "likely",
            Self::Inconclusive => "inconclusive",
            Self::NoFault => "no fault",
        }
    }
}

/// The kind of cause a hypothesis names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A commit.
    Change {
        /// The configured repository's name.
        repository: String,
        /// The full object name.
        commit: String,
        /// The evidence that is the commit.
        evidence: EvidenceId,
    },
    /// More requests than usual.
    Load,
    /// A resource ran full without a change or a surge that explains it.
    Saturation,
    /// Something outside of what was looked at.
    Outside,
}

/// One reason, with the facts it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// One sentence.
    pub text: String,
    /// The facts it rests on; never empty.
    pub evidence: Vec<EvidenceId>,
    /// Its weight in the score, negative if it speaks against; natural-log odds.
    pub weight: f64,
}

/// One possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// What is at fault, as one printable line.
    pub entity: String,
    /// How it would produce what was seen, in one sentence.
    pub mechanism: String,
    /// The kind of cause.
    #[serde(flatten)]
    pub cause: Cause,
    /// What speaks for it.
    pub reasons_for: Vec<Reason>,
    /// What speaks against it.
    pub reasons_against: Vec<Reason>,
    /// Between 0 and 1.
    pub confidence: f64,
}

/// A candidate that was looked at and set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuledOut {
    /// What was set aside, as one printable line.
    pub entity: String,
    /// Why, in one sentence.
    pub why: String,
    /// The facts it rests on.
    pub evidence: Vec<EvidenceId>,
}

/// The result of diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// How far the evidence carries.
    pub verdict: Verdict,
    /// Best first.
    pub hypotheses: Vec<Hypothesis>,
    /// What was looked at and set aside.
    pub ruled_out: Vec<RuledOut>,
    /// What could not be had.
    pub gaps: Vec<Gap>,
    /// What a person should look at next; read-only.
    pub next_checks: Vec<String>,
    /// When it began, by the metrics.
    pub onset: Option<Timestamp>,
}

impl Diagnosis {
    /// The leading hypothesis, if the verdict stands behind one.
    pub fn leading(&self) -> Option<&Hypothesis> {
        match self.verdict {
            Verdict::Confirmed | Verdict::Likely => self.hypotheses.first(),
            Verdict::Inconclusive | Verdict::NoFault => None,
        }
    }

    /// The commit the verdict stands behind: (repository, object name, evidence).
    pub fn culprit(&self) -> Option<(&str, &str, EvidenceId)> {
        match &self.leading()?.cause {
            Cause::Change {
                repository,
                commit,
                evidence,
            } => Some((repository, commit, *evidence)),
            Cause::Load | Cause::Saturation | Cause::Outside => None,
        }
    }
}
