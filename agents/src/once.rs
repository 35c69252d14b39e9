//! The same message is the same task: a second caller joins the first or gets its outcome.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use incident::MessageId;
use incident::ports::Outcome;
use serde_json::Value;
use tokio::sync::OnceCell;

/// Where a task's outcome appears.
pub(crate) type Slot = Arc<OnceCell<Outcome>>;

/// The tasks of one agent, the newest of them.
#[derive(Debug)]
pub(crate) struct Tasks {
    kept: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    slots: BTreeMap<MessageId, (Value, Slot)>,
    order: VecDeque<MessageId>,
}

impl Tasks {
    /// Remembers at most `kept` tasks.
    pub(crate) fn new(kept: usize) -> Self {
        Self {
            kept: kept.max(1),
            known: Mutex::default(),
        }
    }

    /// The slot of a message; none if it came before with another input.
    pub(crate) fn slot(&self, id: &MessageId, input: &Value) -> Option<Slot> {
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
