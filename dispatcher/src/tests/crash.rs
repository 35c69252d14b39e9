//! The process dies at every point where it waits for anything.

use std::time::Duration;

use incident::ports::{Entropy as _, Stream as _};
use runtime::SeededEntropy;

use super::world::{World, event, lock, run};
use crate::Config;

const EVENTS: [&str; 7] = [
    "A severity=critical",
    "B severity=critical",
    "C severity=warning",
    "D severity=warning",
    "E severity=info",
    "F severity=info",
    "G severity=warning",
];

/// Lives until the trap springs or everything is done, then dies without a farewell.
async fn live(world: &World, steps: Option<i64>) {
    let supervisor = world.start(Config::default());
    if let Some(steps) = steps {
        world.trap.set(steps, &supervisor.shutdown().abort);
        for _ in 0..200_000 {
            let mut left = 0;
            for stream in world.streams() {
                left += stream.inner.backlog().await.unwrap().total();
            }
            if world.trap.is_sprung() || left == 0 {
                break;
            }
            world.clock.sleep(Duration::from_millis(100)).await;
        }
        world.trap.unset();
    } else {
        world.until_idle().await;
    }
    supervisor.shutdown().abort.cancel();
    supervisor.drain(Duration::ZERO).await;
}

/// Nothing lost, nothing ruled on twice, nothing acknowledged twice.
async fn check(world: &World) {
    assert_eq!(world.dead().await, [], "nothing was given up");
    let rulings = lock(&world.triage.rulings);
    assert_eq!(rulings.len(), EVENTS.len());
    for line in EVENTS {
        assert!(
            rulings.contains_key(event(line).key.as_str()),
            "no ruling on {line}"
        );
    }
    let log = lock(&world.orchestrator.log);
    assert_eq!(
        log.completed.len(),
        EVENTS.len(),
        "every work item was handled"
    );
    let handled: Vec<_> = log
        .completed
        .values()
        .map(incident::WorkItem::key)
        .collect();
    for lane in world.lanes.values() {
        for (key, acks) in &*lock(&lane.acks) {
            assert_eq!(*acks, 1, "{key} was acknowledged once");
            assert!(
                handled.iter().any(|handled| handled.as_str() == key),
                "{key} was not handled"
            );
        }
    }
    let acked: usize = world
        .lanes
        .values()
        .map(|lane| lock(&lane.acks).len())
        .sum();
    assert_eq!(acked, EVENTS.len());
    assert!(lock(&world.events.acks).values().all(|acks| *acks == 1));
    assert_eq!(lock(&world.events.acks).len(), EVENTS.len());
}

#[test]
fn a_crash_at_any_point_loses_nothing() {
    let mut points = 0;
    for steps in 0.. {
        let sprung = run(async {
            let world = World::with(1_000, 7);
            world.add_events(&EVENTS).await;
            live(&world, Some(steps)).await;
            let sprung = world.trap.is_sprung();
            live(&world, None).await;
            check(&world).await;
            sprung
        });
        if !sprung {
            break;
        }
        points += 1;
    }
    assert!(points > 40, "only {points} points were tried");
}

#[test]
fn crash_after_crash_loses_nothing() {
    for seed in 0..60 {
        run(async {
            let chance = SeededEntropy::new(seed);
            let world = World::with(1_000, seed);
            world.add_events(&EVENTS).await;
            for _ in 0..6 {
                #[expect(clippy::cast_possible_truncation, reason = "a small number of steps")]
                let steps = (chance.unit() * 20.0) as i64;
                live(&world, Some(steps)).await;
            }
            live(&world, None).await;
            check(&world).await;
        });
    }
}
