//! The trace: every call and every misfortune in order. Its digest is always kept, its text only when
//! somebody wants to read it.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

/// What happened, in order.
#[derive(Debug)]
pub(in crate::sim) struct Trace {
    /// Keys are fixed: the same bytes give the same digest in every run.
    digest: DefaultHasher,
    entries: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(in crate::sim) fn new(keeps_lines: bool) -> Self {
        Self {
            digest: DefaultHasher::new(),
            entries: 0,
            lines: keeps_lines.then(Vec::new),
        }
    }

    /// One entry: who does what, about what, and a number that stands for the rest.
    pub(super) fn note(&mut self, now: Duration, who: &str, what: &str, about: &str, value: u64) {
        self.entries += 1;
        self.digest
            .write_u64(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        for text in [who, what, about] {
            self.digest.write(text.as_bytes());
            self.digest.write_u8(0xff);
        }
        self.digest.write_u64(value);
        if let Some(lines) = &mut self.lines {
            let mut line = format!(
                "{:>6} {:>10.3}s {who} {what}",
                self.entries,
                now.as_secs_f64()
            );
            if !about.is_empty() {
                line.push(' ');
                line.push_str(about);
            }
            if value != 0 && write!(line, " #{value:x}").is_err() {
                line.push('#');
            }
            lines.push(line);
        }
    }

    pub(in crate::sim) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(in crate::sim) fn entries(&self) -> u64 {
        self.entries
    }

    pub(in crate::sim) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// A number that stands for `bytes` in a trace.
pub(in crate::sim) fn of_bytes(bytes: &[u8]) -> u64 {
    let mut digest = DefaultHasher::new();
    digest.write(bytes);
    digest.finish()
}
