//! Renderers: one report, several forms. They add nothing of their own and escape everything.

use incident::Report;

/// How the terminal form looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStyle {
    /// Whether to write ANSI colours.
    pub color: bool,
    /// Columns; lines are broken to fit.
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

/// For a terminal.
pub fn terminal(report: &Report, _style: &TerminalStyle) -> String {
    report.title.clone()
}

/// As Markdown.
pub fn markdown(report: &Report) -> String {
    report.title.clone()
}

/// As one self-contained page.
pub fn html(_report: &Report) -> String {
    String::from("<!doctype html>")
}

/// As JSON.
pub fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("a report has text keys and finite numbers only")
}
