//! The terminal form: verdict first, some fifty lines, for a tired reader.

use std::collections::BTreeSet;

use incident::report::{Claim, Moment};
use incident::{Evidence, EvidenceId, Report};

use super::aside;
use super::escape;
use super::hunks::{self, Part};
use super::view;
use super::wrap;
use crate::phrase;

/// How the terminal form looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStyle {
    /// Whether to write ANSI colours.
    pub color: bool,
    /// Columns; lines are broken to fit. Less than 40 counts as 40.
    pub width: usize,
}

impl Default for TerminalStyle {
    fn default() -> Self {
        Self {
            color: false,
            width: 80,
        }
    }
}

/// Lines of diff shown; the draft and the other forms have all.
const DIFF_LINES_MAX: usize = 24;
/// Unchanged lines kept on each side of a change.
const CONTEXT_MAX: usize = 1;
/// Candidates shown besides the leading one.
const SET_ASIDE_MAX: usize = 6;
/// Lines of the timeline, the last ones.
const TIMELINE_MAX: usize = 7;
/// Columns a row's text keeps whatever its end takes.
const ROW_MIN: usize = 12;
/// Gaps shown.
const GAPS_MAX: usize = 5;

#[derive(Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Cyan,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\u{1b}[1m",
            Self::Dim => "\u{1b}[2m",
            Self::Red => "\u{1b}[31m",
            Self::Green => "\u{1b}[32m",
            Self::Cyan => "\u{1b}[36m",
        }
    }
}

struct Page {
    style: TerminalStyle,
    lines: Vec<String>,
}

impl Page {
    fn width(&self) -> usize {
        self.style.width.max(40)
    }

    /// One finished line; everything in it has been made harmless before.
    fn put(&mut self, ink: Ink, text: &str) {
        if self.style.color && !ink.code().is_empty() && !text.is_empty() {
            self.lines.push(format!("{}{text}\u{1b}[0m", ink.code()));
        } else {
            self.lines.push(text.trim_end().to_owned());
        }
    }

    fn head(&mut self, text: &str) {
        self.lines.push(String::new());
        self.put(Ink::Bold, text);
    }

    /// A paragraph with a hanging indent.
    fn item(&mut self, ink: Ink, mark: &str, text: &str) {
        let indent = wrap::width(mark);
        let room = self.width().saturating_sub(indent);
        for (i, line) in wrap::wrap(&escape::terminal(text), room).iter().enumerate() {
            let lead = if i == 0 {
                mark.to_owned()
            } else {
                " ".repeat(indent)
            };
            self.put(ink, &format!("{lead}{line}"));
        }
    }

    /// One line: the text is cut where it does not fit, its end is not.
    fn row(&mut self, mark: &str, text: &str, end: &str) {
        let space = if end.starts_with(' ') { " " } else { "" };
        let end = format!("{space}{}", escape::terminal(end));
        let taken = wrap::width(mark) + wrap::width(&end);
        let room = self.width().saturating_sub(taken).max(ROW_MIN);
        let text = wrap::cut(&escape::terminal(text), room);
        let room = self.width().saturating_sub(wrap::width(mark));
        let line = wrap::cut(&format!("{text}{end}"), room);
        self.put(Ink::Plain, &format!("{mark}{line}"));
    }

    fn claims(&mut self, claims: &[Claim], none: &str) {
        if claims.is_empty() {
            self.item(Ink::Plain, "  - ", none);
        }
        for claim in claims {
            self.item(
                Ink::Plain,
                "  - ",
                &format!("{} [{}]", claim.text, view::ids_tight(&claim.evidence)),
            );
        }
    }
}

/// For a terminal: plain lines of at most `style.width` columns.
pub fn terminal(report: &Report, style: &TerminalStyle) -> String {
    let mut page = Page {
        style: *style,
        lines: Vec::new(),
    };
    page.item(Ink::Bold, "", &view::headline(report));
    let state = format!("{}: {}", report.title, view::state(report));
    page.item(Ink::Plain, "", &state);
    page.head("What is going on");
    page.claims(&report.impact, "Nothing could be measured.");
    page.head("What caused it");
    page.claims(
        &report.cause,
        "I do not know, and there is nothing to go by.",
    );
    if !report.next_steps.is_empty() {
        page.head("What to do now");
    }
    for (i, step) in report.next_steps.iter().enumerate() {
        page.item(Ink::Plain, &format!("  {}. ", i + 1), step);
    }
    change(&mut page, report);
    let moments = timeline(&mut page, report);
    let listed = set_aside(&mut page, report);
    gaps(&mut page, report);
    evidence(&mut page, report, &moments, &listed);
    let foot = format!(
        "{}, written {}, {}",
        report.incident,
        phrase::date(report.written_at),
        view::author(report)
    );
    if report.evidence.is_empty() {
        page.lines.push(String::new());
    }
    page.item(Ink::Dim, "", &foot);
    page.lines.push(String::new());
    page.lines.join("\n")
}

fn change(page: &mut Page, report: &Report) {
    let (what, state, proposal) = view::change_short(report);
    page.lines.push(String::new());
    page.item(Ink::Bold, "", &format!("Proposed change: {what}"));
    if !state.is_empty() {
        page.item(Ink::Plain, "  ", &state);
    }
    let Some(proposal) = proposal else { return };
    page.item(Ink::Plain, "  risk: ", &proposal.risk);
    page.item(Ink::Plain, "  undo: ", &proposal.undo);
    let lines = hunks::short(&proposal.preview.diff, CONTEXT_MAX);
    for (part, line) in lines.iter().take(DIFF_LINES_MAX) {
        let ink = match part {
            Part::File => Ink::Bold,
            Part::Added => Ink::Green,
            Part::Removed => Ink::Red,
            Part::Gap => Ink::Cyan,
            Part::Same => Ink::Plain,
        };
        let room = page.width().saturating_sub(4);
        let shown = wrap::cut(&escape::defuse(&escape::code_line(line)), room);
        page.put(ink, &format!("    {shown}"));
    }
    if lines.len() > DIFF_LINES_MAX {
        let more = phrase::count(lines.len() - DIFF_LINES_MAX, "more line");
        page.item(Ink::Dim, "    ", &format!("… {more} of diff"));
    }
}

/// A line each, those of one second together; answers the facts that are cited.
fn timeline(page: &mut Page, report: &Report) -> Vec<EvidenceId> {
    // When the report was written stands at the foot, what is not the cause in its own section.
    let aside: Vec<EvidenceId> = aside::rows(report)
        .into_iter()
        .filter(|row| row.is_whole)
        .flat_map(|row| row.ids)
        .collect();
    let told_there = |m: &Moment| m.evidence.is_some_and(|id| aside.contains(&id));
    let told = report
        .timeline
        .iter()
        .filter(|m| m.at < report.written_at && !told_there(m));
    let mut rows: Vec<(String, String, Vec<EvidenceId>)> = Vec::new();
    for moment in told {
        let at = moment.at.strftime("%H:%M:%S").to_string();
        match rows.last_mut().filter(|(last, _, _)| *last == at) {
            Some((_, text, ids)) => {
                *text = format!("{text} {}", moment.text);
                ids.extend(moment.evidence);
            }
            None => rows.push((
                at,
                moment.text.clone(),
                moment.evidence.into_iter().collect(),
            )),
        }
    }
    let shown = rows.split_off(rows.len().saturating_sub(TIMELINE_MAX));
    if !shown.is_empty() {
        page.head("When (UTC)");
    }
    for (at, text, ids) in &shown {
        let cited = if ids.is_empty() {
            String::new()
        } else {
            format!(" [{}]", view::ids_tight(ids))
        };
        page.row(&format!("  {at}  "), text, &cited);
    }
    shown.into_iter().flat_map(|(_, _, ids)| ids).collect()
}

/// One line each, under the number of its fact: what else was looked at and why it is not the cause.
/// Answers the facts that are told here.
fn set_aside(page: &mut Page, report: &Report) -> Vec<EvidenceId> {
    let rows = aside::rows(report);
    let out = report.diagnosis.ruled_out.len();
    match rows.len() {
        0 => {}
        all if all == out => page.head("Ruled out"),
        _ if out == 0 => page.head("Less likely"),
        _ => page.head("Less likely or ruled out"),
    }
    let shown = rows
        .get(..SET_ASIDE_MAX.min(rows.len()))
        .unwrap_or_default();
    let widest = shown.iter().map(|row| view::ids(&row.ids).len()).max();
    let widest = widest.unwrap_or(2);
    for row in shown {
        let ids = view::ids(&row.ids);
        page.row(&format!("  {ids:<widest$}  "), &row.text, "");
    }
    if rows.len() > SET_ASIDE_MAX {
        let more = format!("and {} more", rows.len() - SET_ASIDE_MAX);
        page.item(Ink::Dim, "  ", &more);
    }
    let whole = shown.iter().filter(|row| row.is_whole);
    whole.flat_map(|row| row.ids.iter().copied()).collect()
}

fn gaps(page: &mut Page, report: &Report) {
    let gaps = view::gaps(report);
    if !gaps.is_empty() {
        page.head("Not known");
    }
    for gap in gaps.iter().take(GAPS_MAX) {
        page.item(Ink::Plain, "  - ", gap);
    }
    if gaps.len() > GAPS_MAX {
        let more = format!("and {} more", gaps.len() - GAPS_MAX);
        page.item(Ink::Dim, "  ", &more);
    }
}

/// The facts that the text cites and that no section above tells itself.
fn evidence(page: &mut Page, report: &Report, moments: &[EvidenceId], listed: &[EvidenceId]) {
    let claims = report.impact.iter().chain(&report.cause);
    let cited: BTreeSet<EvidenceId> = claims
        .flat_map(|claim| claim.evidence.iter().copied())
        .chain(moments.iter().copied())
        .filter(|id| !listed.contains(id))
        .collect();
    let shown: Vec<&Evidence> = report
        .evidence
        .iter()
        .filter(|e| cited.contains(&e.id))
        .collect();
    let rest = report.evidence.iter().map(|e| e.id);
    let rest = rest.filter(|id| !cited.contains(id) && !listed.contains(id));
    let rest = rest.count();
    if report.evidence.is_empty() {
        return;
    }
    page.head("Evidence (times in UTC)");
    let widest = shown.iter().map(|e| e.id.to_string().len()).max();
    let widest = widest.unwrap_or(2);
    for item in shown {
        let id = item.id.to_string();
        let (what, course) = view::fact(report, item);
        page.row(&format!("  {id:<widest$}  "), &what, &course);
    }
    if rest > 0 {
        let id = &report.incident;
        let more = format!("and {rest} more: nightshift incidents show {id} --format json");
        page.item(Ink::Dim, "  ", &more);
    }
}
