//! The simulation, as anybody can run it: `nightshift sim`. What it simulates and what each mutation
//! costs is told in `docs/simulation.md`.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use tests::nightshift::program;

/// Seeds that every change is run against.
const SEEDS: &str = "0..10000";

/// Seeds that found a defect in the product once, with what it was. They stay, although the nights
/// they stood for change with the simulation.
const REGRESSIONS: [(u64, &str); 8] = [
    (
        96,
        "a message was posted by a run that had been taken over, after its time",
    ),
    (
        150,
        "the last report of an incident that opened again forgot the draft that is open",
    ),
    (271, "the same, with a crash in between"),
    (
        768,
        "a decision that came before its proposal was never looked at again",
    ),
    (1071, "the same, with the incident opened a third time"),
    (
        272,
        "in calm weather, work of one incident took turns at stopping itself until it was given up",
    ),
    (488, "the same for ever, in a storm"),
    (495, "the same with two nodes"),
];

/// Each safeguard, and within how many seeds its absence must be noticed.
const MUTATIONS: [(&str, u64); 12] = [
    ("ack-first", 200),
    ("no-fence", 600),
    ("no-cas", 200),
    ("torn-batch", 200),
    ("no-dedup", 200),
    ("no-lease-renewal", 200),
    ("no-lease-check", 400),
    ("no-redelivery", 400),
    ("early-answer", 200),
    ("ok-anyway", 200),
    ("no-look-before-act", 600),
    ("no-look-before-push", 600),
];

fn sim(args: &[&str]) -> Result<Output> {
    let output = Command::new(program("nightshift")?)
        .arg("sim")
        .args(args)
        .output()?;
    Ok(output)
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
fn no_promise_is_broken_in_ten_thousand_nights() -> Result<()> {
    let output = sim(&["--seeds", SEEDS])?;
    let text = text(&output);
    println!("{text}");
    ensure!(output.status.success(), "a promise was broken:\n{text}");
    Ok(())
}

#[test]
fn what_was_found_once_stays_away() -> Result<()> {
    for (seed, what) in REGRESSIONS {
        let output = sim(&["--seeds", &format!("{seed}..{}", seed + 1)])?;
        ensure!(
            output.status.success(),
            "seed {seed}, {what}:\n{}",
            text(&output)
        );
    }
    Ok(())
}

/// A simulation that notices nothing proves nothing.
#[test]
fn every_missing_safeguard_is_noticed() -> Result<()> {
    for (safeguard, seeds) in MUTATIONS {
        let output = sim(&["--break", safeguard, "--seeds", &format!("0..{seeds}")])?;
        let text = text(&output);
        ensure!(
            output.status.success(),
            "{safeguard} was not noticed in {seeds} seeds:\n{text}"
        );
        let again = text.lines().find(|line| line.contains("again: "));
        let again = again.context("a finding names the command that shows it again")?;
        println!("{safeguard}: {}", again.trim());
    }
    Ok(())
}

/// The command that a finding prints shows the same finding.
#[test]
fn a_finding_can_be_replayed() -> Result<()> {
    let found = text(&sim(&[
        "--break",
        "no-dedup",
        "--seeds",
        "0..200",
        "--threads",
        "1",
    ])?);
    let again = found.split("again: nightshift sim ").nth(1);
    let again = again.context("there is a finding")?;
    let again: Vec<&str> = again
        .lines()
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let traces = (sim(&again)?, sim(&again)?);
    ensure!(
        traces.0.stdout == traces.1.stdout,
        "two traces of one seed differ"
    );
    let trace = text(&traces.0);
    ensure!(
        !traces.0.status.success() && trace.contains("a key is stored once"),
        "{trace}"
    );
    Ok(())
}

#[test]
fn a_range_that_is_none_is_refused() -> Result<()> {
    for bad in ["7", "9..3", "a..b", "3..3"] {
        let output = sim(&["--seeds", bad])?;
        ensure!(output.status.code() == Some(2), "{bad}: {}", text(&output));
    }
    Ok(())
}
