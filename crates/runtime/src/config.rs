//! Configuration: one TOML file, an overlay from the environment, every problem at once.
//!
//! A room declares its section as a plain struct (serde with `default` and `deny_unknown_fields`,
//! `JsonSchema` for the documentation) and implements [`Section`] to check what types cannot say.
//! The binary puts the sections together and calls [`load`].

mod files;
mod load;
mod values;

pub use files::{SecretFileError, read_secret, write_private};
pub use load::{Env, MapEnv, ProcessEnv, Source, load, load_and};
pub use values::{ByteSize, Secret, Span};

/// Something wrong with the configuration, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Dotted path of the field, such as `hook.listen`.
    pub path: String,
    /// What is wrong, naming the value.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Where it stands: `file:line`, or the environment variable. Filled in by [`load`].
    pub place: Option<String>,
}

impl Problem {
    /// A problem at `path`.
    pub fn new(
        path: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
            remedy: remedy.into(),
            place: None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}. {}", self.what, self.remedy)
    }
}

/// A part of the configuration that can say what is wrong with it.
pub trait Section {
    /// Adds a problem for everything that cannot work; `path` is where this section stands.
    fn check(&self, path: &str, problems: &mut Vec<Problem>);
}
