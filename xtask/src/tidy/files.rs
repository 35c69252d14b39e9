//! What files must look like: sizes, `biased` selects, error codes with their pages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// No file is longer.
const LINES_MAX: usize = 700;
/// At most this share of files is longer than [`LINES_LONG`].
const LONG_SHARE_MAX: f64 = 0.10;
/// From here a file is long.
const LINES_LONG: usize = 400;

/// One finding for everything that is off.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut codes = BTreeMap::new();
    let (mut files, mut long) = (0_usize, Vec::new());
    for path in sources(root)? {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let lines = text.lines().count();
        files += 1;
        if lines > LINES_MAX {
            findings.push(format!("{name} has {lines} lines; the cap is {LINES_MAX}"));
        }
        if lines > LINES_LONG {
            long.push(format!("{name} ({lines})"));
        }
        unbiased(&name, &text, &mut findings);
        if !name.starts_with("xtask/") && !is_test(&name) {
            collect_codes(&name, &text, &mut codes);
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a few hundred files")]
    if long.len() as f64 > files as f64 * LONG_SHARE_MAX {
        findings.push(format!(
            "{} of {files} files have over {LINES_LONG} lines: {}",
            long.len(),
            long.join(", ")
        ));
    }
    pages(root, &codes, &mut findings)?;
    Ok(findings)
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every `select!` is `biased`: otherwise tokio picks a branch at random, which no seed controls.
fn unbiased(name: &str, text: &str, findings: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let opens = line.contains("select! {")
            && !line.trim_start().starts_with("//")
            && !line.contains('"');
        if opens
            && lines
                .get(index + 1)
                .is_none_or(|next| next.trim() != "biased;")
        {
            findings.push(format!(
                "{name}:{}: select! without `biased;` on the next line",
                index + 1
            ));
        }
    }
}

/// Whether a file only serves tests.
fn is_test(name: &str) -> bool {
    name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("/tests.rs")
}

/// Codes look like `E-`, the room, a dash and three digits, anywhere but in comments.
fn collect_codes(name: &str, text: &str, codes: &mut BTreeMap<String, String>) {
    let code_lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    for word in
        code_lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')))
    {
        let pieces: Vec<&str> = word.split('-').collect();
        if let ["E", room, number] = pieces.as_slice() {
            let is_room = !room.is_empty()
                && room
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
            if is_room && number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()) {
                codes
                    .entry(word.to_owned())
                    .or_insert_with(|| name.to_owned());
            }
        }
    }
}

/// Each code has a page and each page a code.
fn pages(root: &Path, codes: &BTreeMap<String, String>, findings: &mut Vec<String>) -> Result<()> {
    let folder = root.join("docs/errors");
    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).context("docs/errors")? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        if stem.starts_with("E-") {
            pages.insert(stem);
        }
    }
    for (code, place) in codes {
        if !pages.contains(code) {
            findings.push(format!(
                "{code} ({place}) has no page docs/errors/{code}.md"
            ));
        }
    }
    for page in pages.iter().filter(|page| !codes.contains_key(*page)) {
        findings.push(format!(
            "docs/errors/{page}.md describes a code that nothing gives"
        ));
    }
    Ok(())
}
