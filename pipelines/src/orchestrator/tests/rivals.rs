//! Two executors of one incident: the second waits for its turn. If both believe that it is theirs, the
//! newer wins and the older stops. People see one of everything.

use std::time::Duration;

use incident::ports::{AgentError, Clock as _};
use incident::{Decision, Step};

use super::fakes::Mood;
use super::paused;
use super::world::{Done, World, word};

/// A second delivery begins `after` the first.
async fn race(world: &World, step: &Step, after: Duration) -> (Done, Done) {
    let second = async {
        world.clock.sleep(after).await;
        world.work(step.clone()).await
    };
    tokio::join!(world.work(step.clone()), second)
}

fn is_taken_over(done: &Done) -> bool {
    matches!(done, Done::Failed(AgentError::Cancelled { .. }))
}

/// Work that comes while other work is done waits, and stops nobody.
#[test]
fn the_second_waits_for_its_turn() {
    paused!(async {
        let world = World::new().await;
        *world.specialists[1].mood.lock().unwrap() = Mood::Hangs;
        let (first, second) = race(&world, &Step::Investigate, Duration::from_secs(10)).await;
        assert_eq!(first.reply(), second.reply());
        assert_eq!(world.slack.labels(), ["report"]);
        assert_eq!(world.hook.labels(), ["opened", "report"]);
    });
}

#[test]
fn the_older_investigation_stops() {
    paused!(async {
        let world = World::new().await;
        world.crasher.no_turns();
        *world.specialists[1].mood.lock().unwrap() = Mood::Hangs;
        let (first, second) = race(&world, &Step::Investigate, Duration::from_secs(10)).await;
        assert!(is_taken_over(&first), "{first:?}");
        second.reply();
        assert_eq!(world.slack.labels(), ["report"]);
        assert_eq!(world.hook.labels(), ["opened", "report"]);
        assert_eq!(world.journal().await.report.unwrap().revision, 1000);
    });
}

/// Both begin at once and take turns in many ways.
#[test]
fn both_at_once_make_one_of_everything() {
    let mut taken_over = 0;
    for seed in 0..100 {
        paused!(async {
            let world = World::new().await;
            world.crasher.no_turns();
            world.crasher.interleave(seed);
            let count = |(a, b): (Done, Done)| {
                let stopped = [&a, &b].into_iter().filter(|done| is_taken_over(done));
                let stopped = stopped.count();
                assert!(stopped <= 1, "seed {seed}: {a:?} {b:?}");
                stopped
            };
            taken_over += count(race(&world, &Step::Investigate, Duration::ZERO).await);
            let approval = world.approval(Decision::Approve, "n1").await;
            world.submit(approval).await;
            let nonce = "n1".to_owned();
            let decide = Step::Decide { nonce };
            taken_over += count(race(&world, &decide, Duration::ZERO).await);
            let change = word(&world.report().await.change);
            assert_eq!((change, world.drafts()), ("opened", 1), "seed {seed}");
            assert_eq!(world.slack.labels(), ["report"], "seed {seed}");
            let written = world.journal().await.report;
            assert_eq!(written.map(|w| w.revision), Some(1001), "seed {seed}");
        });
    }
    assert!(taken_over > 100, "only {taken_over} runs were taken over");
}

/// The older one is in the middle of a post that takes its time: the newer one waits until that
/// attempt is over before it looks, so that the message is not there twice.
#[test]
fn a_slow_post_is_waited_for() {
    paused!(async {
        let world = World::new().await;
        world.crasher.no_turns();
        world.slack.delay(Duration::from_secs(3));
        let (first, second) = race(&world, &Step::Investigate, Duration::from_secs(1)).await;
        assert!(is_taken_over(&first), "{first:?}");
        second.reply();
        assert_eq!(world.slack.labels(), ["report"]);
    });
}

/// Runs that keep taking the incident over from each other do not wait for a silent specialist for
/// ever: a few rounds have a fair time, then the report goes out without it.
#[test]
fn taking_turns_comes_to_an_end() {
    paused!(async {
        let world = World::new().await;
        *world.specialists[0].mood.lock().unwrap() = Mood::Hangs;
        let began = world.clock.now();
        let mut rounds = 0;
        loop {
            let cx = world.cx().child(Duration::from_secs(29));
            match world.deliver(world.item(Step::Investigate), &cx).await {
                Done::Rest(_) => break,
                other => assert!(matches!(other, Done::Failed(_)), "{other:?}"),
            }
            rounds += 1;
            assert!(rounds < 10, "no end in sight");
        }
        assert!(world.report().await.partial);
        let took = world.clock.now().duration_since(began);
        assert!(took.as_secs() < 240, "{took:#}");
    });
}
