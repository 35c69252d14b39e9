//! Which lane comes first, and how soon.

use std::collections::BTreeMap;
use std::time::Duration;

use incident::Severity::{self, Critical, Info, Warning};
use proptest::prelude::*;

use super::world::{Plan, World, lock, run};
use crate::lanes::order;
use crate::{Config, Work};

fn check(ages: &[(Severity, u64)], turn_of_ageing: bool) -> Vec<Severity> {
    let ages: BTreeMap<_, _> = ages
        .iter()
        .map(|(lane, secs)| (*lane, Duration::from_secs(*secs)))
        .collect();
    order(&ages, Duration::from_mins(5), turn_of_ageing)
}

#[test]
fn urgency_first_and_at_its_turn_age() {
    assert_eq!(check(&[(Info, 900)], false), [Critical, Warning, Info]);
    assert_eq!(check(&[(Info, 900)], true), [Info, Critical, Warning]);
    assert_eq!(
        check(&[(Info, 900), (Warning, 400)], true),
        [Info, Warning, Critical]
    );
    assert_eq!(
        check(&[(Info, 400), (Warning, 400)], true),
        [Warning, Info, Critical]
    );
    assert_eq!(
        check(&[(Info, 300), (Warning, 10)], true),
        [Critical, Warning, Info]
    );
    assert_eq!(
        check(&[(Critical, 900), (Warning, 400)], true),
        [Warning, Critical, Info]
    );
}

proptest! {
    #[test]
    fn every_lane_has_its_place(critical in 0..1000_u64, warning in 0..1000_u64, info in 0..1000_u64, turn: bool) {
        let mut lanes = check(&[(Critical, critical), (Warning, warning), (Info, info)], turn);
        lanes.sort();
        prop_assert_eq!(lanes, [Info, Warning, Critical]);
    }
}

#[test]
fn critical_work_starts_at_once_behind_a_thousand_warnings() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(60));
        world
            .add_work(Warning, (0..1000).map(|n| format!("w{n}")))
            .await;
        let supervisor = world.start(Config::default());
        world
            .until(|world| lock(&world.orchestrator.log).started.len() >= 3)
            .await;
        world.clock.sleep(Duration::from_secs(90)).await;
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
        supervisor.shutdown().abort.cancel();
        supervisor.drain(Duration::ZERO).await;
        assert_eq!(lock(&world.orchestrator.log).together_max, 4);
    });
}

#[test]
fn old_warnings_are_not_starved_by_critical_work() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(60));
        let work = Work {
            concurrency: 1,
            reserved_for_critical: 0,
            ..Work::default()
        };
        world
            .add_work(Critical, (0..100).map(|n| format!("c{n}")))
            .await;
        world.add_work(Warning, [String::from("w")]).await;
        let supervisor = world.start(Config {
            work,
            ..Config::default()
        });
        let position = |world: &World| {
            let log = lock(&world.orchestrator.log);
            log.started
                .iter()
                .position(|(_, item)| item.severity == Warning)
        };
        world.until(|world| position(world).is_some()).await;
        let position = position(&world).unwrap();
        // Old enough after five jobs of a minute each; its turn comes within four claims.
        assert!((5..=9).contains(&position), "it was number {position}");
        supervisor.shutdown().abort.cancel();
        supervisor.drain(Duration::ZERO).await;
    });
}
