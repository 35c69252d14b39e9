//! Evidence: one observed fact, where it came from and how to see it again.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::digest::Digest;
use crate::untrusted::Untrusted;
use crate::window::Window;

/// `E1`, `E2` ...: the number of a fact inside one incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EvidenceId(pub u32);

impl fmt::Display for EvidenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.0)
    }
}

/// What a time series measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesRole {
    /// The alert's own expression.
    Alert,
    /// Failed requests.
    Errors,
    /// How long requests take.
    Latency,
    /// How many requests come in.
    Traffic,
    /// How full a resource is.
    Saturation,
}

impl SeriesRole {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Alert => "alert expression",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Traffic => "traffic",
            Self::Saturation => "saturation",
        }
    }
}

/// One time series around the onset, with what statistics say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What it measures.
    pub role: SeriesRole,
    /// Printable name: metric and distinguishing labels.
    pub name: Untrusted,
    /// Unit of the values, such as `1/s`, `s`, `ratio`; empty if unknown.
    pub unit: String,
    /// Samples in order of time: (instant, value). Values are finite.
    pub points: Vec<(Timestamp, f64)>,
    /// The threshold the alert compares with, where it was read from the expression.
    pub threshold: Option<f64>,
    /// The change point: when it began to leave its normal range. None if it did not.
    pub onset: Option<Timestamp>,
    /// Median before the onset (of the whole window if there is none).
    pub before: Option<f64>,
    /// Median after the onset.
    pub after: Option<f64>,
    /// Robust score of the shift: |after - before| over the floored interquartile range of the
    /// samples before; 0 if there is no onset.
    pub score: f64,
}

impl Series {
    /// Whether it clearly moved.
    pub fn moved(&self) -> bool {
        self.onset.is_some()
    }

    /// `after / before`; none where that means nothing.
    pub fn factor(&self) -> Option<f64> {
        let (before, after) = (self.before?, self.after?);
        (before.abs() > f64::EPSILON).then(|| after / before)
    }
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "lowercase")]
pub enum Fact {
    /// An alert fired.
    Alert {
        /// Its name.
        name: Untrusted,
        /// When it began.
        starts_at: Timestamp,
    },
    /// A metric, moved or not.
    Series(Series),
    /// A commit in the window.
    Change(Change),
    /// The repository had no commit in the window.
    NoChange {
        /// The configured repository's name.
        repository: String,
    },
    /// A line of text, such as a status.
    Text {
        /// The text.
        text: Untrusted,
    },
}

/// A fact as a specialist returns it, before it has a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The agent that observed it.
    pub source: String,
    /// What was asked: a PromQL expression, a git command line. Anyone can ask it again.
    pub query: String,
    /// The time looked at.
    pub window: Window,
    /// The cluster it was seen in, if that is known.
    pub cluster: Option<Untrusted>,
    /// One sentence in our own words; text from outside inside it went through
    /// [`Untrusted::one_line`].
    pub summary: String,
    /// What was observed.
    #[serde(flatten)]
    pub fact: Fact,
    /// A page where a person sees the same thing.
    pub link: Option<Untrusted>,
}

impl Observation {
    /// Digest of source, query, window and fact: the same observation has the same digest.
    ///
    /// # Errors
    /// Only if the fact cannot be written as JSON, which a finite fact always can.
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let fact = serde_json::to_string(&self.fact)?;
        let (start, end) = (self.window.start.to_string(), self.window.end.to_string());
        let fields = [self.source.as_str(), &self.query, &start, &end, &fact];
        Ok(Digest::of_fields("observation/1", fields))
    }
}

/// A numbered fact of one incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its number.
    pub id: EvidenceId,
    /// Digest of the observation.
    pub digest: Digest,
    /// The fact.
    #[serde(flatten)]
    pub observation: Observation,
}

/// Something that could not be had, by name: a gap is shown, never papered over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Who looked for it.
    pub source: String,
    /// What is missing.
    pub what: String,
    /// Why.
    pub why: String,
}
