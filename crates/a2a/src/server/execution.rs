//! One execution: get the task, run the agent under a lease, put the task to rest.
//!
//! The order is what makes it crash-safe: the task is in the store before the agent begins, the
//! result is in the store before anybody hears of it, and a failure gives the task back.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use a2a_types as sdk;
use futures_util::FutureExt as _;
use incident::Untrusted;
use incident::error::{Classify as _, Kind};
use incident::ports::{AgentError, Cx, Outcome, StoreError};
use runtime::{CancelToken, Policy};

use crate::failure::Failure;
use crate::wire;

use super::ending::{canceled, panic_text, rejected, rest_of, told};
use super::live::{Core, Entry, Notes, View, other_payload};
use super::record::{Record, Rest};
use super::request::Asked;
use super::tasks::{Claim, Kept};

/// How long an agent may take to answer the end of its context (the Agent port says 1 s).
const GRACE: Duration = Duration::from_secs(1);
/// Writes that lose against somebody else's before the task counts as lost.
const CONFLICTS_MAX: u32 = 16;

type Agreed = Result<Outcome, AgentError>;

/// Why an agent is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// A caller called the task off.
    Canceled,
    /// Its context ended.
    Ended,
    /// Somebody else has the task, or may have it.
    Lost,
}

/// Why a write was not done.
#[derive(Debug)]
enum WriteError {
    Lost,
    Store(StoreError),
}

/// Drives the task of `asked` until it is at rest or cannot go on.
pub(super) async fn run(entry: Entry, asked: Asked, cancel: CancelToken) {
    let core = entry.core.clone();
    let token = CancelToken::new();
    let limit = core.config.execution_max.0;
    let mut cx = Cx::root(core.clock.clone(), limit, asked.trace.clone())
        .with_cancel(Arc::new(token.clone()))
        .with_progress(Arc::new(Notes {
            view: entry.view.clone(),
            clock: core.clock.clone(),
            max: core.notes_max(),
        }));
    if let Some(deadline) = asked.deadline {
        cx.deadline = cx.deadline.min(deadline);
    }
    let result = match claim(&entry, &asked, &cx, &cancel).await {
        Err(error) => Err(error),
        Ok(None) => Ok(()),
        Ok(Some(version)) => {
            let mut execution = Execution {
                core: &core,
                entry: &entry,
                version,
            };
            execution.perform(asked, &cx, &token, &cancel).await
        }
    };
    entry.finish(result);
}

/// Gets the task: its version if it is ours now, nothing if it came to rest without us.
async fn claim(
    entry: &Entry,
    asked: &Asked,
    cx: &Cx,
    cancel: &CancelToken,
) -> Result<Option<u64>, sdk::A2AError> {
    let core = &entry.core;
    let show = |record: Record| {
        entry.view.send_modify(|view| {
            if view.begun.is_none() && !record.state.is_at_rest() {
                view.begun = Some(record.clone());
            }
            view.record = Some(record);
        });
    };
    loop {
        let claimed = Policy::BACKEND.run(cx, core.entropy.as_ref(), || core.tasks.claim(asked));
        let claimed = tokio::select! {
            biased;
            claimed = claimed => claimed.map_err(|error| store_failure(&error))?,
            () = cx.ended() => return Err(deadline(core)),
        };
        match claimed {
            Claim::OtherPayload => return Err(other_payload()),
            Claim::AtRest(record) => {
                show(record);
                return Ok(None);
            }
            Claim::Mine(Kept { record, version }) => {
                show(record);
                return Ok(Some(version));
            }
            Claim::Theirs(record) => show(record),
        }
        tokio::select! {
            biased;
            () = cancel.wait() => {
                return Err(Failure::Cancelled.error("the task was called off"));
            }
            () = cx.ended() => return Err(deadline(core)),
            () = core.clock.sleep(core.config.poll.0) => {}
        }
    }
}

fn deadline(core: &Core) -> sdk::A2AError {
    let agent = &core.tasks.agent;
    Failure::Deadline.error(format!("{agent} did not finish by the deadline"))
}

fn store_failure(error: &StoreError) -> sdk::A2AError {
    tracing::warn!(%error, code = %error.code(), "a task could not be read or written");
    if error.kind() == Kind::Transient {
        Failure::Store.error(format!("{error}; send the message again"))
    } else {
        Failure::AgentFailed.error(format!("the task cannot be kept: {error}"))
    }
}

struct Execution<'a> {
    core: &'a Core,
    entry: &'a Entry,
    version: u64,
}

impl Execution<'_> {
    async fn perform(
        &mut self,
        asked: Asked,
        cx: &Cx,
        token: &CancelToken,
        cancel: &CancelToken,
    ) -> Result<(), sdk::A2AError> {
        let id = asked.id.clone();
        let agent = self.core.agent.clone();
        tracing::debug!(agent = self.core.tasks.agent, task = %id, "an agent begins a task");
        let work = AssertUnwindSafe(agent.run(asked.task, cx)).catch_unwind();
        let mut work = std::pin::pin!(work);
        let stop = {
            let kept = std::pin::pin!(self.keep());
            tokio::select! {
                biased;
                result = &mut work => Err(result),
                stop = kept => Ok(stop),
                () = cancel.wait() => Ok(Stop::Canceled),
                () = cx.ended() => Ok(Stop::Ended),
            }
        };
        let (answer, stop) = match stop {
            Err(answer) => (Some(answer), None),
            Ok(stop) => {
                token.cancel();
                let grace = self.core.clock.sleep(GRACE);
                let late = tokio::select! {
                    biased;
                    answer = &mut work => Some(answer),
                    () = grace => None,
                };
                (late, Some(stop))
            }
        };
        // An agent that kept the deadline may have answered it before we saw it pass.
        let stop = stop.or_else(|| cx.remaining().is_zero().then_some(Stop::Ended));
        self.conclude(answer, stop).await
    }

    /// Renews the lease until the task is lost or called off.
    async fn keep(&mut self) -> Stop {
        let lease = self.core.config.lease.0;
        let mut renewed = self.core.clock.elapsed();
        loop {
            self.core.clock.sleep(lease / 3).await;
            let begun = self.core.clock.elapsed();
            let owner = self.core.tasks.owner(self.core.clock.now());
            match self
                .write(|record| record.owner = Some(owner.clone()))
                .await
            {
                Ok(()) => renewed = begun,
                Err(WriteError::Lost) => return Stop::Lost,
                Err(WriteError::Store(error)) => {
                    tracing::warn!(task = %self.entry.id, %error, "a lease could not be renewed");
                    if self.core.clock.elapsed().saturating_sub(renewed) >= lease {
                        return Stop::Lost;
                    }
                }
            }
            if self.with_record(|record| record.cancel_asked) == Some(true) {
                return Stop::Canceled;
            }
        }
    }

    async fn conclude(
        &mut self,
        answer: Option<Result<Agreed, Box<dyn Any + Send>>>,
        stop: Option<Stop>,
    ) -> Result<(), sdk::A2AError> {
        let agent = self.core.tasks.agent.clone();
        if stop == Some(Stop::Lost) {
            let why = format!("{agent} lost the task to another process; send the message again");
            return Err(Failure::LeaseLost.error(why));
        }
        let failed = match answer {
            Some(Ok(Ok(outcome))) => return self.rest(rest_of(outcome)).await,
            Some(Ok(Err(AgentError::Refused { why, .. }))) => {
                return self.rest(rejected(&why)).await;
            }
            _ if stop == Some(Stop::Canceled) => {
                return self.rest(canceled()).await;
            }
            Some(Ok(Err(error))) => told(&error, stop == Some(Stop::Ended)),
            Some(Err(panic)) => {
                let why = panic_text(panic.as_ref());
                tracing::error!(agent, task = %self.entry.id, panic = why, "an agent panicked");
                (
                    Failure::AgentPanicked,
                    format!("{agent} failed unexpectedly; see its log"),
                )
            }
            None => (
                Failure::Deadline,
                format!("{agent} did not finish by the deadline"),
            ),
        };
        self.give_back(failed).await
    }

    async fn rest(&mut self, rest: Rest) -> Result<(), sdk::A2AError> {
        let now = self.core.clock.now();
        match self.settle(|record| record.rest(&rest, now)).await {
            Err(WriteError::Store(StoreError::Limit { why, .. })) => {
                let rest = rejected(&format!("its output cannot be kept: {why}"));
                self.settle(|record| record.rest(&rest, now)).await
            }
            settled => settled,
        }
        .map_err(|error| unsettled(&error))
    }

    async fn give_back(&mut self, failed: (Failure, String)) -> Result<(), sdk::A2AError> {
        let (failure, why) = failed;
        let now = self.core.clock.now();
        let said = Untrusted::from(why.as_str()).one_line(wire::TEXT_CHARS_MAX);
        tracing::info!(
            agent = self.core.tasks.agent,
            task = %self.entry.id,
            failure = failure.label(),
            why = said,
            "a task was given back"
        );
        let settled = self
            .settle(|record| {
                record.owner = None;
                record.said = Some(said.clone());
                record.changed_at = now;
            })
            .await;
        if settled.is_err() {
            tracing::warn!(task = %self.entry.id, "a task could not be given back; its lease will lapse");
        }
        Err(failure.error(said))
    }

    /// Writes the last word about this execution, for as long as the lease can last.
    async fn settle(&mut self, change: impl Fn(&mut Record)) -> Result<(), WriteError> {
        let core = self.core;
        let cx = Cx::root(core.clock.clone(), core.config.lease.0, "");
        let mut waits = Policy::BACKEND.waits(core.entropy.as_ref());
        loop {
            let error = match self.write(&change).await {
                Err(WriteError::Store(error)) => error,
                settled => return settled,
            };
            let wait = waits.next().filter(|_| error.kind() == Kind::Transient);
            let Some(wait) = wait.filter(|wait| *wait < cx.remaining()) else {
                return Err(WriteError::Store(error));
            };
            core.clock.sleep(wait).await;
        }
    }

    /// Applies `change` to the record in the store, then to the one that callers see. Somebody
    /// else's write in between is respected if it left the task ours.
    async fn write(&mut self, change: impl Fn(&mut Record)) -> Result<(), WriteError> {
        for _ in 0..CONFLICTS_MAX {
            let Some(mut record) = self.with_record(Record::clone) else {
                return Err(WriteError::Lost);
            };
            change(&mut record);
            match self.core.tasks.save(&record, self.version).await {
                Ok(version) => {
                    self.version = version;
                    self.entry.view.send_modify(|view| {
                        if let Some(record) = &mut view.record {
                            change(record);
                        }
                    });
                    return Ok(());
                }
                Err(StoreError::Conflict { .. }) => self.reread().await?,
                Err(error) => return Err(WriteError::Store(error)),
            }
        }
        Err(WriteError::Lost)
    }

    /// After a conflict: takes over the new version if the task is still ours.
    async fn reread(&mut self) -> Result<(), WriteError> {
        let tasks = &self.core.tasks;
        let found = tasks
            .load(&self.entry.id)
            .await
            .map_err(WriteError::Store)?;
        let attempt = self.with_record(|record| record.attempt);
        let Some(Kept { record, version }) = found
            .filter(|kept| kept.record.is_owned_by(&tasks.instance))
            .filter(|kept| Some(kept.record.attempt) == attempt)
        else {
            return Err(WriteError::Lost);
        };
        self.version = version;
        self.entry.view.send_modify(|view: &mut View| {
            if let Some(ours) = &mut view.record {
                ours.cancel_asked |= record.cancel_asked;
            }
        });
        Ok(())
    }

    fn with_record<T>(&self, read: impl FnOnce(&Record) -> T) -> Option<T> {
        self.entry.view.borrow().record.as_ref().map(read)
    }
}

/// Why the last word was not written.
fn unsettled(error: &WriteError) -> sdk::A2AError {
    match error {
        WriteError::Lost => {
            let why = "the task was taken over by another process; send the message again";
            Failure::LeaseLost.error(why)
        }
        WriteError::Store(error) => store_failure(error),
    }
}

impl Core {
    fn notes_max(&self) -> usize {
        usize::try_from(self.config.notes_max).unwrap_or(usize::MAX)
    }
}
