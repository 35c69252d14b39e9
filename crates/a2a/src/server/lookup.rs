//! Looking a task up for a caller.

use std::time::Duration;

use a2a_types as sdk;
use incident::error::Classify as _;
use incident::ids::TaskId;
use incident::ports::{Cx, StoreError};
use jiff::Timestamp;
use runtime::Policy;

use crate::failure::Failure;

use super::live::Core;
use super::record::Record;
use super::request::bad_field;
use super::tasks::Kept;

/// How long one look into the store may take, tries included.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// Longest task id that is looked for, in bytes; ours are shorter.
const ID_BYTES_MAX: usize = 128;

/// A task id as a caller wrote it.
pub(super) fn task_id(text: String) -> Result<TaskId, sdk::A2AError> {
    if text.is_empty() {
        return Err(bad_field("id", "is missing; send the id of a task"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.len() > ID_BYTES_MAX || !text.bytes().all(plain) {
        // No id of ours, so there is no such task; a stranger's text never becomes part of a key.
        let shown = incident::Untrusted::from(text).one_line(60);
        return Err(sdk::A2AError::task_not_found(&shown));
    }
    Ok(TaskId::from_stored(text))
}

impl Core {
    /// The context of a request: ends at the caller's deadline or when an execution would.
    pub(super) fn cx(&self, deadline: Option<Timestamp>) -> Cx {
        let mut cx = Cx::root(self.clock.clone(), self.config.execution_max.0, "");
        cx.deadline = deadline.map_or(cx.deadline, |deadline| cx.deadline.min(deadline));
        cx
    }

    /// Asks the store, again while it is away.
    pub(super) async fn ask<T, F>(&self, op: impl FnMut() -> F) -> Result<T, sdk::A2AError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let cx = Cx::root(self.clock.clone(), STORE_WAIT, "");
        let result = Policy::BACKEND.run(&cx, self.entropy.as_ref(), op).await;
        result.map_err(|error| {
            tracing::warn!(%error, code = %error.code(), "a request could not be answered");
            Failure::Store.error(error.to_string())
        })
    }

    /// A task as it is stored, or that there is none.
    pub(super) async fn load(&self, id: &TaskId) -> Result<Kept, sdk::A2AError> {
        let found = self.ask(|| self.tasks.load(id)).await?;
        found.ok_or_else(|| sdk::A2AError::task_not_found(id.as_str()))
    }

    /// The newest that is known of a task: an execution here knows more notes than the store, as
    /// long as the task is still its own.
    pub(super) async fn newest(&self, id: &TaskId) -> Result<Record, sdk::A2AError> {
        let kept = self.load(id).await?.record;
        let live = self.watch(id).and_then(|view| view.borrow().record.clone());
        let ours = kept.is_owned_by(&self.tasks.instance);
        let live = live.filter(|live| ours && live.attempt == kept.attempt);
        Ok(live.unwrap_or(kept))
    }

    /// A task as callers see it.
    pub(super) async fn task(
        &self,
        record: &Record,
        history: Option<usize>,
    ) -> Result<sdk::Task, sdk::A2AError> {
        let input = if history == Some(0) {
            None
        } else {
            self.ask(|| self.tasks.input(&record.task)).await?
        };
        Ok(record.to_task(input.as_ref(), history))
    }
}
