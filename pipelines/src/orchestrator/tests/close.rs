//! Close at every stage: the final report says resolved, and nothing is asked of anybody any more.

use incident::report::ChangeOutcome;
use incident::{Decision, IncidentStatus, Step};

use super::paused;
use super::world::{Done, World, word};

async fn check(world: &World, story: &str) {
    world.resolve().await;
    let reply = world.close().await;
    assert!(!reply.awaiting_approval, "{story}: {reply:?}");
    assert!(reply.summary.ends_with("closed"), "{story}: {reply:?}");
    let report = world.report().await;
    assert_eq!(report.status, IncidentStatus::Resolved, "{story}");
    assert!(report.resolved_at.is_some(), "{story}");
    assert!(
        !matches!(report.change, ChangeOutcome::AwaitingApproval { .. }),
        "{story}: a withdrawn proposal still asks"
    );
    assert_eq!(world.slack.labels(), ["closed"], "{story}");
    assert!(world.drafts() <= 1, "{story}");
    // What comes late changes nothing and is answered.
    let before = world.report().await;
    assert!(
        world.investigate().await.summary.ends_with("closed"),
        "{story}"
    );
    let nonce = "late".to_owned();
    let reply = world.work(Step::Decide { nonce }).await.reply();
    assert!(
        reply.summary.contains("has no effect"),
        "{story}: {reply:?}"
    );
    assert_eq!(world.report().await, before, "{story}");
}

/// The investigation stops dead at every point, and then the alerts resolve.
#[test]
fn at_every_point_of_the_investigation() {
    for points in 0.. {
        let crashed = paused!(async {
            let world = World::new().await;
            world.crasher.arm(points);
            let done = world.work(Step::Investigate).await;
            world.crasher.disarm();
            check(&world, &format!("after point {points}")).await;
            assert_eq!(world.drafts(), 0);
            matches!(done, Done::Crashed)
        });
        if !crashed {
            assert!(points > 50, "only {points} points were tried");
            return;
        }
    }
}

/// The decision is being carried out, stops dead at every point, and then the alerts resolve.
#[test]
fn at_every_point_of_a_decision() {
    for points in 0.. {
        let crashed = paused!(async {
            let world = World::new().await;
            world.investigate().await;
            let approval = world.approval(Decision::Approve, "n1").await;
            world.submit(approval).await;
            world.crasher.arm(points);
            let nonce = "n1".to_owned();
            let done = world.work(Step::Decide { nonce }).await;
            world.crasher.disarm();
            check(&world, &format!("decision, after point {points}")).await;
            let opened = word(&world.report().await.change) == "opened";
            assert_eq!(u32::from(opened), world.drafts(), "point {points}");
            matches!(done, Done::Crashed)
        });
        if !crashed {
            assert!(points > 20, "only {points} points were tried");
            return;
        }
    }
}

#[test]
fn before_anything_else() {
    paused!(async {
        let world = World::new().await;
        check(&world, "close comes first").await;
        assert_eq!(word(&world.report().await.change), "none");
    });
}

async fn drafted(superseded: bool) -> Vec<String> {
    let world = World::new().await;
    world.investigate().await;
    world.decide(Decision::Approve, "n1").await;
    world.forge.state.lock().unwrap().superseded = superseded;
    check(&world, "with an open draft").await;
    let report = world.report().await;
    report.timeline.into_iter().map(|m| m.text).collect()
}

#[test]
fn an_open_draft_is_looked_at_again() {
    paused!(async {
        let stale = drafted(false).await;
        assert!(
            stale.iter().any(|text| text.contains("it may be stale")),
            "{stale:?}"
        );
        let merged = drafted(true).await;
        assert!(
            merged
                .iter()
                .any(|text| text.contains("its change is on the base branch")),
            "{merged:?}"
        );
    });
}

/// Close comes while the investigation waits for a specialist: it waits for its turn, and closes what
/// was found out.
#[test]
fn while_the_investigation_runs() {
    paused!(async {
        use super::fakes::Mood;
        use incident::ports::Clock as _;
        let world = World::new().await;
        *world.specialists[0].mood.lock().unwrap() = Mood::Hangs;
        let close = async {
            world.clock.sleep(std::time::Duration::from_secs(10)).await;
            world.resolve().await;
            world.close().await
        };
        let (investigation, closed) = tokio::join!(world.work(Step::Investigate), close);
        investigation.reply();
        assert!(closed.summary.ends_with("closed"), "{closed:?}");
        check(&world, "while it ran").await;
    });
}
