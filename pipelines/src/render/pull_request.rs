//! The body of a draft pull request.

use incident::diagnosis::Reason;
use incident::proposal::Preview;
use incident::{Diagnosis, Evidence, EvidenceId, Incident};

use super::escape::markdown as text;
use super::markdown;
use super::view;
use crate::phrase;

/// What the body of a draft pull request is made of.
#[derive(Debug, Clone, Copy)]
pub struct PullRequest<'a> {
    /// The incident it is for.
    pub incident: &'a Incident,
    /// Why it is proposed.
    pub diagnosis: &'a Diagnosis,
    /// All numbered facts.
    pub evidence: &'a [Evidence],
    /// The facts the proposal rests on.
    pub cited: &'a [EvidenceId],
    /// What it does to the files.
    pub preview: &'a Preview,
    /// What can go wrong.
    pub risk: &'a str,
    /// How to take it back.
    pub undo: &'a str,
}

/// Facts listed in the body.
const EVIDENCE_MAX: usize = 20;

/// The body of a draft pull request, as Markdown. The diff is the pull request's own business.
pub fn pull_request_body(request: &PullRequest<'_>) -> String {
    let incident = request.incident;
    let mut out = vec![format!(
        "Proposed for incident {}: {}. It is a draft; nothing is merged by itself.",
        text(incident.id.as_str()),
        text(&incident.title())
    )];
    out.push("## Why".to_owned());
    out.push(why(request.diagnosis));
    out.push("## What it changes".to_owned());
    out.push(what(request.preview));
    out.push("## Risk".to_owned());
    out.push(text(request.risk));
    out.push("## Undo".to_owned());
    out.push(text(request.undo));
    let cited: Vec<Evidence> = request
        .evidence
        .iter()
        .filter(|e| request.cited.contains(&e.id))
        .take(EVIDENCE_MAX)
        .cloned()
        .collect();
    if !cited.is_empty() {
        out.push("## Evidence".to_owned());
        out.push(markdown::evidence(&cited));
    }
    out.join("\n\n") + "\n"
}

fn why(diagnosis: &Diagnosis) -> String {
    let Some(leading) = diagnosis.leading() else {
        return "- No cause is named.".to_owned();
    };
    let mut lines = vec![
        format!(
            "- {}: {}, confidence {}.",
            match diagnosis.verdict {
                incident::Verdict::Confirmed => "Confirmed cause",
                _ => "Likely cause",
            },
            text(&leading.entity),
            phrase::percent(leading.confidence)
        ),
        format!("- {}", text(&leading.mechanism)),
    ];
    let told = |r: &&Reason| !leading.mechanism.contains(&r.text);
    for reason in leading.reasons_for.iter().filter(told) {
        lines.push(format!(
            "- For: {} ({})",
            text(&reason.text),
            view::ids(&reason.evidence)
        ));
    }
    for reason in &leading.reasons_against {
        lines.push(format!(
            "- Against: {} ({})",
            text(&reason.text),
            view::ids(&reason.evidence)
        ));
    }
    let set_aside = diagnosis.ruled_out.len();
    if set_aside > 0 {
        lines.push(format!(
            "- {} looked at and ruled out.",
            phrase::count(set_aside, "other candidate")
        ));
    }
    lines.join("\n")
}

fn what(preview: &Preview) -> String {
    let mut lines: Vec<String> = preview
        .files
        .iter()
        .take(EVIDENCE_MAX)
        .map(|file| format!("- {}", super::escape::span(file)))
        .collect();
    if preview.files.len() > EVIDENCE_MAX {
        lines.push(format!("- and {} more", preview.files.len() - EVIDENCE_MAX));
    }
    lines.push(format!(
        "- {} in all, against {} at {}",
        phrase::count(preview.lines as usize, "line"),
        text(&preview.base),
        text(
            preview
                .base_commit
                .get(..10)
                .unwrap_or(&preview.base_commit)
        )
    ));
    lines.join("\n")
}
