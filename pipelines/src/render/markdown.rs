//! The Markdown form: for files, issues and chat that renders it.

use incident::report::Claim;
use incident::{Evidence, Report};

use super::escape::{self, code_line, fence, markdown as text};
use super::view;
use crate::phrase;

/// Lines of diff shown.
const DIFF_LINES_MAX: usize = 400;

/// As Markdown (CommonMark with GitHub's extensions taken into account when escaping).
pub fn markdown(report: &Report) -> String {
    let mut out = vec![
        format!("# {}", text(&view::headline(report))),
        format!("**{}**", text(&report.title)),
        text(&view::state_since(report)),
        "## What is going on".to_owned(),
        claims(&report.impact, "Nothing could be measured."),
        "## What caused it".to_owned(),
        claims(
            &report.cause,
            "I do not know, and there is nothing to go by.",
        ),
    ];
    if !report.next_steps.is_empty() {
        out.push("## What to do now".to_owned());
        out.push(numbered(&report.next_steps));
    }
    change(report, &mut out);
    timeline(report, &mut out);
    out.extend(less_likely(report));
    out.extend(ruled_out(report));
    if !report.diagnosis.gaps.is_empty() {
        out.push("## Not known".to_owned());
        let gaps = view::gaps(report).into_iter();
        let lines = gaps.map(|gap| format!("- {}", text(&gap)));
        out.push(lines.collect::<Vec<_>>().join("\n"));
    }
    if !report.evidence.is_empty() {
        out.push("## Evidence".to_owned());
        out.push(evidence(&report.evidence));
    }
    out.push(format!(
        "{}, written {}, {}",
        text(report.incident.as_str()),
        phrase::date(report.written_at),
        text(&view::author(report))
    ));
    out.join("\n\n") + "\n"
}

/// A list of sentences, each with what carries it.
pub(super) fn claims(claims: &[Claim], none: &str) -> String {
    if claims.is_empty() {
        return format!("- {none}");
    }
    let lines: Vec<String> = claims
        .iter()
        .map(|claim| format!("- {} ({})", text(&claim.text), view::ids(&claim.evidence)))
        .collect();
    lines.join("\n")
}

fn numbered(steps: &[String]) -> String {
    let steps = steps.iter().enumerate();
    let lines: Vec<String> = steps
        .map(|(i, step)| format!("{}. {}", i + 1, text(step)))
        .collect();
    lines.join("\n")
}

fn change(report: &Report, out: &mut Vec<String>) {
    let (state, proposal) = view::change(report);
    out.push("## Proposed change".to_owned());
    out.push(text(&state));
    let Some(proposal) = proposal else { return };
    out.push(format!("Risk: {}", text(&proposal.risk)));
    out.push(format!("Undo: {}", text(&proposal.undo)));
    out.push(diff(&proposal.preview.diff, DIFF_LINES_MAX));
}

/// A diff in a fence, cut after `max` lines.
pub(super) fn diff(diff: &str, max: usize) -> String {
    let mut lines: Vec<String> = diff.lines().take(max).map(code_line).collect();
    let more = diff.lines().count().saturating_sub(max);
    if more > 0 {
        lines.push(format!("… {}", phrase::count(more, "more line")));
    }
    fence("diff", &lines)
}

fn timeline(report: &Report, out: &mut Vec<String>) {
    out.push("## Timeline".to_owned());
    let lines = report.timeline.iter().map(|moment| {
        let cited = moment
            .evidence
            .map_or_else(String::new, |id| format!(" ({id})"));
        let at = phrase::near(moment.at, report.started_at);
        format!("- {at}: {}{cited}", text(&moment.text))
    });
    out.push(lines.collect::<Vec<_>>().join("\n"));
}

fn less_likely(report: &Report) -> Vec<String> {
    let rest = view::less_likely(report);
    if rest.is_empty() {
        return Vec::new();
    }
    let lines = rest
        .iter()
        .map(|(what, ids)| format!("- {} ({})", text(what), view::ids(ids)));
    vec![
        "## Less likely".to_owned(),
        lines.collect::<Vec<_>>().join("\n"),
    ]
}

fn ruled_out(report: &Report) -> Vec<String> {
    let ruled_out = &report.diagnosis.ruled_out;
    if ruled_out.is_empty() {
        return Vec::new();
    }
    let lines = ruled_out.iter().map(|item| {
        format!(
            "- {}: {} ({})",
            text(&item.entity),
            text(&item.why),
            view::ids(&item.evidence)
        )
    });
    vec![
        "## Ruled out".to_owned(),
        lines.collect::<Vec<_>>().join("\n"),
    ]
}

/// One entry for each fact: what was seen, how to ask again, where to look.
pub(super) fn evidence(evidence: &[Evidence]) -> String {
    let entries = evidence.iter().map(|item| {
        let seen = &item.observation;
        let mut lines = vec![format!("- **{}** {}", item.id, text(&seen.summary))];
        let mut how = format!("  {}: {}", text(&seen.source), escape::span(&seen.query));
        if seen.query.trim().is_empty() {
            how = format!("  {}", text(&seen.source));
        }
        if let Some(cluster) = &seen.cluster {
            how = format!("{how}, cluster {}", text(&cluster.one_line(80)));
        }
        lines.push(how);
        if let Some(link) = seen.link.as_ref().and_then(escape::address) {
            lines.push(format!("  <{link}>"));
        }
        lines.join("  \n")
    });
    entries.collect::<Vec<_>>().join("\n")
}
