//! The proposed change: preview, decision, draft. The forge is the only thing that writes.

use incident::approval::BadApproval;
use incident::digest::Digest;
use incident::ports::{Expect, Forge, ForgeError, StoreError};
use incident::proposal::ChangeRequest;
use incident::{ApprovalToken, Classify as _, Decision, Permit, Proposal, Untrusted};
use jiff::Timestamp;
use runtime::Policy;

use super::WorkError;
use super::run::{Run, line};
use crate::config::signed;
use crate::journal::{ChangeState, OpenDraft, Part, keys};
use crate::reporting;

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
    /// Finds out what the change would do and makes it a proposal, or says why there is none.
    pub(super) async fn preview(&mut self) -> Result<(), WorkError> {
        let findings = self.journal().findings.clone();
        let Some(request) = findings.and_then(|findings| findings.culprit) else {
            let why = "no change stands out as the cause".to_owned();
            return self.settle(ChangeState::None { why }, "none").await;
        };
        let Some(forge) = self.o.forge.clone() else {
            let why = format!(
                "no forge is configured, so no draft can be made; to revert by hand: \
                 git revert {} in {}",
                request.commit, request.repository
            );
            return self.settle(ChangeState::Failed { why }, "failed").await;
        };
        if let Some(state) = self.carried_over(forge.as_ref(), &request).await? {
            return self.settle(state, "carried_over").await;
        }
        let proposals_max = self.o.config.approval.proposals_max;
        if self.journal().proposals >= proposals_max {
            let why = format!(
                "the base branch moved under {proposals_max} proposals; to revert by hand: \
                 git revert {} in {}",
                request.commit, request.repository
            );
            return self.settle(ChangeState::Failed { why }, "failed").await;
        }
        self.progress("preview", "asking the forge what the revert would change");
        let cx = self.cx.child(self.share(self.o.config.preview_timeout.0));
        let preview = Policy::READ.run(&cx, self.o.entropy.as_ref(), || {
            forge.preview(&request, &cx)
        });
        match cx.bound(preview).await.unwrap_or(Err(ForgeError::Deadline)) {
            Ok(preview) => self.propose(request, preview).await,
            Err(error) => {
                let why = format!("the draft cannot be made: {}", line(&error));
                self.settle(ChangeState::Failed { why }, "failed").await
            }
        }
    }

    /// The draft that an earlier generation opened for the same request, if it is of use.
    async fn carried_over(
        &self,
        forge: &dyn Forge,
        request: &ChangeRequest,
    ) -> Result<Option<ChangeState>, WorkError> {
        let key = request.key();
        let part = keys::draft(&self.incident.id, &key);
        let Some(open) = self.ledger.reader().read::<OpenDraft>(&part).await? else {
            return Ok(None);
        };
        let cx = self.cx.child(self.share(self.o.config.preview_timeout.0));
        let superseded = cx.bound(forge.is_superseded(&open.draft, &cx)).await;
        Ok(Some(if matches!(superseded, Some(Ok(true))) {
            let why = format!(
                "the draft on {} is on the base branch already or is not needed any more",
                open.draft.branch
            );
            ChangeState::None { why }
        } else {
            ChangeState::Opened {
                digest: open.proposal.digest(),
                request: key,
                checked: false,
            }
        }))
    }

    async fn propose(
        &mut self,
        request: ChangeRequest,
        preview: incident::proposal::Preview,
    ) -> Result<(), WorkError> {
        let case = self.case().await?;
        let kind = request.kind;
        let proposal = reporting::proposal(
            &self.incident,
            &case.diagnosis,
            &case.evidence,
            request,
            preview,
        );
        let needs_approval = self.o.config.approval.needed_for.contains(&kind);
        if needs_approval && self.o.approval_key.is_none() {
            let why = "a revert fits, but nobody can approve it: no approval key is configured"
                .to_owned();
            return self.settle(ChangeState::Failed { why }, "failed").await;
        }
        let digest = proposal.digest();
        self.clear_used_decision(&digest).await?;
        let (id, generation) = (self.journal().incident.clone(), self.journal().generation);
        let part = Part::json(keys::proposal(&id, generation, &digest), &proposal)?;
        let at = self.now();
        self.o.instruments.draft("proposed");
        self.ledger
            .write(vec![part], |journal| {
                journal.proposals += 1;
                journal.change = ChangeState::Proposed {
                    digest,
                    at,
                    needs_approval,
                };
            })
            .await
    }

    async fn settle(&mut self, state: ChangeState, outcome: &'static str) -> Result<(), WorkError> {
        self.o.instruments.draft(outcome);
        self.ledger
            .write(Vec::new(), |journal| journal.change = state)
            .await
    }

    /// The incident is over and nobody has decided: nothing is asked any more.
    pub(super) async fn withdraw(&mut self) -> Result<(), WorkError> {
        let why = match &self.journal().change {
            ChangeState::Proposed { digest, .. } => {
                let proposal = self.proposal(digest).await?;
                format!(
                    "the alerts resolved before anybody decided about reverting {}; the proposal \
                     is withdrawn",
                    short(&proposal.request.commit)
                )
            }
            _ => "the alerts resolved before a change was proposed".to_owned(),
        };
        self.settle(ChangeState::None { why }, "withdrawn").await
    }

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
                    tries: 0,
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
    async fn clear_used_decision(&self, digest: &Digest) -> Result<(), WorkError> {
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

    /// Opens the draft: intent, look, act, record.
    pub(super) async fn open_draft(&mut self) -> Result<(), WorkError> {
        let (digest, token, tries) = match self.journal().change.clone() {
            ChangeState::Opening {
                digest,
                token,
                tries,
            } => (digest, token, tries),
            ChangeState::Proposed { digest, .. } => (digest, None, 0),
            _ => return Ok(()),
        };
        let proposal = self.proposal(&digest).await?;
        let Some(forge) = self.o.forge.clone() else {
            let why = "no forge is configured any more".to_owned();
            return self.settle(ChangeState::Failed { why }, "failed").await;
        };
        let permit = match self.permit(token.as_deref(), &proposal) {
            Ok(permit) => permit,
            Err(state) => return self.settle(state, "failed").await,
        };
        if tries > 0 && !self.may_try_again(forge.as_ref(), &proposal, tries).await {
            let why = format!(
                "the draft could not be opened in {tries} attempts; see whether branch {} exists",
                proposal.request.branch()
            );
            return self.settle(ChangeState::Failed { why }, "failed").await;
        }
        let state = ChangeState::Opening {
            digest: digest.clone(),
            token,
            tries: tries + 1,
        };
        self.ledger
            .write(Vec::new(), |journal| journal.change = state)
            .await?;
        self.progress("draft", "opening the draft pull request");
        let cx = self.cx.child(self.o.config.draft_timeout.0);
        let open = Policy::EFFECT.run(&cx, self.o.entropy.as_ref(), || {
            forge.propose(&proposal, &permit, &cx)
        });
        match cx.bound(open).await.unwrap_or(Err(ForgeError::Deadline)) {
            Ok(draft) => self.record_draft(proposal, draft).await,
            Err(error) => self.record_draft_error(&error, tries + 1).await,
        }
    }

    /// Leave to open the draft, or what becomes of the change without it.
    fn permit(
        &self,
        token: Option<&ApprovalToken>,
        proposal: &Proposal,
    ) -> Result<Permit, ChangeState> {
        let Some(token) = token else {
            let policy = self.o.config.approval.policy();
            return Permit::from_policy(&policy, proposal).ok_or_else(|| ChangeState::Proposed {
                digest: proposal.digest(),
                at: self.now(),
                needs_approval: true,
            });
        };
        let failed = |why: String| ChangeState::Failed { why };
        let key = self.o.approval_key.as_ref().ok_or_else(|| {
            failed("the approval cannot be checked: no approval key is configured".to_owned())
        })?;
        Permit::from_token(key, token, proposal)
            .map_err(|error| failed(format!("the approval does not hold: {error}")))
    }

    /// After an attempt of unknown fate: look first. More tries than the limit only if it got through.
    async fn may_try_again(&self, forge: &dyn Forge, proposal: &Proposal, tries: u32) -> bool {
        let cx = self.cx.child(self.o.config.preview_timeout.0);
        let found = cx.bound(forge.find(&proposal.request, &cx)).await;
        let is_there = matches!(found, Some(Ok(Some(_))));
        if is_there {
            self.progress("draft", "the branch is there from an interrupted attempt");
        }
        is_there || tries < self.o.config.approval.draft_tries_max
    }

    async fn record_draft(
        &mut self,
        proposal: Proposal,
        draft: incident::DraftPr,
    ) -> Result<(), WorkError> {
        let request = proposal.request.key();
        let state = ChangeState::Opened {
            digest: proposal.digest(),
            request: request.clone(),
            checked: false,
        };
        let text = format!("Draft pull request opened on branch {}.", draft.branch);
        self.progress("draft", &text);
        let open = OpenDraft { proposal, draft };
        let part = Part::json(keys::draft(&self.incident.id, &request), &open)?;
        self.o.instruments.draft("opened");
        let (now, moments_max) = (self.now(), self.o.config.moments_max);
        self.ledger
            .write(vec![part], |journal| {
                journal.change = state;
                journal.note(now, text, moments_max);
            })
            .await
    }

    async fn record_draft_error(
        &mut self,
        error: &ForgeError,
        tries: u32,
    ) -> Result<(), WorkError> {
        let why = line(error);
        let temporary = error.kind().is_retryable() || *error == ForgeError::Deadline;
        if let ForgeError::Moved(_) = error {
            self.o.instruments.draft("moved");
            let text = format!("The approval is void: {why}.");
            let (now, moments_max) = (self.now(), self.o.config.moments_max);
            return self
                .ledger
                .write(Vec::new(), |journal| {
                    journal.change = ChangeState::Unknown;
                    journal.note(now, text, moments_max);
                })
                .await;
        }
        if temporary && tries < self.o.config.approval.draft_tries_max {
            return Err(WorkError::Draft(why));
        }
        let why = format!("the draft could not be opened: {why}");
        self.settle(ChangeState::Failed { why }, "failed").await
    }

    /// Says of an open draft whether it is still of use, now that the alerts resolved.
    pub(super) async fn check_draft(&mut self) -> Result<(), WorkError> {
        let Some(open) = self.draft().await? else {
            return self.checked("The draft is not recorded any more.").await;
        };
        let cx = self.cx.child(self.o.config.preview_timeout.0);
        let superseded = match self.o.forge.clone() {
            Some(forge) => cx.bound(forge.is_superseded(&open.draft, &cx)).await,
            None => None,
        };
        let branch = &open.draft.branch;
        let text = match superseded {
            Some(Ok(true)) => format!(
                "The draft on {branch} is not needed any more: its change is on the base branch."
            ),
            Some(Ok(false)) => format!(
                "The alerts resolved while the draft on {branch} is still open: it may be stale. \
                 Merge or close it by hand."
            ),
            Some(Err(_)) | None => format!(
                "The alerts resolved; whether the draft on {branch} is stale could not be checked."
            ),
        };
        self.checked(&text).await
    }

    async fn checked(&mut self, text: &str) -> Result<(), WorkError> {
        let (now, moments_max) = (self.now(), self.o.config.moments_max);
        self.ledger
            .write(Vec::new(), |journal| {
                if let ChangeState::Opened { checked, .. } = &mut journal.change {
                    *checked = true;
                }
                journal.note(now, text, moments_max);
            })
            .await
    }

    /// The proposal part.
    pub(super) async fn proposal(&self, digest: &Digest) -> Result<Proposal, WorkError> {
        let journal = self.journal();
        let key = keys::proposal(&journal.incident, journal.generation, digest);
        self.part(key).await
    }

    /// The draft part of the draft that the journal says is open.
    pub(super) async fn draft(&self) -> Result<Option<OpenDraft>, WorkError> {
        let ChangeState::Opened { request, .. } = &self.journal().change else {
            return Ok(None);
        };
        let key = keys::draft(&self.incident.id, request);
        self.ledger.reader().read(&key).await
    }
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

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
