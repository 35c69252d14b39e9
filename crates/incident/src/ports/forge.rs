//! The Forge port: the only way Nightshift writes anything outside of itself that lasts.

use std::fmt;

use async_trait::async_trait;

use super::cx::Cx;
use crate::approval::Permit;
use crate::digest::Digest;
use crate::error::{Classify, Code, Kind};
use crate::proposal::{ChangeRequest, DraftPr, Preview, Proposal};

/// Why a draft could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// No repository of that name is configured.
    #[error("repository {0:?} is not configured; add it under [[repositories]]")]
    UnknownRepository(String),
    /// The change cannot be made as asked: the revert conflicts, is empty, or breaks a limit.
    #[error("the change cannot be made: {0}")]
    Unfit(String),
    /// The permit is for another proposal.
    #[error("the permit does not cover this proposal")]
    NotPermitted,
    /// The base branch or the diff moved since the person looked.
    #[error("{0}; the proposal must be made and approved anew")]
    Moved(String),
    /// A branch of that name holds something that is not ours.
    #[error("branch {branch} exists with other content ({found})")]
    Taken {
        /// The branch.
        branch: String,
        /// What it holds.
        found: String,
    },
    /// The remote refuses.
    #[error("the remote refused: {0}")]
    Refused(String),
    /// The remote cannot be reached.
    #[error("the remote is unavailable: {0}")]
    Unavailable(String),
    /// The deadline passed or the work was called off.
    #[error("the forge did not finish in time")]
    Deadline,
}

impl Classify for ForgeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unavailable(_) => Kind::Transient,
            Self::Deadline => Kind::Exhausted,
            _ => Kind::Permanent,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::UnknownRepository(_) => Code("E-FORGE-001"),
            Self::Unfit(_) => Code("E-FORGE-002"),
            Self::NotPermitted => Code("E-FORGE-003"),
            Self::Moved(_) => Code("E-FORGE-004"),
            Self::Taken { .. } => Code("E-FORGE-005"),
            Self::Refused(_) => Code("E-FORGE-006"),
            Self::Unavailable(_) => Code("E-FORGE-007"),
            Self::Deadline => Code("E-FORGE-008"),
        }
    }
}

/// Draft pull requests and nothing else. There is no method that merges, force-pushes, deletes or
/// touches the base branch, and no implementation may have one.
///
/// Contract:
/// - `preview` has no outside effect.
/// - The same proposal twice gives the same branch and the same draft; `propose` looks before it acts.
/// - `propose` refuses a permit that does not cover the proposal, and a base whose content would
///   change the diff that was approved.
#[async_trait]
pub trait Forge: Send + Sync + fmt::Debug {
    /// What the change would do to the files.
    async fn preview(&self, request: &ChangeRequest, cx: &Cx) -> Result<Preview, ForgeError>;
    /// The commit on the draft's branch, if it exists.
    async fn find(&self, request: &ChangeRequest, cx: &Cx) -> Result<Option<String>, ForgeError>;
    /// Opens the draft, or finds it open.
    async fn propose(
        &self,
        proposal: &Proposal,
        permit: &Permit,
        cx: &Cx,
    ) -> Result<DraftPr, ForgeError>;
    /// Whether the change is no longer needed on the base branch: someone merged or reverted it.
    async fn is_superseded(&self, draft: &DraftPr, cx: &Cx) -> Result<bool, ForgeError>;
    /// The name of an implementation's key space, for journals: a digest of remote and kind.
    fn identity(&self) -> Digest;
}
