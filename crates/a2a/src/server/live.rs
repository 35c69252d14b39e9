//! The executions of this process, one per task, and how callers meet them.
//!
//! Everybody who sends a message meets the one execution of its task through a watched [`View`].
//! An execution outlives the requests that wait for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::{Arc, Mutex, PoisonError};

use a2a_types as sdk;
use incident::Untrusted;
use incident::ids::TaskId;
use incident::ports::{Agent, Clock, Entropy, Progress};
use runtime::{CancelToken, Supervisor, TaskKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::Config;
use crate::failure::Failure;

use super::Parts;
use super::execution;
use super::record::Record;
use super::request::{Asked, bad_field};
use super::tasks::Tasks;

/// Longest stage name and note, in characters.
const STAGE_CHARS_MAX: usize = 40;
const NOTE_CHARS_MAX: usize = 300;

/// What is known of an execution.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// The task as this execution found it, if it was not at rest then. Every stream begins here,
    /// so that all of them tell the same story.
    pub(super) begun: Option<Record>,
    /// The task, once the store was asked.
    pub(super) record: Option<Record>,
    /// How the execution ended: the task is at rest, or why it is not.
    pub(super) done: Option<Result<(), sdk::A2AError>>,
}

#[derive(Debug)]
struct Live {
    digest: String,
    view: watch::Receiver<View>,
    cancel: CancelToken,
}

/// Everything behind the routes of one agent.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) agent: Arc<dyn Agent>,
    pub(super) tasks: Tasks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) config: Config,
    supervisor: Supervisor,
    live: Mutex<BTreeMap<TaskId, Live>>,
    executions: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Core {
    pub(super) fn new(agent: Arc<dyn Agent>, parts: &Parts, instance: String) -> Arc<Self> {
        let config = parts.config.clone();
        let permits = |max: u32| Arc::new(Semaphore::new(usize::try_from(max).unwrap_or(1)));
        let tasks = Tasks {
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            agent: agent.card().name.clone(),
            instance,
            sole_owner: parts.sole_owner,
            lease: config.lease.0,
            ttl: config.task_ttl.0,
        };
        Arc::new(Self {
            agent,
            tasks,
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
            supervisor: parts.supervisor.clone(),
            live: Mutex::default(),
            executions: permits(config.executions_max),
            requests: permits(config.requests_max),
            config,
        })
    }

    /// The right to be answered; held as long as the answer takes.
    pub(super) fn admit(&self) -> Result<OwnedSemaphorePermit, sdk::A2AError> {
        self.requests.clone().try_acquire_owned().map_err(|_| {
            Failure::Overloaded.error(format!(
                "{} answers {} requests already; try again",
                self.tasks.agent, self.config.requests_max
            ))
        })
    }

    /// Joins the execution of the task, or starts it. Also while the process is leaving: whether
    /// requests still come in then is decided by who serves the routes, and an agent that runs may
    /// need another one to finish.
    pub(super) fn join(
        self: &Arc<Self>,
        asked: &Asked,
    ) -> Result<watch::Receiver<View>, sdk::A2AError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match live.entry(asked.id.clone()) {
            MapEntry::Occupied(found) if found.get().digest == asked.digest => {
                return Ok(found.get().view.clone());
            }
            MapEntry::Occupied(_) => return Err(other_payload()),
            MapEntry::Vacant(slot) => slot,
        };
        let Ok(permit) = self.executions.clone().try_acquire_owned() else {
            return Err(Failure::Overloaded.error(format!(
                "{} works on {} tasks already; try again",
                self.tasks.agent, self.config.executions_max
            )));
        };
        let (sender, receiver) = watch::channel(View::default());
        let cancel = CancelToken::new();
        slot.insert(Live {
            digest: asked.digest.clone(),
            view: receiver.clone(),
            cancel: cancel.clone(),
        });
        // A runtime that shuts down drops what is spawned at once, and the entry locks when dropped.
        drop(live);
        let entry = Entry {
            core: self.clone(),
            id: asked.id.clone(),
            view: Arc::new(sender),
            _permit: permit,
        };
        let work = execution::run(entry, asked.clone(), cancel);
        self.supervisor.spawn(TaskKind::Work, "a2a execution", work);
        Ok(receiver)
    }

    /// Cancelled once this process begins to leave.
    pub(super) fn leaving(&self) -> CancelToken {
        self.supervisor.shutdown().drain.clone()
    }

    /// The execution of a task, if this process has it.
    pub(super) fn watch(&self, id: &TaskId) -> Option<watch::Receiver<View>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(id).map(|live| live.view.clone())
    }

    /// Calls off the execution of a task, if this process has it.
    pub(super) fn cancel(&self, id: &TaskId) -> Option<watch::Receiver<View>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let found = live.get(id)?;
        found.cancel.cancel();
        Some(found.view.clone())
    }
}

/// The message id was used before, for something else.
pub(super) fn other_payload() -> sdk::A2AError {
    bad_field(
        "message.messageId",
        "was used before with another skill, context or body; a new message needs a new id",
    )
}

/// An execution's place among the live ones. Whatever happens to the execution, dropping this lets
/// nobody wait for it any longer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) core: Arc<Core>,
    pub(super) id: TaskId,
    pub(super) view: Arc<watch::Sender<View>>,
    _permit: OwnedSemaphorePermit,
}

impl Entry {
    /// Tells everybody how it ended.
    pub(super) fn finish(self, result: Result<(), sdk::A2AError>) {
        self.leave(result);
    }

    /// Leaves first and tells then: who sends again after the news starts a new execution.
    fn leave(&self, result: Result<(), sdk::A2AError>) {
        if self.view.borrow().done.is_some() {
            return;
        }
        let mut live = self
            .core
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        live.remove(&self.id);
        drop(live);
        self.view.send_modify(|view| view.done = Some(result));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let why = "the execution was interrupted; send the message again";
        self.leave(Err(Failure::Interrupted.error(why)));
    }
}

/// Takes an agent's notes into the view, where streams see them and the next write keeps them.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) view: Arc<watch::Sender<View>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max: usize,
}

impl Progress for Notes {
    fn note(&self, stage: &str, text: &str) {
        let stage = Untrusted::from(stage).one_line(STAGE_CHARS_MAX);
        let text = Untrusted::from(text).one_line(NOTE_CHARS_MAX);
        let now = self.clock.now();
        self.view.send_modify(|view| {
            if let Some(record) = view.record.as_mut().filter(|_| view.done.is_none()) {
                record.note(now, stage, text, self.max);
            }
        });
    }
}
