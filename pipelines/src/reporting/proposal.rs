//! A change request with everything a person needs to judge it.

use incident::proposal::{ChangeRequest, Preview};
use incident::{Change, Diagnosis, Evidence, EvidenceId, Fact, Incident, Proposal, Untrusted};

use crate::phrase;
use crate::render::{self, PullRequest};

/// Makes a change request into something a person can judge: title, body, risk and undo.
pub fn proposal(
    incident: &Incident,
    diagnosis: &Diagnosis,
    evidence: &[Evidence],
    request: ChangeRequest,
    preview: Preview,
) -> Proposal {
    let found = evidence.iter().find_map(|e| match &e.observation.fact {
        Fact::Change(change)
            if change.commit == request.commit && change.repository == request.repository =>
        {
            Some((e.id, change))
        }
        _ => None,
    });
    let change = found.map(|(_, change)| change);
    let title = title(change, &request);
    let risk = risk(change, evidence, &request, &preview);
    let undo = undo(&preview);
    let ids = grounds(diagnosis, found.map(|(id, _)| id));
    let body = render::pull_request_body(&PullRequest {
        incident,
        diagnosis,
        evidence,
        cited: &ids,
        preview: &preview,
        risk: &risk,
        undo: &undo,
    });
    Proposal {
        request,
        preview,
        title,
        body,
        evidence: ids,
        risk,
        undo,
    }
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

fn title(change: Option<&Change>, request: &ChangeRequest) -> String {
    match change {
        Some(change) => format!(
            "Revert \"{}\" ({})",
            change.subject.one_line(72),
            change.short()
        ),
        None => format!("Revert {}", short(&request.commit)),
    }
}

/// What the proposal rests on: the commit and the reasons of the leading hypothesis.
fn grounds(diagnosis: &Diagnosis, own: Option<EvidenceId>) -> Vec<EvidenceId> {
    let reasons = diagnosis.leading().into_iter().flat_map(|h| {
        let both = h.reasons_for.iter().chain(&h.reasons_against);
        both.flat_map(|r| r.evidence.iter().copied())
    });
    let mut ids: Vec<EvidenceId> = own.into_iter().chain(reasons).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn risk(
    change: Option<&Change>,
    evidence: &[Evidence],
    request: &ChangeRequest,
    preview: &Preview,
) -> String {
    let mut sentences = vec![format!(
        "It takes back {}: {} in {}.",
        short(&request.commit),
        phrase::count(preview.lines as usize, "line"),
        phrase::count(preview.files.len(), "file")
    )];
    let later: Vec<&Change> = change.map_or_else(Vec::new, |reverted| later(reverted, evidence));
    if later.is_empty() {
        let them = if preview.files.len() == 1 {
            "it"
        } else {
            "them"
        };
        sentences.push(format!("No later commit touches {them}."));
    } else {
        let names: Vec<String> = later
            .iter()
            .take(5)
            .map(|c| format!("{} \"{}\"", c.short(), c.subject.one_line(50)))
            .collect();
        sentences.push(format!(
            "{} touched the same files since and may rely on it: {}.",
            phrase::count(later.len(), "later commit"),
            names.join(", ")
        ));
    }
    if let Some(others) = change.map(|c| c.services.len()).filter(|n| *n > 1) {
        sentences.push(format!("It reaches {others} services, not only this one."));
    }
    sentences.join(" ")
}

/// Commits after `reverted` that touch one of its files, oldest first.
fn later<'a>(reverted: &Change, evidence: &'a [Evidence]) -> Vec<&'a Change> {
    let mut later: Vec<&Change> = evidence
        .iter()
        .filter_map(|e| match &e.observation.fact {
            Fact::Change(other) => Some(other),
            _ => None,
        })
        .filter(|other| {
            let newer = (other.at, &other.commit) > (reverted.at, &reverted.commit);
            let shares =
                |file: &incident::FileChange| reverted.files.iter().any(|f| f.path == file.path);
            newer && other.repository == reverted.repository && other.files.iter().any(shares)
        })
        .collect();
    later.sort_by(|a, b| (a.at, &a.commit).cmp(&(b.at, &b.commit)));
    later.dedup_by(|a, b| a.commit == b.commit);
    later
}

fn undo(preview: &Preview) -> String {
    let base = Untrusted::new(&preview.base).one_line(60);
    format!("Before a merge, close the draft; after it, revert the merge on {base}.")
}
