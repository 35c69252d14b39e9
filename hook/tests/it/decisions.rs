//! A person's signed decision: taken once, whatever is sent and however often.

use std::time::Duration;

use incident::ports::{Store as _, Stream as _};
use incident::report::ChangeOutcome;
use incident::{
    Approval, ApprovalKey, ApprovalToken, Decision, IncidentStatus, Step, WorkItem, keys,
};
use jiff::SignedDuration;

use crate::api::{a_proposal, a_report, awaiting, id, keep, keep_incident};
use crate::faulty::Fault;
use crate::world::{Answer, KEY, World};

/// An incident whose report waits for a decision about `diff`.
async fn world() -> World {
    let world = World::new();
    keep_incident(&world, 1, IncidentStatus::Open).await;
    keep(
        &world,
        keys::report(&id(1)),
        &a_report(1, awaiting(1, "diff")),
    )
    .await;
    world
}

fn token(world: &World, change: impl FnOnce(&mut Approval)) -> ApprovalToken {
    use incident::ports::Clock as _;
    let mut approval = Approval {
        incident: id(1),
        decision: Decision::Approve,
        proposal: a_proposal(1, "diff").digest(),
        person: "ana".into(),
        nonce: "n1".into(),
        expires_at: world.clock.now() + SignedDuration::from_mins(10),
    };
    change(&mut approval);
    ApprovalKey::new(KEY).expect("long enough").sign(approval)
}

async fn send(world: &World, token: &ApprovalToken) -> Answer {
    let path = format!("/api/v1/incidents/{}/decision", id(1));
    world
        .post_to(&path, serde_json::to_vec(token).expect("JSON"))
        .await
}

async fn work(world: &World) -> Vec<WorkItem> {
    let claimed = world
        .critical
        .claim(10, Duration::ZERO)
        .await
        .expect("it is up");
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).expect("a work item");
    claimed
        .iter()
        .map(|delivery| read(&delivery.payload))
        .collect()
}

async fn recorded(world: &World) -> usize {
    world
        .store
        .list("decision/", None, 10)
        .await
        .expect("it is up")
        .len()
}

/// Refused, and nothing is recorded or queued.
async fn refused(world: &World, token: &ApprovalToken, brief: &str) {
    let answer = send(world, token).await;
    assert_eq!(answer.brief(), brief, "{}", answer.text());
    assert_eq!(recorded(world).await, 0);
    assert!(work(world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_recorded_once_and_queued() {
    let world = world().await;
    let token = token(&world, |_| {});
    let first = send(&world, &token).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let key = keys::decision(&id(1), token.approval.proposal.short(16));
    let kept = world
        .store
        .get(&key)
        .await
        .expect("it is up")
        .expect("it is recorded");
    let kept: ApprovalToken = serde_json::from_slice(&kept.value).expect("a token");
    assert_eq!(kept, token);
    let items = work(&world).await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].step, Step::Decide { nonce: "n1".into() });
    assert_eq!((items[0].generation, &items[0].incident), (1, &id(1)));
    // The same again, also when the draft is open by now and the token has expired.
    let opened = ChangeOutcome::Failed { why: "x".into() };
    keep(&world, keys::report(&id(1)), &a_report(1, opened)).await;
    tokio::time::advance(Duration::from_hours(2)).await;
    let again = send(&world, &token).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(recorded(&world).await, 1);
    let backlog = world.critical.backlog().await.expect("it is up");
    assert_eq!(backlog.total(), 1, "the work is one and the same");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_a_good_token_is_refused() {
    let world = world().await;
    let mut forged = token(&world, |_| {});
    forged.approval.person = "eve".into();
    refused(&world, &forged, "403 E-HOOK-016 signature").await;
    let other_key = ApprovalKey::new(*b"another key of thirty-two bytes!").expect("long enough");
    let foreign = other_key.sign(token(&world, |_| {}).approval);
    refused(&world, &foreign, "403 E-HOOK-016 signature").await;
    let late = token(&world, |a| a.expires_at -= SignedDuration::from_hours(1));
    refused(&world, &late, "403 E-HOOK-016 expires_at").await;
    let long = token(&world, |a| a.expires_at += SignedDuration::from_hours(1));
    refused(&world, &long, "403 E-HOOK-016 expires_at").await;
    let other = token(&world, |a| a.incident = id(2));
    refused(&world, &other, "400 E-HOOK-015 incident").await;
    let path = format!("/api/v1/incidents/{}/decision", id(1));
    for junk in ["", "{}", "yes", "[[[["] {
        assert_eq!(
            world.post_to(&path, junk).await.brief(),
            "400 E-HOOK-015 body"
        );
    }
    let long = "x".repeat(20_000);
    assert_eq!(
        world.post_to(&path, long).await.brief(),
        "413 E-HOOK-007 body"
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_proposal_that_was_seen_can_be_decided() {
    let world = world().await;
    let seen = token(&world, |_| {});
    keep(
        &world,
        keys::report(&id(1)),
        &a_report(1, awaiting(1, "another diff")),
    )
    .await;
    refused(&world, &seen, "409 E-HOOK-017 proposal").await;
    let none = ChangeOutcome::None { why: "x".into() };
    keep(&world, keys::report(&id(1)), &a_report(1, none)).await;
    refused(&world, &seen, "409 E-HOOK-017 ").await;
    world
        .store
        .delete(&keys::report(&id(1)), incident::ports::Expect::Any)
        .await
        .expect("it is up");
    refused(&world, &seen, "409 E-HOOK-017 ").await;
    world
        .store
        .delete(&keys::incident(&id(1)), incident::ports::Expect::Any)
        .await
        .expect("it is up");
    refused(&world, &seen, "404 E-HOOK-014 path").await;
}

#[tokio::test(start_paused = true)]
async fn the_first_decision_stands() {
    let world = world().await;
    assert_eq!(send(&world, &token(&world, |_| {})).await.status, 202);
    for second in [
        token(&world, |a| a.nonce = "n2".into()),
        token(&world, |a| a.decision = Decision::Reject),
        token(&world, |a| a.person = "ben".into()),
    ] {
        let answer = send(&world, &second).await;
        assert_eq!(answer.brief(), "410 E-HOOK-017 nonce");
        assert!(
            answer.text().contains("ana decided before"),
            "{}",
            answer.text()
        );
    }
    assert_eq!((recorded(&world).await, work(&world).await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_recording_and_queueing_is_healed_by_the_same_token() {
    let world = world().await;
    let token = token(&world, |_| {});
    for fault in [Fault::Unavailable, Fault::Hang, Fault::AnswerLost] {
        world.critical.set(fault);
        let answer = send(&world, &token).await;
        assert_eq!(answer.status, 503, "{fault:?}");
        assert_eq!(answer.header("retry-after"), "5");
    }
    world.critical.set(Fault::None);
    assert_eq!(recorded(&world).await, 1);
    assert_eq!(send(&world, &token).await.status, 202);
    assert_eq!(work(&world).await.len(), 1);
    world.store.set_down(true);
    assert_eq!(send(&world, &token).await.brief(), "503 E-STORE-004 ");
}
