//! Draft changes: the only lasting thing Nightshift writes outside of itself.
//!
//! For: turning a culprit commit into a revert on a branch of its own, which a person may merge.
//! Plain Git is the first forge: the draft is the branch plus the record ([`incident::DraftPr`]).
//!
//! Never: a push to the base branch, a forced update, a deletion, a tag, a merge, a second branch
//! for the same request. [`BranchName`] cannot express them, the [`guard`] refuses them on the
//! server's side, and a test tries each of them.
#![forbid(unsafe_code)]

mod branch;
mod config;
mod doctor;
mod fitness;
pub mod guard;
mod message;
mod patch;
mod plain;
mod push;
mod revert;
mod superseded;

pub use branch::BranchName;
pub use config::Config;
pub use doctor::{BaseProtection, Finding};
pub use guard::{Bot, Guard, GuardError, hook_script, install_guard};
pub use plain::PlainGit;

#[cfg(test)]
mod tests;
