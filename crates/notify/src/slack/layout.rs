//! What stands where, for a reader who was asleep a minute ago: state and cause in the first line, then
//! impact, why (with what speaks against it), the change, what to do, the diff, and the small print.

use incident::diagnosis::{Cause, Verdict};
use incident::evidence::EvidenceId;
use incident::incident::{Incident, IncidentStatus};
use incident::ports::{Notice, NoticeKind};
use incident::proposal::Proposal;
use incident::report::{ChangeOutcome, Claim, Report};
use incident::severity::Severity;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::blocks::Blocks;
use super::text::{code, plain, units};

/// Said where nobody can know whether people have read it before.
const REPEAT: &str = "You may see this twice: sending it was interrupted once.";
/// Characters of one sentence.
const LINE_MAX: usize = 400;
/// Characters of one line of a diff.
const CODE_MAX: usize = 160;
/// Sentences under one heading.
const SENTENCES_MAX: usize = 7;
/// Steps named.
const STEPS_MAX: usize = 5;
/// Lines of diff shown.
const DIFF_LINES_MAX: usize = 12;
/// Length of the diff shown: always less than a section.
const DIFF_UNITS_MAX: usize = 2000;
/// Length of each part of the story: together they leave room for what is asked of the reader.
const STORY_MAX: usize = 1400;
/// Gaps named.
const GAPS_MAX: usize = 3;
/// Characters of what is missing, and of why.
const GAP_MAX: usize = 80;

/// The body of a webhook request. `follow_up` marks a message that would be an edit elsewhere.
pub(super) fn message(notice: &Notice, follow_up: bool) -> Value {
    let (text, blocks, mut small) = match &notice.kind {
        NoticeKind::Opened(incident) => opened(incident),
        NoticeKind::Report(report) => full(report, follow_up),
        NoticeKind::Closed(report) => closed(report),
    };
    if notice.maybe_repeat {
        small.insert(0, REPEAT.to_owned());
    }
    let blocks = blocks.footer(&small);
    json!({
        "text": text,
        "blocks": blocks,
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

fn opened(incident: &Incident) -> (String, Blocks, Vec<String>) {
    let title = plain(&incident.title(), 200);
    let sign = sign(incident.severity, incident.status);
    let firing = count(
        u64::try_from(incident.firing()).unwrap_or(u64::MAX),
        "alert",
    );
    let mut blocks = Blocks::default();
    blocks.section(&[
        format!(
            "{sign} *{}* {title}",
            incident.severity.lane().to_uppercase()
        ),
        format!(
            "{firing} firing since {}. Being looked into; a report follows.",
            time(incident.started_at)
        ),
    ]);
    let text = format!("{sign} {}: {title}", incident.severity);
    (text, blocks, vec![incident.id.to_string()])
}

fn full(report: &Report, follow_up: bool) -> (String, Blocks, Vec<String>) {
    let mut blocks = Blocks::default();
    blocks.section(&head(report, follow_up));
    let impact = claims(&report.impact, "nothing could be measured");
    let cause = claims(&report.cause, "I do not know");
    for (heading, lines) in [("*Impact*", impact), (cause_heading(report), cause)] {
        blocks.section_within(&headed(heading, lines), STORY_MAX);
    }
    // The diff comes last: it is long, and what is asked of the reader stands before it.
    let (asked, diff) = change(report);
    blocks.section(&asked);
    // How to approve stands with the change, in words that can be copied.
    let steps = report.next_steps.iter();
    let steps = steps.filter(|step| !step.contains("nightshift approve"));
    let steps = steps
        .take(STEPS_MAX)
        .enumerate()
        .map(|(n, step)| format!("{}. {}", n + 1, sentence(step)))
        .collect();
    blocks.section(&headed("*Next*", steps));
    blocks.section(&diff);
    (fallback(report), blocks, footer(report))
}

fn closed(report: &Report) -> (String, Blocks, Vec<String>) {
    let mut blocks = Blocks::default();
    blocks.section(&head(report, false));
    blocks.section(&headed(
        cause_heading(report),
        claims(&report.cause, "never found"),
    ));
    blocks.section(&match &report.change {
        ChangeOutcome::Opened { draft, .. } => {
            let branch = plain(&draft.branch, LINE_MAX);
            vec![format!(
                "*Draft* {branch}: if nobody merged it, decide whether it is still wanted."
            )]
        }
        ChangeOutcome::AwaitingApproval { .. } => {
            vec!["*Change* proposed, never approved; no draft was opened.".to_owned()]
        }
        ChangeOutcome::None { .. }
        | ChangeOutcome::Rejected { .. }
        | ChangeOutcome::Failed { .. } => Vec::new(),
    });
    (fallback(report), blocks, footer(report))
}

/// State, severity, what and why in one line; then for how long.
fn head(report: &Report, follow_up: bool) -> Vec<String> {
    let sign = sign(report.severity, report.status);
    let state = match report.status {
        IncidentStatus::Open => format!("{}, open", report.severity.lane().to_uppercase()),
        IncidentStatus::Resolved => format!("RESOLVED ({})", report.severity),
    };
    let again = if follow_up { " (update)" } else { "" };
    let end = report.resolved_at.unwrap_or(report.written_at);
    let age = length(end.duration_since(report.started_at));
    let age = match report.status {
        IncidentStatus::Open => format!("For {age}"),
        IncidentStatus::Resolved => format!("After {age}"),
    };
    let alerts = count(report.alerts, "alert");
    let partial = if report.partial {
        ", *partial: the deadline cut it short*"
    } else {
        ""
    };
    vec![
        format!(
            "{sign} *{state}*{again} {}. {}",
            plain(&report.title, 200),
            verdict(report)
        ),
        format!(
            "{age}, {alerts}, since {}{partial}",
            time(report.started_at)
        ),
    ]
}

/// `Likely cause: commit ... (83 %)`, or that there is none.
fn verdict(report: &Report) -> String {
    let diagnosis = &report.diagnosis;
    match (diagnosis.leading(), diagnosis.verdict) {
        (Some(leading), verdict) => {
            let sure = if verdict == Verdict::Confirmed {
                "Confirmed"
            } else {
                "Likely"
            };
            let what = match leading.cause {
                Cause::Load => "load, not a change".to_owned(),
                _ => plain(&leading.entity, 200),
            };
            format!("{sure} cause: {what} ({})", percent(leading.confidence))
        }
        (None, Verdict::NoFault) => "No active failure".to_owned(),
        (None, _) => "Cause unknown".to_owned(),
    }
}

fn cause_heading(report: &Report) -> &'static str {
    match report.diagnosis.leading() {
        Some(_) => "*Why*",
        None => "*Cause*",
    }
}

/// A sentence of ours: names in it are quoted, because code marks would not survive.
fn sentence(text: &str) -> String {
    plain(&text.replace('`', "'"), LINE_MAX)
}

fn claims(claims: &[Claim], none: &str) -> Vec<String> {
    if claims.is_empty() {
        return vec![format!("• {none}")];
    }
    let more = claims.len().saturating_sub(SENTENCES_MAX);
    let shown = claims.iter().take(SENTENCES_MAX);
    let mut lines: Vec<String> = shown
        .map(|claim| format!("• {} ({})", sentence(&claim.text), ids(&claim.evidence)))
        .collect();
    if more > 0 {
        lines.push(format!("… {more} more in the report"));
    }
    lines
}

/// What is asked of the reader, and the diff.
fn change(report: &Report) -> (Vec<String>, Vec<String>) {
    let id = &report.incident;
    let heading = "*Proposed change*";
    let nothing_more = Vec::new();
    match &report.change {
        ChangeOutcome::None { why } => (
            vec![format!("{heading} none: {}", plain(why, LINE_MAX))],
            nothing_more,
        ),
        ChangeOutcome::Failed { why } => (
            vec![format!(
                "{heading} could not be made: {}",
                plain(why, LINE_MAX)
            )],
            nothing_more,
        ),
        ChangeOutcome::Rejected { proposal, by } => {
            let title = plain(&proposal.title, 200);
            let by = plain(by, 80);
            (
                vec![format!("{heading} {title}: rejected by {by}")],
                nothing_more,
            )
        }
        ChangeOutcome::AwaitingApproval { proposal } => {
            let mut lines = vec![
                format!("{heading} {} waits for you", plain(&proposal.title, 200)),
                format!("Open it as a draft: `nightshift approve {id}`"),
                format!("Turn it down: `nightshift reject {id}`"),
            ];
            lines.extend(risk(proposal));
            (lines, vec![diff(proposal)])
        }
        ChangeOutcome::Opened { proposal, draft } => {
            let by = draft.approved_by.as_deref();
            let by = by.map_or_else(String::new, |by| format!(", approved by {}", plain(by, 80)));
            let (branch, repository) = (plain(&draft.branch, 200), plain(&draft.repository, 80));
            let mut lines = vec![
                format!(
                    "{heading} {} is open as a draft",
                    plain(&proposal.title, 200)
                ),
                format!("Branch {branch} of {repository}{by}"),
            ];
            lines.extend(draft.url.as_deref().map(|url| plain(url, LINE_MAX)));
            lines.extend(risk(proposal));
            (lines, vec![diff(proposal)])
        }
    }
}

fn risk(proposal: &Proposal) -> [String; 2] {
    [
        format!("Risk: {}", plain(&proposal.risk, LINE_MAX)),
        format!("Undo: {}", plain(&proposal.undo, LINE_MAX)),
    ]
}

fn diff(proposal: &Proposal) -> String {
    // Object names and modes help nobody here.
    let telling = |line: &&str| !line.starts_with("index ") && !line.starts_with("diff --git ");
    let lines: Vec<&str> = proposal.preview.diff.lines().filter(telling).collect();
    let mut room = DIFF_UNITS_MAX;
    let fitting = lines
        .iter()
        .take(DIFF_LINES_MAX)
        .map(|line| code_line(line))
        .take_while(|line| {
            let needed = units(&code(std::slice::from_ref(line)));
            let fits = needed <= room;
            room = room.saturating_sub(needed);
            fits
        });
    let mut shown: Vec<String> = fitting.collect();
    let more = lines.len() - shown.len();
    if more > 0 {
        let id = &proposal.request.incident;
        shown.push(format!(
            "… {more} more lines: nightshift incidents show {id}"
        ));
    }
    code(&shown)
}

/// One line of a diff, with its indentation, without what could deceive.
fn code_line(line: &str) -> String {
    let mark: String = line
        .chars()
        .take_while(|c| matches!(c, ' ' | '+' | '-' | '\t'))
        .collect();
    let mark: String = mark.replace('\t', "    ").chars().take(40).collect();
    let rest = line.trim_start_matches([' ', '+', '-', '\t']);
    format!(
        "{mark}{}",
        incident::Untrusted::new(rest).one_line(CODE_MAX)
    )
}

fn footer(report: &Report) -> Vec<String> {
    let gaps = &report.diagnosis.gaps;
    let mut small = vec![format!(
        "{}, {}, written {}",
        report.incident,
        report.model.as_deref().map_or_else(
            || "no model, plain code".to_owned(),
            |model| format!("with model {}", plain(model, 80))
        ),
        time(report.written_at)
    )];
    if !gaps.is_empty() {
        let shown = gaps.get(..GAPS_MAX.min(gaps.len())).unwrap_or_default();
        let named = shown.iter().enumerate().map(|(i, gap)| {
            // The same reason is said once, after the last gap that has it.
            let again = shown.get(i + 1).is_some_and(|next| next.why == gap.why);
            let what = plain(&gap.what, GAP_MAX);
            if again {
                what
            } else {
                format!("{what} ({})", plain(&gap.why, GAP_MAX))
            }
        });
        let named: Vec<String> = named.collect();
        let more = gaps.len().saturating_sub(GAPS_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        small.push(format!("Not known: {}{more}", named.join("; ")));
    }
    small
}

/// What a notification shows, and what is left where blocks cannot be shown.
fn fallback(report: &Report) -> String {
    let sign = sign(report.severity, report.status);
    let title = plain(&report.title, 200);
    format!(
        "{sign} {}, {}: {title}. {}",
        report.severity,
        report.status,
        verdict(report)
    )
}

fn headed(heading: &str, lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        return lines;
    }
    std::iter::once(heading.to_owned()).chain(lines).collect()
}

fn sign(severity: Severity, status: IncidentStatus) -> &'static str {
    match (status, severity) {
        (IncidentStatus::Resolved, _) => "✅",
        (IncidentStatus::Open, Severity::Critical) => "🔴",
        (IncidentStatus::Open, Severity::Warning) => "🟠",
        (IncidentStatus::Open, Severity::Info) => "🔵",
    }
}

/// `E1, E3-E5`: what a claim rests on, in runs.
fn ids(ids: &[EvidenceId]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for EvidenceId(id) in ids {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*id) => *last = *id,
            _ => runs.push((*id, *id)),
        }
    }
    let shown = runs.iter().take(6).map(|(first, last)| match last - first {
        0 => format!("E{first}"),
        1 => format!("E{first}, E{last}"),
        _ => format!("E{first}-E{last}"),
    });
    let shown: Vec<String> = shown.collect();
    let more = if runs.len() > 6 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Never a round 0 or 100, which nothing here deserves.
fn percent(confidence: f64) -> String {
    format!("{:.0} %", (confidence * 100.0).clamp(1.0, 99.0))
}

fn count(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn length(age: SignedDuration) -> String {
    let minutes = age.as_mins().max(0);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{} s", age.as_secs().max(0)),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
