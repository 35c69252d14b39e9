//! What users see: errors, latency, fullness, before and after.

use incident::report::Claim;
use incident::{
    Diagnosis, Evidence, EvidenceId, Fact, Incident, IncidentStatus, Series, SeriesRole,
};

use jiff::SignedDuration;

use super::{alerts, claim};
use crate::phrase;

/// At most this many series are put into sentences; the rest is in the evidence.
const SERIES_MAX: usize = 4;

pub(super) fn claims(
    incident: &Incident,
    diagnosis: &Diagnosis,
    evidence: &[Evidence],
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = moved(evidence)
        .into_iter()
        .take(SERIES_MAX)
        .filter_map(|(id, series)| claim(sentence(series, threshold(series, evidence)), [id]))
        .collect();
    if claims.is_empty() {
        claims.extend(nothing_moved(evidence));
    }
    claims.extend(claim(firing(incident, diagnosis), alerts(evidence)));
    claims
}

/// Series that moved, in the order in which they matter to users, each measurement once.
fn moved(evidence: &[Evidence]) -> Vec<(EvidenceId, &Series)> {
    let rank = |role| match role {
        SeriesRole::Errors => 0,
        SeriesRole::Latency => 1,
        SeriesRole::Saturation => 2,
        SeriesRole::Alert => 3,
        SeriesRole::Traffic => 4,
    };
    let mut moved: Vec<(EvidenceId, &Series)> = evidence
        .iter()
        .filter_map(|e| match &e.observation.fact {
            Fact::Series(series) if series.moved() => Some((e.id, series)),
            _ => None,
        })
        .collect();
    moved.sort_by(|(a_id, a), (b_id, b)| {
        let by_score = b.score.total_cmp(&a.score);
        rank(a.role)
            .cmp(&rank(b.role))
            .then(by_score)
            .then(a_id.cmp(b_id))
    });
    // The alert's own expression often repeats the error series number for number.
    let mut said: Vec<(EvidenceId, &Series)> = Vec::new();
    for (id, series) in moved {
        if !said.iter().any(|(_, other)| repeats(series, other)) {
            said.push((id, series));
        }
    }
    said
}

/// The threshold of this series, or of the alert's own one if that repeats it.
fn threshold(series: &Series, evidence: &[Evidence]) -> Option<f64> {
    series.threshold.or_else(|| {
        evidence.iter().find_map(|e| match &e.observation.fact {
            Fact::Series(other) if repeats(series, other) => other.threshold,
            _ => None,
        })
    })
}

fn repeats(a: &Series, b: &Series) -> bool {
    let key = |s: &Series| {
        (
            s.onset,
            s.before.map(f64::to_bits),
            s.after.map(f64::to_bits),
        )
    };
    key(a) == key(b)
}

fn sentence(series: &Series, threshold: Option<f64>) -> String {
    let name = series.name.one_line(80);
    let what = match series.role {
        SeriesRole::Errors => format!("Errors ({name})"),
        SeriesRole::Latency => format!("Latency ({name})"),
        SeriesRole::Saturation => format!("Saturation ({name})"),
        SeriesRole::Traffic => format!("Traffic ({name})"),
        SeriesRole::Alert => format!("The alert's expression ({name})"),
    };
    let verb = match (series.before, series.after) {
        (Some(before), Some(after)) if after < before => "fell",
        (Some(_), Some(_)) => "rose",
        _ => "went",
    };
    let shift = phrase::shift(series.before, series.after, &series.unit);
    let since = series
        .onset
        .map_or_else(String::new, |at| format!(" since {}", phrase::clock(at)));
    let threshold = threshold.map_or_else(String::new, |threshold| {
        format!(
            "; the alert's threshold is {}",
            phrase::quantity(threshold, &series.unit)
        )
    });
    let words: Vec<&str> = [what.as_str(), verb, shift.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    format!("{}{since}{threshold}.", words.join(" "))
}

fn nothing_moved(evidence: &[Evidence]) -> Option<Claim> {
    let looked_at: Vec<EvidenceId> = evidence
        .iter()
        .filter(|e| matches!(e.observation.fact, Fact::Series(_)))
        .map(|e| e.id)
        .collect();
    let text = match looked_at.len() {
        1 => "The one metric that was looked at did not move.".to_owned(),
        n => format!("None of the {n} metrics that were looked at moved."),
    };
    claim(text, looked_at)
}

fn firing(incident: &Incident, diagnosis: &Diagnosis) -> String {
    let firing = incident.firing();
    let hidden = incident.members_left_out + incident.truncated;
    let more = if hidden > 0 {
        format!(" ({hidden} more were cut off)")
    } else {
        String::new()
    };
    let since = phrase::clock(incident.started_at);
    let subject = incident.subject.display();
    match (incident.status, incident.resolved_at) {
        (IncidentStatus::Resolved, Some(at)) => {
            let lasted = phrase::length(at.duration_since(incident.started_at));
            format!(
                "The alerts on {subject} resolved at {}, after {lasted}{more}.",
                phrase::clock(at)
            )
        }
        (IncidentStatus::Resolved, None) => format!("The alerts on {subject} resolved{more}."),
        (IncidentStatus::Open, _) => {
            let lag = diagnosis
                .onset
                .map(|onset| incident.started_at.duration_since(onset))
                .filter(SignedDuration::is_positive)
                .map_or_else(String::new, |lag| {
                    format!(", {} after the onset", phrase::length(lag))
                });
            let verb = if firing == 1 { "fires" } else { "fire" };
            let alerts = phrase::count(firing, "alert");
            format!("{alerts} {verb} on {subject} since {since}{lag}{more}.")
        }
    }
}
