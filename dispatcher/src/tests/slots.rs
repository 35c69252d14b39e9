//! A number of investigations that all processes share.

use std::time::Duration;

use incident::Severity::{Critical, Warning};

use super::world::{Plan, World, lock, run};
use crate::{Config, Work};

fn config(investigations_max: usize, reserved_for_critical: usize) -> Config {
    Config {
        work: Work {
            reserved_for_critical,
            investigations_max,
            ..Work::default()
        },
        ..Config::default()
    }
}

#[test]
fn three_processes_keep_to_the_number_of_two() {
    run(async {
        let world = World::with(50, 5);
        world.orchestrator.plan(|_, _| Plan::good(20));
        world
            .add_work(Warning, (0..30).map(|n| format!("w{n}")))
            .await;
        let mut all: Vec<_> = (0..3).map(|_| world.start(config(2, 0))).collect();
        // One dies without a word in the middle of it.
        world
            .until(|world| lock(&world.orchestrator.log).completed.len() >= 6)
            .await;
        let dead = all.remove(0);
        dead.shutdown().abort.cancel();
        dead.drain(Duration::ZERO).await;
        world.until_idle().await;
        for process in all {
            assert!(process.drain(Duration::from_secs(5)).await);
        }
        let log = lock(&world.orchestrator.log);
        assert_eq!(log.completed.len(), 30);
        assert_eq!(log.together_max, 2);
    });
}

#[test]
fn critical_work_finds_a_slot_behind_a_thousand_warnings() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(60));
        world
            .add_work(Warning, (0..1000).map(|n| format!("w{n}")))
            .await;
        let all: Vec<_> = (0..2).map(|_| world.start(config(3, 1))).collect();
        world.clock.sleep(Duration::from_secs(90)).await;
        let running = |world: &World| lock(&world.orchestrator.log).started.len();
        assert_eq!(
            running(&world),
            4,
            "two at a time, and nothing in the third"
        );
        let before = world.clock.elapsed();
        world.add_work(Critical, [String::from("c")]).await;
        let started = |world: &World| {
            let log = lock(&world.orchestrator.log);
            let critical = log
                .started
                .iter()
                .find(|(_, item)| item.severity == Critical);
            critical.map(|(at, _)| *at)
        };
        world.until(|world| started(world).is_some()).await;
        let took = started(&world).unwrap().saturating_sub(before);
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        for process in all {
            process.shutdown().abort.cancel();
            process.drain(Duration::ZERO).await;
        }
    });
}

#[test]
fn idle_processes_do_not_keep_slots_from_others() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(30));
        let all: Vec<_> = (0..4).map(|_| world.start(config(2, 1))).collect();
        for n in 0..5 {
            world.clock.sleep(Duration::from_mins(3)).await;
            let before = world.clock.elapsed();
            world.add_work(Warning, [format!("w{n}")]).await;
            world.until_idle().await;
            let took = world.clock.elapsed().saturating_sub(before);
            assert!(took < Duration::from_secs(33), "it took {took:?}");
        }
        let since = world.clock.elapsed();
        for process in all {
            assert!(process.drain(Duration::from_secs(30)).await);
        }
        assert!(world.clock.elapsed().saturating_sub(since) <= Duration::from_secs(4));
    });
}

#[test]
fn who_loses_the_slot_stops_the_work() {
    run(async {
        let world = World::new();
        world
            .orchestrator
            .plan(|_, call| Plan::good(if call == 1 { 200 } else { 5 }));
        world.add_work(Warning, [String::from("w")]).await;
        let supervisor = world.start(config(1, 0));
        world
            .until(|world| lock(&world.orchestrator.log).started.len() == 1)
            .await;
        world.store.set_down(true);
        let before = world.clock.elapsed();
        world
            .until(|world| lock(&world.orchestrator.log).dropped == 1)
            .await;
        let took = world.clock.elapsed().saturating_sub(before);
        assert!(took < Duration::from_secs(15), "it worked on for {took:?}");
        world.store.set_down(false);
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(lock(&world.orchestrator.log).completed.len(), 1);
        assert_eq!(world.dead().await, []);
    });
}
