//! Decisions: who may open a draft, and of what.

use incident::ports::{Clock as _, ForgeError};
use incident::report::ChangeOutcome;
use incident::{Approval, Decision, Step};
use jiff::SignedDuration;

use super::paused;
use super::world::{World, word};

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

fn away() -> ForgeError {
    ForgeError::Unavailable("connection refused".to_owned())
}

/// The remote is away: the approval is kept, people see that it is tried again, and it succeeds later.
#[test]
fn an_unavailable_remote_keeps_the_approval() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let faults = |n| (0..n).map(|_| away());
        world.forge.state.lock().unwrap().faults.extend(faults(7));
        let reply = world.decide(Decision::Approve, "n1").await;
        assert!(reply.summary.contains("sam approved"), "{reply:?}");
        assert!(reply.again.is_some() && !reply.awaiting_approval);
        let ChangeOutcome::Failed { why } = world.report().await.change else {
            panic!("the report says that it is not there yet")
        };
        assert_eq!(
            why,
            "not yet: sam approved it; the remote is unavailable: connection refused; it is tried again"
        );
        let told = world.slack.messages.lock().unwrap()[0].edits;
        let began = world.clock.now();
        let reply = world.follow(reply).await;
        assert!(reply.again.is_none(), "{reply:?}");
        assert_eq!(
            (word(&world.report().await.change), world.drafts()),
            ("opened", 1)
        );
        let took = world.clock.now().duration_since(began).as_secs();
        assert!((60..300).contains(&took), "waits grow: {took} s");
        let edits = world.slack.messages.lock().unwrap()[0].edits;
        assert_eq!(
            edits,
            told + 1,
            "people hear when it changes, not at each try"
        );
    });
}

/// A remote that stays away is given up, and the report says so and what to do by hand.
#[test]
fn a_remote_that_stays_away_is_given_up() {
    paused!(async {
        let world = World::new().await;
        world.investigate().await;
        let faults = (0..100).map(|_| away());
        world.forge.state.lock().unwrap().faults.extend(faults);
        let began = world.clock.now();
        let reply = world.decide(Decision::Approve, "n1").await;
        world.follow(reply).await;
        let minutes = world.clock.now().duration_since(began).as_mins();
        assert!((20..60).contains(&minutes), "{minutes} min");
        let ChangeOutcome::Failed { why } = world.report().await.change else {
            panic!("it was given up")
        };
        assert!(why.contains("tried 12 times and is given up"), "{why}");
        assert!(why.contains("git revert aaaaaaaaaa"), "{why}");
        assert_eq!(world.drafts(), 0);
    });
}

/// The remote is away when the forge is asked what the change would do: the report goes out without a
/// proposal, and the proposal comes later.
#[test]
fn a_remote_that_is_missing_at_first_is_asked_again() {
    paused!(async {
        let world = World::new().await;
        let faults = (0..8).map(|_| away());
        world.forge.state.lock().unwrap().blind.extend(faults);
        let reply = world.investigate().await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        let ChangeOutcome::Failed { why } = world.report().await.change else {
            panic!("there is no proposal yet")
        };
        assert_eq!(
            why,
            "not yet: the remote is unavailable: connection refused; it is tried again"
        );
        let reply = world.follow(reply).await;
        assert!(reply.awaiting_approval, "{reply:?}");
        assert_eq!(word(&world.report().await.change), "awaiting");
        assert_eq!(world.slack.labels(), ["report"]);
        world.decide(Decision::Approve, "n1").await;
        assert_eq!(world.drafts(), 1);
    });
}

/// The alerts resolve while the forge is still waited for: nothing is asked any more.
#[test]
fn what_resolves_meanwhile_is_not_proposed() {
    paused!(async {
        let world = World::new().await;
        let faults = (0..100).map(|_| away());
        world.forge.state.lock().unwrap().blind.extend(faults);
        let reply = world.investigate().await;
        world.resolve().await;
        assert!(world.close().await.again.is_none());
        let late = world.follow(reply).await;
        assert!(late.summary.ends_with("closed"), "{late:?}");
        assert_eq!(word(&world.report().await.change), "none");
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
