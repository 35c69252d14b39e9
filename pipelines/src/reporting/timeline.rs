//! What happened when.

use incident::report::Moment;
use incident::{Evidence, EvidenceId, Fact, SeriesRole};
use jiff::{SignedDuration, Timestamp};

use super::Inputs;
use crate::phrase;

/// At most this many commits are put on the timeline: those closest to the onset.
const CHANGES_MAX: usize = 5;

/// In order of time; the same sentence at the same time once.
pub(super) fn moments(inputs: &Inputs<'_>, evidence: &[Evidence]) -> Vec<Moment> {
    let mut moments = inputs.moments.clone();
    moments.extend(landed(inputs, evidence));
    moments.extend(onset(inputs, evidence));
    for item in evidence {
        if let Fact::Alert { name, starts_at } = &item.observation.fact {
            let lag = inputs
                .diagnosis
                .onset
                .map(|at| starts_at.duration_since(at));
            let lag = lag.filter(SignedDuration::is_positive);
            let lag = lag.map_or_else(String::new, |lag| {
                format!(", {} after the onset", phrase::length(lag))
            });
            let text = format!("Alert {} began to fire{lag}.", name.one_line(80));
            moments.push(moment(*starts_at, text, Some(item.id)));
        }
    }
    if let Some(at) = inputs.incident.resolved_at {
        moments.push(moment(at, "The last alert resolved.".to_owned(), None));
    }
    let written = if inputs.partial {
        "A partial report was written."
    } else {
        "This report was written."
    };
    moments.push(moment(inputs.written_at, written.to_owned(), None));
    moments.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
    moments.dedup_by(|a, b| a.at == b.at && a.text == b.text);
    moments
}

fn landed(inputs: &Inputs<'_>, evidence: &[Evidence]) -> Vec<Moment> {
    let mark = inputs.diagnosis.onset.unwrap_or(inputs.incident.started_at);
    let culprit = inputs.diagnosis.culprit().map(|(_, _, id)| id);
    let mut changes: Vec<(EvidenceId, Moment)> = evidence
        .iter()
        .filter_map(|e| match &e.observation.fact {
            Fact::Change(change) => {
                let text = format!(
                    "Commit {} landed in {}: \"{}\".",
                    change.short(),
                    change.repository,
                    change.subject.one_line(72)
                );
                Some((e.id, moment(change.at, text, Some(e.id))))
            }
            _ => None,
        })
        .collect();
    changes.sort_by_key(|(id, m)| {
        let distance = m.at.duration_since(mark).abs();
        (Some(*id) != culprit, distance, *id)
    });
    changes.truncate(CHANGES_MAX);
    changes.into_iter().map(|(_, moment)| moment).collect()
}

/// The onset, shown by the series that moved at that instant.
fn onset(inputs: &Inputs<'_>, evidence: &[Evidence]) -> Option<Moment> {
    let at = inputs.diagnosis.onset?;
    evidence.iter().find_map(|e| match &e.observation.fact {
        Fact::Series(series) if series.onset == Some(at) => {
            let text = match (series.role, phrase::Way::of(series)) {
                (SeriesRole::Alert, _) => {
                    "Onset: what the alert measures leaves its normal range.".to_owned()
                }
                (SeriesRole::Errors, phrase::Way::Began) => "Onset: errors begin.".to_owned(),
                (role, phrase::Way::Began) => format!("Onset: {} is first seen.", role.label()),
                (SeriesRole::Errors, _) => "Onset: errors leave their normal range.".to_owned(),
                (role, _) => format!("Onset: {} leaves its normal range.", role.label()),
            };
            Some(moment(at, text, Some(e.id)))
        }
        _ => None,
    })
}

fn moment(at: Timestamp, text: String, evidence: Option<EvidenceId>) -> Moment {
    Moment { at, text, evidence }
}
