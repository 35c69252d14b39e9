//! What the drill prints: progress while it runs, then the report and the draft's diff.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use incident::ports::{Clock, Progress};
use incident::report::ChangeOutcome;
use incident::{Report, Untrusted};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipelines::render;
use runtime::SystemClock;

use crate::cli::Story;
use crate::output::{complain, say, tell};

/// Widest line.
const WIDTH: usize = 80;

/// Progress on the terminal: a line for each step, a spinner while one runs.
#[derive(Debug)]
pub(super) struct Show {
    bar: ProgressBar,
    clock: Arc<SystemClock>,
    started: Duration,
}

impl Show {
    pub(super) fn new(clock: Arc<SystemClock>) -> Self {
        let bar = ProgressBar::new_spinner();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            bar,
            started: clock.elapsed(),
            clock,
        }
    }

    /// One step was taken.
    pub(super) fn step(&self, stage: &str, text: &str) {
        let passed = self
            .clock
            .elapsed()
            .saturating_sub(self.started)
            .as_secs_f64();
        let text = Untrusted::new(text).one_line(120);
        let line = format!("{passed:6.2} s  {stage:<12} {text}");
        if self.bar.is_hidden() {
            complain!("{line}");
        } else {
            self.bar.println(&line);
        }
        self.bar.set_message(text);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Show {
    fn note(&self, stage: &str, text: &str) {
        self.step(stage, text);
    }
}

/// The report, then the draft.
pub(super) fn report(report: &Report, story: Story) -> Result<()> {
    let color = std::io::stdout().is_terminal();
    say!()?;
    tell!(
        "{}",
        render::terminal(
            report,
            &render::TerminalStyle {
                color,
                width: WIDTH
            }
        )
    )?;
    match (&report.change, story) {
        (ChangeOutcome::Opened { draft, .. }, _) => {
            say!("\nThe draft pull request, as recorded:\n")?;
            say!("  title   {}", draft.title)?;
            say!(
                "  branch  {} at {}",
                draft.branch,
                draft.commit.get(..10).unwrap_or_default()
            )?;
            say!(
                "  base    {}, untouched until a person merges\n",
                draft.base
            )?;
            say!("{}", Untrusted::new(draft.diff.as_str()).block(10_000))?;
        }
        (_, Story::Surge) => {
            say!("\nNo commit is guilty in this story, and no draft was opened.")?;
        }
        (_, Story::BadChange) => say!("\nNo draft was opened; the report says why.")?,
    }
    Ok(())
}
