//! A concrete change to files in Git, and the draft pull request it becomes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::evidence::EvidenceId;
use crate::ids::IncidentId;

/// What kind of change is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// `git revert` of one culprit commit.
    Revert,
}

impl ChangeKind {
    /// The part of the branch name that says the kind.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Revert => "revert",
        }
    }
}

/// What to change, before a forge has looked at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// The incident it is for.
    pub incident: IncidentId,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The configured repository's name.
    pub repository: String,
    /// The commit to revert, full object name.
    pub commit: String,
}

impl ChangeRequest {
    /// Idempotency key: the same request has the same key, branch and draft.
    pub fn key(&self) -> Digest {
        let fields = [
            self.incident.as_str(),
            self.kind.slug(),
            &self.repository,
            &self.commit,
        ];
        Digest::of_fields("change/1", fields)
    }

    /// `agent/<incident>/<kind>-<hash8>`.
    pub fn branch(&self) -> String {
        format!(
            "agent/{}/{}-{}",
            self.incident,
            self.kind.slug(),
            self.key().short(8)
        )
    }
}

/// What a forge found out about a request without any outside effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The base branch's name.
    pub base: String,
    /// The base commit the diff was made against, full object name.
    pub base_commit: String,
    /// The whole diff, exactly as it will be committed.
    pub diff: String,
    /// Paths it touches.
    pub files: Vec<String>,
    /// Lines added plus lines removed.
    pub lines: u32,
}

/// A change ready to be shown to a person: everything the draft will say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What to change.
    pub request: ChangeRequest,
    /// What it does to the files.
    pub preview: Preview,
    /// Title of the draft, one printable line.
    pub title: String,
    /// Body of the draft, Markdown.
    pub body: String,
    /// The facts it rests on.
    pub evidence: Vec<EvidenceId>,
    /// What can go wrong if it is merged.
    pub risk: String,
    /// How to take it back.
    pub undo: String,
}

impl Proposal {
    /// What an approval is bound to: request, base commit and the diff's every byte.
    pub fn digest(&self) -> Digest {
        let key = self.request.key();
        let preview = &self.preview;
        let fields = [
            key.as_str(),
            &preview.base,
            &preview.base_commit,
            &preview.diff,
        ];
        Digest::of_fields("proposal/1", fields)
    }
}

/// Where a draft stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DraftState {
    /// Open as a draft. Nightshift cannot move it on from here: merging is a person's act.
    Draft,
}

/// The draft pull request, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftPr {
    /// Idempotency key of the request.
    pub key: Digest,
    /// The configured repository's name.
    pub repository: String,
    /// The branch that carries the change.
    pub branch: String,
    /// The base branch a person may merge it into.
    pub base: String,
    /// The commit on the branch, full object name.
    pub commit: String,
    /// Title.
    pub title: String,
    /// Body, Markdown.
    pub body: String,
    /// The diff.
    pub diff: String,
    /// Draft, always.
    pub state: DraftState,
    /// Where a person sees it, if the forge has pages.
    pub url: Option<String>,
    /// Who approved it; none where policy needs no approval.
    pub approved_by: Option<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
}
