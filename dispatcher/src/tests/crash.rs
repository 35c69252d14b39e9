//! The process dies at every point where it waits for anything.

use std::time::Duration;

use incident::ports::{Entropy as _, Stream as _};
use runtime::SeededEntropy;

use incident::Severity::{Critical, Warning};

use super::world::{Plan, World, event, lock, run};
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

/// Runs process after process, each until something in it is deadly, until nothing is left to do; how
/// many there were.
async fn lives(world: &World) -> u32 {
    for life in 1..40 {
        live(world, Some(i64::MAX)).await;
        if !world.trap.is_sprung() {
            return life;
        }
    }
    panic!("it never ends");
}

/// What takes the process down every time is buried with its history, and nothing else is: neither
/// what came with it in a batch, nor what ran beside it.
#[test]
fn what_kills_the_process_dies_alone() {
    run(async {
        let world = World::new();
        let lines: Vec<String> = (0..40).map(|n| format!("E{n} severity=info")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.insert(20, "Deadly do=kill");
        world.add_events(&lines).await;
        let processes = lives(&world).await;
        assert!(processes <= 7, "{processes} processes");
        let buried = [(
            "incident:events".to_owned(),
            5,
            "E-STREAM-005: the lease ended 5 times without an answer".to_owned(),
        )];
        assert_eq!(world.dead().await, buried);
        assert_eq!(lock(&world.events.acks).len(), 40);
    });
    run(async {
        let world = World::new();
        let deadly = incident::IncidentId::derive("w3", super::world::T0);
        world.orchestrator.plan(move |item, _| Plan {
            kills: item.incident == deadly,
            ..Plan::good(20)
        });
        world
            .add_work(Warning, (0..12).map(|n| format!("w{n}")))
            .await;
        world
            .add_work(Critical, (0..3).map(|n| format!("c{n}")))
            .await;
        let processes = lives(&world).await;
        assert!(processes <= 7, "{processes} processes");
        let buried = [(
            "incident:work:warning".to_owned(),
            5,
            "E-STREAM-005: the lease ended 5 times without an answer".to_owned(),
        )];
        assert_eq!(world.dead().await, buried);
        assert_eq!(lock(&world.orchestrator.log).completed.len(), 14);
    });
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
