//! One incident in a small world of fakes.

use std::sync::Arc;
use std::time::Duration;

use incident::message::{EvidenceReply, WorkReply, WorkRequest};
use incident::ports::{
    Agent as _, AgentError, AgentTask, Clock, Cx, Expect, Forge, Notifier, Outcome, Put, Store,
};
use incident::report::ChangeOutcome;
use incident::{
    Approval, ApprovalKey, Decision, Fact, Incident, IncidentStatus, MessageId, Proposal, Report,
    Step, WorkItem, keys,
};
use jiff::SignedDuration;
use runtime::SeededEntropy;
use runtime::telemetry::Metrics;
use runtime::testing::TestClock;
use runtime::testing::memory::MemoryStore;

use super::fakes::{Crasher, CrashingStore, FakeAgent, FakeChannel, FakeForge};
use crate::journal::Journal;
use crate::orchestrator::{Deps, Orchestrator, SKILL};
use crate::{Config, sample};

pub(super) struct World {
    pub(super) clock: Arc<TestClock>,
    pub(super) crasher: Arc<Crasher>,
    pub(super) memory: MemoryStore,
    pub(super) metrics: Metrics,
    pub(super) specialists: Vec<Arc<FakeAgent>>,
    pub(super) forge: Arc<FakeForge>,
    /// Slack over the Web API: it can look and edit.
    pub(super) slack: Arc<FakeChannel>,
    /// An incoming webhook: it can do neither.
    pub(super) hook: Arc<FakeChannel>,
    pub(super) config: Config,
    pub(super) key: Option<ApprovalKey>,
    pub(super) incident: Incident,
}

/// What became of a piece of work.
#[derive(Debug)]
pub(super) enum Done {
    Rest(WorkReply),
    Failed(AgentError),
    Crashed,
}

impl Done {
    #[track_caller]
    pub(super) fn reply(self) -> WorkReply {
        match self {
            Self::Rest(reply) => reply,
            other => panic!("the work did not come to rest: {other:?}"),
        }
    }
}

fn replies() -> (EvidenceReply, EvidenceReply) {
    let observations = |wanted: fn(&Fact) -> bool| EvidenceReply {
        observations: sample::culprit()
            .into_iter()
            .map(|evidence| evidence.observation)
            .filter(|observation| wanted(&observation.fact))
            .collect(),
        gaps: Vec::new(),
    };
    (
        observations(|fact| matches!(fact, Fact::Series(_))),
        observations(|fact| matches!(fact, Fact::Change(_))),
    )
}

impl World {
    /// The culprit is plain, everything works.
    pub(super) async fn new() -> Self {
        let clock = TestClock::at(sample::at(sample::FIRED + 20));
        let crasher = Arc::new(Crasher::default());
        let (metrics, changes) = replies();
        let world = Self {
            memory: MemoryStore::new(clock.clone()),
            specialists: vec![
                FakeAgent::new("observability-agent", metrics, crasher.clone()),
                FakeAgent::new("git-agent", changes, crasher.clone()),
            ],
            forge: FakeForge::new(crasher.clone()),
            slack: FakeChannel::new("slack", true, crasher.clone()),
            hook: FakeChannel::new("webhook", false, crasher.clone()),
            config: Config::default(),
            key: Some(key()),
            incident: sample::incident(),
            metrics: Metrics::new(),
            clock,
            crasher,
        };
        world.put_incident(&world.incident).await;
        world
    }

    pub(super) async fn put_incident(&self, incident: &Incident) {
        let value = serde_json::to_vec(incident).unwrap();
        let put = Put::new(keys::incident(&incident.id), value, Expect::Any);
        self.memory.put(put).await.unwrap();
    }

    /// Triage saw the last alert resolve.
    pub(super) async fn resolve(&self) {
        let mut incident = self.incident.clone();
        incident.status = IncidentStatus::Resolved;
        incident.resolved_at = Some(self.clock.now());
        self.put_incident(&incident).await;
    }

    /// A process that has just started.
    pub(super) fn orchestrator(&self) -> Orchestrator {
        let deps = Deps {
            store: Arc::new(CrashingStore {
                inner: self.memory.clone(),
                crasher: self.crasher.clone(),
            }),
            specialists: self
                .specialists
                .iter()
                .map(|agent| agent.clone() as Arc<dyn incident::ports::Agent>)
                .collect(),
            forge: Some(self.forge.clone() as Arc<dyn Forge>),
            notifiers: vec![
                self.slack.clone() as Arc<dyn Notifier>,
                self.hook.clone() as Arc<dyn Notifier>,
            ],
            approval_key: self.key.clone(),
            clock: self.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(7)),
            metrics: self.metrics.clone(),
        };
        Orchestrator::new(self.config.clone(), deps)
    }

    pub(super) fn item(&self, step: Step) -> WorkItem {
        WorkItem {
            incident: self.incident.id.clone(),
            severity: self.incident.severity,
            generation: self.incident.generation,
            step,
        }
    }

    pub(super) fn cx(&self) -> Cx {
        Cx::root(self.clock.clone(), Duration::from_mins(10), "0".repeat(32))
    }

    /// One delivery of a piece of work to a fresh process.
    pub(super) async fn work(&self, step: Step) -> Done {
        self.deliver(self.item(step), &self.cx()).await
    }

    pub(super) async fn deliver(&self, item: WorkItem, cx: &Cx) -> Done {
        let orchestrator = self.orchestrator();
        let died = self.crasher.died();
        let task = task(item);
        let result = tokio::select! {
            biased;
            () = died.wait() => return Done::Crashed,
            result = orchestrator.run(task, cx) => result,
        };
        match result {
            Ok(Outcome::Completed { output } | Outcome::InputRequired { output, .. }) => {
                Done::Rest(serde_json::from_value(output).unwrap())
            }
            Err(error) => Done::Failed(error),
        }
    }

    /// Does the rounds of retries that a reply asks for, each when it is due.
    pub(super) async fn follow(&self, mut reply: WorkReply) -> WorkReply {
        for _ in 0..100 {
            let Some(item) = reply.again.clone() else {
                return reply;
            };
            self.wait_until_due(&item).await;
            reply = self.deliver(item, &self.cx()).await.reply();
        }
        panic!("no end of retries: {reply:?}");
    }

    pub(super) async fn wait_until_due(&self, item: &WorkItem) {
        if let Step::Retry { due, .. } = item.step {
            let wait = due.duration_since(self.clock.now());
            self.clock.sleep(wait.try_into().unwrap_or_default()).await;
        }
    }

    pub(super) async fn investigate(&self) -> WorkReply {
        self.work(Step::Investigate).await.reply()
    }

    pub(super) async fn close(&self) -> WorkReply {
        self.work(Step::Close).await.reply()
    }

    /// A person decides about what the report shows now.
    pub(super) async fn decide(&self, decision: Decision, nonce: &str) -> WorkReply {
        let approval = self.approval(decision, nonce).await;
        self.submit(approval).await;
        let nonce = nonce.to_owned();
        self.work(Step::Decide { nonce }).await.reply()
    }

    pub(super) async fn approval(&self, decision: Decision, nonce: &str) -> Approval {
        Approval {
            incident: self.incident.id.clone(),
            decision,
            proposal: self.proposal().await.digest(),
            person: "sam".to_owned(),
            nonce: nonce.to_owned(),
            expires_at: self.clock.now() + SignedDuration::from_mins(10),
        }
    }

    /// What the hook does with a decision: keep it once.
    pub(super) async fn submit(&self, approval: Approval) {
        let slot = keys::decision(&self.incident.id, approval.proposal.short(16));
        let value = serde_json::to_vec(&key().sign(approval)).unwrap();
        let put = Put::new(slot, value, Expect::Absent);
        self.memory.put(put).await.unwrap();
    }

    pub(super) async fn proposal(&self) -> Proposal {
        match self.report().await.change {
            ChangeOutcome::AwaitingApproval { proposal }
            | ChangeOutcome::Opened { proposal, .. }
            | ChangeOutcome::Rejected { proposal, .. } => proposal,
            other => panic!("no proposal: {other:?}"),
        }
    }

    pub(super) async fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let found = self.memory.get(key).await.unwrap()?;
        Some(serde_json::from_slice(&found.value).unwrap())
    }

    pub(super) async fn report(&self) -> Report {
        let key = keys::report(&self.incident.id);
        self.read(&key).await.expect("there is a report")
    }

    pub(super) async fn journal(&self) -> Journal {
        let generation = self.incident.generation;
        let key = crate::journal::keys::head(&self.incident.id, generation);
        self.read(&key).await.expect("there is a journal")
    }

    pub(super) fn drafts(&self) -> u32 {
        self.forge.state.lock().unwrap().opened
    }
}

pub(super) fn key() -> ApprovalKey {
    ApprovalKey::new(vec![7; 32]).unwrap()
}

pub(super) fn task(item: WorkItem) -> AgentTask {
    let digest = item.key();
    AgentTask {
        message_id: MessageId::derive("work", [digest.as_str()]),
        context: Some(item.incident.to_string()),
        skill: SKILL.to_owned(),
        input: serde_json::to_value(WorkRequest { item }).unwrap(),
    }
}

/// The state of the change, in one word.
pub(super) fn word(change: &ChangeOutcome) -> &'static str {
    match change {
        ChangeOutcome::None { .. } => "none",
        ChangeOutcome::AwaitingApproval { .. } => "awaiting",
        ChangeOutcome::Rejected { .. } => "rejected",
        ChangeOutcome::Opened { .. } => "opened",
        ChangeOutcome::Failed { .. } => "failed",
    }
}
