//! How long work takes, as the store knows it afterwards.

use std::time::Duration;

use incident::Severity::{Critical, Warning};
use incident::ports::{AgentError, Store as _};
use incident::{Pace, keys};

use super::world::{Plan, World, run};
use crate::Config;

async fn mean(world: &World, lane: &str) -> Duration {
    let stored = world.store.get(&keys::pace(lane)).await.unwrap();
    let pace = stored.map(|stored| serde_json::from_slice::<Pace>(&stored.value).unwrap());
    pace.unwrap_or_default().mean(Pace::usual(lane))
}

#[test]
fn what_work_took_is_known_to_all() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(30));
        world
            .add_work(Warning, (0..12).map(|n| format!("w{n}")))
            .await;
        // Two processes, one estimate.
        let processes = [
            world.start(Config::default()),
            world.start(Config::default()),
        ];
        world.until_idle().await;
        world.clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(mean(&world, "warning").await.as_secs(), 30);
        assert_eq!(mean(&world, "critical").await, Pace::WORK_USUAL);
        let stored = world.store.get(&keys::pace("warning")).await.unwrap();
        let text = String::from_utf8(stored.unwrap().value).unwrap();
        assert_eq!(text.matches("300").count(), 12, "each of them once: {text}");
        for process in processes {
            process.drain(Duration::from_secs(5)).await;
        }
    });
}

#[test]
fn what_failed_or_was_given_back_says_nothing() {
    run(async {
        let world = World::with(2, 0);
        world.orchestrator.plan(|_, _| {
            let agent = String::from("incident-orchestrator");
            let why = String::from("no");
            Plan::bad(AgentError::Failed { agent, why })
        });
        world.add_work(Critical, [String::from("c")]).await;
        let process = world.start(Config::default());
        world.until_idle().await;
        world.clock.sleep(Duration::from_secs(20)).await;
        assert!(
            world
                .store
                .get(&keys::pace("critical"))
                .await
                .unwrap()
                .is_none()
        );
        process.drain(Duration::from_secs(5)).await;
    });
}

/// An event takes its share of the batch it was ruled on with.
#[test]
fn events_share_the_time_of_their_batch() {
    run(async {
        let world = World::new();
        let lines: Vec<String> = (0..40).map(|n| format!("E{n} severity=info")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        world.add_events(&lines).await;
        let process = world.start(Config::default());
        world.until_idle().await;
        world.clock.sleep(Duration::from_secs(20)).await;
        assert!(mean(&world, Pace::EVENTS).await < Pace::EVENT_USUAL);
        process.drain(Duration::from_secs(5)).await;
    });
}
