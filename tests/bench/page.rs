//! Keeping what was measured, and putting it into a page of the documentation.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::figure::{Figure, table};

/// Where the tables begin in the page.
const BEGIN: &str = "<!-- figures: written by cargo xtask bench -->";
/// Where they end.
const END: &str = "<!-- end of figures -->";

/// When, where and with what something was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) date: String,
    pub(crate) rounds: usize,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) pinned: bool,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) nightshift: String,
    pub(crate) redis: String,
}

/// One run of one benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) about: About,
    pub(crate) figures: Vec<Figure>,
}

type Runs = BTreeMap<String, Run>;

/// Puts `run` in the place of an earlier one of the same name.
pub(crate) fn keep(file: &Path, name: &str, run: Run) -> Result<()> {
    let mut runs = if file.exists() {
        read(file)?
    } else {
        Runs::new()
    };
    runs.insert(name.to_owned(), run);
    let text = serde_json::to_string_pretty(&runs)? + "\n";
    fs::write(file, text).with_context(|| file.display().to_string())
}

fn read(file: &Path) -> Result<Runs> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// Writes the tables of `file` between the markers of `page`.
pub(crate) fn write(file: &Path, page: &Path, order: &[&str]) -> Result<()> {
    let runs = read(file)?;
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let (before, rest) = text
        .split_once(BEGIN)
        .context("the page has no place for figures")?;
    let (_, after) = rest
        .split_once(END)
        .context("the page's figures have no end")?;
    let mut out = format!("{before}{BEGIN}\n");
    for name in order {
        if let Some(run) = runs.get(*name) {
            out.push_str(&section(name, run));
        }
    }
    out.push_str(END);
    out.push_str(after);
    fs::write(page, out).with_context(|| page.display().to_string())
}

fn section(name: &str, run: &Run) -> String {
    let about = &run.about;
    let pinned = if about.pinned { "" } else { ", nothing pinned" };
    let measured = format!(
        "{}, medians of {} rounds, {} shared cores, {} GiB, load {} before and {} after{pinned}; {}; {}",
        about.date,
        about.rounds,
        about.cores,
        about.memory_gib,
        about.load_before,
        about.load_after,
        about.nightshift,
        about.redis,
    );
    format!("\n### {name}\n\n{measured}\n\n{}\n\n", table(&run.figures))
}
