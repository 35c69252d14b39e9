//! The plain-Git forge: a draft is a branch in the remote and a record in our store.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use incident::approval::Permit;
use incident::digest::Digest;
use incident::error::Classify as _;
use incident::ports::{Clock, Cx, Forge, ForgeError};
use incident::proposal::{ChangeRequest, DraftPr, DraftState, Preview, Proposal};
use jiff::Timestamp;
use runtime::git::{Call, GitError, Mirror, Oid, Repository};

use crate::branch::BranchName;
use crate::config::Config;
use crate::patch::essence;
use crate::revert::{Revert, revert, shown, signed};
use crate::{fitness, message, push, superseded};

/// The latest time a commit is given: some tools read no later one (end of 2099).
const DATE_MAX_S: i64 = 4_102_444_799;

/// Draft changes as branches of plain Git repositories.
///
/// The commit on a draft's branch stands on the base commit that the person saw, and everything in it
/// (message, author, date) comes from the proposal and the permit. So the same proposal gives the same
/// commit, byte for byte, whoever makes it and however often: a retry after a crash recognises its own
/// work, and two instances cannot disagree.
#[derive(Debug)]
pub struct PlainGit {
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) config: Config,
    clock: Arc<dyn Clock>,
}

impl PlainGit {
    /// A forge for `repositories`, with mirrors under `data_dir`.
    pub fn new(
        repositories: Vec<Repository>,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        let mirror = |repository| Mirror::new(repository, data_dir, config.git.clone());
        Self {
            mirrors: repositories.into_iter().map(mirror).collect(),
            config,
            clock,
        }
    }

    fn mirror(&self, name: &str) -> Result<&Mirror, ForgeError> {
        let mut mirrors = self.mirrors.iter();
        let found = mirrors.find(|mirror| mirror.repository().name == name);
        found.ok_or_else(|| ForgeError::UnknownRepository(name.to_owned()))
    }

    /// The culprit, if it is on the base branch.
    async fn culprit(
        &self,
        mirror: &Mirror,
        request: &ChangeRequest,
        base: &Oid,
        cx: &Cx,
    ) -> Result<Oid, ForgeError> {
        let commit = Oid::parse(&request.commit)
            .map_err(|_| ForgeError::Unfit("the commit is not a full object name".to_owned()))?;
        let there = mirror.has_commit(&commit, cx).await.map_err(failed)?
            && mirror
                .is_ancestor(&commit, base, cx)
                .await
                .map_err(failed)?;
        if there {
            Ok(commit)
        } else {
            let (short, base) = (commit.short(), &mirror.repository().base);
            Err(ForgeError::Unfit(format!(
                "commit {short} is not on branch {base}"
            )))
        }
    }

    /// The revert that was approved, made anew on the base commit the person saw and compared with
    /// what they saw, byte for byte.
    async fn approved(
        &self,
        mirror: &Mirror,
        proposal: &Proposal,
        cx: &Cx,
    ) -> Result<(Oid, Revert), ForgeError> {
        let moved = |why: &str| Err(ForgeError::Moved(why.to_owned()));
        let Ok(base) = Oid::parse(&proposal.preview.base_commit) else {
            return moved("the proposal's base is not a commit");
        };
        if proposal.preview.base != mirror.repository().base {
            return moved("another base branch is configured now");
        }
        if !mirror.has_commit(&base, cx).await.map_err(failed)? {
            return moved("the base branch was rewritten");
        }
        let commit = self.culprit(mirror, &proposal.request, &base, cx).await?;
        let limit = self.config.diff_max.get();
        let revert = revert(mirror, (&commit, &base), None, limit, cx).await?;
        if revert.diff != proposal.preview.diff {
            return moved("the diff is not the one that was shown");
        }
        fitness::check(mirror, &revert, None, &self.config, cx).await?;
        Ok((base, revert))
    }

    /// Refuses if the base branch has moved so that the revert would now be another one.
    async fn still_fits(
        &self,
        mirror: &Mirror,
        proposal: &Proposal,
        (base, tip): (&Oid, &Oid),
        cx: &Cx,
    ) -> Result<(), ForgeError> {
        if base == tip {
            return Ok(());
        }
        if !mirror.is_ancestor(base, tip, cx).await.map_err(failed)? {
            return Err(ForgeError::Moved(
                "the base branch was rewritten".to_owned(),
            ));
        }
        let commit = Oid::parse(&proposal.request.commit).map_err(failed)?;
        let scratch = mirror.scratch().map_err(failed)?;
        let limit = self.config.diff_max.get();
        match revert(mirror, (&commit, tip), Some(scratch.path()), limit, cx).await {
            Ok(now) if essence(&now.diff) == essence(&proposal.preview.diff) => Ok(()),
            Ok(_) => Err(ForgeError::Moved(
                "the base branch moved and the diff changed".to_owned(),
            )),
            Err(ForgeError::Unfit(why)) => Err(ForgeError::Moved(format!(
                "the base branch moved and {why}"
            ))),
            Err(error) => Err(error),
        }
    }

    /// Makes the draft's commit in the mirror.
    async fn commit(
        &self,
        mirror: &Mirror,
        (proposal, permit): (&Proposal, &Permit),
        (base, tree): (&Oid, &Oid),
        cx: &Cx,
    ) -> Result<Oid, ForgeError> {
        let culprit = Oid::parse(&proposal.request.commit).map_err(failed)?;
        let (_, subject, _) = mirror.message(&culprit, cx).await.map_err(failed)?;
        let step = mirror.step(base, cx).await.map_err(failed)?;
        let date = step
            .claimed
            .map_or(0, Timestamp::as_second)
            .clamp(0, DATE_MAX_S);
        let author = &mirror.repository().author;
        let call = Call::new("commit-tree").oid(tree).flags(&["-p"]).oid(base);
        let call = signed(&author.name, &author.email, date, call)
            .stdin(message::message(proposal, permit, &subject));
        let output = mirror.read(call, cx).await.map_err(failed)?;
        Oid::parse(&output.text()).map_err(failed)
    }

    /// Whether what the branch holds is this draft: our commit, or one with the same key and the same
    /// edit (approved by another token, say).
    async fn recognise(
        &self,
        mirror: &Mirror,
        proposal: &Proposal,
        (branch, found): (&BranchName, &Oid),
        cx: &Cx,
    ) -> Result<(), ForgeError> {
        let taken = |found: String| {
            Err(ForgeError::Taken {
                branch: branch.as_str().to_owned(),
                found,
            })
        };
        if !mirror.has_commit(found, cx).await.map_err(failed)? {
            let call = Call::new("fetch")
                .flags(&["--quiet", "--no-tags", "--no-write-fetch-head"])
                .flags(&["--no-recurse-submodules", "--no-auto-gc"])
                .operand(&mirror.repository().remote)
                .operand(format!("refs/heads/{}", branch.as_str()));
            mirror.talk(call, cx).await.map_err(failed)?;
            if !mirror.has_commit(found, cx).await.map_err(failed)? {
                return taken("no commit".to_owned());
            }
        }
        let step = mirror.step(found, cx).await.map_err(failed)?;
        let (_, subject, body) = mirror.message(found, cx).await.map_err(failed)?;
        let what = format!("{} {:?}", found.short(), shown(subject.as_bytes()));
        let [parent] = step.parents.as_slice() else {
            return taken(what);
        };
        if message::key_of(&body) != Some(proposal.request.key().as_str()) {
            return taken(what);
        }
        let limit = self.config.diff_max.get();
        let diff = match mirror.patch(parent, found, None, limit, cx).await {
            Err(GitError::TooLarge { .. }) => return taken(what),
            diff => diff.map_err(failed)?,
        };
        if essence(&String::from_utf8_lossy(&diff)) == essence(&proposal.preview.diff) {
            Ok(())
        } else {
            taken(what)
        }
    }

    fn draft(&self, proposal: &Proposal, permit: &Permit, commit: &Oid) -> DraftPr {
        let request = &proposal.request;
        DraftPr {
            key: request.key(),
            repository: request.repository.clone(),
            branch: request.branch(),
            base: proposal.preview.base.clone(),
            commit: commit.as_str().to_owned(),
            title: proposal.title.clone(),
            body: proposal.body.clone(),
            diff: proposal.preview.diff.clone(),
            state: DraftState::Draft,
            url: None,
            approved_by: permit.approved_by().map(str::to_owned),
            opened_at: self.clock.now(),
        }
    }
}

#[async_trait]
impl Forge for PlainGit {
    async fn preview(&self, request: &ChangeRequest, cx: &Cx) -> Result<Preview, ForgeError> {
        let mirror = self.mirror(&request.repository)?;
        let base = &mirror.repository().base;
        BranchName::of(request, base)?;
        let tip = mirror.fetch(cx).await.map_err(failed)?.tip;
        let commit = self.culprit(mirror, request, &tip, cx).await?;
        let scratch = mirror.scratch().map_err(failed)?;
        let path = Some(scratch.path());
        let limit = self.config.diff_max.get();
        let revert = revert(mirror, (&commit, &tip), path, limit, cx).await?;
        fitness::check(mirror, &revert, path, &self.config, cx).await?;
        Ok(Preview {
            base: base.clone(),
            base_commit: tip.as_str().to_owned(),
            files: revert
                .deltas
                .iter()
                .map(|delta| shown(&delta.path))
                .collect(),
            lines: fitness::lines(&revert.deltas),
            diff: revert.diff,
        })
    }

    async fn find(&self, request: &ChangeRequest, cx: &Cx) -> Result<Option<String>, ForgeError> {
        let mirror = self.mirror(&request.repository)?;
        let branch = BranchName::of(request, &mirror.repository().base)?;
        mirror.prepare(cx).await.map_err(failed)?;
        let found = mirror
            .branch_at_remote(branch.as_str(), cx)
            .await
            .map_err(failed)?;
        Ok(found.map(|oid| oid.as_str().to_owned()))
    }

    async fn propose(
        &self,
        proposal: &Proposal,
        permit: &Permit,
        cx: &Cx,
    ) -> Result<DraftPr, ForgeError> {
        if !permit.covers(proposal) {
            return Err(ForgeError::NotPermitted);
        }
        let mirror = self.mirror(&proposal.request.repository)?;
        let branch = BranchName::of(&proposal.request, &mirror.repository().base)?;
        let tip = mirror.refresh(cx).await.map_err(failed)?.tip;
        let look = mirror
            .branch_at_remote(branch.as_str(), cx)
            .await
            .map_err(failed)?;
        if let Some(found) = look {
            self.recognise(mirror, proposal, (&branch, &found), cx)
                .await?;
            return Ok(self.draft(proposal, permit, &found));
        }
        let (base, revert) = self.approved(mirror, proposal, cx).await?;
        self.still_fits(mirror, proposal, (&base, &tip), cx).await?;
        let commit = self
            .commit(mirror, (proposal, permit), (&base, &revert.tree), cx)
            .await?;
        let Err(error) = push::create(mirror, &branch, &commit, cx).await else {
            tracing::info!(
                repository = proposal.request.repository,
                branch = branch.as_str(),
                "draft branch created"
            );
            return Ok(self.draft(proposal, permit, &commit));
        };
        // Whatever the push said, the branch decides: another instance may have been first, or the
        // answer to our own push was lost.
        tracing::debug!(code = %error.code(), %error, "the push failed, looking again");
        match mirror
            .branch_at_remote(branch.as_str(), cx)
            .await
            .map_err(failed)?
        {
            Some(found) => {
                self.recognise(mirror, proposal, (&branch, &found), cx)
                    .await?;
                Ok(self.draft(proposal, permit, &found))
            }
            None => Err(error),
        }
    }

    async fn is_superseded(&self, draft: &DraftPr, cx: &Cx) -> Result<bool, ForgeError> {
        let mirror = self.mirror(&draft.repository)?;
        superseded::is_superseded(mirror, draft, &self.config, cx).await
    }

    fn identity(&self) -> Digest {
        let identities: Vec<Digest> = self
            .mirrors
            .iter()
            .map(|mirror| mirror.repository().identity())
            .collect();
        Digest::of_fields("forge/plain-git/1", identities.iter().map(Digest::as_str))
    }
}

/// What a failure of Git means for a draft.
#[expect(
    clippy::needless_pass_by_value,
    reason = "stands in map_err, which gives the value away"
)]
pub(crate) fn failed(error: GitError) -> ForgeError {
    match error {
        GitError::Deadline { .. } | GitError::Cancelled { .. } => ForgeError::Deadline,
        GitError::TooLarge { limit, .. } => {
            ForgeError::Unfit(format!("it is larger than the limit of {limit} bytes"))
        }
        // A remote that is moved, restored or not mounted yet comes back; the attempts are bounded.
        GitError::NotFound { .. } if error.is_no_remote() => {
            ForgeError::Unavailable(error.to_string())
        }
        GitError::Denied { .. } | GitError::NotFound { .. } => {
            ForgeError::Refused(error.to_string())
        }
        GitError::Missing(_)
        | GitError::Failed { .. }
        | GitError::Unreachable { .. }
        | GitError::Unreadable { .. }
        | GitError::Disk { .. } => ForgeError::Unavailable(error.to_string()),
    }
}
