//! The Forge port: a remote in memory that keeps every branch that was ever pushed to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use incident::digest::Digest;
use incident::ports::{Cx, Forge, ForgeError};
use incident::proposal::{ChangeRequest, DraftState, Preview};
use incident::{DraftPr, Permit, Proposal};

use super::super::breaks::Break;
use super::super::gate::Gate;
use super::super::world::World;

/// The remote, outside of every node.
#[derive(Debug, Default)]
pub(in crate::sim) struct Remote {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(in crate::sim) struct State {
    /// How often the base branch moved.
    pub(in crate::sim) base: u32,
    /// Pushed branches in order: a name may stand here once.
    pub(in crate::sim) pushed: Vec<DraftPr>,
}

impl Remote {
    pub(in crate::sim) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn base_commit(base: u32) -> String {
    format!("{base:040x}")
}

/// The remote as one node reaches it.
#[derive(Debug)]
pub(in crate::sim) struct GatedForge {
    gate: Gate,
}

impl GatedForge {
    pub(in crate::sim) fn forge(gate: Gate) -> Arc<dyn Forge> {
        Arc::new(Self { gate })
    }
}

fn away(why: &str) -> ForgeError {
    ForgeError::Unavailable(why.to_owned())
}

fn preview(world: &World, request: &ChangeRequest) -> Preview {
    Preview {
        base: String::from("main"),
        base_commit: base_commit(world.remote.state().base),
        diff: format!("-pool_size = 5\n+pool_size = 50\n# {}\n", request.commit),
        files: vec![String::from("services/settings.toml")],
        lines: 2,
    }
}

/// As an implementation has to: look, then act.
fn push(world: &World, proposal: &Proposal, permit: &Permit) -> Result<DraftPr, ForgeError> {
    if !permit.covers(proposal) {
        return Err(ForgeError::NotPermitted);
    }
    let branch = proposal.request.branch();
    let mut state = world.remote.state();
    let known = state.pushed.iter().find(|draft| draft.branch == branch);
    if let Some(known) = known.filter(|_| world.broken != Some(Break::NoLookBeforePush)) {
        return Ok(known.clone());
    }
    if base_commit(state.base) != proposal.preview.base_commit {
        return Err(ForgeError::Moved(String::from("the base branch moved on")));
    }
    let is_second = known.is_some();
    let draft = DraftPr {
        key: proposal.request.key(),
        repository: proposal.request.repository.clone(),
        branch: branch.clone(),
        base: proposal.preview.base.clone(),
        commit: format!("{:040x}", state.pushed.len() + 0xd00d),
        title: proposal.title.clone(),
        body: proposal.body.clone(),
        diff: proposal.preview.diff.clone(),
        state: DraftState::Draft,
        url: None,
        approved_by: permit.approved_by().map(str::to_owned),
        opened_at: world.clock.at(world.clock.elapsed()),
    };
    state.pushed.push(draft.clone());
    drop(state);
    world.watch.note("forge", "  pushed", &branch, 0);
    world
        .watch
        .check("at most one draft for a proposal", !is_second, || {
            format!("branch {branch} was pushed again")
        });
    Ok(draft)
}

#[async_trait]
impl Forge for GatedForge {
    async fn preview(&self, request: &ChangeRequest, _cx: &Cx) -> Result<Preview, ForgeError> {
        let effect = || {
            let (world, request) = (Arc::clone(&self.gate.world), request.clone());
            async move { Ok(preview(&world, &request)) }
        };
        self.gate
            .call("preview", &request.commit, away, effect)
            .await
    }

    async fn find(&self, request: &ChangeRequest, _cx: &Cx) -> Result<Option<String>, ForgeError> {
        let effect = || {
            let (world, branch) = (Arc::clone(&self.gate.world), request.branch());
            async move {
                let blind = world.broken == Some(Break::NoLookBeforePush);
                let state = world.remote.state();
                let mut pushed = state.pushed.iter().filter(|_| !blind);
                let found = pushed.find(|draft| draft.branch == branch);
                Ok(found.map(|draft| draft.commit.clone()))
            }
        };
        self.gate
            .call("find branch", &request.commit, away, effect)
            .await
    }

    async fn propose(
        &self,
        proposal: &Proposal,
        permit: &Permit,
        _cx: &Cx,
    ) -> Result<DraftPr, ForgeError> {
        let effect = || {
            let world = Arc::clone(&self.gate.world);
            let (proposal, permit) = (proposal.clone(), permit.clone());
            async move { push(&world, &proposal, &permit) }
        };
        self.gate
            .call("propose", &proposal.request.commit, away, effect)
            .await
    }

    async fn is_superseded(&self, draft: &DraftPr, _cx: &Cx) -> Result<bool, ForgeError> {
        let effect = || async { Ok(false) };
        self.gate
            .call("is superseded", &draft.branch, away, effect)
            .await
    }

    fn identity(&self) -> Digest {
        Digest::of(b"simulated")
    }
}
