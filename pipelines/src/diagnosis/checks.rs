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
            if let Some(commit) = open.first().and_then(|c| short(c)) {
                checks.push(format!(
                    "See that commit {commit} is in the version that runs."
                ));
            }
            if open.first().is_some_and(|c| c.cause == Cause::Load) {
                checks.push("See where the extra requests come from.".to_owned());
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
    if picture.traffic == Traffic::Unknown {
        checks.push("Look at the number of requests; nobody measured it here.".to_owned());
    }
    if picture.onset.shown_by.is_none() && verdict != Verdict::NoFault {
        checks
            .push("Look at the alert's metric by hand; no series shows when it began.".to_owned());
    }
    for gap in gaps {
        checks.push(format!(
            "Look by hand at what {} could not read: {}.",
            gap.source, gap.what
        ));
    }
    checks.truncate(CHECKS_MAX);
    checks
}
