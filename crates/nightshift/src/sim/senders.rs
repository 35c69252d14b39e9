//! Who sends: Alertmanagers, one or a pair that both speak of everything.
//!
//! As Alertmanager does, a group is looked at again in intervals; what failed with 5xx or without an
//! answer is sent again, with what the alerts are by then; anything else is given up for good.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, header};
use incident::keys;
use runtime::TaskKind;
use serde_json::Value;
use tower::ServiceExt as _;

use super::scenario::{Shown, group_wait};
use super::watch::Fault;
use super::world::World;

/// How long an Alertmanager waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A group as one Alertmanager sends it.
struct Group {
    world: Arc<World>,
    sender: usize,
    cause: usize,
    number: usize,
}

/// Starts everybody who sends.
pub(super) fn start(world: &Arc<World>) {
    for sender in 0..world.plan.senders {
        for (number, cause) in world.plan.causes.iter().enumerate() {
            for group in cause.groups() {
                let group = Group {
                    world: Arc::clone(world),
                    sender,
                    cause: number,
                    number: group,
                };
                world.busy.fetch_add(1, Ordering::Relaxed);
                world.actors.spawn(TaskKind::Work, "sender", async move {
                    group.send_all().await;
                    group.world.busy.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
    }
}

impl Group {
    /// Sends until the last state was taken.
    async fn send_all(&self) {
        let (world, clock) = (&self.world, &self.world.clock);
        let Some(cause) = world.plan.causes.get(self.cause) else {
            return;
        };
        // The second of a pair waits for the first.
        let behind = world
            .whims
            .millis(0, 15_000)
            .saturating_mul(u32::from(self.sender > 0));
        clock.pause(behind).await;
        let mut sent: Option<(Vec<Shown>, Duration)> = None;
        let mut repeats = world.whims.below(3);
        loop {
            let shown = cause.shown(self.number, clock.elapsed());
            if sent.is_none() && !shown.is_empty() {
                clock.pause(group_wait()).await;
            }
            let now = clock.elapsed();
            let shown = cause.shown(self.number, now);
            let is_new = sent.as_ref().is_none_or(|(before, _)| *before != shown);
            let is_due = sent
                .as_ref()
                .is_some_and(|(_, at)| *at + cause.repeat_interval <= now);
            if !shown.is_empty() && (is_new || is_due) && self.deliver(&shown).await {
                repeats = repeats.saturating_sub(u64::from(!is_new));
                sent = Some((shown, clock.elapsed()));
            }
            let now = clock.elapsed();
            let is_last = now > cause.over()
                && sent
                    .as_ref()
                    .is_some_and(|(last, _)| *last == cause.shown(self.number, now));
            if is_last && (repeats == 0 || cause.ends()) {
                return;
            }
            clock.pause(cause.group_interval).await;
        }
    }

    /// One notification with its retries; whether it was taken.
    async fn deliver(&self, shown: &[Shown]) -> bool {
        let (world, clock) = (&self.world, &self.world.clock);
        let Some(cause) = world.plan.causes.get(self.cause) else {
            return false;
        };
        let body = cause
            .body(self.number, shown, |at| clock.at(at))
            .to_string();
        let until = clock.elapsed() + cause.group_interval;
        let mut wait = Duration::from_secs(1);
        loop {
            match self.post(body.clone()).await {
                Some((200, answer)) => {
                    self.taken(shown, &answer);
                    return true;
                }
                Some((status, answer)) if status < 500 => {
                    world
                        .watch
                        .check("a good body is never refused for good", false, || {
                            format!("{status}: {answer}")
                        });
                    return false;
                }
                Some(_) | None => {}
            }
            if clock.elapsed() + wait > until {
                return false;
            }
            clock.pause(wait).await;
            wait = wait.saturating_mul(2);
        }
    }

    /// Status and answer; none if there was no answer.
    async fn post(&self, body: String) -> Option<(u16, Value)> {
        let request = Request::post("/webhook/alertmanager")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .ok()?;
        let world = &self.world;
        let within = if world.is_hit(world.plan.rates.hang_up) {
            world.watch.fault("am", Fault::HangUp, "");
            world.chance.millis(0, 3_000)
        } else {
            ANSWER_WITHIN
        };
        world
            .watch
            .note("am", "posts", "", (self.cause * 16 + self.number) as u64);
        ask(world, request, within).await
    }

    /// Everything in `shown` was acknowledged: from now on none of it may get lost.
    fn taken(&self, shown: &[Shown], answer: &Value) {
        let (world, clock) = (&self.world, &self.world.clock);
        let Some(cause) = world.plan.causes.get(self.cause) else {
            return;
        };
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        world.watch.note("am", "heard 200", "", number("accepted"));
        for one in shown {
            let key = cause.event_key(self.number, one, |at| clock.at(at));
            let place = (keys::EVENTS.to_owned(), key.to_string());
            let is_stored = world.watch.lock().books.stored.contains(&place);
            world.watch.check("200 means stored", is_stored, || {
                format!("{key} was acknowledged before it was stored")
            });
            world.told().acknowledged.insert(key);
        }
        world.watch.check(
            "an answer counts what was sent",
            number("accepted") + number("duplicates") == shown.len() as u64,
            || format!("{} alerts, {answer}", shown.len()),
        );
        world.told().accepted += number("accepted");
    }
}

/// One request to some node's hook; none if it is down, dies, or does not answer in time.
pub(super) async fn ask(
    world: &Arc<World>,
    request: Request<Body>,
    within: Duration,
) -> Option<(u16, Value)> {
    let node = world.some_node()?;
    let answer = tokio::select! {
        biased;
        () = node.life.dead() => return None,
        answer = read(node.router.clone().oneshot(request)) => answer,
        () = world.clock.pause(within) => return None,
    };
    let (status, _) = answer.as_ref()?;
    world
        .watch
        .note(node.life.name(), "answers", "", u64::from(*status));
    answer
}

async fn read<E>(answer: impl Future<Output = Result<Response<Body>, E>>) -> Option<(u16, Value)> {
    let (parts, body) = answer.await.ok()?.into_parts();
    let body = to_bytes(body, ANSWER_BYTES_MAX).await.ok()?;
    let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some((parts.status.as_u16(), answer))
}
