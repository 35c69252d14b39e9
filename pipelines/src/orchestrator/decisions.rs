//! Decisions: a person's word about the proposal, looked at once.

use incident::approval::BadApproval;
use incident::digest::Digest;
use incident::ports::{Expect, StoreError};
use incident::{ApprovalToken, Decision, Untrusted};
use jiff::Timestamp;
use runtime::Policy;

use super::WorkError;
use super::run::Run;
use crate::config::signed;
use crate::journal::{ChangeState, Journal, Part, Reader, keys};

/// Decisions whose outcome is remembered for an answer in the same words.
const DECISIONS_KEPT: usize = 64;

/// What a decision comes to.
enum Judged {
    /// Open the draft.
    Approved,
    /// Do not.
    Rejected,
    /// The token is no good.
    Refused(String),
}

impl Run<'_> {
    /// Adds a decision to the journal; returns what it came to.
    pub(super) async fn decide(&mut self, nonce: &str) -> Result<Option<String>, WorkError> {
        if let Some(outcome) = self.journal().decisions.get(nonce) {
            return Ok(Some(outcome.clone()));
        }
        let journal = self.journal();
        let ChangeState::Proposed {
            digest,
            needs_approval: true,
            ..
        } = journal.change.clone()
        else {
            return Ok(Some(
                "the decision has no effect: no proposal waits for one".to_owned(),
            ));
        };
        if journal.closing.is_some() {
            let text = "the decision has no effect: the incident is closed";
            return Ok(Some(text.to_owned()));
        }
        let key = incident::keys::decision(&self.incident.id, digest.short(16));
        let Some(found) = self.ledger.reader().raw(&key).await? else {
            let text = "the decision has no effect: it is not about the proposal as it is now";
            return Ok(Some(text.to_owned()));
        };
        let judged = match serde_json::from_slice::<ApprovalToken>(&found.value) {
            Err(_) => (None, Judged::Refused("it cannot be read".to_owned())),
            Ok(token) if token.approval.nonce != nonce => {
                let text = "the decision has no effect: another one came first";
                return Ok(Some(text.to_owned()));
            }
            Ok(token) => {
                let judged = self.judge(&token, &digest).await?;
                (Some(token), judged)
            }
        };
        if matches!(judged.1, Judged::Refused(_)) {
            // Before it is recorded: a crash in between must not leave the place taken by a token
            // that will never count, for then nobody could decide. A token that counts stays, so
            // that the hook can say so to whoever sends it again.
            self.free_place(&key, found.version).await?;
        }
        Ok(Some(self.record_decision(nonce, digest, judged).await?))
    }

    /// Decides by what lies in the place of the proposal already. A decision can come before its
    /// proposal: the incident opened again, and somebody answered to the earlier generation's report,
    /// which proposes the very same diff. The hook takes one decision for a diff, so that one counts,
    /// or nobody could ever decide. Whether there was one.
    pub(super) async fn take_up_decision(&mut self) -> Result<bool, WorkError> {
        let waiting = waiting_decision(self.ledger.reader(), self.journal()).await?;
        let Some(token) = waiting else {
            return Ok(false);
        };
        let before = self.journal().writes;
        self.decide(&token.approval.nonce).await?;
        Ok(self.journal().writes != before)
    }

    async fn judge(&self, token: &ApprovalToken, digest: &Digest) -> Result<Judged, WorkError> {
        let Some(key) = &self.o.approval_key else {
            let why = "no approval key is configured here".to_owned();
            return Ok(Judged::Refused(why));
        };
        let now = self.now();
        match key.verify(token, now) {
            Ok(()) => {}
            // It was checked when it came in; waiting in a queue does not make it worse, to a point.
            Err(BadApproval::Expired(at)) if self.is_in_time(at, now) => {}
            Err(error) => return Ok(Judged::Refused(error.to_string())),
        }
        let used = keys::nonce(&self.incident.id, &token.approval.nonce);
        if self.ledger.reader().raw(&used).await?.is_some() {
            let why = "its token was used before; ask for a new one".to_owned();
            return Ok(Judged::Refused(why));
        }
        if token.approval.proposal != *digest || token.approval.incident != self.incident.id {
            let error = BadApproval::OtherProposal {
                token: token.approval.proposal.short(12).to_owned(),
                current: digest.short(12).to_owned(),
            };
            return Ok(Judged::Refused(error.to_string()));
        }
        Ok(match token.approval.decision {
            Decision::Approve => Judged::Approved,
            Decision::Reject => Judged::Rejected,
        })
    }

    fn is_in_time(&self, expired_at: Timestamp, now: Timestamp) -> bool {
        let late = signed(self.o.config.approval.late_max);
        expired_at.checked_add(late).is_ok_and(|last| now <= last)
    }

    /// Records the decision and its nonce at once, so that the token is good once.
    async fn record_decision(
        &mut self,
        nonce: &str,
        digest: Digest,
        (token, judged): (Option<ApprovalToken>, Judged),
    ) -> Result<String, WorkError> {
        let by = token.as_ref().map_or_else(|| "somebody".to_owned(), person);
        let (outcome, state) = match judged {
            Judged::Approved => {
                let state = ChangeState::Opening {
                    digest,
                    token: token.map(Box::new),
                    entry: None,
                };
                (format!("{by} approved the draft"), Some(state))
            }
            Judged::Rejected => {
                self.o.instruments.draft("rejected");
                let outcome = format!("{by} rejected the draft");
                (outcome, Some(ChangeState::Rejected { digest, by }))
            }
            Judged::Refused(why) => {
                let why = Untrusted::new(why).one_line(200);
                (format!("a decision of {by} was refused: {why}"), None)
            }
        };
        self.progress("decide", &outcome);
        let mut parts = Vec::new();
        if state.is_some() {
            let used = keys::nonce(&self.incident.id, nonce);
            parts.push(Part::json(used, &self.journal().generation)?.once());
        }
        let (now, config) = (self.now(), &self.o.config);
        let (moments_max, refusals_max) = (config.moments_max, config.approval.refusals_max);
        let (nonce, text) = (nonce.to_owned(), outcome.clone());
        self.ledger
            .write(parts, |journal| {
                match state {
                    Some(state) => journal.change = state,
                    None => journal.refusals = (journal.refusals + 1).min(refusals_max),
                }
                if journal.decisions.len() < DECISIONS_KEPT {
                    journal.decisions.insert(nonce, text.clone());
                }
                journal.note(now, sentence(&text), moments_max);
            })
            .await?;
        Ok(outcome)
    }

    /// Removes the decision at `key`, if it is still the one that was looked at.
    async fn free_place(&self, key: &str, version: u64) -> Result<(), WorkError> {
        let reader = self.ledger.reader();
        // A conflict says that it is gone (an answer was lost) or another one: not ours to remove.
        let remove = async || match reader.store.delete(key, Expect::Version(version)).await {
            Err(StoreError::Conflict { .. }) => Ok(false),
            other => other,
        };
        Policy::BACKEND
            .run(self.cx, self.o.entropy.as_ref(), remove)
            .await?;
        Ok(())
    }

    /// Removes a decision that was used and left behind, for instance by an earlier generation that
    /// made the same proposal: in its place nobody could decide anew.
    pub(super) async fn clear_used_decision(&self, digest: &Digest) -> Result<(), WorkError> {
        let key = incident::keys::decision(&self.incident.id, digest.short(16));
        let reader = self.ledger.reader();
        let Some(found) = reader.raw(&key).await? else {
            return Ok(());
        };
        let used = match serde_json::from_slice::<ApprovalToken>(&found.value) {
            Err(_) => true,
            Ok(token) => {
                let used = keys::nonce(&self.incident.id, &token.approval.nonce);
                reader.raw(&used).await?.is_some()
            }
        };
        if used {
            self.free_place(&key, found.version).await?;
        }
        Ok(())
    }
}

/// The decision that lies in the place of the proposal that waits for one.
pub(super) async fn waiting_decision(
    reader: &Reader,
    journal: &Journal,
) -> Result<Option<ApprovalToken>, WorkError> {
    let ChangeState::Proposed {
        digest,
        needs_approval: true,
        ..
    } = &journal.change
    else {
        return Ok(None);
    };
    let key = incident::keys::decision(&journal.incident, digest.short(16));
    let found = reader.raw(&key).await?;
    // What cannot be read was put there by nobody who waits for an answer.
    Ok(found.and_then(|found| serde_json::from_slice(&found.value).ok()))
}

fn person(token: &ApprovalToken) -> String {
    Untrusted::new(token.approval.person.clone()).one_line(80)
}

/// As a sentence of the timeline.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}
