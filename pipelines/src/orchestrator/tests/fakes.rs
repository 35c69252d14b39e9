//! Fakes of the ports. Each call passes the crasher before and after its effect.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use incident::digest::Digest;
use incident::message::EvidenceReply;
use incident::ports::{
    Agent, AgentCard, AgentError, AgentTask, Cx, Entropy as _, Expect, Fence, Forge, ForgeError,
    Notice, Notifier, NotifyError, Outcome, Put, Receipt, Search, Sight, Skill, Store, StoreError,
    Versioned,
};
use incident::proposal::{ChangeRequest, DraftState, Preview};
use incident::{DraftPr, Permit, Proposal};
use runtime::testing::memory::MemoryStore;
use runtime::{CancelToken, SeededEntropy};

/// Kills the process at a chosen point: the call never returns, and whoever watches drops the run.
#[derive(Debug, Default)]
pub(super) struct Crasher {
    /// Where it comes from how often a call gives way to the others.
    turns: Mutex<Option<SeededEntropy>>,
    left: Mutex<Option<u64>>,
    /// After so many more batches the answer of one gets lost, though it is written.
    loses: Mutex<Option<u64>>,
    died: Mutex<CancelToken>,
    /// Every run gets the turn at once, as if whoever had it did not know that it was lost.
    turns_are_off: AtomicBool,
}

impl Crasher {
    /// The process dies at the point after `points` more.
    pub(super) fn arm(&self, points: u64) {
        *self.left.lock().unwrap() = Some(points);
        *self.died.lock().unwrap() = CancelToken::new();
    }

    pub(super) fn disarm(&self) {
        *self.left.lock().unwrap() = None;
        *self.died.lock().unwrap() = CancelToken::new();
    }

    /// From now on calls give way to each other as the seed says.
    pub(super) fn interleave(&self, seed: u64) {
        *self.turns.lock().unwrap() = Some(SeededEntropy::new(seed));
    }

    /// From now on nobody waits for a turn.
    pub(super) fn no_turns(&self) {
        self.turns_are_off.store(true, Ordering::SeqCst);
    }

    fn is_turn(&self, key: &str) -> bool {
        key.starts_with("slots/") && self.turns_are_off.load(Ordering::SeqCst)
    }

    /// The answer of the batch after `batches` more gets lost.
    pub(super) fn lose_answer(&self, batches: u64) {
        *self.loses.lock().unwrap() = Some(batches);
    }

    /// Whether an answer is still to be lost.
    pub(super) fn has_lost_nothing(&self) -> bool {
        self.loses.lock().unwrap().is_some()
    }

    fn loses_this(&self) -> bool {
        let mut loses = self.loses.lock().unwrap();
        let lost = *loses == Some(0);
        *loses = loses.and_then(|batches| batches.checked_sub(1));
        lost
    }

    async fn give_way(&self) {
        let mut byte = [0];
        if let Some(entropy) = &*self.turns.lock().unwrap() {
            entropy.fill(&mut byte);
        }
        for _ in 0..byte[0] % 4 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn died(&self) -> CancelToken {
        self.died.lock().unwrap().clone()
    }

    async fn point(&self) {
        self.give_way().await;
        let dies = match &mut *self.left.lock().unwrap() {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        };
        if dies {
            self.died.lock().unwrap().cancel();
            std::future::pending::<()>().await;
        }
    }
}

/// The memory store behind the crasher.
#[derive(Debug)]
pub(super) struct CrashingStore {
    pub(super) inner: MemoryStore,
    pub(super) crasher: Arc<Crasher>,
}

macro_rules! passing {
    ($self:ident, $call:expr) => {{
        $self.crasher.point().await;
        let result = $call.await;
        $self.crasher.point().await;
        result
    }};
}

#[async_trait]
impl Store for CrashingStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        passing!(self, self.inner.get(key))
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        if self.crasher.is_turn(&put.key) {
            return Ok(1);
        }
        passing!(self, self.inner.put(put))
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        let versions = passing!(self, self.inner.put_all(puts))?;
        if self.crasher.loses_this() {
            return Err(StoreError::Unavailable("the answer got lost".to_owned()));
        }
        Ok(versions)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        if self.crasher.is_turn(key) {
            return Ok(true);
        }
        passing!(self, self.inner.delete(key, expect))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        if self.crasher.is_turn(prefix) {
            return Ok(Vec::new());
        }
        passing!(self, self.inner.list(prefix, after, limit))
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        passing!(self, self.inner.fence(name))
    }
}

/// What a fake does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mood {
    Works,
    Hangs,
    Fails,
}

#[derive(Debug)]
pub(super) struct FakeAgent {
    card: AgentCard,
    pub(super) mood: Mutex<Mood>,
    reply: EvidenceReply,
    /// Inputs by message id: the same id must carry the same input.
    pub(super) tasks: Mutex<BTreeMap<String, serde_json::Value>>,
    crasher: Arc<Crasher>,
}

impl FakeAgent {
    pub(super) fn new(name: &str, reply: EvidenceReply, crasher: Arc<Crasher>) -> Arc<Self> {
        let skill = Skill {
            id: "evidence/1".to_owned(),
            name: "Evidence".to_owned(),
            description: "Observes.".to_owned(),
        };
        Arc::new(Self {
            card: AgentCard {
                name: name.to_owned(),
                description: "Observes.".to_owned(),
                skills: vec![skill],
            },
            mood: Mutex::new(Mood::Works),
            reply,
            tasks: Mutex::default(),
            crasher,
        })
    }
}

#[async_trait]
impl Agent for FakeAgent {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, _cx: &Cx) -> Result<Outcome, AgentError> {
        self.crasher.point().await;
        let agent = self.card.name.clone();
        let id = task.message_id.to_string();
        let known = self.tasks.lock().unwrap().insert(id, task.input.clone());
        if known.is_some_and(|known| known != task.input) {
            let why = "the same message id with another input".to_owned();
            return Err(AgentError::Refused { agent, why });
        }
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Works => {}
            Mood::Hangs => std::future::pending().await,
            Mood::Fails => {
                let why = "it is broken".to_owned();
                return Err(AgentError::Failed { agent, why });
            }
        }
        self.crasher.point().await;
        let output = serde_json::to_value(&self.reply).unwrap();
        Ok(Outcome::Completed { output })
    }
}

#[derive(Debug, Default)]
pub(super) struct ForgeState {
    pub(super) base_commit: String,
    /// Drafts by branch.
    pub(super) drafts: BTreeMap<String, DraftPr>,
    /// How many drafts were really opened.
    pub(super) opened: u32,
    pub(super) superseded: bool,
    /// Errors of the next calls of `propose`.
    pub(super) faults: VecDeque<ForgeError>,
    /// Errors of the next calls of `preview`.
    pub(super) blind: VecDeque<ForgeError>,
    pub(super) hangs: bool,
}

#[derive(Debug)]
pub(super) struct FakeForge {
    pub(super) state: Mutex<ForgeState>,
    pub(super) crasher: Arc<Crasher>,
}

impl FakeForge {
    pub(super) fn new(crasher: Arc<Crasher>) -> Arc<Self> {
        let state = ForgeState {
            base_commit: "1".repeat(40),
            ..ForgeState::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            crasher,
        })
    }

    async fn hang(&self) {
        let hangs = self.state.lock().unwrap().hangs;
        if hangs {
            std::future::pending::<()>().await;
        }
    }

    fn open(&self, proposal: &Proposal, permit: &Permit) -> Result<DraftPr, ForgeError> {
        let mut state = self.state.lock().unwrap();
        if let Some(fault) = state.faults.pop_front() {
            return Err(fault);
        }
        if !permit.covers(proposal) {
            return Err(ForgeError::NotPermitted);
        }
        let branch = proposal.request.branch();
        if let Some(draft) = state.drafts.get(&branch) {
            return Ok(draft.clone());
        }
        if state.base_commit != proposal.preview.base_commit {
            return Err(ForgeError::Moved("base branch main moved on".to_owned()));
        }
        state.opened += 1;
        let draft = DraftPr {
            key: proposal.request.key(),
            repository: proposal.request.repository.clone(),
            branch: branch.clone(),
            base: proposal.preview.base.clone(),
            commit: "2".repeat(40),
            title: proposal.title.clone(),
            body: proposal.body.clone(),
            diff: proposal.preview.diff.clone(),
            state: DraftState::Draft,
            url: None,
            approved_by: permit.approved_by().map(str::to_owned),
            opened_at: "2026-03-14T12:10:00Z".parse().unwrap(),
        };
        state.drafts.insert(branch, draft.clone());
        Ok(draft)
    }
}

#[async_trait]
impl Forge for FakeForge {
    async fn preview(&self, _request: &ChangeRequest, _cx: &Cx) -> Result<Preview, ForgeError> {
        self.crasher.point().await;
        self.hang().await;
        if let Some(fault) = self.state.lock().unwrap().blind.pop_front() {
            return Err(fault);
        }
        Ok(Preview {
            base: "main".to_owned(),
            base_commit: self.state.lock().unwrap().base_commit.clone(),
            diff: "-pool_size = 5\n+pool_size = 50\n".to_owned(),
            files: vec!["services/checkout/settings.toml".to_owned()],
            lines: 2,
        })
    }

    async fn find(&self, request: &ChangeRequest, _cx: &Cx) -> Result<Option<String>, ForgeError> {
        self.crasher.point().await;
        let state = self.state.lock().unwrap();
        let draft = state.drafts.get(&request.branch());
        Ok(draft.map(|draft| draft.commit.clone()))
    }

    async fn propose(
        &self,
        proposal: &Proposal,
        permit: &Permit,
        _cx: &Cx,
    ) -> Result<DraftPr, ForgeError> {
        self.crasher.point().await;
        self.hang().await;
        let result = self.open(proposal, permit);
        self.crasher.point().await;
        result
    }

    async fn is_superseded(&self, _draft: &DraftPr, _cx: &Cx) -> Result<bool, ForgeError> {
        self.crasher.point().await;
        self.hang().await;
        Ok(self.state.lock().unwrap().superseded)
    }

    fn identity(&self) -> Digest {
        Digest::of(b"fake")
    }
}

/// One message as people see it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) reference: String,
    /// The key it carries now.
    pub(super) key: Digest,
    pub(super) label: &'static str,
    pub(super) edits: u32,
    pub(super) says_repeat: bool,
}

#[derive(Debug)]
pub(super) struct FakeChannel {
    name: String,
    /// Whether it can look and edit.
    pub(super) looks: bool,
    pub(super) mood: Mutex<Mood>,
    pub(super) messages: Mutex<Vec<Message>>,
    /// What becomes of the next posts: those that fail say whether the message arrives all the same.
    pub(super) faults: Mutex<VecDeque<Option<bool>>>,
    /// How long a message takes to arrive.
    delay: Mutex<Duration>,
    crasher: Arc<Crasher>,
}

impl FakeChannel {
    pub(super) fn new(name: &str, looks: bool, crasher: Arc<Crasher>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            looks,
            mood: Mutex::new(Mood::Works),
            messages: Mutex::default(),
            faults: Mutex::default(),
            delay: Mutex::default(),
            crasher,
        })
    }

    pub(super) fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub(super) fn labels(&self) -> Vec<&'static str> {
        let messages = self.messages.lock().unwrap();
        messages.iter().map(|message| message.label).collect()
    }

    async fn mood(&self) -> Result<(), NotifyError> {
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Works => Ok(()),
            Mood::Hangs => std::future::pending().await,
            Mood::Fails => Err(self.reset()),
        }
    }

    fn reset(&self) -> NotifyError {
        NotifyError::Unreachable {
            notifier: self.name.clone(),
            why: "connection reset".to_owned(),
        }
    }

    fn receipt(&self, reference: String) -> Receipt {
        Receipt {
            notifier: self.name.clone(),
            reference,
        }
    }

    fn push(&self, notice: &Notice) -> Receipt {
        let mut messages = self.messages.lock().unwrap();
        let reference = if self.looks {
            format!("m{}", messages.len())
        } else {
            String::new()
        };
        messages.push(message(notice, reference.clone(), 0));
        self.receipt(reference)
    }
}

fn message(notice: &Notice, reference: String, edits: u32) -> Message {
    Message {
        reference,
        key: notice.key(),
        label: notice.label(),
        edits,
        says_repeat: notice.maybe_repeat,
    }
}

#[async_trait]
impl Notifier for FakeChannel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn find(&self, search: &Search, _cx: &Cx) -> Result<Sight, NotifyError> {
        self.crasher.point().await;
        if !self.looks {
            return Ok(Sight::Unknown);
        }
        self.mood().await?;
        let messages = self.messages.lock().unwrap();
        let find = |key: &Digest| messages.iter().find(|message| message.key == *key);
        let found = search.keys.iter().find_map(find);
        Ok(found.map_or(Sight::Absent, |message| Sight::Found {
            receipt: self.receipt(message.reference.clone()),
            key: message.key.clone(),
        }))
    }

    async fn post(&self, notice: &Notice, cx: &Cx) -> Result<Receipt, NotifyError> {
        self.crasher.point().await;
        self.mood().await?;
        let delay = *self.delay.lock().unwrap();
        cx.clock.sleep(delay).await;
        let fault = self.faults.lock().unwrap().pop_front().flatten();
        if fault == Some(false) {
            return Err(self.reset());
        }
        let receipt = self.push(notice);
        if fault == Some(true) {
            return Err(self.reset());
        }
        self.crasher.point().await;
        Ok(receipt)
    }

    async fn update(
        &self,
        receipt: &Receipt,
        notice: &Notice,
        _cx: &Cx,
    ) -> Result<Receipt, NotifyError> {
        self.crasher.point().await;
        self.mood().await?;
        let receipt = if self.looks {
            let mut messages = self.messages.lock().unwrap();
            let known = messages
                .iter_mut()
                .find(|message| message.reference == receipt.reference)
                .expect("a receipt names a message that was posted");
            *known = message(notice, known.reference.clone(), known.edits + 1);
            receipt.clone()
        } else {
            self.push(notice)
        };
        self.crasher.point().await;
        Ok(receipt)
    }
}
