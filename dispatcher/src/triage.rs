//! The first hop: events to triage, and the work that follows to its lanes.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::join_all;
use incident::digest::Digest;
use incident::error::{Classify as _, Kind};
use incident::message::{TriageReply, TriageRequest};
use incident::ports::{AgentTask, Delivery, Entry, Outcome, StreamError};
use incident::{AlertEvent, MessageId, Severity, WorkItem};
use runtime::{Supervisor, TaskKind};
use tokio::sync::Semaphore;

use crate::breaker::Pass;
use crate::call::End;
use crate::error::DispatchError;
use crate::jobs::Patience;
use crate::lease::{AT_ONCE, Leases};
use crate::service::Inner;
use crate::verdict::{Verdict, judge_error};

const HOP: &str = "triage";
const SKILL: &str = "triage/1";

/// An entry and what it says.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    delivery: &'a Delivery,
    event: &'a AlertEvent,
}

impl Inner {
    pub(crate) async fn serve_events(self: Arc<Self>, supervisor: &Supervisor) {
        let config = &self.config.triage;
        let permits = Arc::new(Semaphore::new(config.concurrency));
        let all = u32::try_from(config.concurrency).unwrap_or(u32::MAX);
        let mut patience = Patience::new();
        // Who takes the process down takes down what is handled beside it: an attempt of each is
        // gone. So nothing is claimed beside an entry that was delivered often, nor beside the first
        // one of a process, which may have died of it before.
        let mut wary = true;
        loop {
            let (wanted, max) = if wary {
                (all, 1)
            } else {
                (1, config.batch_max)
            };
            let permit = tokio::select! {
                biased;
                () = self.shutdown.drain.wait() => return,
                permit = Arc::clone(&permits).acquire_many_owned(wanted) => permit,
            };
            let Ok(mut permit) = permit else { return };
            tokio::select! {
                biased;
                () = self.shutdown.drain.wait() => return,
                () = self.triage_breaker.ready() => {}
            }
            let Some(mut pass) = self.triage_breaker.try_admit() else {
                continue;
            };
            // A shutdown waits for the claim: what a dropped claim was handed would lie idle until
            // its lease ends.
            let since = self.clock.elapsed();
            let batch = match self.events.claim(max, config.batch_wait.0).await {
                Ok(batch) => batch,
                Err(error) => {
                    let stream = self.events.as_ref();
                    if self.claim_failed(stream, &error, &mut patience).await {
                        continue;
                    }
                    return;
                }
            };
            patience.reset();
            if batch.is_empty() {
                continue;
            }
            wary = batch.iter().any(|entry| entry.attempt >= config.alone_from);
            if !wary {
                drop(permit.split(permit.num_permits().saturating_sub(1)));
            }
            let length = self.events.lease();
            let leases = Leases::new(batch.iter().map(|entry| &entry.lease), since, length);
            let this = Arc::clone(&self);
            supervisor.spawn(TaskKind::Work, "triage", async move {
                let job = this.handle_batch(&batch, &leases, &mut pass);
                this.guarded(HOP, this.events.as_ref(), &batch, job).await;
                drop(permit);
            });
        }
    }

    async fn handle_batch(&self, batch: &[Delivery], leases: &Leases, pass: &mut Pass) {
        tokio::select! {
            biased;
            () = leases.keep(self.events.as_ref(), self.clock.as_ref()) => {
                self.figures.handled(HOP, "lost");
            }
            () = self.rule(batch, leases, pass) => {}
        }
    }

    /// Gets rulings for a batch, in one request if possible. When a request is refused for good,
    /// each of its events is tried alone, and the one that is refused alone is buried.
    async fn rule(&self, batch: &[Delivery], leases: &Leases, pass: &mut Pass) {
        let mut events = Vec::with_capacity(batch.len());
        for delivery in batch {
            match serde_json::from_slice::<AlertEvent>(&delivery.payload) {
                Ok(event) => events.push((delivery, event)),
                Err(error) => {
                    let error = DispatchError::Unreadable(error.to_string());
                    self.finish(leases, delivery, judge_error(&error)).await;
                }
            }
        }
        let items = events
            .iter()
            .map(|(delivery, event)| Item { delivery, event });
        let alone_from = self.config.triage.alone_from;
        let (alone, together): (Vec<_>, Vec<_>) =
            items.partition(|item| item.delivery.attempt >= alone_from);
        let mut requests: VecDeque<Vec<Item<'_>>> = VecDeque::from([together]);
        requests.extend(alone.into_iter().map(|item| vec![item]));
        while let Some(mut items) = requests.pop_front() {
            items.retain(|item| leases.holds(&item.delivery.lease));
            if items.is_empty() {
                continue;
            }
            match self.rule_once(&items, pass).await {
                None => {
                    for item in items {
                        if leases.let_go(&item.delivery.lease) {
                            self.give_back(HOP, self.events.as_ref(), item.delivery)
                                .await;
                        }
                    }
                }
                Some(Verdict::Never { .. }) if items.len() > 1 => {
                    requests.extend(items.into_iter().map(|item| vec![item]));
                }
                Some(verdict) => {
                    for some in items.chunks(AT_ONCE) {
                        let ends = some
                            .iter()
                            .map(|item| self.finish(leases, item.delivery, verdict.clone()));
                        join_all(ends).await;
                    }
                }
            }
        }
    }

    /// One request and the work that follows from it; none if the process leaves.
    async fn rule_once(&self, items: &[Item<'_>], pass: &mut Pass) -> Option<Verdict> {
        let within = self.config.triage.deadline.0;
        let task = match request(items) {
            Ok(task) => task,
            Err(error) => return Some(judge_error(&error)),
        };
        let triage = self.triage.as_ref();
        let result = match self.call(triage, task, within, pass).await {
            End::Leaving => return None,
            End::Task(result) => result,
        };
        let output = match result {
            Ok(Outcome::Completed { output }) => Ok(output),
            Ok(Outcome::InputRequired { question, .. }) => Err(question),
            Err(error) => return Some(judge_error(&error)),
        };
        let reply = output.and_then(|output| read_reply(output, items));
        Some(match reply {
            Ok(reply) => match self.enqueue(&reply.work).await {
                Ok(()) => Verdict::Done,
                Err(verdict) => verdict,
            },
            Err(why) => {
                let agent = self.triage.card().name.clone();
                judge_error(&DispatchError::Answer { agent, why })
            }
        })
    }

    /// Puts work into the lanes of its severity. Returns when all of it is durable.
    pub(crate) async fn enqueue(&self, work: &[WorkItem]) -> Result<(), Verdict> {
        let mut lanes: BTreeMap<Severity, Vec<Entry>> = BTreeMap::new();
        for item in work {
            let payload = serde_json::to_vec(item)
                .map_err(|error| judge_error(&DispatchError::Unreadable(error.to_string())))?;
            let entry = Entry {
                key: item.key().to_string(),
                payload,
            };
            lanes.entry(item.severity).or_default().push(entry);
        }
        for (severity, entries) in lanes {
            let lane = self.work.get(&severity);
            let lane = lane.ok_or_else(|| judge_error(&DispatchError::NoLane(severity)))?;
            let result = self.trying(|| lane.append(entries.clone())).await;
            result.map_err(|error: StreamError| match error.kind() {
                // The event is not to blame for what its work looks like: it is kept.
                Kind::Permanent => Verdict::Later {
                    kind: Kind::Transient,
                    cause: crate::error::cause(&error),
                },
                _ => judge_error(&error),
            })?;
        }
        Ok(())
    }

    async fn finish(&self, leases: &Leases, delivery: &Delivery, verdict: Verdict) {
        if leases.let_go(&delivery.lease) {
            self.settle(HOP, self.events.as_ref(), delivery, verdict)
                .await;
        } else {
            self.figures.handled(HOP, "lost");
        }
    }
}

/// The message id names keys and contents: the same events delivered again are the same message, and
/// an event that was sent again after its key was forgotten, with another time of arrival, is not.
fn request(items: &[Item<'_>]) -> Result<AgentTask, DispatchError> {
    let digests: Vec<Digest> = items
        .iter()
        .map(|item| Digest::of(&item.delivery.payload))
        .collect();
    let fields = items.iter().zip(&digests);
    let fields = fields.flat_map(|(item, digest)| [item.event.key.as_str(), digest.as_str()]);
    let events = items.iter().map(|item| item.event.clone()).collect();
    let input = serde_json::to_value(TriageRequest { events })
        .map_err(|error| DispatchError::Unreadable(error.to_string()))?;
    Ok(AgentTask {
        message_id: MessageId::derive("triage", fields),
        context: None,
        skill: SKILL.to_owned(),
        input,
    })
}

fn read_reply(output: serde_json::Value, items: &[Item<'_>]) -> Result<TriageReply, String> {
    let reply: TriageReply = serde_json::from_value(output).map_err(|error| error.to_string())?;
    let asked = items.iter().map(|item| &item.event.key);
    if reply.rulings.iter().map(|ruling| &ruling.event).ne(asked) {
        return Err(String::from(
            "the rulings are not on the events that were asked about",
        ));
    }
    Ok(reply)
}
