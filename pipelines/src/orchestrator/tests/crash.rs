//! kill -9 at every point: before and after every call of every port, then on to the end.

use incident::ports::Entropy as _;
use incident::{Decision, IncidentStatus, Step};
use runtime::SeededEntropy;

use super::paused;
use super::world::{Done, World, word};

/// Deliveries of one piece of work before a test gives up.
const DELIVERIES_MAX: u32 = 400;

/// Delivers one piece of work until it is at rest, like a dispatcher that redelivers, and then the
/// retries that follow from it. `next_life` says how many points each further process lives.
async fn deliver(world: &World, step: Step, next_life: &mut dyn FnMut() -> Option<u64>) {
    let mut item = world.item(step);
    for _ in 0..DELIVERIES_MAX {
        world.wait_until_due(&item).await;
        match world.deliver(item.clone(), &world.cx()).await {
            Done::Rest(reply) => match reply.again {
                Some(again) => item = again,
                None => return,
            },
            Done::Failed(error) => panic!("{} failed: {error}", item.step),
            Done::Crashed => match next_life() {
                Some(points) => world.crasher.arm(points),
                None => world.crasher.disarm(),
            },
        }
    }
    panic!("{} never came to rest", item.step);
}

/// The whole life of an incident with an approval.
async fn live(world: &World, next_life: &mut dyn FnMut() -> Option<u64>) {
    deliver(world, Step::Investigate, next_life).await;
    let approval = world.approval(Decision::Approve, "n1").await;
    world.submit(approval).await;
    let nonce = "n1".to_owned();
    deliver(world, Step::Decide { nonce }, next_life).await;
    world.resolve().await;
    deliver(world, Step::Close, next_life).await;
    world.crasher.disarm();
}

async fn check(world: &World, story: &str) {
    let report = world.report().await;
    assert_eq!(word(&report.change), "opened", "{story}");
    assert_eq!(report.status, IncidentStatus::Resolved, "{story}");
    assert!(!report.partial, "{story}");
    assert_eq!(world.drafts(), 1, "{story}: one draft");
    let journal = world.journal().await;
    let revision = journal.report.map(|written| written.revision);
    assert_eq!(
        revision,
        Some(1002),
        "{story}: asked, opened, closed; each written once"
    );
    assert_eq!(
        world.slack.labels(),
        ["closed"],
        "{story}: one message, edited in place"
    );
    for agent in &world.specialists {
        assert_eq!(
            agent.tasks.lock().unwrap().len(),
            1,
            "{story}: one task each"
        );
    }
    let hook = world.hook.labels();
    for label in ["opened", "report", "closed"] {
        assert!(
            hook.contains(&label),
            "{story}: the webhook never heard of {label}"
        );
    }
    let repeats = world.hook.messages.lock().unwrap().clone();
    let twice = repeats
        .iter()
        .enumerate()
        .filter(|(i, m)| repeats.iter().take(*i).any(|b| b.key == m.key));
    for (_, message) in twice {
        assert!(
            message.says_repeat,
            "{story}: a repeat that does not say so"
        );
    }
}

#[test]
fn a_crash_at_every_point_changes_nothing() {
    let mut points = 0;
    loop {
        let crashed = paused!(async {
            let world = World::new().await;
            world.crasher.arm(points);
            let mut crashed = false;
            live(&world, &mut || {
                crashed = true;
                None
            })
            .await;
            check(&world, &format!("crash at point {points}")).await;
            crashed
        });
        if !crashed {
            break;
        }
        points += 1;
    }
    assert!(points > 100, "only {points} points were tried");
}

#[test]
fn crash_after_crash_changes_nothing() {
    for seed in 0..60 {
        paused!(async {
            let world = World::new().await;
            let entropy = SeededEntropy::new(seed);
            let mut lives = 0;
            let mut next_life = || {
                lives += 1;
                let mut byte = [0];
                entropy.fill(&mut byte);
                // Long enough to take one step after reading and waiting, short enough to die often.
                (lives < 100).then(|| 12 + u64::from(byte[0] % 40))
            };
            world.crasher.arm(5);
            live(&world, &mut next_life).await;
            check(&world, &format!("seed {seed}")).await;
        });
    }
}

/// The store answers "unavailable" for a while: the run waits, and nothing is written twice.
#[test]
fn a_store_that_is_away_is_waited_for() {
    paused!(async {
        let world = World::new().await;
        world.memory.set_down(true);
        let memory = world.memory.clone();
        let clock = world.clock.clone();
        let back = async move {
            use incident::ports::Clock as _;
            clock.sleep(std::time::Duration::from_secs(20)).await;
            memory.set_down(false);
        };
        let (done, ()) = tokio::join!(world.work(Step::Investigate), back);
        assert!(done.reply().awaiting_approval);
        assert_eq!(world.slack.labels(), ["report"]);
    });
}

/// A decision that is refused, with a crash at every point, leaves room for the next one.
#[test]
fn a_crash_while_refusing_leaves_room_for_another_decision() {
    for points in 0.. {
        let crashed = paused!(async {
            let world = World::new().await;
            world.investigate().await;
            let mut forged = world.approval(Decision::Approve, "n1").await;
            forged.expires_at -= jiff::SignedDuration::from_hours(1);
            world.submit(forged).await;
            world.crasher.arm(points);
            let mut crashed = false;
            let mut next_life = || {
                crashed = true;
                None
            };
            let nonce = "n1".to_owned();
            deliver(&world, Step::Decide { nonce }, &mut next_life).await;
            world.crasher.disarm();
            assert_eq!(world.drafts(), 0, "point {points}");
            world.decide(Decision::Approve, "n2").await;
            assert_eq!(world.drafts(), 1, "point {points}");
            crashed
        });
        if !crashed {
            assert!(points > 10, "only {points} points were tried");
            return;
        }
    }
}

/// A write whose answer is lost is recognised and not repeated, whichever it is.
#[test]
fn a_lost_answer_changes_nothing() {
    for batches in 0.. {
        let lost_nothing = paused!(async {
            let world = World::new().await;
            world.crasher.lose_answer(batches);
            live(&world, &mut || None).await;
            check(&world, &format!("answer {batches} lost")).await;
            assert_eq!(
                world.hook.labels(),
                ["opened", "report", "report", "closed"]
            );
            world.crasher.has_lost_nothing()
        });
        if lost_nothing {
            assert!(batches > 20, "only {batches} answers were lost");
            return;
        }
    }
}

/// The first message fails (and arrives all the same, or not), then a crash at every point: there is
/// one message in the end, and it is the report.
#[test]
fn a_failed_first_message_is_made_up_for_once() {
    for arrives in [true, false] {
        for points in 0.. {
            let crashed = paused!(async {
                let world = World::new().await;
                world.slack.faults.lock().unwrap().push_back(Some(arrives));
                world.crasher.arm(points);
                let mut crashed = false;
                let mut next_life = || {
                    crashed = true;
                    None
                };
                deliver(&world, Step::Investigate, &mut next_life).await;
                world.crasher.disarm();
                let story = format!("arrives {arrives}, point {points}");
                assert_eq!(world.slack.labels(), ["report"], "{story}");
                crashed
            });
            if !crashed {
                assert!(points > 50, "only {points} points were tried");
                break;
            }
        }
    }
}

/// The answer to one effect is lost although it got through, and the process dies at any point of what
/// follows: there is one message where the channel can look, and elsewhere none that is there twice
/// without saying so.
#[test]
fn a_lost_answer_and_a_crash_leave_one_of_each() {
    for lost in 0..3 {
        for points in (0..).step_by(3) {
            let crashed = paused!(async {
                let world = World::new().await;
                for channel in [&world.slack, &world.hook] {
                    let mut faults = channel.faults.lock().unwrap();
                    // The first messages pass, the next is taken without an answer.
                    faults.extend((0..lost).map(|_| None));
                    faults.push_back(Some(true));
                }
                world.crasher.arm(points);
                let mut crashed = false;
                live(&world, &mut || {
                    crashed = true;
                    None
                })
                .await;
                check(
                    &world,
                    &format!("answer {lost} lost, crash at point {points}"),
                )
                .await;
                crashed
            });
            if !crashed {
                assert!(points > 100, "only {points} points were tried");
                break;
            }
        }
    }
}
