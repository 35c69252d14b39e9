//! Decisions: who may open a draft, and of what.

use incident::ports::ForgeError;
use incident::{Approval, Decision, Step};
use jiff::SignedDuration;

use super::paused;
use super::world::{Done, World, word};

/// Investigates, submits a changed approval and says what came of it.
async fn check(change: impl FnOnce(&mut Approval), expect: (&str, u32), says: &str) {
    let world = World::new().await;
    world.investigate().await;
    let mut approval = world.approval(Decision::Approve, "n1").await;
    let slot = approval.proposal.clone();
    change(&mut approval);
    // The slot is that of the proposal people saw, whatever the token says.
    let key = incident::keys::decision(&world.incident.id, slot.short(16));
    let token = super::world::key().sign(approval);
    put(&world, &key, &token).await;
    let nonce = "n1".to_owned();
    let reply = world.work(Step::Decide { nonce }).await.reply();
    assert!(
        reply.summary.contains(says),
        "{says:?} is not in {:?}",
        reply.summary
    );
    let report = world.report().await;
    assert_eq!((word(&report.change), world.drafts()), expect, "{says}");
}

async fn put(world: &World, key: &str, token: &incident::ApprovalToken) {
    use incident::ports::{Expect, Put, Store as _};
    let value = serde_json::to_vec(token).unwrap();
    let put = Put::new(key, value, Expect::Absent);
    world.memory.put(put).await.unwrap();
}

#[test]
fn the_matrix() {
    paused!(async {
        check(|_| (), ("opened", 1), "sam approved the draft").await;
        let reject = |a: &mut Approval| a.decision = Decision::Reject;
        check(reject, ("rejected", 0), "sam rejected the draft").await;
        let other = |a: &mut Approval| a.proposal = incident::digest::Digest::of(b"other");
        check(other, ("awaiting", 0), "the token is for proposal").await;
        let stranger = |a: &mut Approval| {
            a.incident = incident::IncidentId::derive("other", "2026-01-01T00:00:00Z");
        };
        check(stranger, ("awaiting", 0), "was refused").await;
        let expired = |a: &mut Approval| a.expires_at -= SignedDuration::from_mins(40);
        check(expired, ("awaiting", 0), "the token expired at").await;
        let queued = |a: &mut Approval| a.expires_at -= SignedDuration::from_mins(12);
        check(queued, ("opened", 1), "sam approved the draft").await;
        let for_ever = |a: &mut Approval| a.expires_at += SignedDuration::from_hours(24);
        check(for_ever, ("awaiting", 0), "more than").await;
    });
}

#[test]
fn a_forged_token_is_refused_and_the_slot_is_free_again() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let approval = world.approval(Decision::Approve, "n1").await;
        let slot = incident::keys::decision(&world.incident.id, approval.proposal.short(16));
        let mut token = super::world::key().sign(approval);
        token.approval.person = "mallory".to_owned();
        put(&world, &slot, &token).await;
        let nonce = "n1".to_owned();
        let reply = world.work(Step::Decide { nonce }).await.reply();
        assert!(
            reply.summary.contains("signature does not match"),
            "{reply:?}"
        );
        assert_eq!(world.drafts(), 0);
        let reply = world.decide(Decision::Approve, "n2").await;
        assert!(reply.summary.contains("sam approved"), "{reply:?}");
        assert_eq!(world.drafts(), 1);
        assert_eq!(
            world.hook.labels(),
            ["opened", "report", "report", "report"]
        );
    });
}

#[test]
fn a_decision_counts_once() {
    paused!(async {
        let mut world = World::new().await;
        world.investigate().await;
        let first = world.decide(Decision::Reject, "n1").await;
        let nonce = || "n1".to_owned();
        let again = world.work(Step::Decide { nonce: nonce() }).await.reply();
        assert_eq!(first, again, "the same delivery twice has the same answer");
        let late = Step::Decide {
            nonce: "n2".to_owned(),
        };
        let reply = world.work(late).await.reply();
        assert!(reply.summary.contains("no proposal waits"), "{reply:?}");

        // The incident opens again and makes the very same proposal: the token of before is used up.
        let old = world.approval(Decision::Approve, "n1").await;
        world.incident.generation += 1;
        world.put_incident(&world.incident).await;
        assert!(world.investigate().await.awaiting_approval);
        world.submit(old).await;
        let reply = world.work(Step::Decide { nonce: nonce() }).await.reply();
        assert!(reply.summary.contains("used before"), "{reply:?}");
        assert_eq!(world.drafts(), 0);
        world.decide(Decision::Approve, "n3").await;
        assert_eq!(world.drafts(), 1);
    });
}

#[test]
fn a_decision_about_nothing_is_refused_politely() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let nonce = "n9".to_owned();
        let reply = world.work(Step::Decide { nonce }).await.reply();
        assert!(
            reply
                .summary
                .contains("not about the proposal as it is now"),
            "{reply:?}"
        );
        assert!(reply.awaiting_approval);
    });
}

/// The base branch moved after the person looked: their approval is void, and they are asked again.
#[test]
fn a_moved_base_asks_again() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let first = world.proposal().await.digest();
        world.forge.state.lock().unwrap().base_commit = "3".repeat(40);
        let reply = world.decide(Decision::Approve, "n1").await;
        assert!(reply.awaiting_approval, "{reply:?}");
        assert_eq!(world.drafts(), 0);
        let report = world.report().await;
        assert!(
            report
                .timeline
                .iter()
                .any(|m| m.text.starts_with("The approval is void: base branch")),
            "{:?}",
            report.timeline
        );
        assert_ne!(world.proposal().await.digest(), first);
        world.decide(Decision::Approve, "n2").await;
        assert_eq!(
            (word(&world.report().await.change), world.drafts()),
            ("opened", 1)
        );
    });
}

#[test]
fn a_base_that_never_rests_ends_the_proposals() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        for round in 0..5 {
            world.forge.state.lock().unwrap().base_commit = format!("{:040}", round + 100);
            world.decide(Decision::Approve, &format!("n{round}")).await;
        }
        assert_eq!(
            (word(&world.report().await.change), world.drafts()),
            ("failed", 0)
        );
    });
}

/// The remote is away: the work fails for now, keeps the approval, and succeeds later.
#[test]
fn an_unavailable_remote_keeps_the_approval() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let approval = world.approval(Decision::Approve, "n1").await;
        world.submit(approval).await;
        let away = || ForgeError::Unavailable("connection refused".to_owned());
        world
            .forge
            .state
            .lock()
            .unwrap()
            .faults
            .extend((0..7).map(|_| away()));
        let nonce = || "n1".to_owned();
        let done = world.work(Step::Decide { nonce: nonce() }).await;
        assert!(
            matches!(&done, Done::Failed(error) if error.to_string().contains("E-PIPE-006")),
            "{done:?}"
        );
        let reply = world.work(Step::Decide { nonce: nonce() }).await.reply();
        assert!(reply.summary.contains("sam approved"), "{reply:?}");
        assert_eq!(
            (word(&world.report().await.change), world.drafts()),
            ("opened", 1)
        );
    });
}

#[test]
fn a_remote_that_refuses_ends_it() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let refused = ForgeError::Refused("pre-receive hook declined".to_owned());
        world.forge.state.lock().unwrap().faults.push_back(refused);
        let reply = world.decide(Decision::Approve, "n1").await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        assert_eq!(
            (word(&world.report().await.change), world.drafts()),
            ("failed", 0)
        );
    });
}
