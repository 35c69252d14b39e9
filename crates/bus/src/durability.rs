//! Whether the servers behind a bus keep what its configuration asks for.

/// How well one point is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As asked for.
    Good,
    /// Something can be lost, or stop, in a case that the text names.
    Warning,
    /// What is asked for is not kept.
    Bad,
}

/// One point, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How well it is kept.
    pub grade: Grade,
    /// What was found and, unless it is good, the remedy.
    pub text: String,
}

impl Finding {
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self {
            grade: Grade::Good,
            text: text.into(),
        }
    }

    pub(crate) fn warning(text: impl Into<String>) -> Self {
        Self {
            grade: Grade::Warning,
            text: text.into(),
        }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self {
            grade: Grade::Bad,
            text: text.into(),
        }
    }
}
