//! What kind of edit a commit is: numbers moved, switches flipped, code removed, or nothing that runs.

use std::collections::BTreeMap;

use incident::{Change, Untrusted};

use super::inert;
use super::quantity::{self, Shape};
use super::words::{self, Words};

/// A number that changed on an otherwise equal line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Knob {
    /// What the line calls it, printable.
    pub(super) name: String,
    /// Words of the line and of the section it stands in.
    pub(super) words: Words,
    /// The old value as written, printable.
    pub(super) from: String,
    /// The new value as written, printable.
    pub(super) to: String,
    /// `ln(new / old)`: negative if it was lowered.
    pub(super) ratio_ln: f64,
    /// Where, printable.
    pub(super) path: String,
}

/// One edit that is more than text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Edit {
    /// A number moved.
    Knob(Knob),
    /// `true` became `false`, `on` became `off`, or the other way round.
    Switch {
        name: String,
        to: String,
        path: String,
    },
    /// A version or image tag moved.
    Version {
        from: String,
        to: String,
        path: String,
    },
    /// A setting of a configuration file got another value.
    Setting { name: String, path: String },
}

/// A commit, read.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits {
    /// Edits by kind, in the order of the diff.
    pub(super) found: Vec<Edit>,
    /// Stems of paths and of added and removed lines.
    pub(super) words: Words,
    /// Lines of code that went without a replacement.
    pub(super) removed_lines: usize,
    /// Their stems.
    pub(super) removed_words: Words,
    /// The first of them, printable.
    pub(super) removed_sample: String,
    /// Why nothing in it can run, if so.
    pub(super) inert: Option<&'static str>,
}

/// Characters of a line or name that are shown.
const SHOWN_CHARS: usize = 60;

/// Reads at most `lines_max` lines of diff and `words_max` distinct words.
pub(super) fn read(change: &Change, lines_max: usize, words_max: usize) -> Edits {
    let mut out = Edits::default();
    let mut left = lines_max;
    let mut idle: Vec<Option<&'static str>> = Vec::new();
    let mut added_words = Words::new();
    for file in &change.files {
        let path = file.path.expose();
        let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
        words::collect(stem, words_max, &mut out.words);
        let by_path = inert::by_path(path);
        let runs = runs(file.diff.expose(), &mut left);
        for line in runs
            .iter()
            .flat_map(|run| run.removed.iter().chain(&run.added))
        {
            words::collect(line, words_max, &mut out.words);
        }
        for line in runs.iter().flat_map(|run| &run.added) {
            words::collect(line, words_max, &mut added_words);
        }
        idle.push(by_path.or_else(|| inert::by_lines(path, file, &runs)));
        if idle.last().is_some_and(Option::is_none) {
            for run in &runs {
                read_run(run, &file.path, &mut out);
            }
        }
    }
    // What comes back elsewhere in the commit was moved, not removed.
    out.removed_words.retain(|word| !added_words.contains(word));
    let whole = change.files_left_out == 0 && !idle.is_empty();
    out.inert = if whole && idle.iter().all(Option::is_some) {
        idle.into_iter().flatten().next()
    } else {
        None
    };
    out
}

/// Lines that went and came at one place of a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Run<'a> {
    /// The nearest unchanged or section line above.
    pub(super) above: &'a str,
    pub(super) removed: Vec<&'a str>,
    pub(super) added: Vec<&'a str>,
}

/// Splits a unified diff into runs of changed lines, reading at most `left` lines.
pub(super) fn runs<'a>(diff: &'a str, left: &mut usize) -> Vec<Run<'a>> {
    let has_hunks = diff.lines().any(|line| line.starts_with("@@"));
    let mut in_hunk = !has_hunks;
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut open = false;
    let mut above = "";
    for line in diff.lines() {
        if *left == 0 {
            break;
        }
        *left -= 1;
        if line.starts_with("@@") {
            (in_hunk, open) = (true, false);
            above = line.rsplit("@@").next().unwrap_or_default();
            continue;
        }
        let header = !has_hunks && (line.starts_with("+++ ") || line.starts_with("--- "));
        if !in_hunk || header || line.starts_with("diff --git ") {
            in_hunk = in_hunk && !line.starts_with("diff --git ");
            open = false;
            continue;
        }
        let (sign, text) = match line.split_at_checked(1) {
            Some(("-", text)) => ('-', text),
            Some(("+", text)) => ('+', text),
            Some((" ", text)) => (' ', text),
            _ => (' ', line),
        };
        if sign == ' ' {
            open = false;
            if !text.trim().is_empty() {
                above = text;
            }
            continue;
        }
        let new_run = !open || (sign == '-' && runs.last().is_some_and(|r| !r.added.is_empty()));
        if new_run {
            runs.push(Run {
                above,
                ..Run::default()
            });
            open = true;
        }
        if let Some(run) = runs.last_mut() {
            let side = if sign == '-' {
                &mut run.removed
            } else {
                &mut run.added
            };
            side.push(text);
        }
    }
    runs
}

fn read_run(run: &Run<'_>, path: &Untrusted, out: &mut Edits) {
    let shown = path.one_line(SHOWN_CHARS);
    let code = |line: &&str| !inert::is_comment(path.expose(), line);
    let removed: Vec<&str> = run.removed.iter().copied().filter(code).collect();
    let mut added: Vec<&str> = run.added.iter().copied().filter(code).collect();
    let mut unpaired = Vec::new();
    for old in removed {
        let Some(at) = partner(old, &added) else {
            unpaired.push(old);
            continue;
        };
        let new = added.remove(at);
        let edit = compare(old, new, run.above, path.expose(), &shown);
        out.found.extend(edit);
    }
    let gone = unpaired.len().saturating_sub(added.len());
    if gone > 0 {
        out.removed_lines += gone;
        for line in &unpaired {
            words::collect(line, 1_000, &mut out.removed_words);
        }
        if let Some(first) = unpaired.first().filter(|_| out.removed_sample.is_empty()) {
            out.removed_sample = Untrusted::new(*first).one_line(SHOWN_CHARS);
        }
    }
}

/// The added line that takes the place of `old`: the same one, the same but for numbers, one that gives
/// a number of the same name, or one that sets the same key; in this order.
fn partner(old: &str, added: &[&str]) -> Option<usize> {
    let shape = quantity::shape(old);
    added
        .iter()
        .position(|new| new.trim() == old.trim())
        .or_else(|| {
            added
                .iter()
                .position(|new| shape.matches(&quantity::shape(new)))
        })
        .or_else(|| {
            added
                .iter()
                .position(|new| quantity::renamed(&shape, &quantity::shape(new)).is_some())
        })
        .or_else(|| added.iter().position(|new| same_key(old, new)))
}

/// What changed between two lines that say the same thing otherwise.
fn compare(old: &str, new: &str, above: &str, path: &str, shown: &str) -> Option<Edit> {
    let (before, after) = (quantity::shape(old), quantity::shape(new));
    let name = key_of(old);
    if before.matches(&after) {
        if let Some((from, to)) = first_difference(&before, &after) {
            return Some(Edit::Version {
                from: printable(&from),
                to: printable(&to),
                path: shown.to_owned(),
            });
        }
        let (values, ratio_ln) = quantity::moved(&before, &after)?;
        return Some(knob(name, (old, above), values, ratio_ln, shown));
    }
    if let Some((label, values, ratio_ln)) = quantity::renamed(&before, &after) {
        return Some(knob(
            printable(&label),
            (&label, above),
            values,
            ratio_ln,
            shown,
        ));
    }
    if let Some(to) = flipped(old, new) {
        let path = shown.to_owned();
        return Some(Edit::Switch { name, to, path });
    }
    (inert::is_settings(path) && same_key(old, new)).then(|| Edit::Setting {
        name,
        path: shown.to_owned(),
    })
}

fn knob(
    name: String,
    (said, above): (&str, &str),
    (from, to): (String, String),
    ratio_ln: f64,
    shown: &str,
) -> Edit {
    let mut words = words::of(said, 100);
    let above = above.trim();
    if above.ends_with(':') || (above.starts_with('[') && above.ends_with(']')) {
        words::collect(above, 100, &mut words);
    }
    Edit::Knob(Knob {
        name,
        words,
        from: printable(&from),
        to: printable(&to),
        ratio_ln,
        path: shown.to_owned(),
    })
}

fn printable(text: &str) -> String {
    Untrusted::new(text).one_line(SHOWN_CHARS)
}

fn first_difference(before: &Shape, after: &Shape) -> Option<(String, String)> {
    let mut pairs = before.versions.iter().zip(&after.versions);
    pairs
        .find(|(a, b)| a != b)
        .map(|(a, b)| (a.clone(), b.clone()))
}

/// The part of a line before its first `=` or `:`; the line itself if it has none.
fn key_of(line: &str) -> String {
    let key = line.split(['=', ':']).next().unwrap_or(line);
    let quotes: &[char] = &['"', '\'', '-', ' ', '\t', '`', '{', ','];
    let trimmed = key.trim_matches(quotes);
    printable(if trimmed.is_empty() { line } else { trimmed })
}

fn same_key(old: &str, new: &str) -> bool {
    let has_key = |line: &str| line.contains(['=', ':']);
    has_key(old) && has_key(new) && key_of(old) == key_of(new)
}

const SWITCHES: [(&str, &str); 4] = [
    ("true", "false"),
    ("on", "off"),
    ("enabled", "disabled"),
    ("yes", "no"),
];

/// The new position, if exactly one switch word is the difference.
fn flipped(old: &str, new: &str) -> Option<String> {
    let split = |line: &str| -> Vec<String> {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let (old, new) = (split(old), split(new));
    if old.len() != new.len() {
        return None;
    }
    let mut different = old.iter().zip(&new).filter(|(a, b)| a != b);
    let (from, to) = different.next()?;
    let is_flip = SWITCHES
        .iter()
        .any(|(on, off)| (from == on && to == off) || (from == off && to == on));
    (is_flip && different.next().is_none()).then(|| to.clone())
}

/// Whether `later` takes back exactly what `earlier` did, file by file.
pub(super) fn undoes(later: &Change, earlier: &Change, lines_max: usize) -> bool {
    let whole = |change: &Change| change.files_left_out == 0 && !change.files.is_empty();
    if !whole(later) || !whole(earlier) {
        return false;
    }
    let backwards = lines_of(later, lines_max, true);
    backwards.is_some() && backwards == lines_of(earlier, lines_max, false)
}

/// Removed and added lines.
type Sides<'a> = (Vec<&'a str>, Vec<&'a str>);

/// By path: the removed and added lines in order, swapped if `inverse`; none if a diff is cut.
fn lines_of(change: &Change, lines_max: usize, inverse: bool) -> Option<BTreeMap<&str, Sides<'_>>> {
    let mut left = lines_max;
    let mut out = BTreeMap::new();
    for file in &change.files {
        let runs = runs(file.diff.expose(), &mut left);
        let removed: Vec<&str> = runs.iter().flat_map(|r| r.removed.clone()).collect();
        let added: Vec<&str> = runs.iter().flat_map(|r| r.added.clone()).collect();
        let counted = |n: Option<u32>, lines: &[&str]| n.map(|n| n as usize) == Some(lines.len());
        if !counted(file.removed, &removed) || !counted(file.added, &added) {
            return None;
        }
        let pair = if inverse {
            (added, removed)
        } else {
            (removed, added)
        };
        out.insert(file.path.expose(), pair);
    }
    Some(out)
}
