//! Streams in memory that can crash the process at any point, and agents that record and misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use incident::message::{TriageReply, TriageRequest, WorkReply, WorkRequest};
use incident::ports::{
    Agent, AgentCard, AgentError, AgentTask, Appended, Backlog, Cause, Clock, Cx, DeadLetter,
    Delivery, Entry, Lease, NoProgress, Outcome, Stream, StreamError,
};
use incident::{
    AlertEvent, AlertStatus, Disposition, EventKey, Fingerprint, GroupKey, IncidentId, MessageId,
    Ruling, Severity, Step, Untrusted, WorkItem,
};
use jiff::Timestamp;
use runtime::telemetry::Metrics;
use runtime::testing::TestClock;
use runtime::testing::memory::{MemoryStore, MemoryStream};
use runtime::{CancelToken, SeededEntropy, Shutdown, Supervisor};

use crate::{Config, Deps, Dispatcher};

pub(super) const T0: &str = "2026-11-20T10:00:00Z";

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the process at a chosen step: everything stops where it is.
#[derive(Debug, Default)]
pub(super) struct Trap {
    left: AtomicI64,
    sprung: AtomicBool,
    abort: Mutex<Option<CancelToken>>,
}

impl Trap {
    pub(super) fn set(&self, steps: i64, abort: &CancelToken) {
        self.left.store(steps, Ordering::SeqCst);
        self.sprung.store(false, Ordering::SeqCst);
        *lock(&self.abort) = Some(abort.clone());
    }

    pub(super) fn unset(&self) {
        *lock(&self.abort) = None;
    }

    /// Kills the process now.
    pub(super) async fn spring(&self) {
        self.left.store(0, Ordering::SeqCst);
        self.step().await;
    }

    pub(super) fn is_sprung(&self) -> bool {
        self.sprung.load(Ordering::SeqCst)
    }

    async fn step(&self) {
        let abort = lock(&self.abort).clone();
        let Some(abort) = abort else { return };
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.sprung.store(true, Ordering::SeqCst);
            abort.cancel();
            std::future::pending::<()>().await;
        }
    }
}

/// A stream with a trap before and after each call.
#[derive(Debug)]
pub(super) struct Rough {
    pub(super) inner: MemoryStream,
    pub(super) trap: Arc<Trap>,
    /// While set, leases cannot be extended.
    pub(super) cut: AtomicBool,
    pub(super) appended: Mutex<BTreeSet<String>>,
    keys: Mutex<BTreeMap<String, String>>,
    pub(super) acks: Mutex<BTreeMap<String, u32>>,
    /// Asked before an acknowledgement, with the entry's key.
    guard: Mutex<Option<Guard>>,
}

struct Guard(Box<dyn Fn(&str) + Send + Sync>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard(..)")
    }
}

impl Rough {
    fn new(inner: MemoryStream, trap: Arc<Trap>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            trap,
            cut: AtomicBool::new(false),
            appended: Mutex::default(),
            keys: Mutex::default(),
            acks: Mutex::default(),
            guard: Mutex::default(),
        })
    }
}

#[async_trait]
impl Stream for Rough {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn lease(&self) -> Duration {
        self.inner.lease()
    }

    async fn append(&self, batch: Vec<Entry>) -> Result<Vec<Appended>, StreamError> {
        self.trap.step().await;
        let keys: Vec<String> = batch.iter().map(|entry| entry.key.clone()).collect();
        let result = self.inner.append(batch).await?;
        lock(&self.appended).extend(keys);
        self.trap.step().await;
        Ok(result)
    }

    async fn claim(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StreamError> {
        let deliveries = self.inner.claim(max, wait).await?;
        let keys = deliveries
            .iter()
            .map(|d| (d.lease.id.clone(), d.key.clone()));
        lock(&self.keys).extend(keys);
        if !deliveries.is_empty() {
            self.trap.step().await;
        }
        Ok(deliveries)
    }

    async fn extend(&self, lease: &Lease) -> Result<(), StreamError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(StreamError::Unavailable(String::from("cut off")));
        }
        self.inner.extend(lease).await
    }

    async fn ack(&self, lease: &Lease) -> Result<(), StreamError> {
        self.trap.step().await;
        let key = lock(&self.keys).get(&lease.id).cloned().unwrap();
        if let Some(guard) = &*lock(&self.guard) {
            guard.0(&key);
        }
        self.inner.ack(lease).await?;
        *lock(&self.acks).entry(key).or_default() += 1;
        self.trap.step().await;
        Ok(())
    }

    async fn retry_later(
        &self,
        lease: &Lease,
        delay: Duration,
        cause: &Cause,
    ) -> Result<(), StreamError> {
        self.trap.step().await;
        self.inner.retry_later(lease, delay, cause).await
    }

    async fn bury(&self, lease: &Lease, cause: &Cause) -> Result<(), StreamError> {
        self.trap.step().await;
        self.inner.bury(lease, cause).await
    }

    async fn backlog(&self) -> Result<Backlog, StreamError> {
        self.inner.backlog().await
    }

    async fn dead(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StreamError> {
        self.inner.dead(after, limit).await
    }

    async fn redrive(&self, id: &str) -> Result<bool, StreamError> {
        self.inner.redrive(id).await
    }

    async fn discard(&self, id: &str) -> Result<bool, StreamError> {
        self.inner.discard(id).await
    }
}

fn card(name: &str) -> AgentCard {
    AgentCard {
        name: name.to_owned(),
        description: String::from("a fake"),
        skills: Vec::new(),
    }
}

/// Opens one incident for each event. The label `do` makes it misbehave.
#[derive(Debug)]
pub(super) struct FakeTriage {
    card: AgentCard,
    trap: Arc<Trap>,
    /// Events of each call.
    pub(super) calls: Mutex<Vec<usize>>,
    pub(super) rulings: Mutex<BTreeMap<String, Ruling>>,
    /// While it is not, events labelled `do=fail` fail.
    pub(super) is_well: AtomicBool,
}

#[async_trait]
impl Agent for FakeTriage {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let request: TriageRequest = serde_json::from_value(task.input).unwrap();
        lock(&self.calls).push(request.events.len());
        let agent = || self.card.name.clone();
        for event in &request.events {
            match event.label("do") {
                Some("refuse") => {
                    let why = String::from("E-TEST-001: made up");
                    return Err(AgentError::Refused {
                        agent: agent(),
                        why,
                    });
                }
                Some("panic") => panic!("made up"),
                Some("kill") => self.trap.spring().await,
                Some("fail") if !self.is_well.load(Ordering::SeqCst) => {
                    let why = String::from("made up");
                    return Err(AgentError::Failed {
                        agent: agent(),
                        why,
                    });
                }
                Some("ask") => {
                    let (question, output) = (String::from("?"), serde_json::Value::Null);
                    return Ok(Outcome::InputRequired { question, output });
                }
                _ => {}
            }
        }
        self.trap.step().await;
        let mut reply = TriageReply {
            rulings: Vec::new(),
            work: Vec::new(),
        };
        for event in &request.events {
            let (ruling, work) = rule(event, cx.clock.now());
            let mut rulings = lock(&self.rulings);
            let known = rulings.entry(event.key.to_string()).or_insert(ruling);
            reply.rulings.push(known.clone());
            reply.work.push(work);
        }
        self.trap.step().await;
        Ok(Outcome::Completed {
            output: serde_json::to_value(reply).unwrap(),
        })
    }
}

fn incident_of(event: &str) -> IncidentId {
    IncidentId::derive(event, T0)
}

fn rule(event: &AlertEvent, at: Timestamp) -> (Ruling, WorkItem) {
    let incident = incident_of(event.key.as_str());
    let ruling = Ruling {
        event: event.key.clone(),
        fingerprint: event.fingerprint.clone(),
        alert: event.name().to_owned(),
        disposition: Disposition::Opened {
            incident: incident.clone(),
        },
        rule: String::from("open"),
        based_on: BTreeMap::new(),
        at,
    };
    (ruling, item(&incident, event.severity()))
}

pub(super) fn item(incident: &IncidentId, severity: Severity) -> WorkItem {
    WorkItem {
        incident: incident.clone(),
        severity,
        generation: 0,
        step: Step::Investigate,
    }
}

/// What the orchestrator does with one piece of work.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) takes: Duration,
    pub(super) result: Result<bool, AgentError>,
    /// What the reply asks for later.
    pub(super) again: Option<WorkItem>,
    /// It takes the process down.
    pub(super) kills: bool,
}

impl Plan {
    pub(super) fn good(secs: u64) -> Self {
        Self {
            takes: Duration::from_secs(secs),
            result: Ok(false),
            again: None,
            kills: false,
        }
    }

    pub(super) fn bad(error: AgentError) -> Self {
        Self {
            takes: Duration::from_secs(1),
            result: Err(error),
            again: None,
            kills: false,
        }
    }
}

/// Promises that were broken; a panic inside a job would be taken for a failed attempt.
type Broken = Arc<Mutex<Vec<String>>>;

type Planner = Box<dyn Fn(&WorkItem, u32) -> Plan + Send + Sync>;

/// Does what its plan says for a piece of work and the number of the call for it.
pub(super) struct FakeOrchestrator {
    card: AgentCard,
    trap: Arc<Trap>,
    plan: Mutex<Planner>,
    pub(super) log: Mutex<Log>,
    broken: Broken,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// Starts in order: when, and what.
    pub(super) started: Vec<(Duration, WorkItem)>,
    pub(super) calls: BTreeMap<MessageId, u32>,
    pub(super) completed: BTreeMap<MessageId, WorkItem>,
    running: BTreeMap<MessageId, u32>,
    pub(super) together_max: usize,
    /// Calls that were dropped before they came to an end.
    pub(super) dropped: u32,
}

impl std::fmt::Debug for FakeOrchestrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeOrchestrator").finish_non_exhaustive()
    }
}

impl FakeOrchestrator {
    pub(super) fn plan(&self, plan: impl Fn(&WorkItem, u32) -> Plan + Send + Sync + 'static) {
        *lock(&self.plan) = Box::new(plan);
    }
}

struct InCall<'a> {
    log: &'a Mutex<Log>,
    id: MessageId,
    ended: bool,
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        let mut log = lock(self.log);
        log.running.remove(&self.id);
        log.dropped += u32::from(!self.ended);
    }
}

#[async_trait]
impl Agent for FakeOrchestrator {
    fn card(&self) -> &AgentCard {
        &self.card
    }

    async fn run(&self, task: AgentTask, cx: &Cx) -> Result<Outcome, AgentError> {
        let request: WorkRequest = serde_json::from_value(task.input).unwrap();
        let id = task.message_id;
        let number = {
            let mut log = lock(&self.log);
            log.started.push((cx.clock.elapsed(), request.item.clone()));
            let running = log.running.insert(id.clone(), 1);
            if running.is_some() {
                lock(&self.broken).push(format!("two runs of {id} at the same time"));
            }
            log.together_max = log.together_max.max(log.running.len());
            let calls = log.calls.entry(id.clone()).or_default();
            *calls += 1;
            *calls
        };
        let mut call = InCall {
            log: &self.log,
            id: id.clone(),
            ended: false,
        };
        self.trap.step().await;
        let plan = (lock(&self.plan))(&request.item, number);
        if plan.kills {
            self.trap.spring().await;
        }
        let done = cx.bound(cx.clock.sleep(plan.takes)).await;
        call.ended = true;
        if done.is_none() {
            let agent = self.card.name.clone();
            return Err(if cx.cancel.is_cancelled() {
                AgentError::Cancelled { agent }
            } else {
                AgentError::Deadline { agent }
            });
        }
        let awaiting_approval = plan.result?;
        lock(&self.log).completed.insert(id, request.item);
        self.trap.step().await;
        let reply = WorkReply {
            summary: String::from("done"),
            awaiting_approval,
            again: plan.again,
        };
        let output = serde_json::to_value(reply).unwrap();
        Ok(if awaiting_approval {
            Outcome::InputRequired {
                question: String::from("may I?"),
                output,
            }
        } else {
            Outcome::Completed { output }
        })
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) trap: Arc<Trap>,
    pub(super) events: Arc<Rough>,
    pub(super) lanes: BTreeMap<Severity, Arc<Rough>>,
    pub(super) triage: Arc<FakeTriage>,
    pub(super) orchestrator: Arc<FakeOrchestrator>,
    pub(super) metrics: Metrics,
    pub(super) store: MemoryStore,
    broken: Broken,
    seed: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(*lock(&self.broken), Vec::<String>::new());
        }
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(5, 0)
    }

    pub(super) fn with(attempts_max: u32, seed: u64) -> Self {
        let clock: Arc<dyn Clock> = TestClock::at(T0.parse().unwrap());
        let trap = Arc::new(Trap::default());
        let stream = |name: String| {
            let builder = MemoryStream::builder(name, Arc::clone(&clock));
            Rough::new(
                builder.attempts_max(attempts_max).build(),
                Arc::clone(&trap),
            )
        };
        let lanes = Severity::ALL.map(|lane| (lane, stream(incident::keys::work(lane))));
        let broken = Broken::default();
        let triage = FakeTriage {
            card: card("triage-agent"),
            trap: Arc::clone(&trap),
            calls: Mutex::default(),
            rulings: Mutex::default(),
            is_well: AtomicBool::new(false),
        };
        let orchestrator = FakeOrchestrator {
            card: card("incident-orchestrator"),
            trap: Arc::clone(&trap),
            plan: Mutex::new(Box::new(|_, _| Plan::good(1))),
            log: Mutex::default(),
            broken: Arc::clone(&broken),
        };
        let world = Self {
            events: stream(String::from(incident::keys::EVENTS)),
            lanes: BTreeMap::from(lanes),
            triage: Arc::new(triage),
            orchestrator: Arc::new(orchestrator),
            metrics: Metrics::new(),
            store: MemoryStore::new(Arc::clone(&clock)),
            broken,
            clock,
            trap,
            seed,
        };
        world.watch_acks();
        world
    }

    /// An event may be acknowledged only when its work is durable.
    fn watch_acks(&self) {
        let lanes: Vec<Arc<Rough>> = self.lanes.values().cloned().collect();
        let broken = Arc::clone(&self.broken);
        let guard = move |key: &str| {
            let work = item(&incident_of(key), Severity::Info).key().to_string();
            let stored = lanes
                .iter()
                .any(|lane| lock(&lane.appended).contains(&work));
            if !stored {
                lock(&broken).push(format!(
                    "event {key} was acknowledged before its work was stored"
                ));
            }
        };
        *lock(&self.events.guard) = Some(Guard(Box::new(guard)));
    }

    /// A process with one dispatcher.
    pub(super) fn start(&self, config: Config) -> Supervisor {
        let supervisor = Supervisor::new(Shutdown::new(), Arc::clone(&self.clock));
        let lane = |(severity, lane): (&Severity, &Arc<Rough>)| {
            let lane: Arc<dyn Stream> = lane.clone();
            (*severity, lane)
        };
        let deps = Deps {
            events: self.events.clone(),
            store: Arc::new(self.store.clone()),
            work: self.lanes.iter().map(lane).collect(),
            triage: self.triage.clone(),
            orchestrator: self.orchestrator.clone(),
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SeededEntropy::new(self.seed)),
            metrics: self.metrics.clone(),
            progress: Arc::new(NoProgress),
        };
        Dispatcher::new(config, deps).start(&supervisor);
        supervisor
    }

    pub(super) async fn add_events(&self, lines: &[&str]) {
        let entries = lines.iter().map(|line| {
            let event = event(line);
            let payload = serde_json::to_vec(&event).unwrap();
            Entry {
                key: event.key.to_string(),
                payload,
            }
        });
        self.events.inner.append(entries.collect()).await.unwrap();
    }

    pub(super) async fn add_work(
        &self,
        severity: Severity,
        names: impl IntoIterator<Item = String>,
    ) {
        let entries = names.into_iter().map(|name| {
            let item = item(&incident_of(&name), severity);
            Entry {
                key: item.key().to_string(),
                payload: serde_json::to_vec(&item).unwrap(),
            }
        });
        self.lanes[&severity]
            .inner
            .append(entries.collect())
            .await
            .unwrap();
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &Arc<Rough>> {
        std::iter::once(&self.events).chain(self.lanes.values())
    }

    /// Waits until nothing is left to do.
    pub(super) async fn until_idle(&self) {
        for _ in 0..200_000 {
            let mut left = 0;
            for stream in self.streams() {
                left += stream.inner.backlog().await.unwrap().total();
            }
            if left == 0 {
                return;
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
        panic!("there still is work after hours");
    }

    /// Waits until `state` holds.
    pub(super) async fn until(&self, state: impl Fn(&Self) -> bool) {
        for _ in 0..200_000 {
            if state(self) {
                return;
            }
            self.clock.sleep(Duration::from_millis(10)).await;
        }
        panic!("the state was never reached");
    }

    pub(super) async fn dead(&self) -> Vec<(String, u32, String)> {
        let mut dead = Vec::new();
        for stream in self.streams() {
            for letter in stream.inner.dead(None, 100).await.unwrap() {
                let text = format!("{}: {}", letter.last.code, letter.last.text);
                dead.push((letter.stream, letter.attempts, text));
            }
        }
        dead
    }
}

/// Reads `Errors severity=critical do=panic`: name and labels.
pub(super) fn event(line: &str) -> AlertEvent {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let labels = rest
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap());
    let labels = std::iter::once(("alertname", name)).chain(labels);
    let labels = labels
        .map(|(name, value)| (name.to_owned(), Untrusted::new(value)))
        .collect();
    let group_key = GroupKey::from_stored(line);
    let digest = incident::digest::Digest::of(line.as_bytes());
    let fingerprint = Fingerprint::from_stored(digest.short(16));
    AlertEvent {
        key: EventKey::derive(&group_key, &fingerprint, T0, "firing"),
        group_key,
        fingerprint,
        status: AlertStatus::Firing,
        labels,
        annotations: BTreeMap::new(),
        starts_at: T0.parse().unwrap(),
        ends_at: None,
        generator_url: Untrusted::default(),
        receiver: Untrusted::default(),
        external_url: Untrusted::default(),
        truncated: 0,
        received_at: T0.parse().unwrap(),
    }
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}
