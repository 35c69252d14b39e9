//! The second hop: work to the orchestrator, the most urgent lane first.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use incident::error::Classify as _;
use incident::message::{WorkReply, WorkRequest};
use incident::ports::{AgentError, AgentTask, Cx, Delivery, Outcome, Stream, StreamError};
use incident::{MessageId, Severity, Step, WorkItem};
use runtime::slots::{Slot, SlotError, Want};
use runtime::{Supervisor, TaskKind};
use serde::Deserialize as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::breaker::Pass;
use crate::call::End;
use crate::error::{DispatchError, cause};
use crate::jobs::Patience;
use crate::lanes;
use crate::lease::Leases;
use crate::service::Inner;
use crate::verdict::{Verdict, judge, judge_error};

const HOP: &str = "work";
const SKILL: &str = "work/1";
/// How long a slot is waited for before everything else is looked at again.
const SLOT_WITHIN: Duration = Duration::from_secs(5);
/// Longest time work is put off at once; clocks that disagree must not make it longer.
const PUT_OFF_MAX: Duration = Duration::from_hours(1);

/// What was claimed, and from where.
struct Claimed {
    lane: Severity,
    stream: Arc<dyn Stream>,
    delivery: Delivery,
    leases: Leases,
}

/// What work is done under, besides its lease.
struct Held {
    permit: OwnedSemaphorePermit,
    /// Leave to do lesser than critical work.
    second: Option<OwnedSemaphorePermit>,
    slot: Option<Slot>,
    pass: Pass,
    suspect: Option<Suspect>,
}

/// A piece of work that may take the process down runs.
struct Suspect(Arc<Inner>);

impl Suspect {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.suspects.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(inner))
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        self.0.suspects.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Held {
    /// Gives up what `claimed` does not need.
    async fn narrow(&mut self, inner: &Arc<Inner>, claimed: &Claimed) {
        if claimed.delivery.attempt >= inner.config.work.alone_from {
            self.suspect = Some(Suspect::new(inner));
        }
        // Critical work does not use up what lesser work may have.
        if claimed.lane == Severity::Critical {
            self.second = None;
            if let Some(slot) = self.slot.take() {
                self.slot = Some(slot.make_room().await);
            }
        }
    }

    /// Completes when the slot is lost.
    async fn keep_slot(&self) {
        Self::keep(self.slot.as_ref()).await;
    }

    async fn keep(slot: Option<&Slot>) {
        match slot {
            Some(slot) => slot.keep().await,
            None => std::future::pending().await,
        }
    }

    async fn release(self) {
        let Self {
            permit,
            second,
            slot,
            ..
        } = self;
        if let Some(slot) = slot {
            slot.release().await;
        }
        drop((permit, second));
    }
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
            let second = second.filter(|_| self.suspects.load(Ordering::SeqCst) == 0);
            let Some((slot, pass)) = self.leave_to_claim(second.is_some()).await else {
                if self.is_leaving() {
                    return;
                }
                continue;
            };
            let mut held = Held {
                permit,
                second,
                slot,
                pass,
                suspect: None,
            };
            match self.claim_under(served, &held).await {
                Ok(Some(claimed)) => {
                    patience.reset();
                    served = served.wrapping_add(1);
                    held.narrow(&self, &claimed).await;
                    self.start_work(supervisor, claimed, held);
                }
                Ok(None) => {
                    patience.reset();
                    held.release().await;
                    if self.is_leaving() {
                        return;
                    }
                }
                Err((stream, error)) => {
                    held.release().await;
                    if !self
                        .claim_failed(stream.as_ref(), &error, &mut patience)
                        .await
                    {
                        return;
                    }
                }
            }
        }
    }

    /// What else is needed before a claim: the agent is not left alone, and a slot is free if all
    /// processes share a number of them. None if one of it could not be had yet.
    async fn leave_to_claim(&self, lesser: bool) -> Option<(Option<Slot>, Pass)> {
        tokio::select! {
            biased;
            () = self.shutdown.drain.wait() => return None,
            () = self.orchestrator_breaker.ready() => {}
        }
        let slot = match &self.slots {
            None => None,
            Some(slots) => {
                let want = if lesser { Want::Either } else { Want::Urgent };
                let cx = Cx::root(Arc::clone(&self.clock), SLOT_WITHIN, "0".repeat(32))
                    .with_cancel(Arc::new(self.shutdown.drain.clone()));
                match slots.acquire(want, &cx).await {
                    Ok(slot) => Some(slot),
                    Err(SlotError::Busy { .. }) => return None,
                    Err(error) => {
                        tracing::warn!(code = %error.code(), %error, "cannot have a slot");
                        self.pause(SLOT_WITHIN).await;
                        return None;
                    }
                }
            }
        };
        // Only now: who waits for a slot must not keep others from finding out about the agent.
        if let Some(pass) = self.orchestrator_breaker.try_admit() {
            return Some((slot, pass));
        }
        if let Some(slot) = slot {
            slot.release().await;
        }
        None
    }

    /// Claims under what is held, again and again as long as nobody else could do better with it.
    async fn claim_under(
        &self,
        served: u32,
        held: &Held,
    ) -> Result<Option<Claimed>, (Arc<dyn Stream>, StreamError)> {
        let reserved = held.slot.as_ref().is_some_and(Slot::is_reserved);
        loop {
            let calm = self.suspects.load(Ordering::SeqCst) == 0;
            let lesser = held.second.is_some() && !reserved && calm;
            let (claimed, lost) = {
                // The claim is not dropped when the slot is lost: what it was handed would lie idle.
                let mut claim = std::pin::pin!(self.claim(served, lesser));
                let mut kept = std::pin::pin!(held.keep_slot());
                let mut lost = false;
                loop {
                    tokio::select! {
                        biased;
                        claimed = &mut claim => break (claimed?, lost),
                        () = &mut kept, if !lost => lost = true,
                    }
                }
            };
            match claimed {
                Some(claimed) if self.is_leaving() || lost => {
                    self.give_back(HOP, claimed.stream.as_ref(), &claimed.delivery)
                        .await;
                    return Ok(None);
                }
                Some(claimed) => return Ok(Some(claimed)),
                None => {}
            }
            let useful = lesser && held.slot.is_some() && !held.pass.is_probe();
            if !useful || lost || self.is_leaving() || !self.orchestrator_breaker.is_closed() {
                return Ok(None);
            }
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

    fn start_work(self: &Arc<Self>, supervisor: &Supervisor, claimed: Claimed, mut held: Held) {
        let this = Arc::clone(self);
        supervisor.spawn(TaskKind::Work, "work", async move {
            let (stream, delivery) = (claimed.stream.as_ref(), &claimed.delivery);
            let job = this.handle_work(&claimed, &mut held);
            this.guarded(HOP, stream, std::slice::from_ref(delivery), job)
                .await;
            held.release().await;
        });
    }

    async fn handle_work(&self, claimed: &Claimed, held: &mut Held) {
        let Claimed {
            stream,
            delivery,
            leases,
            ..
        } = claimed;
        let stream = stream.as_ref();
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
            // As many as may run are running without us.
            () = Held::keep(held.slot.as_ref()) => {
                let verdict = judge_error(&DispatchError::SlotLost);
                return self.settle(HOP, stream, delivery, verdict).await;
            }
            end = self.call(self.orchestrator.as_ref(), task, within, &mut held.pass) => end,
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
        let Ok(Outcome::Completed { output } | Outcome::InputRequired { output, .. }) = result
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
