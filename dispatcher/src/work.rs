//! The second hop: work to the orchestrator, the most urgent lane first.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use incident::message::{WorkReply, WorkRequest};
use incident::ports::{AgentError, AgentTask, Delivery, Outcome, Stream, StreamError};
use incident::{MessageId, Severity, Step, WorkItem};
use runtime::{Supervisor, TaskKind};
use serde::Deserialize as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::call::End;
use crate::error::{DispatchError, cause};
use crate::jobs::Patience;
use crate::lanes;
use crate::lease::Leases;
use crate::service::Inner;
use crate::verdict::{Verdict, judge, judge_error};

const HOP: &str = "work";
const SKILL: &str = "work/1";
/// Longest time work is put off at once; clocks that disagree must not make it longer.
const PUT_OFF_MAX: Duration = Duration::from_hours(1);

/// What was claimed, and from where.
struct Claimed {
    lane: Severity,
    stream: Arc<dyn Stream>,
    delivery: Delivery,
    leases: Leases,
}

impl Inner {
    pub(crate) async fn serve_work(self: Arc<Self>, supervisor: &Supervisor) {
        let config = &self.config.work;
        let all = Arc::new(Semaphore::new(config.concurrency));
        let lesser = config
            .concurrency
            .saturating_sub(config.reserved_for_critical);
        let lesser = Arc::new(Semaphore::new(lesser));
        let mut patience = Patience::new();
        let mut served = 0_u32;
        loop {
            let permit = tokio::select! {
                biased;
                () = self.shutdown.drain.wait() => return,
                permit = Arc::clone(&all).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let second = Arc::clone(&lesser).try_acquire_owned().ok();
            let claimed = match self.claim(served, second.is_some()).await {
                Ok(Some(claimed)) => claimed,
                Ok(None) if self.is_leaving() => return,
                Ok(None) => {
                    patience.reset();
                    continue;
                }
                Err((stream, error)) => {
                    if self
                        .claim_failed(stream.as_ref(), &error, &mut patience)
                        .await
                    {
                        continue;
                    }
                    return;
                }
            };
            patience.reset();
            if self.is_leaving() {
                self.give_back(HOP, claimed.stream.as_ref(), &claimed.delivery)
                    .await;
                return;
            }
            served = served.wrapping_add(1);
            // Critical work does not use up what lesser work may have.
            let second = second.filter(|_| claimed.lane != Severity::Critical);
            self.start_work(supervisor, claimed, (permit, second));
        }
    }

    /// Claims one entry from the first lane that has one. When all are empty, waits for critical work
    /// for a moment.
    async fn claim(
        &self,
        served: u32,
        lesser: bool,
    ) -> Result<Option<Claimed>, (Arc<dyn Stream>, StreamError)> {
        let config = &self.config.work;
        let turn_of_ageing = served % config.aged_share.max(1) == config.aged_share.max(1) - 1;
        let order = {
            let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
            lanes::order(&ages, config.age_max.0, turn_of_ageing)
        };
        let now = order.into_iter().map(|lane| (lane, Duration::ZERO));
        let then = std::iter::once((Severity::Critical, config.poll.0));
        for (lane, wait) in now.chain(then) {
            if lane != Severity::Critical && !lesser {
                continue;
            }
            if self.is_leaving() {
                return Ok(None);
            }
            let Some(stream) = self.work.get(&lane) else {
                continue;
            };
            let since = self.clock.elapsed();
            let claimed = stream.claim(1, wait).await;
            let claimed = claimed.map_err(|error| (Arc::clone(stream), error))?;
            if let Some(delivery) = claimed.into_iter().next() {
                let leases = Leases::new([&delivery.lease], since, stream.lease());
                let stream = Arc::clone(stream);
                return Ok(Some(Claimed {
                    lane,
                    stream,
                    delivery,
                    leases,
                }));
            }
        }
        Ok(None)
    }

    fn start_work(
        self: &Arc<Self>,
        supervisor: &Supervisor,
        claimed: Claimed,
        permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    ) {
        let this = Arc::clone(self);
        supervisor.spawn(TaskKind::Work, "work", async move {
            let Claimed {
                stream,
                delivery,
                leases,
                ..
            } = &claimed;
            let job = this.handle_work(stream.as_ref(), delivery, leases);
            this.guarded(HOP, stream.as_ref(), std::slice::from_ref(delivery), job)
                .await;
            drop(permits);
        });
    }

    async fn handle_work(&self, stream: &dyn Stream, delivery: &Delivery, leases: &Leases) {
        let task = match task(delivery) {
            Ok((item, _)) if self.is_early(&item) => {
                return self.put_off(stream, delivery, &item).await;
            }
            Ok((_, task)) => task,
            Err(error) => {
                return self
                    .settle(HOP, stream, delivery, judge_error(&error))
                    .await;
            }
        };
        let within = self.config.work.deadline.0;
        let end = tokio::select! {
            biased;
            // Somebody else works on it now; whatever comes of the task here is theirs to settle.
            () = leases.keep(stream, self.clock.as_ref()) => {
                self.figures.handled(HOP, "lost");
                return;
            }
            end = self.call(self.orchestrator.as_ref(), task, within) => end,
        };
        match end {
            End::Task(result) => {
                let verdict = self.follow(&result).await;
                self.settle(HOP, stream, delivery, verdict).await;
            }
            End::Leaving => self.give_back(HOP, stream, delivery).await,
        }
    }

    /// What becomes of the entry, once the work that follows from it is durable.
    async fn follow(&self, result: &Result<Outcome, AgentError>) -> Verdict {
        let (Ok(Outcome::Completed { output }) | Ok(Outcome::InputRequired { output, .. })) =
            result
        else {
            return judge(result);
        };
        let reply = WorkReply::deserialize(output);
        // An older orchestrator may answer in words that we do not know: its work is done.
        let again = reply.ok().and_then(|reply| reply.again);
        match self.enqueue(again.as_slice()).await {
            Ok(()) => judge(result),
            Err(verdict) => verdict,
        }
    }

    /// Whether the work is for later.
    fn is_early(&self, item: &WorkItem) -> bool {
        matches!(item.step, Step::Retry { due, .. } if due > self.clock.now())
    }

    /// Puts work back until it is due. Nobody is called and no permit is held for it.
    async fn put_off(&self, stream: &dyn Stream, delivery: &Delivery, item: &WorkItem) {
        let Step::Retry { due, .. } = item.step else {
            return;
        };
        let wait = due.duration_since(self.clock.now());
        let wait = Duration::try_from(wait)
            .unwrap_or_default()
            .min(PUT_OFF_MAX);
        let cause = cause(&DispatchError::Early);
        let put = || stream.retry_later(&delivery.lease, wait, &cause);
        let result = self.trying(put).await;
        self.settled(HOP, "put_off", delivery, result);
    }
}

/// The message id names the work and its lane: when the severity grows, the same work is called for
/// once more, with another content and so under another name.
fn task(delivery: &Delivery) -> Result<(WorkItem, AgentTask), DispatchError> {
    let bad = |error: serde_json::Error| DispatchError::Unreadable(error.to_string());
    let item: WorkItem = serde_json::from_slice(&delivery.payload).map_err(bad)?;
    let fields = [item.key().to_string(), item.severity.lane().to_owned()];
    let context = Some(item.incident.to_string());
    let task = AgentTask {
        message_id: MessageId::derive("work", fields.iter().map(String::as_str)),
        context,
        skill: SKILL.to_owned(),
        input: serde_json::to_value(WorkRequest { item: item.clone() }).map_err(bad)?,
    };
    Ok((item, task))
}
