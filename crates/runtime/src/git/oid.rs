//! Object names.

use std::fmt;

use super::error::GitError;

/// A full object name: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits. Because it can be nothing
/// else, it can stand in a command line without being read as an option, a range or a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(String);

impl Oid {
    /// Reads a full object name; surrounding white space is dropped.
    ///
    /// # Errors
    /// [`GitError::Unreadable`] when it is anything else.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let text = text.trim();
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(GitError::unreadable("an object name", text.as_bytes()))
        }
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 10 digits, as people quote it.
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }

    /// Whether it is all zeros: Git's way to say "no object".
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_names_are_names() {
        let sha1 = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(
            Oid::parse(&format!("{sha1}\n")).unwrap().short(),
            "4b825dc642"
        );
        assert!(Oid::parse(&"0".repeat(64)).unwrap().is_zero());
        let wrong = [
            "",
            "HEAD",
            "-h",
            "4b825dc",
            "4B825DC642CB6EB9A060E54BF8D69288FBEE4904",
            "a..b",
        ];
        for text in wrong {
            assert!(Oid::parse(text).is_err(), "{text:?}");
        }
    }
}
