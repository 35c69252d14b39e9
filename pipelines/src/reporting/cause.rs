//! What caused it, what speaks against it, and what was set aside; or that nobody knows.

use incident::report::Claim;
use incident::{Cause, Diagnosis, Evidence, EvidenceId, Fact, Hypothesis, Verdict};

use super::{alerts, claim};
use crate::phrase;

/// Reasons put into sentences; the rest is in the hypotheses.
const REASONS_MAX: usize = 4;

pub(super) fn claims(diagnosis: &Diagnosis, evidence: &[Evidence]) -> Vec<Claim> {
    let mut claims = Vec::new();
    match (diagnosis.verdict, diagnosis.leading()) {
        (_, Some(leading)) => named(leading, diagnosis.verdict, &mut claims),
        (Verdict::NoFault, None) => claims.extend(claim(
            "No active failure: the alert recovered and nothing that was measured moved.",
            measured(evidence),
        )),
        (_, None) => unknown(diagnosis, evidence, &mut claims),
    }
    claims.extend(set_aside(diagnosis));
    claims
}

/// In words, for people who do not read numbers at night.
pub(crate) fn in_words(confidence: f64) -> &'static str {
    match confidence {
        c if c >= 0.95 => "very high",
        c if c >= 0.8 => "high",
        c if c >= 0.6 => "moderate",
        c if c >= 0.3 => "low",
        _ => "very low",
    }
}

/// The facts a hypothesis rests on.
fn grounds(hypothesis: &Hypothesis) -> Vec<EvidenceId> {
    let own = match &hypothesis.cause {
        Cause::Change { evidence, .. } => Some(*evidence),
        _ => None,
    };
    let reasons = hypothesis
        .reasons_for
        .iter()
        .flat_map(|r| r.evidence.iter().copied());
    own.into_iter().chain(reasons).collect()
}

fn named(leading: &Hypothesis, verdict: Verdict, claims: &mut Vec<Claim>) {
    let own: Vec<EvidenceId> = match &leading.cause {
        Cause::Change { evidence, .. } => vec![*evidence],
        _ => grounds(leading),
    };
    let sure = format!(
        "confidence {} ({})",
        phrase::percent(leading.confidence),
        in_words(leading.confidence)
    );
    let is = if verdict == Verdict::Confirmed {
        "is"
    } else {
        "is likely"
    };
    let text = match &leading.cause {
        Cause::Load => format!("The cause {is} load, not a change; {sure}."),
        Cause::Change { .. } | Cause::Saturation => {
            format!("The cause {is} {}; {sure}.", leading.entity)
        }
        Cause::Outside => format!("The cause {is} outside; {sure}."),
    };
    claims.extend(claim(text, own.clone()));
    claims.extend(claim(leading.mechanism.clone(), grounds(leading)));
    let told = |text: &str| leading.mechanism.contains(text);
    let reasons = leading.reasons_for.iter().filter(|r| !told(&r.text));
    for reason in reasons.take(REASONS_MAX) {
        claims.extend(claim(reason.text.clone(), reason.evidence.iter().copied()));
    }
    if leading.reasons_against.is_empty() {
        claims.extend(claim("Nothing that was looked at speaks against it.", own));
    }
    for reason in leading.reasons_against.iter().take(REASONS_MAX) {
        let text = format!("Against it: {}", lower_first(&reason.text));
        claims.extend(claim(text, reason.evidence.iter().copied()));
    }
}

fn unknown(diagnosis: &Diagnosis, evidence: &[Evidence], claims: &mut Vec<Claim>) {
    let changes: Vec<EvidenceId> = evidence
        .iter()
        .filter(|e| matches!(e.observation.fact, Fact::Change(_) | Fact::NoChange { .. }))
        .map(|e| e.id)
        .collect();
    let candidates: Vec<&Hypothesis> = diagnosis
        .hypotheses
        .iter()
        .filter(|h| h.cause != Cause::Outside)
        .collect();
    let first = diagnosis.hypotheses.first();
    let open = first.is_some_and(|h| h.cause != Cause::Outside);
    if changes.is_empty() {
        claims.extend(claim("I do not know the cause.", alerts(evidence)));
    } else if open {
        claims.extend(claim(
            "I do not know the cause: no candidate is clearly ahead.",
            changes,
        ));
    } else {
        let text = "I do not know the cause: no change in the window explains this.";
        claims.extend(claim(text, changes));
    }
    for hypothesis in candidates.into_iter().take(2) {
        let against = hypothesis
            .reasons_against
            .first()
            .map_or_else(String::new, |r| {
                format!(" Against it: {}", lower_first(&r.text))
            });
        let text = format!(
            "A candidate at {} is {}.{against}",
            phrase::percent(hypothesis.confidence),
            hypothesis.entity
        );
        claims.extend(claim(text, grounds(hypothesis)));
    }
}

fn set_aside(diagnosis: &Diagnosis) -> Option<Claim> {
    let out = &diagnosis.ruled_out;
    let commits = out
        .iter()
        .filter(|r| r.entity.starts_with("commit "))
        .count();
    let others: Vec<&str> = out
        .iter()
        .map(|r| r.entity.as_str())
        .filter(|entity| !entity.starts_with("commit "))
        .collect();
    let mut parts = Vec::new();
    if commits > 0 {
        parts.push(phrase::count(commits, "other change"));
    }
    parts.extend(others.into_iter().map(str::to_owned));
    let text = format!("Ruled out: {}.", parts.join(", "));
    claim(text, out.iter().flat_map(|r| r.evidence.iter().copied()))
}

fn measured(evidence: &[Evidence]) -> Vec<EvidenceId> {
    let is_series = |e: &&Evidence| matches!(e.observation.fact, Fact::Series(_));
    evidence.iter().filter(is_series).map(|e| e.id).collect()
}

/// Joins a sentence to a colon.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
