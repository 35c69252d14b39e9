//! One command line of Git, put together so that no value can be read as an option.

use std::ffi::OsString;
use std::path::Path;

use super::oid::Oid;

/// What to do when a command writes more than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is an error.
    Fail,
    /// Stop the command and keep what came so far.
    Cut,
}

/// A Git command. Flags are written in the source; values stand behind `--flag=`, behind `--`, or
/// are object names. There is no way to add a bare value from outside.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) name: &'static str,
    pub(super) args: Vec<OsString>,
    pub(super) operands: Vec<OsString>,
    pub(super) stdin: Vec<u8>,
    pub(super) env: Vec<(&'static str, OsString)>,
    pub(super) output_max: Option<usize>,
    pub(super) overflow: Overflow,
    pub(super) answers: &'static [i32],
}

impl Call {
    /// `git <name>`.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            args: Vec::new(),
            operands: Vec::new(),
            stdin: Vec::new(),
            env: Vec::new(),
            output_max: None,
            overflow: Overflow::Fail,
            answers: &[0],
        }
    }

    /// Adds flags as they stand in the source.
    #[must_use]
    pub fn flags(mut self, flags: &[&'static str]) -> Self {
        self.args.extend(flags.iter().map(OsString::from));
        self
    }

    /// Adds `flag` and `value` as one argument; `flag` ends in `=`.
    #[must_use]
    pub fn option(mut self, flag: &'static str, value: impl std::fmt::Display) -> Self {
        self.args.push(format!("{flag}{value}").into());
        self
    }

    /// Adds an object name.
    #[must_use]
    pub fn oid(mut self, oid: &Oid) -> Self {
        self.args.push(oid.as_str().into());
        self
    }

    /// Adds `<oid><suffix>`, such as `^{tree}`.
    #[must_use]
    pub fn oid_with(mut self, oid: &Oid, suffix: &'static str) -> Self {
        self.args.push(format!("{oid}{suffix}").into());
        self
    }

    /// Adds something after `--`: a path, a remote, a refspec.
    #[must_use]
    pub fn operand(mut self, operand: impl Into<OsString>) -> Self {
        self.operands.push(operand.into());
        self
    }

    /// What the command reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets an environment variable of the command.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// New objects go to `scratch`; those of `mirror` can be read. Nothing is left in the mirror.
    #[must_use]
    pub fn scratch(self, scratch: &Path, mirror: &Path) -> Self {
        self.env("GIT_OBJECT_DIRECTORY", scratch)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", mirror.join("objects"))
    }

    /// Keeps at most `bytes` of what it writes.
    #[must_use]
    pub fn output_max(mut self, bytes: usize, overflow: Overflow) -> Self {
        self.output_max = Some(bytes);
        self.overflow = overflow;
        self
    }

    /// The exit codes that are answers, not failures.
    #[must_use]
    pub fn answers(mut self, codes: &'static [i32]) -> Self {
        self.answers = codes;
        self
    }
}
