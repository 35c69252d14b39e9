//! From samples to an observation: the onset, its two levels, a sentence and a link.

use std::time::Duration;

use incident::message::agent;
use incident::{Fact, Observation, Series, SeriesRole, Untrusted, Window};
use jiff::Timestamp;

use super::describe;
use super::plan::{Planned, Reading};
use super::prometheus::{Labels, Samples};
use super::stats;

/// Steps that are named one by one.
const STEPS_MAX: usize = 4;

/// What all series of one incident have in common.
pub(super) struct Frame {
    /// The time looked at.
    pub(super) window: Window,
    /// Between points.
    pub(super) step: Duration,
    /// Where the onset may lie.
    pub(super) search: Window,
    /// Samples after this say nothing about the onset: the fault may be over.
    pub(super) compare_until: Timestamp,
    /// Since when Prometheus has samples of any series of this incident.
    pub(super) known_since: Option<Timestamp>,
    /// Points kept for the plot.
    pub(super) points_kept: usize,
    /// Where people look at Prometheus.
    pub(super) link: Option<reqwest::Url>,
    /// The subject's cluster.
    pub(super) cluster: Option<Untrusted>,
}

/// Samples and the question they answer.
pub(super) struct Labelled<'a> {
    pub(super) planned: &'a Planned,
    pub(super) samples: Samples,
}

/// One series as an observation; `tell_apart` adds its labels to its name.
pub(super) fn observation(from: Labelled<'_>, frame: &Frame, tell_apart: bool) -> Observation {
    let Labelled { planned, samples } = from;
    let name = if tell_apart {
        format!("{} {}", planned.label, braces(&samples.labels))
    } else {
        planned.label.clone()
    };
    let (summary, fact) = match planned.reading {
        Reading::Level => {
            let series = series(planned, name, &samples.points, frame);
            (describe::sentence(&series), Fact::Series(series))
        }
        Reading::Steps => {
            let text = steps(&Untrusted::new(name).one_line(160), &samples.points, frame);
            let fact = Fact::Text {
                text: Untrusted::new(text.clone()),
            };
            (text, fact)
        }
    };
    Observation {
        source: agent::OBSERVABILITY.to_owned(),
        query: planned.query.clone(),
        window: frame.window,
        cluster: frame.cluster.clone(),
        summary,
        fact,
        link: frame.link.as_ref().map(|base| link(base, planned, frame)),
    }
}

/// When something that only steps did step, around the onset.
fn steps(name: &str, points: &[(Timestamp, f64)], frame: &Frame) -> String {
    let stepped = |pair: &&[(Timestamp, f64)]| {
        pair[1].1.to_bits() != pair[0].1.to_bits() && frame.search.contains(pair[1].0)
    };
    let times: Vec<String> = points
        .windows(2)
        .filter(stepped)
        .map(|pair| describe::clock_time(pair[1].0))
        .collect();
    let begin = describe::clock_time(frame.search.start.max(frame.window.start));
    match times.as_slice() {
        [] => format!("{name} did not change between {begin} and the alert"),
        all if all.len() <= STEPS_MAX => format!("{name} changed at {}", all.join(", ")),
        all => format!(
            "{name} changed {} times since {begin}, last at {}",
            all.len(),
            all.last().map_or("", String::as_str),
        ),
    }
}

/// Steps that something must have been absent while others were there.
const ABSENT_STEPS: u32 = 5;

/// Where a failure series begins to exist: no failure yet means no series yet, which is as normal
/// as zero. None if it was there from the start.
fn appeared(planned: &Planned, points: &[(Timestamp, f64)], frame: &Frame) -> Option<Timestamp> {
    let failure = matches!(planned.role, SeriesRole::Alert | SeriesRole::Errors);
    let first = points.first().map(|(at, _)| *at)?;
    let absent = first.duration_since(frame.known_since?).unsigned_abs();
    let clear = absent >= frame.step.saturating_mul(ABSENT_STEPS);
    (failure && clear && frame.search.contains(first)).then_some(first)
}

fn series(planned: &Planned, name: String, points: &[(Timestamp, f64)], frame: &Frame) -> Series {
    let compared = points.partition_point(|(at, _)| *at <= frame.compare_until);
    let values: Vec<f64> = points.iter().take(compared).map(|(_, v)| *v).collect();
    let first = points.partition_point(|(at, _)| *at < frame.search.start);
    let end = points.partition_point(|(at, _)| *at <= frame.search.end);
    let all: Vec<f64> = points.iter().map(|(_, v)| *v).collect();
    let mut series = Series {
        role: planned.role,
        name: Untrusted::new(name),
        unit: planned.unit.to_owned(),
        points: thin(points, frame.points_kept),
        threshold: planned.threshold,
        onset: None,
        before: None,
        after: None,
        score: 0.0,
    };
    if let Some(onset) = appeared(planned, points, frame) {
        series.onset = Some(onset);
        series.after = stats::median(&values);
        series.score = stats::SCORE_MAX;
    } else if let Some(shift) = stats::shift(&values, first..end.min(compared)) {
        series.onset = points.get(shift.index).map(|(at, _)| *at);
        series.before = Some(shift.before);
        series.after = Some(shift.after);
        series.score = shift.score;
    } else {
        series.before = stats::median(&all);
    }
    series
}

/// Keeps about `kept` points: of each run the lowest and the highest, so that a spike stays visible.
fn thin(points: &[(Timestamp, f64)], kept: usize) -> Vec<(Timestamp, f64)> {
    if points.len() <= kept.max(2) {
        return points.to_vec();
    }
    let run = points.len().div_ceil((kept / 2).max(1));
    let mut out = Vec::with_capacity(kept + 2);
    for part in points.chunks(run) {
        let low = part.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = part.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut pair: Vec<_> = low.into_iter().chain(high).copied().collect();
        pair.sort_by_key(|(at, _)| *at);
        pair.dedup_by_key(|(at, _)| *at);
        out.append(&mut pair);
    }
    out
}

fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

/// The graph page of the same query over the same window.
fn link(base: &reqwest::Url, planned: &Planned, frame: &Frame) -> Untrusted {
    let mut url = base.clone();
    let path = format!("{}/graph", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let range = format!("{}s", frame.window.length().as_secs().max(1));
    let end = frame.window.end.strftime("%Y-%m-%d %H:%M:%S").to_string();
    url.query_pairs_mut()
        .append_pair("g0.expr", &planned.query)
        .append_pair("g0.tab", "0")
        .append_pair("g0.range_input", &range)
        .append_pair("g0.end_input", &end);
    Untrusted::new(String::from(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_of_range_and_bound() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut points: Vec<_> = (0..1000).map(|s| (at(s), 1.0)).collect();
        points[501].1 = 99.0;
        let thinned = thin(&points, 100);
        assert!(thinned.len() <= 100, "{}", thinned.len());
        assert!(thinned.contains(&(at(501), 99.0)));
        assert!(thinned.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(thin(&points[..50], 100), points[..50]);
    }
}
