//! An agent that keeps failing is left alone, at no entry's cost; the other one is not concerned.

use std::sync::atomic::Ordering;
use std::time::Duration;

use incident::Severity::Warning;
use incident::ports::AgentError;

use super::world::{Plan, World, lock, run};
use crate::Config;

const LONG: Duration = Duration::from_mins(8);

fn failed() -> AgentError {
    AgentError::Failed {
        agent: String::from("a"),
        why: String::from("made up"),
    }
}

fn unreachable() -> AgentError {
    AgentError::Unreachable {
        agent: String::from("a"),
        why: String::from("gone"),
    }
}

fn says(world: &World, line: &str) {
    let text = world.metrics.render();
    assert!(text.contains(line), "{line} is not in\n{text}");
}

/// The orchestrator fails for eight minutes, whatever the work: what becomes of 30 pieces of work.
fn sick_for_long(error: &AgentError) {
    run(async {
        let world = World::new();
        let (clock, error) = (std::sync::Arc::clone(&world.clock), error.clone());
        world.orchestrator.plan(move |_, _| {
            if clock.elapsed() < LONG {
                Plan::bad(error.clone())
            } else {
                Plan::good(1)
            }
        });
        world
            .add_work(Warning, (0..30).map(|n| format!("w{n}")))
            .await;
        let supervisor = world.start(Config::default());
        world.clock.sleep(LONG / 2).await;
        says(&world, r#"breaker{agent="triage-agent",state="closed"} 1"#);
        says(
            &world,
            r#"breaker{agent="incident-orchestrator",state="closed"} 0"#,
        );
        // Meanwhile the other agent has its work done.
        world.add_events(&["A severity=info"]).await;
        world
            .until(|world| lock(&world.events.acks).len() == 1)
            .await;
        assert!(world.clock.elapsed() < LONG / 2 + Duration::from_secs(2));
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(world.dead().await, [], "nobody used up its attempts");
        let log = lock(&world.orchestrator.log);
        assert_eq!(log.completed.len(), 31);
        let recovered = log.started.iter().map(|(at, _)| *at).find(|at| *at >= LONG);
        let recovered = recovered.expect("it was tried again").saturating_sub(LONG);
        assert!(recovered <= Duration::from_secs(16), "after {recovered:?}");
        // Five calls until it opened (and what ran beside them), then one at a time, further and
        // further apart.
        let during = log.started.iter().filter(|(at, _)| *at < LONG).count();
        assert!((20..150).contains(&during), "{during} calls in vain");
        drop(log);
        says(
            &world,
            r#"breaker{agent="incident-orchestrator",state="closed"} 1"#,
        );
    });
}

#[test]
fn an_agent_that_fails_at_everything_costs_nothing_but_time() {
    sick_for_long(&failed());
    sick_for_long(&unreachable());
}

#[test]
fn a_triage_that_fails_is_left_alone_and_work_goes_on() {
    run(async {
        let world = World::new();
        let lines: Vec<String> = (0..200).map(|n| format!("E{n} do=fail")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        world.add_events(&lines).await;
        let supervisor = world.start(Config::default());
        world
            .until(|world| {
                world
                    .metrics
                    .render()
                    .contains(r#"breaker{agent="triage-agent",state="open"} 1"#)
            })
            .await;
        world.add_work(Warning, [String::from("w")]).await;
        world
            .until(|world| lock(&world.orchestrator.log).completed.len() == 1)
            .await;
        world.clock.sleep(LONG).await;
        assert_eq!(world.dead().await, []);
        world.triage.is_well.store(true, Ordering::SeqCst);
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(world.dead().await, []);
        assert_eq!(lock(&world.events.acks).len(), 200);
    });
}

#[test]
fn one_bad_piece_of_work_does_not_make_an_agent_sick() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::bad(failed()));
        world.add_work(Warning, [String::from("w")]).await;
        let supervisor = world.start(Config::default());
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(world.dead().await.len(), 1);
        let text = world.metrics.render();
        assert!(!text.contains("breaker_opened_total{"), "{text}");
    });
}
