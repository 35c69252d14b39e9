//! A diff in few lines: file, changed lines and a line around them.

/// What a line of a shortened diff is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The path of the file that follows.
    File,
    /// A line that comes.
    Added,
    /// A line that goes.
    Removed,
    /// A line that stays.
    Same,
    /// Lines were left out here.
    Gap,
}

/// A unified diff without its headers, each change with at most `context` unchanged lines around it.
pub(super) fn short(diff: &str, context: usize) -> Vec<(Part, &str)> {
    let all = read(diff);
    let changed = |i: usize| matches!(all.get(i), Some((Part::Added | Part::Removed, _)));
    let near = |i: usize| (i.saturating_sub(context)..=i + context).any(changed);
    let mut out: Vec<(Part, &str)> = Vec::new();
    let mut skipped = false;
    for (i, (part, line)) in all.iter().enumerate() {
        let keep = match part {
            Part::File | Part::Added | Part::Removed => true,
            Part::Same => near(i),
            Part::Gap => false,
        };
        if !keep {
            skipped = true;
            continue;
        }
        let inside = out.last().is_some_and(|(last, _)| *last != Part::File);
        if skipped && inside && *part != Part::File {
            out.push((Part::Gap, "…"));
        }
        skipped = false;
        out.push((*part, line));
    }
    out
}

/// Each line of a diff that says something, by what it is.
fn read(diff: &str) -> Vec<(Part, &str)> {
    let mut out = Vec::new();
    let mut in_hunk = false;
    let mut gone = "";
    for line in diff.lines() {
        if line.starts_with("diff --git ") {
            in_hunk = false;
        } else if line.starts_with("@@") {
            in_hunk = true;
            out.push((Part::Gap, line));
        } else if in_hunk {
            out.push(match line.as_bytes().first() {
                Some(b'+') => (Part::Added, line),
                Some(b'-') => (Part::Removed, line),
                Some(b'\\') => continue,
                _ => (Part::Same, line),
            });
        } else if let Some(path) = line.strip_prefix("--- ") {
            gone = path.strip_prefix("a/").unwrap_or(path);
        } else if let Some(path) = line.strip_prefix("+++ ") {
            let path = path.strip_prefix("b/").unwrap_or(path);
            out.push((Part::File, if path == "/dev/null" { gone } else { path }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(diff: &str, expect: &str) {
        let lines: Vec<&str> = short(diff, 1).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines.join("\n"), expect);
    }

    #[test]
    fn what_changes_stays_and_headers_go() {
        check(
            "diff --git a/x b/x\nindex 1..2\n--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n a\n b\n-c\n+d\n e\n f\n",
            "x\n b\n-c\n+d\n e",
        );
        check(
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-- a\n+b\n@@ -9 +9 @@\n-- c\n--- d\n+e\n",
            "x\n-- a\n+b\n…\n-- c\n--- d\n+e",
        );
        check(
            "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n\\ No newline\n",
            "x\n-a",
        );
        check("", "");
    }
}
