//! What caused it and what speaks against it; or that nobody knows.

use incident::diagnosis::{Reason, RuledOut};
use incident::report::Claim;
use incident::{Cause, Diagnosis, Evidence, EvidenceId, Fact, Hypothesis, Verdict};

use super::{alerts, claim};
use crate::phrase;

/// Reasons put into sentences; the rest is in the hypotheses.
const REASONS_MAX: usize = 4;
/// Reasons against it put into sentences; every one lowers the confidence.
const AGAINST_MAX: usize = 2;
/// Candidates put into sentences where none is named.
pub(crate) const CANDIDATES_TOLD: usize = 2;

pub(super) fn claims(diagnosis: &Diagnosis, evidence: &[Evidence]) -> Vec<Claim> {
    let mut claims = Vec::new();
    match (diagnosis.verdict, diagnosis.leading()) {
        (_, Some(leading)) => named(leading, diagnosis, evidence, &mut claims),
        (Verdict::NoFault, None) => claims.extend(claim(
            "No active failure: the alert recovered and nothing that was measured moved.",
            measured(evidence),
        )),
        (_, None) => unknown(diagnosis, evidence, &mut claims),
    }
    claims
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

/// How sure that is stands in the headline; here stands what it did and why it fits.
fn named(
    leading: &Hypothesis,
    diagnosis: &Diagnosis,
    evidence: &[Evidence],
    claims: &mut Vec<Claim>,
) {
    claims.extend(mechanism(leading));
    // A list of words that the mechanism's sentence has already says nothing new.
    let told = |text: &str| {
        let repeats = |words: &str| {
            let words = words.trim_end_matches('.').split(", ");
            let mechanism = leading.mechanism.to_lowercase();
            text.starts_with("It edits ") && words.clone().all(|word| mechanism.contains(word))
        };
        let repeated = text.split_once(": ").is_some_and(|(_, list)| repeats(list));
        leading.mechanism.contains(text) || repeated
    };
    let mut reasons: Vec<&Reason> = leading
        .reasons_for
        .iter()
        .filter(|r| !told(&r.text))
        .take(REASONS_MAX)
        .collect();
    // One with a list at its end cannot go on; it closes a sentence.
    reasons.sort_by_key(|r| r.text.contains(':'));
    let mut rest = reasons.as_slice();
    while let Some((first, later)) = rest.split_first() {
        let pair = later.first().filter(|_| !first.text.contains(':'));
        let joined = pair.and_then(|second| join(first, second));
        rest = if joined.is_some() {
            later.get(1..).unwrap_or_default()
        } else {
            later
        };
        claims.extend(joined.or_else(|| claim(first.text.clone(), first.evidence.clone())));
    }
    for reason in leading.reasons_against.iter().take(AGAINST_MAX) {
        let text = format!("Against it: {}", phrase::lower(&reason.text));
        claims.extend(claim(text, reason.evidence.iter().copied()));
    }
    if leading.reasons_against.is_empty() {
        claims.extend(unopposed(diagnosis, evidence));
    }
}

/// What the cause did and how that shows, with the facts for just that.
fn mechanism(leading: &Hypothesis) -> Option<Claim> {
    let text = &leading.mechanism;
    let Cause::Change {
        commit, evidence, ..
    } = &leading.cause
    else {
        let text = match leading.cause {
            Cause::Saturation => format!("{}: {}", leading.entity, phrase::lower(text)),
            _ => text.clone(),
        };
        return claim(phrase::capital(&text), grounds(leading));
    };
    let short = commit.get(..10).unwrap_or(commit);
    let text = match text.strip_prefix("It ") {
        Some(rest) => format!("Commit {short} {rest}"),
        None => format!("Commit {short}: {}", phrase::lower(text)),
    };
    let both = leading.reasons_for.iter().chain(&leading.reasons_against);
    let own = both.filter(|r| leading.mechanism.contains(&r.text));
    let own = own.flat_map(|r| r.evidence.iter().copied());
    claim(text, std::iter::once(*evidence).chain(own))
}

/// Two short reasons in one sentence, if both speak of "it".
fn join(a: &Reason, b: &Reason) -> Option<Claim> {
    let head = a.text.strip_suffix('.').filter(|t| t.starts_with("It "))?;
    let tail = b.text.strip_prefix("It ").filter(|t| !t.contains(':'))?;
    let ids = a.evidence.iter().chain(&b.evidence).copied();
    claim(format!("{head} and {tail}"), ids)
}

/// That nothing speaks against it, shown by what else was looked at and set aside.
fn unopposed(diagnosis: &Diagnosis, evidence: &[Evidence]) -> Option<Claim> {
    let out = &diagnosis.ruled_out;
    let verb = if out.len() == 1 { "is" } else { "are" };
    let text = format!(
        "Nothing speaks against it; {} {verb} ruled out.",
        phrase::count(out.len(), "other")
    );
    claim(text, out.iter().flat_map(|item| own_facts(item, evidence)))
}

/// The commit that was set aside; for what is no commit, all that sets it aside.
pub(crate) fn own_facts(out: &RuledOut, evidence: &[Evidence]) -> Vec<EvidenceId> {
    let is_it = |e: &&Evidence| match &e.observation.fact {
        Fact::Change(change) => out.evidence.contains(&e.id) && out.entity.contains(change.short()),
        _ => false,
    };
    match evidence.iter().find(is_it) {
        Some(own) => vec![own.id],
        None => out.evidence.clone(),
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
    for hypothesis in candidates.into_iter().take(CANDIDATES_TOLD) {
        let against = hypothesis
            .reasons_against
            .first()
            .map_or_else(String::new, |r| {
                format!(" Against it: {}", phrase::lower(&r.text))
            });
        let text = format!(
            "A candidate at {} is {}.{against}",
            phrase::percent(hypothesis.confidence),
            hypothesis.entity
        );
        claims.extend(claim(text, grounds(hypothesis)));
    }
}

fn measured(evidence: &[Evidence]) -> Vec<EvidenceId> {
    let is_series = |e: &&Evidence| matches!(e.observation.fact, Fact::Series(_));
    evidence.iter().filter(is_series).map(|e| e.id).collect()
}
