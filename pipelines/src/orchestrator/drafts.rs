//! The draft as an effect of the outbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::digest::Digest;
use incident::ports::{Cx, Forge, ForgeError};
use incident::{ApprovalToken, Classify as _, DraftPr, Permit, Proposal};
use jiff::Timestamp;

use super::WorkError;
use super::instruments::Instruments;
use crate::journal::{ChangeState, Journal, OpenDraft, Part, keys};
use crate::outbox::{Effect, Entry, Outcome, Record, Seen};

/// One draft pull request.
pub(super) struct Draft {
    pub(super) forge: Arc<dyn Forge>,
    pub(super) proposal: Proposal,
    pub(super) permit: Permit,
    /// Of the proposal.
    pub(super) digest: Digest,
    /// A person's leave; none where policy gives it.
    pub(super) token: Option<Box<ApprovalToken>>,
    pub(super) moments_max: usize,
    pub(super) instruments: Instruments,
}

/// Whether the remote may take it later.
pub(super) fn may_pass(error: &ForgeError) -> bool {
    error.kind().is_retryable() || *error == ForgeError::Deadline
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "draft on {}", self.proposal.request.branch())
    }
}

impl Draft {
    fn opening(&self, entry: Entry) -> ChangeState {
        ChangeState::Opening {
            digest: self.digest.clone(),
            token: self.token.clone(),
            entry: Some(Box::new(entry)),
        }
    }

    fn opened(&self, draft: DraftPr, at: Timestamp) -> Result<Record, WorkError> {
        self.instruments.draft("opened");
        let (request, max) = (self.proposal.request.key(), self.moments_max);
        let state = ChangeState::Opened {
            digest: self.digest.clone(),
            request: request.clone(),
            checked: false,
        };
        let text = format!("Draft pull request opened on branch {}.", draft.branch);
        let open = OpenDraft {
            proposal: self.proposal.clone(),
            draft,
        };
        let key = keys::draft(&self.proposal.request.incident, &request);
        Ok(Record {
            parts: vec![Part::json(key, &open)?],
            change: Box::new(move |journal| {
                journal.change = state;
                journal.note(at, text, max);
            }),
        })
    }

    fn failed(&self, error: &ForgeError, why: &str, given_up: bool, entry: Entry) -> Record {
        if let ForgeError::Moved(_) = error {
            self.instruments.draft("moved");
            let (text, max) = (format!("The approval is void: {why}."), self.moments_max);
            return Record::of(move |journal| {
                journal.change = ChangeState::Unknown;
                journal.note(entry.at, text, max);
            });
        }
        if !given_up {
            self.instruments.draft("delayed");
            let state = self.opening(entry);
            return Record::of(move |journal| journal.change = state);
        }
        self.instruments.draft("failed");
        let request = &self.proposal.request;
        let why = if may_pass(error) {
            format!(
                "the draft could not be opened: {why}; that was tried {} times and is given up. See \
                 whether branch {} exists; to revert by hand: git revert {} in {}",
                entry.tries,
                request.branch(),
                request.commit,
                request.repository
            )
        } else {
            format!("the draft could not be opened: {why}")
        };
        Record::of(move |journal| journal.change = ChangeState::Failed { why })
    }
}

#[async_trait]
impl Effect for Draft {
    type Receipt = DraftPr;
    /// The commit that is on its branch.
    type Trace = String;
    type Error = ForgeError;

    async fn look(&self, doubtful: bool, cx: &Cx) -> Result<Seen<DraftPr, String>, ForgeError> {
        if !doubtful {
            return Ok(Seen::Absent);
        }
        let found = self.forge.find(&self.proposal.request, cx).await?;
        Ok(found.map_or(Seen::Absent, Seen::There))
    }

    /// Where the branch is there, the forge finds its draft instead of opening another.
    async fn act(
        &self,
        trace: Option<&String>,
        _maybe_repeat: bool,
        cx: &Cx,
    ) -> Result<DraftPr, ForgeError> {
        if trace.is_some() {
            let text = "the branch is there from an interrupted attempt";
            cx.progress.note("draft", text);
        }
        self.forge.propose(&self.proposal, &self.permit, cx).await
    }

    /// The same proposal is the same branch.
    fn repeats(&self) -> bool {
        false
    }

    fn is_unsure(error: &ForgeError) -> bool {
        may_pass(error)
    }

    fn may_pass(error: &ForgeError) -> bool {
        may_pass(error)
    }

    fn late(&self, _timeout: Duration) -> ForgeError {
        ForgeError::Deadline
    }

    fn intend(&self, journal: &mut Journal, entry: Entry) {
        journal.change = self.opening(entry);
    }

    fn record(
        &self,
        outcome: Outcome<DraftPr, ForgeError>,
        entry: Entry,
    ) -> Result<Record, WorkError> {
        match outcome {
            Outcome::Done { receipt, .. } => self.opened(receipt, entry.at),
            Outcome::Failed {
                error,
                why,
                given_up,
            } => Ok(self.failed(&error, &why, given_up, entry)),
        }
    }
}
