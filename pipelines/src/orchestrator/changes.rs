//! The proposed change: preview, proposal, draft. The forge is the only thing that writes.

use incident::digest::Digest;
use incident::ports::{Forge, ForgeError};
use incident::proposal::ChangeRequest;
use incident::{ApprovalToken, Classify as _, Permit, Proposal};
use jiff::Timestamp;
use runtime::Policy;

use super::WorkError;
use super::drafts::{Draft, may_pass};
use super::run::Run;
use crate::journal::{ChangeState, OpenDraft, Part, keys};
use crate::outbox::{Errand, Turn};
use crate::reporting;
use crate::time::line;

/// Drafts of one incident that are looked at: one for each change that was ever proposed.
const DRAFTS_MAX: usize = 64;

impl Run<'_> {
    /// Finds out what the change would do and makes it a proposal, or says why there is none.
    pub(super) async fn preview(&mut self) -> Result<(), WorkError> {
        let findings = self.journal().findings.clone();
        let Some(request) = findings.and_then(|findings| findings.culprit) else {
            let why = "no change stands out as the cause".to_owned();
            return self.settle_without(why, "none").await;
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
            Err(error) => self.not_previewed(&request, &error).await,
        }
    }

    /// What may pass is asked again later; a report goes out meanwhile.
    async fn not_previewed(
        &mut self,
        request: &ChangeRequest,
        error: &ForgeError,
    ) -> Result<(), WorkError> {
        let tries = match &self.journal().change {
            ChangeState::Delayed { tries, .. } => tries.saturating_add(1),
            _ => 1,
        };
        let why = line(error);
        if !may_pass(error) {
            let why = format!("the draft cannot be made: {why}");
            return self.settle(ChangeState::Failed { why }, "failed").await;
        }
        let config = &self.o.config;
        if tries >= config.approval.draft_tries_max {
            let why = format!(
                "the draft cannot be made: {why}; that was tried {tries} times and is given up. To \
                 revert by hand: git revert {} in {}",
                request.commit, request.repository
            );
            return self.settle(ChangeState::Failed { why }, "failed").await;
        }
        let patience = config.patience(config.preview_timeout);
        let wait = patience.wait(tries, error.kind(), false, self.o.entropy.as_ref());
        let retry_at = self.now().checked_add(wait).unwrap_or(Timestamp::MAX);
        let state = ChangeState::Delayed {
            why,
            tries,
            retry_at,
        };
        self.settle(state, "delayed").await
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
        self.settle_without(why, "withdrawn").await
    }

    /// There is no change, unless a draft of an earlier generation is open: then that one is.
    async fn settle_without(
        &mut self,
        why: String,
        outcome: &'static str,
    ) -> Result<(), WorkError> {
        let (id, reader) = (&self.incident.id, self.ledger.reader());
        let drafts: Vec<OpenDraft> = reader.list(&keys::drafts(id), DRAFTS_MAX).await?;
        let newest = drafts.into_iter().max_by_key(|open| open.draft.opened_at);
        match newest {
            None => self.settle(ChangeState::None { why }, outcome).await,
            Some(open) => {
                let state = ChangeState::Opened {
                    digest: open.proposal.digest(),
                    request: open.proposal.request.key(),
                    checked: false,
                };
                self.settle(state, "carried_over").await
            }
        }
    }

    /// Opens the draft, through the outbox.
    pub(super) async fn open_draft(&mut self) -> Result<(), WorkError> {
        let (digest, token, entry) = match self.journal().change.clone() {
            ChangeState::Opening {
                digest,
                token,
                entry,
            } => (digest, token, entry),
            ChangeState::Proposed { digest, .. } => (digest, None, None),
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
        self.progress("draft", "opening the draft pull request");
        let tries_max = self.o.config.approval.draft_tries_max;
        let key = proposal.request.key();
        let errand = Errand {
            turn: Turn::next(entry.as_deref(), key, tries_max, self.now()),
            effect: Draft {
                forge,
                permit,
                digest,
                token,
                proposal,
                moments_max: self.o.config.moments_max,
                instruments: self.o.instruments.clone(),
            },
        };
        let timeout = self.o.config.draft_timeout;
        self.carry_out(vec![errand], timeout).await?;
        if let ChangeState::Opened { .. } = &self.journal().change {
            self.progress("draft", "the draft pull request is open");
        }
        Ok(())
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

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
