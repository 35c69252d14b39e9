//! What kind of edit a commit is: numbers moved, switches flipped, code removed, or nothing that runs.

use std::collections::BTreeMap;

use incident::{Change, FileChange, Untrusted};

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
    pub(super) edits: Vec<Edit>,
    /// Stems of paths and of added and removed lines.
    pub(super) words: Words,
    /// Lines of code that went without a replacement.
    pub(super) removed_lines: usize,
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
    let mut inert: Vec<Option<&'static str>> = Vec::new();
    for file in &change.files {
        let path = file.path.expose();
        words::collect(path, words_max, &mut out.words);
        let by_path = inert_path(path);
        let runs = runs(file.diff.expose(), &mut left);
        for line in runs
            .iter()
            .flat_map(|run| run.removed.iter().chain(&run.added))
        {
            words::collect(line, words_max, &mut out.words);
        }
        inert.push(by_path.or_else(|| inert_lines(path, file, &runs)));
        if inert.last().is_some_and(Option::is_none) {
            for run in &runs {
                read_run(run, &file.path, &mut out);
            }
        }
    }
    let whole = change.files_left_out == 0 && !inert.is_empty();
    out.inert = if whole && inert.iter().all(Option::is_some) {
        inert.into_iter().flatten().next()
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
    let code = |line: &&str| !is_comment(path.expose(), line);
    let removed: Vec<&str> = run.removed.iter().copied().filter(code).collect();
    let mut added: Vec<&str> = run.added.iter().copied().filter(code).collect();
    let mut unpaired = Vec::new();
    for old in removed {
        let partner = added
            .iter()
            .position(|new| quantity::shape(old).matches(&quantity::shape(new)))
            .or_else(|| added.iter().position(|new| same_key(old, new)));
        match partner {
            Some(at) => {
                let new = added.remove(at);
                out.edits
                    .extend(compare(old, new, run.above, path.expose(), &shown));
            }
            None => unpaired.push(old),
        }
    }
    let gone = unpaired.len().saturating_sub(added.len());
    if gone > 0 {
        out.removed_lines += gone;
        if let Some(first) = unpaired.first().filter(|_| out.removed_sample.is_empty()) {
            out.removed_sample = Untrusted::new(*first).one_line(SHOWN_CHARS);
        }
    }
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
        let (moved, ratio_ln) = quantity::moved(&before, &after)?;
        let mut words = words::of(old, 100);
        words::collect(above, 100, &mut words);
        return Some(Edit::Knob(Knob {
            name,
            words,
            from: printable(&moved.0),
            to: printable(&moved.1),
            ratio_ln,
            path: shown.to_owned(),
        }));
    }
    if let Some(to) = flipped(old, new) {
        let path = shown.to_owned();
        return Some(Edit::Switch { name, to, path });
    }
    (is_settings(path) && same_key(old, new)).then(|| Edit::Setting {
        name,
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

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending.to_lowercase()
}

fn is_settings(path: &str) -> bool {
    const ENDINGS: [&str; 11] = [
        "yaml",
        "yml",
        "toml",
        "json",
        "ini",
        "env",
        "conf",
        "cfg",
        "properties",
        "tfvars",
        "hcl",
    ];
    ENDINGS.contains(&extension(path).as_str())
}

/// Why a file at this path cannot change what runs.
fn inert_path(path: &str) -> Option<&'static str> {
    let lower = path.to_lowercase();
    let mut parts: Vec<&str> = lower.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    let ending = extension(path);
    let folder = |names: &[&str]| parts.iter().any(|part| names.contains(part));
    let base = name.split('.').next().unwrap_or_default();
    if folder(&["docs", "doc"])
        || matches!(ending.as_str(), "md" | "rst" | "adoc")
        || matches!(
            base,
            "license" | "notice" | "codeowners" | "changelog" | "readme" | "authors"
        )
    {
        return Some("documentation");
    }
    if folder(&[
        "test",
        "tests",
        "testdata",
        "__tests__",
        "fixtures",
        "__snapshots__",
        "e2e",
    ]) || base.ends_with("_test")
        || base.ends_with("_spec")
        || base.starts_with("test_")
        || name.contains(".test.")
        || name.contains(".spec.")
        || ending == "snap"
    {
        return Some("tests");
    }
    if folder(&["dashboards", "grafana"]) && ending.starts_with("json") {
        return Some("dashboards");
    }
    if folder(&[".github", ".circleci", ".gitlab", ".vscode", ".idea"])
        || matches!(
            name,
            ".gitlab-ci.yml" | "jenkinsfile" | ".editorconfig" | ".gitignore"
        )
        || matches!(
            name,
            ".gitattributes" | ".pre-commit-config.yaml" | "renovate.json"
        )
    {
        return Some("build and editor settings");
    }
    None
}

/// Why the changed lines of a file cannot change what runs. A diff that is missing or cut says
/// nothing.
fn inert_lines(path: &str, file: &FileChange, runs: &[Run<'_>]) -> Option<&'static str> {
    let (mut added, mut removed) = (0_u32, 0_u32);
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    let mut comments_only = true;
    for run in runs {
        for (lines, sign) in [(&run.added, 1), (&run.removed, -1)] {
            for line in lines {
                comments_only &= line.trim().is_empty() || is_comment(path, line);
                let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect();
                if !bare.is_empty() {
                    *balance.entry(bare).or_default() += sign;
                }
            }
        }
        added = added.saturating_add(u32::try_from(run.added.len()).unwrap_or(u32::MAX));
        removed = removed.saturating_add(u32::try_from(run.removed.len()).unwrap_or(u32::MAX));
    }
    let whole = file.added == Some(added) && file.removed == Some(removed) && added + removed > 0;
    if !whole {
        return None;
    }
    if comments_only {
        return Some("comments");
    }
    // Order and indentation mean something in some languages; equal lines in equal order elsewhere.
    let only_space = balance.values().all(|n| *n == 0) && !indentation_matters(path);
    let same_order = runs.iter().all(|run| {
        let bare = |lines: &[&str]| -> String {
            let chars = lines.iter().flat_map(|line| line.chars());
            chars.filter(|c| !c.is_whitespace()).collect()
        };
        bare(&run.added) == bare(&run.removed)
    });
    (only_space && same_order).then_some("white space")
}

fn indentation_matters(path: &str) -> bool {
    matches!(
        extension(path).as_str(),
        "py" | "yaml" | "yml" | "haml" | "pug" | "coffee" | "mk" | "nim"
    ) || path.to_lowercase().ends_with("makefile")
}

fn is_comment(path: &str, line: &str) -> bool {
    let line = line.trim();
    let ending = extension(path);
    let hash_is_code = matches!(
        ending.as_str(),
        "c" | "cc" | "cpp" | "h" | "hpp" | "rs" | "cs" | "md" | "css" | "scss" | "js" | "ts"
    );
    let slash_is_comment = !matches!(ending.as_str(), "py" | "yaml" | "yml" | "sh" | "toml");
    (slash_is_comment && (line.starts_with("//") || line.starts_with("/*") || line == "*/"))
        || (line.starts_with('#') && !line.starts_with("#!") && !hash_is_code)
        || (matches!(ending.as_str(), "sql" | "lua" | "hs") && line.starts_with("--"))
        || line.starts_with("<!--")
        || (matches!(ending.as_str(), "ini" | "clj" | "conf") && line.starts_with(';'))
}

/// Whether `later` takes back exactly what `earlier` did, file by file.
pub(super) fn undoes(later: &Change, earlier: &Change, lines_max: usize) -> bool {
    let bare = |change: &Change| change.files_left_out == 0 && !change.files.is_empty();
    bare(later)
        && bare(earlier)
        && lines_of(later, lines_max, true) == lines_of(earlier, lines_max, false)
}

/// By path: the removed and added lines in order, swapped if `inverse`; none if a diff is cut.
fn lines_of(
    change: &Change,
    lines_max: usize,
    inverse: bool,
) -> Option<BTreeMap<&str, (Vec<&str>, Vec<&str>)>> {
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
