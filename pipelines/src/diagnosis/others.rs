//! Weighs the causes that are no commit: load, a full resource, something outside.

use std::collections::BTreeSet;

use incident::diagnosis::RuledOut;
use incident::{Cause, EvidenceId, SeriesRole};

use super::Config;
use super::candidate::{Candidate, Kind};
use super::picture::{Picture, Seen, Traffic};
use super::weights;
use crate::phrase;

/// Load as a candidate, or why it is none; neither if nobody measured traffic.
pub(super) fn load(picture: &Picture<'_>, config: &Config) -> Result<Candidate, Option<RuledOut>> {
    let out = |why: String, id: EvidenceId| {
        Err(Some(RuledOut {
            entity: "load".to_owned(),
            why,
            evidence: vec![id],
        }))
    };
    match picture.traffic {
        Traffic::Unknown => Err(None),
        Traffic::Steady { id, fell: false } => out(steady(picture, id), id),
        Traffic::Steady { id, fell: true } => {
            let course = course(picture, id);
            out(
                format!("Traffic fell{course}; less load is a consequence here, not the cause."),
                id,
            )
        }
        Traffic::Surged { id, factor, at, .. } => {
            let lag = at.duration_since(picture.onset.at);
            if lag > config.tolerance() {
                let why = format!(
                    "Traffic rose {} times, but only {} after the onset.",
                    phrase::times(factor),
                    phrase::length(lag)
                );
                return out(why, id);
            }
            Ok(surge(picture, id, factor))
        }
    }
}

/// ` from 42/s to 10/s`, with a space before it.
fn course(picture: &Picture<'_>, id: EvidenceId) -> String {
    let seen = picture.series.iter().find(|seen| seen.id == id);
    let course = seen.map_or_else(String::new, |seen| {
        let (before, after) = (seen.series.before, seen.series.after);
        phrase::shift(before, after, &seen.series.unit)
    });
    if course.is_empty() {
        course
    } else {
        format!(" {course}")
    }
}

fn steady(picture: &Picture<'_>, id: EvidenceId) -> String {
    let seen = picture.series.iter().find(|seen| seen.id == id);
    let level = seen
        .filter(|seen| !seen.series.moved())
        .and_then(|seen| Some(phrase::quantity(seen.series.before?, &seen.series.unit)));
    match level {
        Some(level) => format!("Traffic stayed at about {level}, so load does not explain it."),
        None => "Traffic did not rise much, so load does not explain it.".to_owned(),
    }
}

fn surge(picture: &Picture<'_>, id: EvidenceId, factor: f64) -> Candidate {
    let mut load = Candidate::new(
        "load".to_owned(),
        Cause::Load,
        weights::LOAD,
        "~load".to_owned(),
    );
    load.mechanism = "More requests than usual come in, and the service does not keep up.".into();
    let share = (factor.ln() / weights::SURGE_FULL.ln()).clamp(0.0, 1.0);
    let (before, after) = match picture.traffic {
        Traffic::Surged { before, after, .. } => (before, after),
        _ => (None, None),
    };
    let unit = picture.series.iter().find(|seen| seen.id == id);
    let unit = unit.map_or("", |seen| seen.series.unit.as_str());
    let text = format!(
        "Traffic rose {} before or with the onset.",
        phrase::shift(before, after, unit)
    );
    let mut evidence = picture.onset_evidence();
    evidence.push(id);
    load.because(Kind::Time, weights::SURGE * share, text, evidence);
    if !picture.moved.is_empty() {
        let mut evidence = picture.worst_of_each_role();
        evidence.push(id);
        let grown = picture.moved.iter().map(|seen| seen.series.role);
        let grown: BTreeSet<SeriesRole> = grown.filter(|r| *r != SeriesRole::Alert).collect();
        let grown: Vec<&str> = grown.into_iter().map(SeriesRole::label).collect();
        let text = match grown.as_slice() {
            [] => "What the alert measures moved with it.".to_owned(),
            some => format!("{} grew with it.", phrase::capital(&phrase::list(some))),
        };
        load.because(Kind::Mechanism, weights::SURGE_FOLLOWED, text, evidence);
    } else if !picture.still.is_empty() {
        let text = "None of the metrics that were looked at got worse.".to_owned();
        let still: Vec<EvidenceId> = picture.still.iter().map(|seen| seen.id).collect();
        load.because(Kind::Contrast, weights::NOTHING_MOVED, text, still);
    }
    let proportional = picture.moved.iter().find(|seen| {
        let grew = seen.series.factor().unwrap_or(0.0);
        seen.series.role == SeriesRole::Saturation && (factor / 2.0..=factor * 2.0).contains(&grew)
    });
    if let Some(seen) = proportional {
        let text = "Saturation grew in proportion to traffic.".to_owned();
        load.because(
            Kind::Contrast,
            weights::SURGE_PROPORTIONAL,
            text,
            [id, seen.id],
        );
    }
    load
}

/// A resource that ran full, if one did. `alone` says that no commit and no surge can explain it.
pub(super) fn saturation(picture: &Picture<'_>, alone: bool, config: &Config) -> Option<Candidate> {
    let full = picture
        .moved
        .iter()
        .filter(|seen| seen.series.role == SeriesRole::Saturation)
        .min_by_key(|seen| (seen.series.onset, seen.id))?;
    let at = full.series.onset?;
    let name = full.series.name.one_line(80);
    let mut candidate = Candidate::new(
        format!("saturation of {name}"),
        Cause::Saturation,
        weights::SATURATION,
        "~saturation".to_owned(),
    );
    candidate.mechanism = "A resource ran full, and what needs it waits or fails.".into();
    let did = match (phrase::Way::of(full.series), full.series.after) {
        (phrase::Way::Began, Some(after)) => {
            let level = phrase::quantity(after, &full.series.unit);
            format!("It has had samples, of {level}, only since")
        }
        (phrase::Way::Began, None) => "It began".to_owned(),
        _ => format!("It went {}", phrase::course(full.series)),
    };
    let first = others_began_later(picture, full, at, config);
    let (weight, text) = if first {
        let text = format!("{did} before anything else moved.");
        (weights::SATURATED_FIRST, text)
    } else {
        (weights::SATURATED, format!("{did} together with the rest."))
    };
    candidate.because(Kind::Time, weight, text, [full.id]);
    if alone {
        let mut evidence = vec![full.id];
        evidence.extend(&picture.quiet);
        evidence.extend(picture.changes.iter().map(|(id, _)| *id));
        if let Traffic::Steady { id, .. } = picture.traffic {
            evidence.push(id);
        }
        let text = "Neither a change nor more traffic explains it.".to_owned();
        candidate.because(Kind::Contrast, weights::SATURATED_ALONE, text, evidence);
    }
    Some(candidate)
}

fn others_began_later(
    picture: &Picture<'_>,
    full: &Seen<'_>,
    at: jiff::Timestamp,
    config: &Config,
) -> bool {
    picture.moved.iter().all(|seen| {
        let later = seen
            .series
            .onset
            .is_none_or(|onset| onset.duration_since(at) >= config.tolerance());
        later || seen.id == full.id || seen.series.role == SeriesRole::Saturation
    })
}

/// What was not looked at: the yardstick every other candidate has to beat.
pub(super) fn outside(picture: &Picture<'_>) -> Candidate {
    let mut candidate = Candidate::new(
        "something outside of what was looked at".to_owned(),
        Cause::Outside,
        weights::OUTSIDE,
        "~outside".to_owned(),
    );
    candidate.mechanism =
        "A dependency, the platform, data or a change outside of the configured repositories."
            .into();
    let onset = picture.onset.at;
    let none_before = picture.changes.iter().all(|(_, change)| change.at > onset);
    if none_before {
        let mut evidence = picture.quiet.clone();
        evidence.extend(picture.changes.iter().map(|(id, _)| *id));
        let text = "No configured repository has a commit before the onset.".to_owned();
        candidate.because(Kind::Contrast, weights::NO_COMMIT, text, evidence);
    }
    candidate
}
