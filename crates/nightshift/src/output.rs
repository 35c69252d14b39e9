//! What the command line prints.
//!
//! `println!` panics when nobody reads any more, as behind `| head`. Here that ends the command in
//! order: nothing is left behind, and nobody is shown a backtrace for having read enough.

use std::fmt::{self, Arguments};
use std::io::{ErrorKind, Write as _};

use anyhow::Result;

/// Nobody reads standard output any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for Closed {}

/// Prints to standard output.
///
/// # Errors
/// [`Closed`], or the disk behind it is full.
pub(crate) fn print(text: Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let printed = out.write_fmt(text).and_then(|()| out.flush());
    printed.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::new(error).context("standard output cannot be written"),
    })
}

/// Prints a line to standard error, if anybody reads it.
pub(crate) fn print_error(text: Arguments<'_>) {
    if writeln!(std::io::stderr(), "{text}").is_err() {
        tracing::trace!("nobody reads standard error");
    }
}

/// `print!`, as a result.
macro_rules! tell {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// `println!`, as a result.
macro_rules! say {
    () => { $crate::output::print(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::output::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// `eprintln!`, without the panic.
macro_rules! complain {
    ($($text:tt)*) => { $crate::output::print_error(format_args!($($text)*)) };
}

pub(crate) use {complain, say, tell};
