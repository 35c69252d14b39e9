//! The terminal form: verdict first, at most some sixty lines, for a tired reader.

use incident::report::{Claim, Moment};
use incident::{Fact, Report};

use super::escape;
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
const DIFF_LINES_MAX: usize = 30;
/// Candidates shown besides the leading one.
const SET_ASIDE_MAX: usize = 8;
/// Moments shown, the last ones.
const TIMELINE_MAX: usize = 10;

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

    fn claims(&mut self, claims: &[Claim], none: &str) {
        if claims.is_empty() {
            self.item(Ink::Plain, "  - ", none);
        }
        for claim in claims {
            self.item(
                Ink::Plain,
                "  - ",
                &format!("{} [{}]", claim.text, view::ids(&claim.evidence)),
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
    page.item(Ink::Plain, "", &report.title);
    page.item(Ink::Dim, "", &view::state(report));
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
    timeline(&mut page, report);
    set_aside(&mut page, report);
    evidence(&mut page, report);
    let foot = format!(
        "{}, written {}, {}",
        report.incident,
        phrase::date(report.written_at),
        view::author(report)
    );
    page.lines.push(String::new());
    page.item(Ink::Dim, "", &foot);
    page.lines.push(String::new());
    page.lines.join("\n")
}

fn change(page: &mut Page, report: &Report) {
    let (state, proposal) = view::change(report);
    page.head("Proposed change");
    page.item(Ink::Plain, "  ", &state);
    let Some(proposal) = proposal else { return };
    page.item(Ink::Plain, "  risk: ", &proposal.risk);
    page.item(Ink::Plain, "  undo: ", &proposal.undo);
    let lines: Vec<&str> = proposal
        .preview
        .diff
        .lines()
        .filter(|line| !line.starts_with("diff --git ") && !line.starts_with("index "))
        .collect();
    for line in lines.iter().take(DIFF_LINES_MAX) {
        let ink = match line.as_bytes().first() {
            _ if line.starts_with("+++ ") || line.starts_with("--- ") => Ink::Bold,
            Some(b'+') => Ink::Green,
            Some(b'-') => Ink::Red,
            Some(b'@') => Ink::Cyan,
            _ => Ink::Plain,
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

fn timeline(page: &mut Page, report: &Report) {
    page.head("When (UTC)");
    // When the report was written stands at the foot, what was ruled out in its own section.
    let told: Vec<_> = report
        .timeline
        .iter()
        .filter(|m| m.at < report.written_at && !is_ruled_out(report, m))
        .collect();
    for moment in told.iter().skip(told.len().saturating_sub(TIMELINE_MAX)) {
        let cited = moment
            .evidence
            .map_or_else(String::new, |id| format!(" [{id}]"));
        let mark = format!("  {}  ", moment.at.strftime("%H:%M:%S"));
        page.item(Ink::Plain, &mark, &format!("{}{cited}", moment.text));
    }
}

/// Whether a moment is the landing of a commit that was set aside.
fn is_ruled_out(report: &Report, moment: &Moment) -> bool {
    let fact = report
        .evidence
        .iter()
        .find(|e| Some(e.id) == moment.evidence);
    let Some(Fact::Change(change)) = fact.map(|e| &e.observation.fact) else {
        return false;
    };
    let out = &report.diagnosis.ruled_out;
    out.iter()
        .any(|r| view::without_subject(&r.entity).ends_with(change.short()))
}

/// One line each: what else was looked at and why it is not the cause.
fn set_aside(page: &mut Page, report: &Report) {
    let rest = view::less_likely(report).into_iter();
    let out = report.diagnosis.ruled_out.iter().map(|item| {
        let text = format!("{}: {}", view::without_subject(&item.entity), item.why);
        (text, item.evidence.clone())
    });
    let all: Vec<_> = rest.chain(out).collect();
    if !all.is_empty() {
        page.head("Less likely or ruled out");
    }
    for (text, ids) in all.iter().take(SET_ASIDE_MAX) {
        let cited = format!(" [{}]", view::ids(ids));
        let room = page.width().saturating_sub(4 + wrap::width(&cited));
        let text = wrap::cut(&escape::terminal(text), room);
        page.put(Ink::Plain, &format!("  - {text}{cited}"));
    }
    if all.len() > SET_ASIDE_MAX {
        page.item(
            Ink::Dim,
            "    ",
            &format!("… {} more", all.len() - SET_ASIDE_MAX),
        );
    }
    if !report.diagnosis.gaps.is_empty() {
        page.head("Not known");
    }
    for gap in &report.diagnosis.gaps {
        page.item(
            Ink::Plain,
            "  - ",
            &format!("{} ({}): {}", gap.what, gap.source, gap.why),
        );
    }
}

fn evidence(page: &mut Page, report: &Report) {
    if report.evidence.is_empty() {
        return;
    }
    page.head("Evidence");
    let widest = report.evidence.iter().map(|e| e.id.to_string().len()).max();
    let widest = widest.unwrap_or(2);
    for item in &report.evidence {
        let id = item.id.to_string();
        let mark = format!("  {id:<widest$}  ");
        let room = page.width().saturating_sub(wrap::width(&mark));
        let text = wrap::cut(&escape::terminal(&item.observation.summary), room);
        page.put(Ink::Plain, &format!("{mark}{text}"));
    }
}
