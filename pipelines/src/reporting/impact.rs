//! What users see: errors, latency, fullness, before and after.

use std::collections::BTreeSet;

use incident::report::Claim;
use incident::{Evidence, EvidenceId, Fact, Incident, IncidentStatus, Series, SeriesRole};

use super::{alerts, claim};
use crate::phrase;

/// At most this many series are put into sentences, each of another kind; the rest is in the evidence.
const SERIES_MAX: usize = 3;

pub(super) fn claims(incident: &Incident, evidence: &[Evidence]) -> Vec<Claim> {
    let mut roles = BTreeSet::new();
    let mut claims: Vec<Claim> = moved(evidence)
        .into_iter()
        .filter(|(_, series)| roles.insert(series.role))
        .take(SERIES_MAX)
        .filter_map(|seen| sentence(seen, evidence))
        .collect();
    let measured = !claims.is_empty();
    if !measured {
        claims.extend(nothing_moved(evidence));
    }
    // How many alerts fire stands in the report's head, since when on its timeline.
    let open = incident.status == IncidentStatus::Open;
    if !(open && measured && hidden(incident) == 0) {
        claims.extend(claim(firing(incident), alerts(evidence)));
    }
    claims
}

type Seen<'a> = (EvidenceId, &'a Series);

/// Series that moved, in the order in which they matter to users, each measurement once.
fn moved(evidence: &[Evidence]) -> Vec<Seen<'_>> {
    let rank = |role| match role {
        SeriesRole::Errors => 0,
        SeriesRole::Latency => 1,
        SeriesRole::Saturation => 2,
        SeriesRole::Traffic => 3,
        SeriesRole::Alert => 4,
    };
    let mut moved: Vec<Seen<'_>> = evidence
        .iter()
        .filter_map(|e| match &e.observation.fact {
            Fact::Series(series) if series.moved() => Some((e.id, series)),
            _ => None,
        })
        .collect();
    // Within a kind what fell comes last: a pool that shrank is no pool that ran full.
    let fell = |series: &Series| phrase::Way::of(series) == phrase::Way::Fell;
    moved.sort_by(|(a_id, a), (b_id, b)| {
        let by_score = b.score.total_cmp(&a.score);
        rank(a.role)
            .cmp(&rank(b.role))
            .then(fell(a).cmp(&fell(b)))
            .then(share(b).cmp(&share(a)))
            .then(by_score)
            .then(a_id.cmp(b_id))
    });
    // The alert's own expression often repeats the error series number for number.
    let mut said: Vec<Seen<'_>> = Vec::new();
    for (id, series) in moved {
        if !said.iter().any(|(_, other)| repeats(series, other)) {
            said.push((id, series));
        }
    }
    said
}

/// A share says more than a count to whoever does not know the system.
fn share(series: &Series) -> bool {
    series.unit == "ratio"
}

/// The alert's threshold and the fact that has it: this series, or one that repeats it.
fn threshold(seen: Seen<'_>, evidence: &[Evidence]) -> Option<(EvidenceId, f64)> {
    let (id, series) = seen;
    series.threshold.map(|value| (id, value)).or_else(|| {
        evidence.iter().find_map(|e| match &e.observation.fact {
            Fact::Series(other) if repeats(series, other) => Some((e.id, other.threshold?)),
            _ => None,
        })
    })
}

/// Whether two series say the same, number for number.
pub(crate) fn repeats(a: &Series, b: &Series) -> bool {
    let key = |s: &Series| {
        (
            s.onset,
            s.before.map(f64::to_bits),
            s.after.map(f64::to_bits),
        )
    };
    a.after.is_some() && key(a) == key(b)
}

/// `Errors: error ratio rose from 0.2 % to 31 % (155 times) since 12:03:00 UTC.`
fn sentence(seen: Seen<'_>, evidence: &[Evidence]) -> Option<Claim> {
    let (id, series) = seen;
    let what = match series.role {
        SeriesRole::Alert => "What the alert measures".to_owned(),
        role => phrase::titled(role, &phrase::series_name(series)),
    };
    let at = phrase::clock(series.onset?);
    let mut text = match (phrase::Way::of(series), series.after) {
        (phrase::Way::Began, Some(after)) => {
            let level = phrase::quantity(after, &series.unit);
            format!("{what} began at {at} and is at {level}, with no samples before")
        }
        (phrase::Way::Began, None) => format!("{what} began at {at}"),
        (way, _) => format!(
            "{what} {} {} since {at}",
            way.verb(),
            phrase::course(series)
        ),
    };
    let mut ids = vec![id];
    if let Some((id, value)) = threshold(seen, evidence) {
        let value = phrase::quantity(value, &series.unit);
        text = format!("{text}; the alert's threshold is {value}");
        ids.push(id);
    }
    claim(format!("{text}."), ids)
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

/// Alerts that nobody could list.
fn hidden(incident: &Incident) -> u64 {
    incident.members_left_out + incident.truncated
}

fn firing(incident: &Incident) -> String {
    let firing = incident.firing();
    let hidden = hidden(incident);
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
            let verb = if firing == 1 { "fires" } else { "fire" };
            let alerts = phrase::count(firing, "alert");
            format!("{alerts} {verb} on {subject} since {since}{more}.")
        }
    }
}
