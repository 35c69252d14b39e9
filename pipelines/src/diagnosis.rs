//! Diagnosis: from numbered facts to ranked causes, or to an honest "nothing fits".
//!
//! For: ranking the commits of the window by time against the onset, by what they reach and by what
//! they edit, against load, a full resource and whatever lies outside. All weights stand in one table
//! (`weights`), which also says how they become a confidence.
//!
//! Never: a tool, a network call, a clock, a model. It is a pure function of its arguments; the order
//! of the evidence does not matter, nor what services are called. Commit messages do not count: they
//! say what somebody meant to do, the diff says what was done.
//!
//! How the onset is found: among the series of alert, errors, latency and saturation that clearly got
//! worse, the alert's own is the reference (else the strongest); the earliest that began at most
//! `onset_spread` before it is the onset. Without such a series the alert's own start stands in, and
//! time weighs half.

mod candidate;
mod changes;
mod checks;
mod edits;
mod inert;
mod mechanism;
mod others;
mod picture;
mod quantity;
#[cfg(test)]
mod tests;
mod weights;
mod words;

use incident::diagnosis::RuledOut;
use incident::{Diagnosis, Evidence, Gap, Incident, IncidentStatus, Verdict};
use jiff::SignedDuration;
use runtime::config::{Problem, Section, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use candidate::{Candidate, Kind};
use picture::Picture;

/// When a cause is named, and how much is read for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Confidence from which a cause is called likely. Lower names more causes, and more wrong ones.
    pub likely_min: f64,
    /// Confidence from which a cause is called confirmed, if independent kinds of evidence agree and
    /// every other change is ruled out.
    pub confirmed_min: f64,
    /// How many times as likely as the runner-up the leading cause must be to be named at all.
    pub lead_min: f64,
    /// Robust score from which a series counts as moved. Lower takes noise for symptoms.
    pub score_min: f64,
    /// How long a commit usually takes to reach production. Commits that landed this close before the
    /// onset count in full.
    pub deploy_delay: Span,
    /// Beyond `deploy_delay`, the distance in time at which a commit counts half.
    pub delay_halving: Span,
    /// How far two instants may lie apart and still be taken as one: scrape interval plus rule
    /// evaluation. Too short makes a commit that broke things look like one that came after.
    pub tolerance: Span,
    /// How long before the alert's own series another one may have moved and still belong to it.
    pub onset_spread: Span,
    /// Hypotheses listed; commits beyond it are named as set aside.
    pub hypotheses_max: usize,
    /// Lines of diff read per commit.
    pub diff_lines_max: usize,
    /// Distinct words kept per commit and for the symptom.
    pub words_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            likely_min: 0.6,
            confirmed_min: 0.9,
            lead_min: 3.0,
            score_min: 3.0,
            deploy_delay: Span::secs(10 * 60),
            delay_halving: Span::secs(30 * 60),
            tolerance: Span::secs(60),
            onset_spread: Span::secs(30 * 60),
            hypotheses_max: 5,
            diff_lines_max: 4_000,
            words_max: 2_000,
        }
    }
}

impl Config {
    fn tolerance(&self) -> SignedDuration {
        SignedDuration::try_from(self.tolerance.0).unwrap_or(SignedDuration::MAX)
    }
}

impl Section for Config {
    fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        let shares = [
            ("likely_min", self.likely_min),
            ("confirmed_min", self.confirmed_min),
        ];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                problems.push(Problem::new(
                    format!("{path}.{field}"),
                    format!("{value} is not a confidence"),
                    "Write a number from 0 to 1, such as 0.6",
                ));
            }
        }
        if self.confirmed_min < self.likely_min {
            problems.push(Problem::new(
                format!("{path}.confirmed_min"),
                format!(
                    "{} is below likely_min {}",
                    self.confirmed_min, self.likely_min
                ),
                "Raise it to at least likely_min",
            ));
        }
        for (field, value) in [("lead_min", self.lead_min), ("score_min", self.score_min)] {
            if !value.is_finite() || value < 1.0 {
                problems.push(Problem::new(
                    format!("{path}.{field}"),
                    format!("{value} is not a factor of at least 1"),
                    "Write a number such as 3.0",
                ));
            }
        }
        let limits = [
            ("hypotheses_max", self.hypotheses_max),
            ("diff_lines_max", self.diff_lines_max),
            ("words_max", self.words_max),
        ];
        for (field, _) in limits.iter().filter(|(_, value)| *value == 0) {
            problems.push(Problem::new(
                format!("{path}.{field}"),
                "it is 0, so nothing could be found",
                "Write a number of at least 1",
            ));
        }
    }
}

/// Ranks the causes of an incident by the facts.
pub fn diagnose(
    incident: &Incident,
    evidence: &[Evidence],
    gaps: Vec<Gap>,
    config: &Config,
) -> Diagnosis {
    let picture = Picture::of(incident, evidence, config);
    let mut ruled_out = Vec::new();
    let mut candidates = changes::weigh(&picture, config);
    let load = match others::load(&picture, config) {
        Ok(load) => Some(load),
        Err(why) => {
            ruled_out.extend(why);
            None
        }
    };
    let explained = load.is_some() || candidates.iter().any(|c| !c.is_ruled_out());
    candidates.extend(load);
    candidates.extend(others::saturation(&picture, !explained, config));
    candidates.push(others::outside(&picture));
    candidates.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.tie.cmp(&b.tie)));

    let confidences = confidences(&candidates);
    let verdict = verdict(incident, &picture, &candidates, &confidences, &gaps, config);
    let next_checks = checks::suggest(&picture, &candidates, verdict, &gaps);
    let ranked = candidates.into_iter().zip(confidences);
    let mut hypotheses = Vec::new();
    for (candidate, confidence) in ranked {
        if candidate.is_ruled_out() {
            ruled_out.push(candidate.into_ruled_out());
        } else if hypotheses.len() < config.hypotheses_max {
            hypotheses.push(candidate.into_hypothesis(confidence));
        } else {
            ruled_out.push(behind(candidate, config.hypotheses_max));
        }
    }
    Diagnosis {
        verdict,
        hypotheses,
        ruled_out,
        gaps,
        next_checks,
        onset: picture.onset.shown_by.map(|_| picture.onset.at),
    }
}

/// A candidate that others outrank, with its weakest spot.
fn behind(candidate: Candidate, listed: usize) -> RuledOut {
    let mut out = candidate.into_ruled_out();
    out.why = format!("{listed} others fit better. {}", out.why);
    out
}

/// `exp(score)` of each over the sum of all; see `weights`.
fn confidences(candidates: &[Candidate]) -> Vec<f64> {
    let odds: Vec<f64> = candidates.iter().map(|c| c.score().exp()).collect();
    let sum: f64 = odds.iter().sum();
    odds.into_iter().map(|odds| odds / sum).collect()
}

/// Candidates come best first, and outside is always among them.
fn verdict(
    incident: &Incident,
    picture: &Picture<'_>,
    candidates: &[Candidate],
    confidences: &[f64],
    gaps: &[Gap],
    config: &Config,
) -> Verdict {
    let recovered = incident.status == IncidentStatus::Resolved;
    if recovered && picture.moved.is_empty() && !picture.still.is_empty() {
        return Verdict::NoFault;
    }
    let (Some(best), Some(confidence)) = (candidates.first(), confidences.first()) else {
        return Verdict::Inconclusive;
    };
    let runner_up = confidences.get(1).copied().unwrap_or(0.0);
    let ahead = *confidence >= config.likely_min && *confidence >= config.lead_min * runner_up;
    let linked = [Kind::Place, Kind::Words, Kind::Mechanism]
        .iter()
        .any(|kind| best.supported_by(*kind));
    let fits = match best.cause {
        incident::Cause::Change { .. } => linked,
        incident::Cause::Load => best.supported_by(Kind::Mechanism),
        incident::Cause::Saturation => true,
        incident::Cause::Outside => false,
    };
    if !ahead || !fits || best.is_ruled_out() {
        return Verdict::Inconclusive;
    }
    let shown = best.is_change()
        && best.supported_by(Kind::Time)
        && best.supported_by(Kind::Mechanism)
        && (best.supported_by(Kind::Place) || best.supported_by(Kind::Words));
    let alone = candidates
        .iter()
        .skip(1)
        .filter(|c| c.is_change())
        .all(Candidate::is_ruled_out);
    let measured = picture.onset.shown_by.is_some() && gaps.is_empty();
    if shown && alone && measured && *confidence >= config.confirmed_min {
        Verdict::Confirmed
    } else {
        Verdict::Likely
    }
}
