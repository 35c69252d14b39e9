//! The report's tables, written between markers from the JSON files beside the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::fault::Fault;
use crate::record::{Outcome, Run};
use crate::recovery::Recovery;

const BEGIN: &str = "<!-- figures: written by `cargo xtask chaos --report`, do not edit -->";
const END: &str = "<!-- /figures -->";

/// Writes the tables into `page`, or with `check` fails if they are not there.
pub(crate) fn write(page: &Path, check: bool) -> Result<()> {
    let folder = page.with_extension("");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("{} holds the JSON files", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    let mut runs = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        runs.push((name.into_owned(), Run::read(file)?));
    }
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (before, rest) = text.split_once(BEGIN).context("the page has no marker")?;
    let (_, after) = rest.split_once(END).context("the page has no end marker")?;
    let made = format!("{before}{BEGIN}\n\n{}\n{END}{after}", tables(&runs)?);
    if check {
        ensure!(
            made == text,
            "{} does not say what the JSON files say; run `cargo xtask chaos --report {}`",
            page.display(),
            page.display()
        );
        return Ok(());
    }
    std::fs::write(page, made).with_context(|| page.display().to_string())
}

fn tables(runs: &[(String, Run)]) -> Result<String> {
    let mut out = String::new();
    total(&mut out, runs)?;
    for (file, run) in runs {
        one(&mut out, file, run)?;
    }
    Ok(out)
}

fn total(out: &mut String, runs: &[(String, Run)]) -> Result<()> {
    let scenarios = || runs.iter().flat_map(|(_, run)| &run.scenarios);
    let inside =
        |of: fn(&Outcome) -> u64| -> u64 { scenarios().filter(|one| !one.outside).map(of).sum() };
    let kills: u64 = scenarios().map(Outcome::kills).sum();
    writeln!(
        out,
        "Together: {kills} kills in {} scenarios. Within the durability asked for: {} events acknowledged, **{} lost**; {} incidents, {} Slack messages, {} draft branches, **{} of them twice**.\n",
        scenarios().count(),
        inside(|one| one.events_acknowledged),
        inside(|one| one.events_lost),
        inside(|one| one.incidents.found),
        inside(|one| one.effects.messages),
        inside(|one| one.effects.branches),
        inside(|one| one.effects.repeated()),
    )?;
    let missed: Vec<_> = scenarios().filter(|one| !one.missed.is_empty()).collect();
    if missed.is_empty() {
        writeln!(out, "Every bar was reached.\n")?;
    } else {
        writeln!(out, "Bars that were missed:\n")?;
        for one in missed {
            writeln!(
                out,
                "- {}, {}: {}",
                one.server,
                one.name,
                one.missed.join("; ")
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn one(out: &mut String, file: &str, run: &Run) -> Result<()> {
    writeln!(out, "### {}\n", run.bus)?;
    writeln!(
        out,
        "`{}`, {} UTC, commit {}, {} build, {} cores; figures in [chaos/{file}](chaos/{file}).\n",
        run.command, run.began, run.commit, run.build, run.cores
    )?;
    for (what, why) in &run.skipped {
        writeln!(out, "Skipped: {what}, because {why}.\n")?;
    }
    writeln!(
        out,
        "| scenario | kills | events sent / acknowledged / ruled | lost | incidents expected / found | split, merged | Slack messages (twice) | branches, commits (twice) | dead letters |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for one in &run.scenarios {
        writeln!(
            out,
            "| {}{} | {} | {} / {} / {} | {} | {} / {} | {}, {} | {} ({}) | {}, {} ({}) | {} |",
            one.name,
            if one.outside {
                " (outside of the durability asked for)"
            } else {
                ""
            },
            one.kills(),
            one.events_sent,
            one.events_acknowledged,
            one.rulings(),
            one.events_lost,
            one.incidents.expected,
            one.incidents.found,
            one.incidents.split,
            one.incidents.merged,
            one.effects.messages,
            one.effects.messages_repeated,
            one.effects.branches,
            one.effects.commits,
            one.effects.branches_repeated + one.effects.commits_repeated,
            one.dead_letters,
        )?;
    }
    recoveries(out, run)
}

fn recoveries(out: &mut String, run: &Run) -> Result<()> {
    let mut by_fault: BTreeMap<Fault, Vec<Recovery>> = BTreeMap::new();
    for one in &run.scenarios {
        for (fault, recoveries) in &one.recoveries {
            by_fault.entry(*fault).or_default().extend(recoveries);
        }
    }
    writeln!(
        out,
        "\n| fault | what is done | times | until acknowledged, p50 / max | until ruled, p50 / max |\n|---|---|---|---|---|"
    )?;
    for (fault, recoveries) in &by_fault {
        let column = |of: fn(&Recovery) -> f64| spread(recoveries.iter().map(of).collect());
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            fault.name(),
            fault.what(),
            recoveries.len(),
            column(|recovery| recovery.acknowledged_ms),
            column(|recovery| recovery.ruled_ms),
        )?;
    }
    writeln!(out)?;
    Ok(())
}

/// The middle and the largest, in seconds.
fn spread(mut ms: Vec<f64>) -> String {
    ms.sort_by(f64::total_cmp);
    let middle = ms.get(ms.len() / 2).copied().unwrap_or(f64::NAN);
    let largest = ms.last().copied().unwrap_or(f64::NAN);
    format!("{:.2} s / {:.2} s", middle / 1000.0, largest / 1000.0)
}
