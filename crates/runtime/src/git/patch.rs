//! Reading what `git diff-tree` prints.
//!
//! Names and numbers come NUL-separated (`-z --raw --numstat`), so that no file name can pretend to
//! be something else. Patch text comes in a second command; in it only a header line can begin with
//! `diff --git `, because every line of content is prefixed. The sections stand in the same order.

use super::error::GitError;

/// One side of a changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Git's file mode, such as `100644`; `000000` if there is no file.
    pub mode: String,
    /// Object name; zeros if there is no file.
    pub object: String,
}

impl Blob {
    /// Whether there is a file.
    pub fn exists(&self) -> bool {
        self.mode != "000000"
    }

    /// Whether it is a symbolic link or a submodule: something that leads elsewhere.
    pub fn leads_elsewhere(&self) -> bool {
        matches!(self.mode.as_str(), "120000" | "160000")
    }
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDelta {
    /// Git's letter: A, D, M, R, C or T.
    pub status: char,
    /// The path before, if it was another.
    pub old_path: Option<Vec<u8>>,
    /// The path.
    pub path: Vec<u8>,
    /// Before.
    pub old: Blob,
    /// After.
    pub new: Blob,
    /// Lines added; none for a binary file.
    pub added: Option<u32>,
    /// Lines removed; none for a binary file.
    pub removed: Option<u32>,
}

impl FileDelta {
    /// The path, with bytes that are no UTF-8 replaced.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// Both paths, where there are two.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let old = self.old_path.iter();
        old.chain([&self.path])
            .map(|path| String::from_utf8_lossy(path).into_owned())
    }
}

/// Reads `git diff-tree -r -z --raw --numstat`.
pub(super) fn parse_deltas(bytes: &[u8]) -> Result<Vec<FileDelta>, GitError> {
    let mut tokens = bytes
        .split(|b| *b == 0)
        .filter(|token| !token.is_empty())
        .peekable();
    let mut deltas = Vec::new();
    let missing = || GitError::unreadable("a list of changed files", b"(too short)");
    while let Some(header) = tokens.next_if(|token| token.first() == Some(&b':')) {
        let mut delta = parse_header(header)?;
        let first = tokens.next().ok_or_else(missing)?.to_vec();
        if matches!(delta.status, 'R' | 'C') {
            delta.old_path = Some(first);
            delta.path = tokens.next().ok_or_else(missing)?.to_vec();
        } else {
            delta.path = first;
        }
        deltas.push(delta);
    }
    for delta in &mut deltas {
        let counts = tokens.next().ok_or_else(missing)?;
        let mut fields = counts.splitn(3, |b| *b == b'\t');
        let mut count = || {
            fields
                .next()
                .and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
        };
        (delta.added, delta.removed) = (count(), count());
        if delta.old_path.is_some() {
            tokens.next().ok_or_else(missing)?;
            tokens.next().ok_or_else(missing)?;
        }
    }
    match tokens.next() {
        Some(rest) => Err(GitError::unreadable(
            "the end of a list of changed files",
            rest,
        )),
        None => Ok(deltas),
    }
}

/// `:100644 100644 <object> <object> M`
fn parse_header(header: &[u8]) -> Result<FileDelta, GitError> {
    let bad = || GitError::unreadable("a changed file", header);
    let text = std::str::from_utf8(header).map_err(|_| bad())?;
    let fields: Vec<&str> = text.trim_start_matches(':').split(' ').collect();
    let [old_mode, new_mode, old, new, status] = fields.as_slice() else {
        return Err(bad());
    };
    let blob = |mode: &str, object: &str| Blob {
        mode: mode.to_owned(),
        object: object.to_owned(),
    };
    Ok(FileDelta {
        status: status.chars().next().ok_or_else(bad)?,
        old_path: None,
        path: Vec::new(),
        old: blob(old_mode, old),
        new: blob(new_mode, new),
        added: None,
        removed: None,
    })
}

/// Takes patch text as it comes and keeps the beginning of each file's section.
#[derive(Debug)]
pub struct Patch {
    sections: Vec<Vec<u8>>,
    line: Vec<u8>,
    at_line_start: bool,
    section_max: usize,
    files_max: usize,
    seen: usize,
    stream_max: usize,
}

/// What a header line begins with.
const HEADER: &[u8] = b"diff --git ";

impl Patch {
    /// Keeps up to `section_max` bytes of each of the first `files_max` files and reads on for up
    /// to `stream_max` bytes in all.
    pub(super) fn new(section_max: usize, files_max: usize, stream_max: usize) -> Self {
        Self {
            sections: Vec::new(),
            line: Vec::new(),
            at_line_start: true,
            section_max,
            files_max,
            seen: 0,
            stream_max,
        }
    }

    /// Takes the next bytes; false once nothing more is wanted.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> bool {
        for byte in chunk {
            if self.at_line_start {
                self.line.push(*byte);
                if self.line.len() < HEADER.len() && HEADER.starts_with(&self.line) {
                    continue;
                }
                if self.line == HEADER {
                    if self.sections.len() == self.files_max {
                        return false;
                    }
                    self.sections.push(Vec::new());
                }
                let held = std::mem::take(&mut self.line);
                self.keep(&held);
                self.at_line_start = *byte == b'\n';
            } else {
                self.keep(&[*byte]);
                self.at_line_start = *byte == b'\n';
            }
        }
        self.seen += chunk.len();
        self.seen <= self.stream_max
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(section) = self.sections.last_mut() {
            let room = (self.section_max + 1)
                .saturating_sub(section.len())
                .min(bytes.len());
            section.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
    }

    /// The sections, in the order of the files; a cut one says so.
    pub(super) fn finish(mut self) -> Vec<String> {
        let held = std::mem::take(&mut self.line);
        self.keep(&held);
        let max = self.section_max;
        let text = |mut section: Vec<u8>| {
            let cut = section.len() > max;
            section.truncate(max);
            let mut text = String::from_utf8_lossy(&section).into_owned();
            if cut {
                text.push_str("\n[cut]\n");
            }
            text
        };
        self.sections.into_iter().map(text).collect()
    }
}

/// Gives each file its section. A file that became another kind of file (T) has two. If the numbers
/// do not fit, as after a cut, the files that are left have none.
pub(super) fn align(deltas: &[FileDelta], sections: Vec<String>) -> Vec<String> {
    let mut sections = sections.into_iter();
    let next = |delta: &FileDelta| {
        let mut text = sections.next().unwrap_or_default();
        if delta.status == 'T' {
            text.push_str(&sections.next().unwrap_or_default());
        }
        text
    };
    deltas.iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sections(text: &str, chunk: usize, max: usize) -> Vec<String> {
        let mut patch = Patch::new(max, 10, 1 << 20);
        for part in text.as_bytes().chunks(chunk) {
            if !patch.feed(part) {
                break;
            }
        }
        patch.finish()
    }

    #[test]
    fn only_a_header_begins_a_section() {
        let text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-diff --git old\n+diff --git new\n diff\ndiff --git a/y b/y\nBinary";
        for chunk in [1, 2, 7, 11, 1000] {
            let found = sections(text, chunk, 1000);
            assert_eq!(found.len(), 2, "{chunk}");
            assert_eq!(found.concat(), text);
        }
        assert_eq!(sections(text, 5, 12)[0], "diff --git a\n[cut]\n");
    }

    #[test]
    fn renames_binaries_and_odd_names_are_read() {
        let zero = "0".repeat(40);
        let one = "1".repeat(40);
        let raw = format!(
            ":100644 100644 {one} {one} R100\0a\tb\0:odd\nname\0:000000 120000 {zero} {one} A\0l\0:100644 000000 {one} {zero} D\0\u{ff}\0"
        );
        let numbers = "0\t0\t\0a\tb\0:odd\nname\0".to_owned() + "1\t0\tl\0" + "-\t-\t\u{ff}\0";
        let deltas = parse_deltas((raw + &numbers).as_bytes()).unwrap();
        assert_eq!(deltas.len(), 3);
        assert_eq!(
            deltas[0].names().collect::<Vec<_>>(),
            ["a\tb", ":odd\nname"]
        );
        assert!(deltas[1].new.leads_elsewhere() && !deltas[1].old.exists());
        assert_eq!((deltas[2].added, deltas[2].removed), (None, None));
        assert!(parse_deltas(b":1 2 3\0x\0").is_err());
        assert!(parse_deltas(b"").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(deltas) = parse_deltas(&bytes) {
                prop_assert!(deltas.len() <= bytes.len());
            }
        }

        #[test]
        fn nothing_is_lost_or_moved(lines in prop::collection::vec("(diff --git |d|diff |[+ -])[a-z]{0,5}", 0..20), chunk in 1usize..30) {
            let text = format!("diff --git z\n{}\n", lines.join("\n"));
            prop_assume!(lines.iter().filter(|l| l.starts_with("diff --git ")).count() < 9);
            prop_assert_eq!(sections(&text, chunk, 10_000).concat(), text);
        }
    }
}
