//! Progress: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::fault::Fault;
use crate::record::Outcome;
use crate::recovery::Recovery;

/// What the person who waits sees.
#[derive(Debug)]
pub(crate) struct Show(ProgressBar);

impl Show {
    pub(crate) fn new(strokes: usize) -> Self {
        let bar = ProgressBar::new(strokes as u64);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{spinner} {pos}/{len} {wide_bar} {elapsed_precise} {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        if self.0.is_hidden() {
            eprintln!("{line}");
        } else {
            self.0.println(line);
        }
    }

    /// What is happening now.
    pub(crate) fn note(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    pub(crate) fn stroke(&self, scenario: &str, fault: Fault) {
        self.note(&format!("{scenario}: {}", fault.name()));
    }

    pub(crate) fn struck(&self, recovery: Recovery) {
        self.0.inc(1);
        let Recovery {
            acknowledged_ms,
            ruled_ms,
        } = recovery;
        self.note(&format!(
            "acknowledged after {acknowledged_ms:.0} ms, ruled after {ruled_ms:.0} ms"
        ));
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        let verdict = if outcome.missed.is_empty() {
            "good".to_owned()
        } else {
            format!("MISSED: {}", outcome.missed.join("; "))
        };
        let slowest = outcome
            .all_recoveries()
            .map(|recovery| recovery.ruled_ms)
            .fold(0.0, f64::max);
        self.say(&format!(
            "{:<18} {:>3} strokes, {:>4} events, {} lost, {} incidents, {} messages, {} drafts, {} repeated, slowest recovery {:.1} s, {:.0} s: {verdict}",
            outcome.name,
            outcome.kills(),
            outcome.events_acknowledged,
            outcome.events_lost,
            outcome.incidents.found,
            outcome.effects.messages,
            outcome.effects.branches,
            outcome.effects.repeated(),
            slowest / 1000.0,
            outcome.seconds,
        ));
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
