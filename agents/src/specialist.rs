//! What every specialist has in common: the one skill, reading its request, and that the same message
//! is the same task (a second caller joins the first or gets its outcome).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use incident::message::{EvidenceReply, EvidenceRequest};
use incident::ports::{AgentError, AgentTask, Outcome};
use incident::{Cx, MessageId, Untrusted};
use serde_json::Value;
use tokio::sync::OnceCell;

/// The skill of every specialist, and the schema of its input.
pub const SKILL: &str = "evidence/1";

/// Where a task's outcome appears.
type Slot = Arc<OnceCell<Outcome>>;

/// The tasks of one specialist, the newest of them.
#[derive(Debug)]
pub(crate) struct Tasks {
    agent: &'static str,
    kept: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    slots: BTreeMap<MessageId, (Value, Slot)>,
    order: VecDeque<MessageId>,
}

impl Tasks {
    /// Remembers at most `kept` tasks of `agent`.
    pub(crate) fn new(agent: &'static str, kept: usize) -> Self {
        Self {
            agent,
            kept: kept.max(1),
            known: Mutex::default(),
        }
    }

    /// Does one task with `evidence`, once, within `cx`.
    ///
    /// # Errors
    /// The input cannot be read, or `cx` ended first.
    pub(crate) async fn answer<'a>(
        &self,
        task: AgentTask,
        cx: &'a Cx,
        evidence: impl FnOnce(EvidenceRequest, &'a Cx) -> BoxFuture<'a, EvidenceReply> + Send,
    ) -> Result<Outcome, AgentError> {
        let request = self.read(&task)?;
        let Some(slot) = self.slot(&task.message_id, &task.input) else {
            return Err(self.refused("this message id came before with another input"));
        };
        let work = slot.get_or_try_init(|| async {
            let reply = evidence(request, cx).await;
            // What was cut short by cancellation is not the task's outcome.
            if cx.cancel.is_cancelled() {
                return Err(self.cancelled());
            }
            let output = serde_json::to_value(&reply).map_err(|error| AgentError::Failed {
                agent: self.agent.to_owned(),
                why: error.to_string(),
            })?;
            Ok(Outcome::Completed { output })
        });
        match cx.bound(work).await {
            Some(outcome) => outcome.cloned(),
            None if cx.cancel.is_cancelled() => Err(self.cancelled()),
            None => Err(AgentError::Deadline {
                agent: self.agent.to_owned(),
            }),
        }
    }

    fn read(&self, task: &AgentTask) -> Result<EvidenceRequest, AgentError> {
        if task.skill != SKILL {
            return Err(self.refused(&format!("the only skill is {SKILL:?}")));
        }
        let request: EvidenceRequest =
            serde_json::from_value(task.input.clone()).map_err(|error| {
                self.refused(&format!("the input is not an {SKILL} request: {error}"))
            })?;
        if request.window.start >= request.window.end {
            return Err(self.refused("the window is empty; its start must lie before its end"));
        }
        Ok(request)
    }

    fn refused(&self, why: &str) -> AgentError {
        AgentError::Refused {
            agent: self.agent.to_owned(),
            why: Untrusted::from(why).one_line(300),
        }
    }

    fn cancelled(&self) -> AgentError {
        AgentError::Cancelled {
            agent: self.agent.to_owned(),
        }
    }

    /// The slot of a message; none if it came before with another input.
    fn slot(&self, id: &MessageId, input: &Value) -> Option<Slot> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, slot)) = known.slots.get(id) {
            return (first == input).then(|| Arc::clone(slot));
        }
        if known.order.len() >= self.kept
            && let Some(oldest) = known.order.pop_front()
        {
            known.slots.remove(&oldest);
        }
        let slot = Slot::default();
        known.order.push_back(id.clone());
        known
            .slots
            .insert(id.clone(), (input.clone(), Arc::clone(&slot)));
        Some(slot)
    }
}
