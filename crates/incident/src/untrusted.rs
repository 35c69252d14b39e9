//! Text from outside: alerts, logs, commit messages, tool and model output.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text that somebody outside wrote. It may be shown (escaped by a renderer) and matched against;
/// it never becomes an instruction, a path, a query or a mention.
///
/// There is no `Display` on purpose: whoever wants the bytes has to write [`Untrusted::expose`], and
/// whoever wants a line for a person takes [`Untrusted::one_line`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted(String);

impl Untrusted {
    /// Marks `text` as coming from outside.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The bytes as they came. Only for comparing, hashing and escaping renderers.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One printable line of at most `chars` characters: control, bidirectional and zero-width
    /// characters become spaces or vanish, runs of white space fold, a cut ends in `…`.
    pub fn one_line(&self, chars: usize) -> String {
        fold(&self.0, chars, false)
    }

    /// Like [`Untrusted::one_line`] but keeps line breaks.
    pub fn excerpt(&self, chars: usize) -> String {
        fold(&self.0, chars, true)
    }

    /// Text whose white space matters, such as a diff: line breaks, spaces and tabs stay, other
    /// control and deceptive characters vanish; at most `chars` characters, a cut ends in `…`.
    pub fn block(&self, chars: usize) -> String {
        let kept = |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || is_deceptive(*c));
        let mut out: String = self.0.chars().filter(kept).take(chars).collect();
        if self.0.chars().filter(kept).nth(chars).is_some() {
            out.push('…');
        }
        out
    }
}

/// Characters that can reorder, hide or forge what a reader sees.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn fold(text: &str, chars: usize, keep_lines: bool) -> String {
    let mut out = String::with_capacity(text.len().min(chars * 4));
    let mut count = 0;
    let mut pending: Option<char> = None;
    for c in text.chars().filter(|c| !is_deceptive(*c)) {
        if c == '\n' && keep_lines {
            pending = Some('\n');
            continue;
        }
        if c.is_whitespace() || c.is_control() {
            pending = pending.or(Some(' '));
            continue;
        }
        let gap = pending.take().filter(|_| !out.is_empty());
        if count + 1 + usize::from(gap.is_some()) > chars {
            out.push('…');
            return out;
        }
        if let Some(gap) = gap {
            out.push(gap);
            count += 1;
        }
        out.push(c);
        count += 1;
    }
    out
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Untrusted({:?})", self.one_line(120))
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Untrusted {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, chars: usize, expect: &str) {
        assert_eq!(Untrusted::new(input).one_line(chars), expect);
    }

    #[test]
    fn a_block_keeps_its_white_space() {
        let diff = Untrusted::new("@@ -1 +1 @@\n [a]\r\n-\tx\u{1b}[31m\u{202e}\n\n+y\n");
        assert_eq!(diff.block(80), "@@ -1 +1 @@\n [a]\n-\tx[31m\n\n+y\n");
        assert_eq!(diff.block(3), "@@ …");
    }

    #[test]
    fn a_line_is_printable_and_bounded() {
        check("plain", 10, "plain");
        check("two\nlines\t here", 40, "two lines here");
        check("\u{1b}[31mred", 40, "[31mred");
        check("a\u{202e}b\u{200b}c", 40, "abc");
        check("abcdefgh", 4, "abcd…");
        check("  lead and trail  ", 40, "lead and trail");
    }
}
