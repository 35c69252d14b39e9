//! A change somebody made: a commit of a configured repository.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::untrusted::Untrusted;

/// One file of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileChange {
    /// Path inside the repository.
    pub path: Untrusted,
    /// Lines added; none for a binary file.
    pub added: Option<u32>,
    /// Lines removed; none for a binary file.
    pub removed: Option<u32>,
    /// The bounded unified diff of this file.
    pub diff: Untrusted,
}

/// One commit, as read from Git.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The configured repository's name.
    pub repository: String,
    /// The full object name of the commit.
    pub commit: String,
    /// Its parents; a merge has more than one, a root none.
    pub parents: Vec<String>,
    /// Who wrote it.
    pub author: Untrusted,
    /// Committer time: when it landed on the branch.
    pub at: Timestamp,
    /// The first line of its message.
    pub subject: Untrusted,
    /// The rest of its message, bounded.
    pub body: Untrusted,
    /// What it touched; bounded, see `files_left_out`.
    pub files: Vec<FileChange>,
    /// Files beyond the limit.
    pub files_left_out: u32,
    /// Services this change can reach, from the configured paths of the repository.
    pub services: Vec<String>,
}

impl Change {
    /// The first 10 digits of the object name, as people quote it.
    pub fn short(&self) -> &str {
        self.commit.get(..10).unwrap_or(&self.commit)
    }
}
