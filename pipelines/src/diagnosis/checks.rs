//! What a person should look at next. Every check only reads.

use incident::{Cause, Gap, Verdict};

use super::candidate::Candidate;
use super::picture::{Picture, Traffic};

/// At most this many checks are suggested; more is a list nobody works off at night.
const CHECKS_MAX: usize = 5;

/// The checks that would change the verdict most, first.
pub(super) fn suggest(
    picture: &Picture<'_>,
    candidates: &[Candidate],
    verdict: Verdict,
    gaps: &[Gap],
) -> Vec<String> {
    let mut checks = Vec::new();
    let short = |c: &Candidate| match &c.cause {
        Cause::Change { commit, .. } => Some(commit.get(..10).unwrap_or(commit).to_owned()),
        _ => None,
    };
    let open: Vec<&Candidate> = candidates.iter().filter(|c| !c.is_ruled_out()).collect();
    let commits: Vec<String> = open.iter().filter_map(|c| short(c)).take(3).collect();
    match verdict {
        Verdict::Confirmed | Verdict::Likely => {
            let unseen = open.first().filter(|c| !c.runs);
            if let Some(commit) = unseen.and_then(|c| short(c)) {
                checks.push(format!(
                    "Check that commit {commit} is in the version that runs."
                ));
            }
            if open.first().is_some_and(|c| c.cause == Cause::Load) {
                checks.push(
                    "Find out where the extra requests come from; limit them there if they can wait."
                        .to_owned(),
                );
                checks.push(
                    "See whether more replicas would help, and whether a quota stops them."
                        .to_owned(),
                );
            }
        }
        Verdict::Inconclusive => {
            if commits.len() > 1 {
                checks.push(format!(
                    "Find out which of these runs and since when: {}.",
                    commits.join(", ")
                ));
            } else if let Some(commit) = commits.first() {
                checks.push(format!(
                    "Read commit {commit}; see whether it is in the version that runs."
                ));
            }
            checks.push(
                "Look outside: dependencies, certificates, name resolution, nodes, recent changes by hand."
                    .to_owned(),
            );
        }
        Verdict::NoFault => {
            checks.push(
                "Look at the alert's rule: it fired and recovered without a trace in the metrics."
                    .to_owned(),
            );
        }
    }
    checks.extend(unmeasured(picture, verdict));
    if verdict == Verdict::Inconclusive && !gaps.is_empty() {
        checks.push("Fill in what is listed as not known; it may hold the cause.".to_owned());
    }
    checks.truncate(CHECKS_MAX);
    checks
}

/// What a person has to measure because no metric says it.
fn unmeasured(picture: &Picture<'_>, verdict: Verdict) -> Option<String> {
    let no_onset = picture.onset.shown_by.is_none() && verdict != Verdict::NoFault;
    let no_traffic = picture.traffic == Traffic::Unknown;
    let text = match (no_onset, no_traffic) {
        (true, true) => {
            "Look at the alert's metric and at the number of requests by hand: when did it begin, did load rise?"
        }
        (true, false) => "Look at the alert's metric by hand; no series shows when it began.",
        (false, true) => "Look at the number of requests by hand; no series shows it.",
        (false, false) => return None,
    };
    Some(text.to_owned())
}
