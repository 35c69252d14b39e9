//! What streams are fed with: the difference between what a caller was told and what is known.
//!
//! The same comparison serves an execution of this process and one of another replica, which is
//! seen through the store. A caller that falls behind loses notes, never the end.

use std::collections::VecDeque;
use std::sync::Arc;

use a2a_types as sdk;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use incident::ids::TaskId;
use incident::ports::{Cx, StoreError};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::failure::Failure;

use super::live::{Core, View};
use super::record::{Record, State};

type Item = Result<sdk::StreamResponse, sdk::A2AError>;

/// Where the news comes from.
#[derive(Debug)]
enum Source {
    /// An execution of this process.
    Live(watch::Receiver<View>),
    /// The store.
    Store,
}

/// What the caller wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// One execution: ends when it ends, whatever became of the task.
    Execution,
    /// The task: ends when nothing more can happen to it.
    Task,
}

/// What a caller was told.
#[derive(Debug, Default)]
struct Told {
    state: Option<State>,
    notes: u64,
}

impl Told {
    /// What is new in `record`.
    fn news(
        &mut self,
        record: &Record,
        input: Option<&Value>,
        history: Option<usize>,
    ) -> Vec<sdk::StreamResponse> {
        let mut news = Vec::new();
        let Some(before) = self.state.replace(record.state) else {
            self.notes = record.noted;
            let task = record.to_task(input, history);
            return vec![sdk::StreamResponse::Task(task)];
        };
        for note in record.notes.iter().filter(|note| note.number > self.notes) {
            news.push(sdk::StreamResponse::StatusUpdate(record.note_update(note)));
        }
        self.notes = record.noted.max(self.notes);
        if record.state != before && record.state.is_at_rest() {
            news.extend(
                record
                    .artifact_update()
                    .map(sdk::StreamResponse::ArtifactUpdate),
            );
            news.push(sdk::StreamResponse::StatusUpdate(record.status_update()));
        }
        news
    }
}

/// The state of one open stream.
pub(super) struct Feed {
    core: Arc<Core>,
    id: TaskId,
    source: Source,
    want: Want,
    told: Told,
    input: Option<Value>,
    history: Option<usize>,
    queue: VecDeque<Item>,
    over: bool,
    cx: Cx,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// A stream about task `id`; it ends with `cx` at the latest.
    pub(super) fn new(
        core: Arc<Core>,
        id: TaskId,
        want: Want,
        cx: Cx,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let source = core.watch(&id).map_or(Source::Store, Source::Live);
        Self {
            core,
            id,
            source,
            want,
            told: Told::default(),
            input: None,
            history: Some(0),
            queue: VecDeque::new(),
            over: false,
            cx,
            _permit: permit,
        }
    }

    /// The same stream, fed by the execution that `view` shows.
    pub(super) fn of(mut self, view: watch::Receiver<View>) -> Self {
        self.source = Source::Live(view);
        self
    }

    /// The same stream, its first event with that much history.
    pub(super) fn with_history(mut self, input: Option<Value>, history: Option<usize>) -> Self {
        self.input = input;
        self.history = history;
        self
    }

    /// The events.
    pub(super) fn into_stream(self) -> BoxStream<'static, Item> {
        stream::unfold(self, |mut feed| async move {
            loop {
                if let Some(item) = feed.queue.pop_front() {
                    return Some((item, feed));
                }
                if feed.over {
                    return None;
                }
                feed.pull().await;
            }
        })
        .boxed()
    }

    /// Waits for news and puts them into the queue.
    async fn pull(&mut self) {
        match &mut self.source {
            Source::Live(view) => {
                let (begun, record, done) = {
                    let view = view.borrow_and_update();
                    (view.begun.clone(), view.record.clone(), view.done.clone())
                };
                for record in [begun, record].iter().flatten() {
                    self.tell(record);
                }
                let ended = done.is_some();
                match done {
                    Some(Ok(())) => self.over |= self.want == Want::Execution,
                    Some(Err(error)) if self.want == Want::Execution => {
                        self.queue.push_back(Err(error));
                        self.over = true;
                    }
                    _ => {}
                }
                if !self.queue.is_empty() || self.over {
                    return;
                }
                if ended {
                    self.source = Source::Store;
                    return;
                }
                self.wait_live().await;
            }
            Source::Store => self.pull_store().await,
        }
    }

    async fn wait_live(&mut self) {
        let Source::Live(view) = &mut self.source else {
            return;
        };
        tokio::select! {
            biased;
            changed = view.changed() => if changed.is_err() {
                self.source = Source::Store;
            },
            () = self.cx.ended() => self.end(),
        }
    }

    async fn pull_store(&mut self) {
        match self.core.tasks.load(&self.id).await {
            Ok(Some(kept)) => self.tell(&kept.record),
            Ok(None) => {
                self.queue
                    .push_back(Err(sdk::A2AError::task_not_found(self.id.as_str())));
                self.over = true;
            }
            // Comes back by itself; the next look will tell.
            Err(StoreError::Unavailable(why)) => {
                tracing::debug!(why, "a stream waits for the store");
            }
            Err(error) => {
                self.queue
                    .push_back(Err(Failure::Store.error(error.to_string())));
                self.over = true;
            }
        }
        if self.queue.is_empty() && !self.over {
            let wait = self.core.clock.sleep(self.core.config.poll.0);
            if self.cx.bound(wait).await.is_none() {
                self.end();
            } else if let Some(view) = self.core.watch(&self.id) {
                self.source = Source::Live(view);
            }
        }
    }

    fn tell(&mut self, record: &Record) {
        let news = self.told.news(record, self.input.as_ref(), self.history);
        self.queue.extend(news.into_iter().map(Ok));
        self.over |= self.want == Want::Task && record.state.is_terminal();
    }

    fn end(&mut self) {
        self.over = true;
        if self.want == Want::Execution {
            let why = "the caller's deadline passed; the task goes on";
            self.queue.push_back(Err(Failure::Deadline.error(why)));
        }
    }
}
