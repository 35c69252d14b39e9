//! Reading a unified diff as text: what it removes and adds, wherever the lines stand.

/// One file of a diff.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FileEdit {
    /// The path after it, or before it if the file goes.
    pub(crate) path: String,
    /// Runs of adjacent removed lines.
    pub(crate) removed: Vec<Vec<String>>,
    /// Runs of adjacent added lines.
    pub(crate) added: Vec<Vec<String>>,
}

/// The diff without what moves when other lines of the files change: object names and line numbers.
/// Two diffs that agree in this make the same edit.
pub(crate) fn essence(diff: &str) -> Vec<&str> {
    let mut in_hunk = false;
    let mut out = Vec::new();
    for line in diff.lines() {
        if line.starts_with("diff --git ") {
            in_hunk = false;
        }
        if line.starts_with("@@ ") {
            in_hunk = true;
            continue;
        }
        // Context shows where, not what; it may have changed around the edit.
        let skipped = if in_hunk {
            line.starts_with(' ') || line.is_empty()
        } else {
            line.starts_with("index ")
        };
        if !skipped {
            out.push(line);
        }
    }
    out
}

/// The edits of a diff, file by file.
pub(crate) fn edits(diff: &str) -> Vec<FileEdit> {
    let mut edits: Vec<FileEdit> = Vec::new();
    let (mut in_hunk, mut last) = (false, ' ');
    for line in diff.lines() {
        if line.starts_with("diff --git ") {
            edits.push(FileEdit::default());
            in_hunk = false;
        }
        let Some(edit) = edits.last_mut() else {
            continue;
        };
        if !in_hunk {
            if let Some(path) = line
                .strip_prefix("--- a/")
                .or_else(|| line.strip_prefix("+++ b/"))
            {
                path.clone_into(&mut edit.path);
            }
        } else if let Some(text) = line.strip_prefix('-') {
            run(&mut edit.removed, last == '-', text);
        } else if let Some(text) = line.strip_prefix('+') {
            run(&mut edit.added, last == '+', text);
        }
        in_hunk |= line.starts_with("@@ ");
        last = line.chars().next().filter(|_| in_hunk).unwrap_or(' ');
    }
    edits
}

fn run(runs: &mut Vec<Vec<String>>, goes_on: bool, text: &str) {
    match runs.last_mut().filter(|_| goes_on) {
        Some(run) => run.push(text.to_owned()),
        None => runs.push(vec![text.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@ fn\n a\n-b\n--- c\n+d\n e\n";

    #[test]
    fn the_essence_ignores_where() {
        let moved = DIFF
            .replace("1..2", "3..4")
            .replace("-1,3 +1,3", "-9,3 +9,3")
            .replace(" a\n", " z\n");
        assert_eq!(essence(DIFF), essence(&moved));
        assert_ne!(essence(DIFF), essence(&DIFF.replace("+d", "+f")));
        assert_ne!(essence(DIFF), essence(&DIFF.replace("b/x", "b/y")));
    }

    #[test]
    fn runs_are_read() {
        let edits = edits(DIFF);
        assert_eq!(edits.len(), 1);
        assert_eq!(edits[0].path, "x");
        assert_eq!(edits[0].removed, [["b", "-- c"]]);
        assert_eq!(edits[0].added, [["d"]]);
    }
}
