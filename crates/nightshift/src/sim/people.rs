//! People: read the channel, think, and decide, at times two of them at once and not of one mind.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use incident::ports::Store as _;
use incident::report::ChangeOutcome;
use incident::{Approval, Decision, IncidentId, Proposal, Report, keys};
use jiff::SignedDuration;
use runtime::TaskKind;

use super::senders::ask;
use super::world::{Taken, World};

/// How often somebody sends a decision that got no answer.
const TRIES_MAX: u32 = 40;
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Starts the person on call.
pub(super) fn start(world: &Arc<World>) {
    let on_call = Arc::clone(world);
    world.actors.spawn(TaskKind::Work, "on call", async move {
        loop {
            on_call.clock.pause(Duration::from_secs(4)).await;
            let asked = on_call.told().asked.pop_front();
            if let Some(incident) = asked {
                decide(&on_call, &incident);
            }
        }
    });
}

/// Somebody makes up their mind, or nobody does.
fn decide(world: &Arc<World>, incident: &IncidentId) {
    let people = match world.whims.below(8) {
        0 => 0,
        1 => 2,
        _ => 1,
    };
    for person in 0..people {
        let (world, incident) = (Arc::clone(world), incident.clone());
        world.busy.fetch_add(1, Ordering::Relaxed);
        let actors = world.actors.clone();
        actors.spawn(TaskKind::Work, "person", async move {
            let thinks = world.whims.millis(1_000, 90_000);
            world.clock.pause(thinks).await;
            if let Some(proposal) = proposal(&world, &incident).await {
                submit(&world, &incident, &proposal, person).await;
            }
            world.busy.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// What the report proposes right now.
async fn proposal(world: &World, incident: &IncidentId) -> Option<Proposal> {
    let found = world.store.get(&keys::report(incident)).await.ok()??;
    let report: Report = serde_json::from_slice(&found.value).ok()?;
    match report.change {
        ChangeOutcome::AwaitingApproval { proposal } => Some(proposal),
        _ => None,
    }
}

async fn submit(world: &Arc<World>, incident: &IncidentId, proposal: &Proposal, person: u64) {
    let decision = if world.whims.one_in(5) {
        Decision::Reject
    } else {
        Decision::Approve
    };
    let now = world.clock.at(world.clock.elapsed());
    let token = world.approval_key.sign(Approval {
        incident: incident.clone(),
        decision,
        proposal: proposal.digest(),
        person: format!("person{person}"),
        nonce: format!("{:016x}", world.whims.next()),
        expires_at: now
            .checked_add(SignedDuration::from_mins(50))
            .unwrap_or(now),
    });
    let Ok(body) = serde_json::to_string(&token) else {
        return;
    };
    for _ in 0..TRIES_MAX {
        let path = format!("/api/v1/incidents/{incident}/decision");
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.clone()));
        let Ok(request) = request else { return };
        world
            .watch
            .note("person", "decides", incident.as_str(), person);
        match ask(world, request, ANSWER_WITHIN).await {
            Some((202, _)) => {
                world.told().decisions.push(Taken {
                    incident: incident.clone(),
                    proposal: proposal.digest(),
                });
                return;
            }
            // Decided by somebody else, withdrawn, changed: nothing to insist on.
            Some((403 | 409 | 410, _)) => return,
            Some((status, answer)) if status < 500 => {
                world.watch.check("a decision is never misread", false, || {
                    format!("{status}: {answer}")
                });
                return;
            }
            Some(_) | None => {}
        }
        let wait = world.whims.millis(1_000, 8_000);
        world.clock.pause(wait).await;
    }
}
