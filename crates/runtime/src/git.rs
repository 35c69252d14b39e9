//! Running the `git` executable, and the bare mirrors it reads from.
//!
//! For: everything in Nightshift that reads repositories (the git-agent) or pushes a branch (the
//! forge). Git itself does the work: its merge, its diff, its transports.
//!
//! Never: a shell, an argument that could be read as an option, a hook, a credential helper, a
//! prompt, the user's own Git configuration, an unbounded output or a wait past the deadline. What
//! Git prints is [`incident::Untrusted`] until it has been parsed.

mod call;
mod config;
mod error;
mod fetch;
mod landing;
mod mirror;
mod oid;
mod patch;
mod read;
mod repository;
mod run;
pub mod testing;
#[cfg(test)]
mod tests;

pub use call::{Call, Overflow};
pub use config::Config;
pub use error::GitError;
pub use landing::Landing;
pub use mirror::{Fetched, Mirror, Scratch};
pub use oid::Oid;
pub use patch::{Blob, FileDelta, Patch};
pub use read::ReadLimits;
pub use repository::{Author, Credentials, PathRule, Repository, check_all, never_touched};
pub use run::{Git, Output};
