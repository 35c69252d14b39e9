//! What the evidence shows, put in order: onset, what moved, traffic, words of the symptom.

use std::collections::{BTreeMap, BTreeSet};

use incident::{Change, Evidence, EvidenceId, Fact, Incident, Series, SeriesRole};
use jiff::{SignedDuration, Timestamp};

use super::Config;
use super::mechanism;
use super::words::{self, Words};

/// One series with its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) id: EvidenceId,
    pub(super) series: &'a Series,
}

/// When it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Onset {
    pub(super) at: Timestamp,
    /// The series that shows it; none if only the alert's own start is known.
    pub(super) shown_by: Option<EvidenceId>,
}

/// What the number of requests did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Traffic {
    /// Nobody measured it.
    Unknown,
    /// As ever, or less.
    Steady { id: EvidenceId, fell: bool },
    /// It rose by this factor, from this instant.
    Surged {
        id: EvidenceId,
        factor: f64,
        at: Timestamp,
        before: Option<f64>,
        after: Option<f64>,
    },
}

/// Everything the rankers look at.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) alerts: Vec<EvidenceId>,
    /// Series that show trouble and moved, by role and name.
    pub(super) moved: Vec<Seen<'a>>,
    /// Series that show trouble and did not get worse.
    pub(super) still: Vec<Seen<'a>>,
    /// All series, whatever they did.
    pub(super) series: Vec<Seen<'a>>,
    pub(super) changes: Vec<(EvidenceId, &'a Change)>,
    /// Repositories without a commit in the window.
    pub(super) quiet: Vec<EvidenceId>,
    pub(super) onset: Onset,
    pub(super) traffic: Traffic,
    /// Kinds of trouble that are seen.
    pub(super) roles: BTreeSet<SeriesRole>,
    /// Stems of the symptom, without the subject's own name.
    pub(super) symptom: Words,
    /// Where the symptom's words come from: a fact, or none for what the alert itself says.
    told: Vec<(Option<EvidenceId>, String)>,
    /// Stems of each name the incident goes by.
    pub(super) names: BTreeSet<Words>,
}

/// Labels that name what an alert is about.
const NAME_LABELS: &[&str] = &[
    "app",
    "app_kubernetes_io_name",
    "component",
    "container",
    "daemonset",
    "deployment",
    "job",
    "job_name",
    "service",
    "service_name",
    "statefulset",
    "workload",
];

/// A traffic factor below this is everyday change.
const SURGE_FACTOR_MIN: f64 = 1.5;

impl<'a> Picture<'a> {
    /// Reads the evidence; its order does not matter.
    pub(super) fn of(incident: &Incident, evidence: &'a [Evidence], config: &Config) -> Self {
        let mut alerts = Vec::new();
        let mut quiet = Vec::new();
        let mut series = Vec::new();
        let mut changes: BTreeMap<_, (EvidenceId, &Change)> = BTreeMap::new();
        let mut fired_at = incident.started_at;
        let mut sorted: Vec<&Evidence> = evidence.iter().collect();
        sorted.sort_by_key(|e| e.id);
        for item in sorted {
            match &item.observation.fact {
                Fact::Alert { starts_at, .. } => {
                    fired_at = fired_at.min(*starts_at);
                    alerts.push(item.id);
                }
                Fact::Series(s) => series.push(Seen {
                    id: item.id,
                    series: s,
                }),
                Fact::Change(change) => {
                    let key = (change.at, &change.repository, &change.commit);
                    changes.entry(key).or_insert((item.id, change));
                }
                Fact::NoChange { .. } => quiet.push(item.id),
                Fact::Text { .. } => {}
            }
        }
        series.sort_by_key(|seen| (seen.series.role, seen.series.name.expose(), seen.id));
        let all = series.clone();
        let (traffic_series, trouble): (Vec<Seen<'_>>, Vec<Seen<'_>>) = series
            .into_iter()
            .partition(|seen| seen.series.role == SeriesRole::Traffic);
        let (moved, still): (Vec<Seen<'_>>, Vec<Seen<'_>>) = trouble
            .into_iter()
            .partition(|seen| worsened(seen.series, config.score_min));
        let onset = onset(&moved, fired_at, config);
        let names = names(incident, config);
        let told = told(incident, evidence, &moved);
        let symptom = symptom(&told, &names, config);
        let mut roles: BTreeSet<SeriesRole> = moved.iter().map(|seen| seen.series.role).collect();
        roles.remove(&SeriesRole::Alert);
        if roles.is_empty() {
            roles = mechanism::roles_named(&symptom);
        }
        Self {
            alerts,
            moved,
            still,
            series: all,
            changes: changes.into_values().collect(),
            quiet,
            onset,
            traffic: traffic(&traffic_series, config.score_min),
            roles,
            symptom,
            told,
            names,
        }
    }

    /// The word of this stem as the symptom has it, and the facts that speak it.
    pub(super) fn spoken(&self, stem: &str) -> Option<(String, Vec<EvidenceId>)> {
        let mut word = None;
        let mut ids = Vec::new();
        for (id, text) in &self.told {
            if let Some(found) = words::find(text, stem) {
                word = word.or(Some(found));
                match id {
                    Some(id) => ids.push(*id),
                    None => ids.extend(&self.alerts),
                }
            }
        }
        word.map(|word| (word, ids))
    }

    /// The facts that show the onset: a series, or else the alerts.
    pub(super) fn onset_evidence(&self) -> Vec<EvidenceId> {
        match self.onset.shown_by {
            Some(id) => vec![id],
            None => self.alerts.clone(),
        }
    }

    /// For each kind of trouble, the series that shows it most; the alert's own if there is no other.
    pub(super) fn worst_of_each_role(&self) -> Vec<EvidenceId> {
        let of = |role: SeriesRole| {
            let seen = self.moved.iter().filter(move |s| s.series.role == role);
            let worst = seen.max_by(|a, b| {
                let share = |s: &Seen<'_>| s.series.unit == "ratio";
                share(a)
                    .cmp(&share(b))
                    .then(a.series.score.total_cmp(&b.series.score))
                    .then(b.id.cmp(&a.id))
            });
            worst.map(|seen| seen.id)
        };
        let roles = [
            SeriesRole::Errors,
            SeriesRole::Latency,
            SeriesRole::Saturation,
        ];
        let worst: Vec<EvidenceId> = roles.into_iter().filter_map(of).collect();
        if worst.is_empty() {
            return self.moved_evidence();
        }
        worst
    }

    /// Numbers of the series that moved.
    pub(super) fn moved_evidence(&self) -> Vec<EvidenceId> {
        self.moved.iter().map(|seen| seen.id).collect()
    }
}

/// Whether a series clearly moved to the worse. The alert's own expression may move either way.
fn worsened(series: &Series, score_min: f64) -> bool {
    let up = match (series.before, series.after) {
        (Some(before), Some(after)) => after > before,
        _ => true,
    };
    series.moved() && series.score >= score_min && (up || series.role == SeriesRole::Alert)
}

/// The earliest onset that belongs to this alert.
///
/// The alert's own series is the reference, or else the strongest series that moved before the alert
/// fired. Another series may have moved first by at most `onset_spread`; one that moved long before
/// is about something else, and one that moved after the alert fired is a consequence.
fn onset(moved: &[Seen<'_>], fired_at: Timestamp, config: &Config) -> Onset {
    let tolerance = config.tolerance();
    let before_alert = |at: Timestamp| at.duration_since(fired_at) <= tolerance;
    let own = moved
        .iter()
        .filter(|seen| seen.series.onset.is_some_and(before_alert));
    let rank = |seen: &Seen<'_>| (seen.series.role == SeriesRole::Alert, seen.series.score);
    let reference = own
        .clone()
        .max_by(|a, b| {
            let (x, y) = (rank(a), rank(b));
            x.0.cmp(&y.0)
                .then(x.1.total_cmp(&y.1))
                .then(b.id.cmp(&a.id))
        })
        .and_then(|seen| seen.series.onset);
    let Some(reference) = reference else {
        return Onset {
            at: fired_at,
            shown_by: None,
        };
    };
    let spread = SignedDuration::try_from(config.onset_spread.0).unwrap_or(SignedDuration::MAX);
    let earliest = own
        .filter_map(|seen| Some((seen.series.onset?, seen.id)))
        .filter(|(at, _)| reference.duration_since(*at) <= spread)
        .min();
    Onset {
        at: earliest.map_or(reference, |(at, _)| at),
        shown_by: earliest.map(|(_, id)| id),
    }
}

/// What the traffic series say together: a surge of any is a surge.
fn traffic(series: &[Seen<'_>], score_min: f64) -> Traffic {
    let surged = series
        .iter()
        .filter(|seen| seen.series.moved() && seen.series.score >= score_min)
        .filter_map(|seen| {
            let (before, after) = (seen.series.before, seen.series.after);
            let grew = matches!((before, after), (Some(b), Some(a)) if a > b);
            // From nothing to something has no factor: read as a surge of the full size.
            let factor = match seen.series.factor() {
                Some(factor) => factor,
                None if grew => super::weights::SURGE_FULL,
                None => return None,
            };
            let at = seen.series.onset?;
            (factor >= SURGE_FACTOR_MIN).then_some(Traffic::Surged {
                id: seen.id,
                factor,
                at,
                before,
                after,
            })
        });
    let factor = |t: &Traffic| match t {
        Traffic::Surged { factor, .. } => *factor,
        _ => 0.0,
    };
    let biggest = surged.reduce(|a, b| if factor(&b) > factor(&a) { b } else { a });
    biggest.unwrap_or_else(|| {
        let fell = |seen: &Seen<'_>| {
            seen.series.moved()
                && seen
                    .series
                    .factor()
                    .is_some_and(|f| f < 1.0 / SURGE_FACTOR_MIN)
        };
        // A series without samples before says nothing about whether requests became more.
        let mut known = series.iter().filter(|seen| seen.series.before.is_some());
        let telling = known.clone().find(|seen| fell(seen)).or(known.next());
        telling.map_or(Traffic::Unknown, |seen| Traffic::Steady {
            id: seen.id,
            fell: fell(seen),
        })
    })
}

/// Stems of every name the incident's subject goes by.
fn names(incident: &Incident, config: &Config) -> BTreeSet<Words> {
    let labels = incident.members.values().flat_map(|member| {
        NAME_LABELS
            .iter()
            .filter_map(|label| member.labels.get(*label))
    });
    std::iter::once(&incident.subject.name)
        .chain(labels)
        .map(|name| words::of(name.expose(), config.words_max))
        .filter(|words| !words.is_empty())
        .collect()
}

/// Alert names, annotations and expressions, the series that moved and text facts.
fn told(
    incident: &Incident,
    evidence: &[Evidence],
    moved: &[Seen<'_>],
) -> Vec<(Option<EvidenceId>, String)> {
    let mut out = Vec::new();
    for member in incident.members.values() {
        out.push((None, member.alert.expose().to_owned()));
        out.push((None, expression(member.generator_url.expose())));
        let prose = |text: &&incident::Untrusted| !text.expose().contains("://");
        let prose = member.annotations.values().filter(prose);
        out.extend(prose.map(|text| (None, text.expose().to_owned())));
    }
    let is_moved = |id: EvidenceId| moved.iter().any(|seen| seen.id == id);
    let mut sorted: Vec<&Evidence> = evidence.iter().collect();
    sorted.sort_by_key(|e| e.id);
    for item in sorted {
        let mut add = |text: &str| out.push((Some(item.id), text.to_owned()));
        match &item.observation.fact {
            Fact::Alert { name, .. } => add(name.expose()),
            Fact::Text { text } => add(text.expose()),
            Fact::Series(series) if is_moved(item.id) => {
                add(series.name.expose());
                add(&item.observation.query);
            }
            _ => {}
        }
    }
    out
}

/// Stems of what was told, without the names the incident goes by.
fn symptom(
    told: &[(Option<EvidenceId>, String)],
    names: &BTreeSet<Words>,
    config: &Config,
) -> Words {
    let mut out = Words::new();
    for (_, text) in told {
        words::collect(text, config.words_max, &mut out);
    }
    for name in names {
        out.retain(|word| !name.contains(word));
    }
    out
}

/// The expression inside a Prometheus graph link (`g0.expr=`), percent-decoded.
fn expression(url: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let raw = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("g0.expr="))
        .unwrap_or_default();
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')];
                let code = std::str::from_utf8(&hex)
                    .ok()
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(code.unwrap_or(b' '));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_is_read_from_the_graph_link() {
        let check = |url: &str, expect: &str| assert_eq!(expression(url), expect);
        check(
            "http://p:9090/graph?g0.expr=rate%28x%5B5m%5D%29+%3E+1&g0.tab=1",
            "rate(x[5m]) > 1",
        );
        check("http://p:9090/graph?g0.expr=bad%4", "bad ");
        check("no link", "");
    }
}
