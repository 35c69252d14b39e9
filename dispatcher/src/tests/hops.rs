//! Both hops: failures by class, poison, leases, leaving.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use incident::Severity::{Critical, Warning};
use incident::error::Kind;
use incident::ports::{AgentError, Entry, Outcome, Stream as _};
use incident::{Step, WorkItem};
use runtime::SeededEntropy;
use runtime::config::{Section as _, Span};

use super::world::{Plan, World, event, lock, run};
use crate::verdict::{delay, judge};
use crate::{Breaker, Config, Retry, Triage, Work};

fn errors() -> Vec<AgentError> {
    let (agent, why) = (String::from("a"), String::from("made up"));
    vec![
        AgentError::Refused {
            agent: agent.clone(),
            why: why.clone(),
        },
        AgentError::Failed {
            agent: agent.clone(),
            why: why.clone(),
        },
        AgentError::Unreachable {
            agent: agent.clone(),
            why,
        },
        AgentError::Deadline {
            agent: agent.clone(),
        },
        AgentError::Cancelled { agent },
    ]
}

#[test]
fn each_outcome_has_its_verdict() {
    let output = serde_json::Value::Null;
    let mut results = vec![
        Ok(Outcome::Completed {
            output: output.clone(),
        }),
        Ok(Outcome::InputRequired {
            question: String::from("?"),
            output,
        }),
    ];
    results.extend(errors().into_iter().map(Err));
    let table: Vec<String> = results
        .iter()
        .map(|result| format!("{:?}", judge(result)))
        .collect();
    insta::assert_snapshot!(table.join("\n"), @r#"
    Done
    Parked
    Never { cause: Cause { code: "E-AGENT-001", text: "a refused the task: made up" } }
    Later { kind: Transient, cause: Cause { code: "E-AGENT-002", text: "a failed: made up" } }
    Later { kind: Transient, cause: Cause { code: "E-AGENT-003", text: "a cannot be reached: made up" } }
    Later { kind: Exhausted, cause: Cause { code: "E-AGENT-004", text: "a did not answer by the deadline" } }
    Later { kind: Cancelled, cause: Cause { code: "E-AGENT-005", text: "the task at a was cancelled" } }
    "#);
}

#[test]
fn waits_grow_and_honour_what_is_asked_for() {
    let policy = Retry::default().redeliver();
    let entropy = SeededEntropy::new(1);
    let asked = |secs| Kind::Overloaded {
        retry_after: Some(Duration::from_secs(secs)),
    };
    for attempt in 1..12 {
        let wait = delay(policy, attempt, Kind::Transient, &entropy);
        let full = Duration::from_secs(2)
            .saturating_mul(1 << (attempt - 1))
            .min(policy.wait_max);
        assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
    }
    assert_eq!(
        delay(policy, 1, asked(40), &entropy),
        Duration::from_secs(40)
    );
    assert_eq!(delay(policy, 1, asked(4000), &entropy), policy.wait_max);
    // By class: at the least half of two, four and eight seconds.
    let least = |kind| {
        let waits = (0..200).map(|_| delay(policy, 1, kind, &entropy));
        waits.min().unwrap_or_default().as_millis()
    };
    assert!((1000..1100).contains(&least(Kind::Transient)));
    assert!((1000..1100).contains(&least(Kind::Cancelled)));
    assert!((2000..2200).contains(&least(Kind::Overloaded { retry_after: None })));
    assert!((4000..4400).contains(&least(Kind::Exhausted)));
}

/// One piece of work for which the orchestrator always answers `plan`: what becomes of it.
fn fate(plan: &Plan) -> String {
    run(async {
        let world = World::new();
        let always = plan.clone();
        world.orchestrator.plan(move |_, _| always.clone());
        world.add_work(Warning, [String::from("w")]).await;
        let supervisor = world.start(Config::default());
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        let calls: u32 = lock(&world.orchestrator.log).calls.values().sum();
        let acked = lock(&world.lanes[&Warning].acks).len();
        format!(
            "{calls} calls, {acked} acknowledged, dead: {:?}",
            world.dead().await
        )
    })
}

#[test]
fn each_class_of_failure_ends_as_it_should() {
    let mut table = String::new();
    let parked = Plan {
        result: Ok(true),
        ..Plan::good(1)
    };
    writeln!(table, "completed: {}", fate(&Plan::good(1))).unwrap();
    writeln!(table, "input required: {}", fate(&parked)).unwrap();
    writeln!(table, "never ends: {}", fate(&Plan::good(100_000))).unwrap();
    for error in errors()
        .into_iter()
        .filter(|e| !matches!(e, AgentError::Unreachable { .. }))
    {
        writeln!(table, "{error}: {}", fate(&Plan::bad(error.clone()))).unwrap();
    }
    insta::assert_snapshot!(table, @r#"
    completed: 1 calls, 1 acknowledged, dead: []
    input required: 1 calls, 1 acknowledged, dead: []
    never ends: 5 calls, 0 acknowledged, dead: [("incident:work:warning", 5, "E-AGENT-004: incident-orchestrator did not answer by the deadline")]
    a refused the task: made up: 1 calls, 0 acknowledged, dead: [("incident:work:warning", 1, "E-AGENT-001: a refused the task: made up")]
    a failed: made up: 5 calls, 0 acknowledged, dead: [("incident:work:warning", 5, "E-AGENT-002: a failed: made up")]
    a did not answer by the deadline: 5 calls, 0 acknowledged, dead: [("incident:work:warning", 5, "E-AGENT-004: a did not answer by the deadline")]
    the task at a was cancelled: 5 calls, 0 acknowledged, dead: [("incident:work:warning", 5, "E-AGENT-005: the task at a was cancelled")]
    "#);
}

#[test]
fn an_agent_that_is_away_costs_no_attempt() {
    run(async {
        let world = World::new();
        let away = AgentError::Unreachable {
            agent: String::from("a"),
            why: String::from("gone"),
        };
        let clock = std::sync::Arc::clone(&world.clock);
        world.orchestrator.plan(move |_, _| {
            let back = clock.elapsed() > Duration::from_secs(400);
            if back {
                Plan::good(1)
            } else {
                Plan::bad(away.clone())
            }
        });
        world.add_work(Warning, [String::from("w")]).await;
        let supervisor = world.start(Config::default());
        world
            .until(|world| lock(&world.orchestrator.log).completed.len() == 1)
            .await;
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        let text = world.metrics.render();
        assert!(
            text.contains(r#"dispatch_handled_total{hop="work",outcome="done"} 1"#),
            "{text}"
        );
        assert!(!text.contains(r#"outcome="retried""#), "{text}");
    });
}

/// What is to be done later is durable before the work that asks for it is done, and waits without a
/// call until it is due.
#[test]
fn work_for_later_is_work_of_its_own() {
    run(async {
        let world = World::new();
        let clock = std::sync::Arc::clone(&world.clock);
        world.orchestrator.plan(move |item, _| {
            let round = match item.step {
                Step::Retry { due, .. } if due > clock.now() => panic!("called too early"),
                Step::Retry { round, .. } => round,
                _ => 0,
            };
            let again = (round < 3).then(|| WorkItem {
                step: Step::Retry {
                    round: round + 1,
                    due: clock.now() + jiff::SignedDuration::from_mins(7),
                },
                ..item.clone()
            });
            Plan {
                result: Ok(round == 0),
                again,
                ..Plan::good(1)
            }
        });
        world.add_work(Warning, [String::from("w")]).await;
        let supervisor = world.start(Config::default());
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(lock(&world.orchestrator.log).completed.len(), 4);
        assert_eq!(world.dead().await, []);
        assert!(world.clock.elapsed() >= Duration::from_mins(21));
        let text = world.metrics.render();
        for (outcome, times) in [("parked", 1), ("done", 3), ("put_off", 3)] {
            let line =
                format!("dispatch_handled_total{{hop=\"work\",outcome=\"{outcome}\"}} {times}");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"outcome="retried""#), "{text}");
    });
}

#[test]
fn poison_does_not_take_others_down() {
    run(async {
        let world = World::new();
        let lines: Vec<String> = (0..10).map(|n| format!("E{n} severity=warning")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.insert(3, "Refused do=refuse");
        world.add_events(&lines).await;
        let junk = Entry {
            key: String::from("junk"),
            payload: b"{\"key\":".to_vec(),
        };
        world.events.inner.append(vec![junk]).await.unwrap();
        let supervisor = world.start(Config::default());
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        // The first of a process by itself, then all at once, then each alone.
        let mut calls = vec![1, 10];
        calls.extend([1; 10]);
        assert_eq!(*lock(&world.triage.calls), calls);
        assert_eq!(lock(&world.events.acks).len(), 10);
        insta::assert_debug_snapshot!(world.dead().await, @r#"
        [
            (
                "incident:events",
                1,
                "E-DISPATCH-001: the entry cannot be read: EOF while parsing a value at line 1 column 7",
            ),
            (
                "incident:events",
                1,
                "E-AGENT-001: triage-agent refused the task: E-TEST-001: made up",
            ),
        ]
        "#);
    });
}

#[test]
fn an_event_that_panics_ends_alone() {
    run(async {
        let world = World::new();
        let lines = [
            "A severity=info",
            "B severity=info",
            "Bad do=panic",
            "Odd do=ask",
        ];
        world.add_events(&lines).await;
        let supervisor = world.start(Config::default());
        world.until_idle().await;
        assert!(supervisor.drain(Duration::from_secs(5)).await);
        assert_eq!(lock(&world.events.acks).len(), 2);
        insta::assert_debug_snapshot!(world.dead().await, @r#"
        [
            (
                "incident:events",
                5,
                "E-DISPATCH-003: handling the entry panicked: made up",
            ),
            (
                "incident:events",
                5,
                "E-DISPATCH-002: triage-agent answered something else than was asked for: ?",
            ),
        ]
        "#);
    });
}

#[test]
fn an_orchestrator_that_panics_is_a_failed_attempt() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, call| {
            assert!(call > 2, "made up");
            Plan::good(1)
        });
        world.add_work(Critical, [String::from("c")]).await;
        let supervisor = world.start(Config::default());
        world.until_idle().await;
        assert!(supervisor.drain(Duration::from_secs(5)).await);
        assert_eq!(world.dead().await, []);
        assert_eq!(lock(&world.orchestrator.log).completed.len(), 1);
        let text = world.metrics.render();
        assert!(
            text.contains(r#"dispatch_handled_total{hop="work",outcome="retried"} 2"#),
            "{text}"
        );
        assert!(text.contains(r#"in_flight{hop="work"} 0"#), "{text}");
    });
}

#[test]
fn a_lost_lease_stops_the_work_and_drops_its_result() {
    run(async {
        let world = World::new();
        world
            .orchestrator
            .plan(|_, call| Plan::good(if call == 1 { 200 } else { 5 }));
        world.add_work(Warning, [String::from("w")]).await;
        let lane = &world.lanes[&Warning];
        lane.cut.store(true, Ordering::SeqCst);
        let supervisor = world.start(Config::default());
        world
            .until(|world| lock(&world.orchestrator.log).dropped == 1)
            .await;
        let at = world.clock.elapsed();
        assert!(
            at <= Duration::from_secs(61),
            "it worked on without a lease until {at:?}"
        );
        assert!(lock(&lane.acks).is_empty());
        lane.cut.store(false, Ordering::SeqCst);
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        let log = lock(&world.orchestrator.log);
        assert_eq!(
            log.calls.values().copied().collect::<Vec<_>>(),
            [2],
            "one task, called twice"
        );
        assert_eq!(lock(&lane.acks).len(), 1);
    });
}

#[test]
fn a_long_piece_of_work_keeps_its_lease() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(230));
        world.add_work(Warning, [String::from("w")]).await;
        let (one, two) = (
            world.start(Config::default()),
            world.start(Config::default()),
        );
        world.until_idle().await;
        one.drain(Duration::from_secs(5)).await;
        two.drain(Duration::from_secs(5)).await;
        let log = lock(&world.orchestrator.log);
        assert_eq!(log.calls.values().copied().collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn leaving_finishes_what_it_can_and_gives_back_the_rest() {
    run(async {
        let world = World::new();
        let long = event("long").key.to_string();
        world.orchestrator.plan(move |item, call| {
            let slow = item.incident == incident::IncidentId::derive(&long, super::world::T0);
            Plan::good(if slow && call == 1 { 200 } else { 10 })
        });
        let names = [event("long").key.to_string(), String::from("short")];
        world.add_work(Warning, names).await;
        let first = world.start(Config::default());
        world
            .until(|world| lock(&world.orchestrator.log).started.len() == 2)
            .await;
        let since = world.clock.elapsed();
        assert!(
            first.drain(Duration::from_secs(30)).await,
            "it left by itself"
        );
        let took = world.clock.elapsed().saturating_sub(since);
        assert!(took <= Duration::from_secs(22), "it took {took:?}");
        let backlog = world.lanes[&Warning].inner.backlog().await.unwrap();
        assert_eq!((backlog.waiting, backlog.claimed), (1, 0));
        assert_eq!(lock(&world.orchestrator.log).completed.len(), 1);

        // Nothing new was claimed on the way out, and the next one goes on at once.
        let second = world.start(Config::default());
        let since = world.clock.elapsed();
        world
            .until(|world| lock(&world.orchestrator.log).started.len() == 3)
            .await;
        assert!(world.clock.elapsed().saturating_sub(since) < Duration::from_secs(1));
        world.until_idle().await;
        second.drain(Duration::from_secs(5)).await;
        assert_eq!(world.dead().await, []);
    });
}

#[test]
fn an_idle_process_leaves_at_once() {
    run(async {
        let world = World::new();
        let supervisor = world.start(Config::default());
        world.clock.sleep(Duration::from_mins(1)).await;
        let since = world.clock.elapsed();
        assert!(supervisor.drain(Duration::from_secs(30)).await);
        assert!(world.clock.elapsed().saturating_sub(since) <= Duration::from_secs(1));
    });
}

#[test]
fn several_processes_share_the_work() {
    run(async {
        let world = World::with(5, 3);
        world.orchestrator.plan(|_, _| Plan::good(20));
        let lines: Vec<String> = (0..300)
            .map(|n| format!("E{n} severity=critical"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        world.add_events(&lines).await;
        let processes: Vec<_> = (0..3).map(|_| world.start(Config::default())).collect();
        world.until_idle().await;
        for process in processes {
            process.drain(Duration::from_secs(5)).await;
        }
        let log = lock(&world.orchestrator.log);
        assert_eq!(log.calls.len(), 300);
        assert!(
            log.calls.values().all(|calls| *calls == 1),
            "nothing was done twice"
        );
        assert_eq!(log.together_max, 12, "never more than the permits of all");
    });
}

#[test]
fn a_stream_that_goes_away_is_waited_for() {
    run(async {
        let world = World::new();
        world.add_events(&["A severity=critical"]).await;
        for stream in world.streams() {
            stream.inner.set_down(true);
        }
        let supervisor = world.start(Config::default());
        world.clock.sleep(Duration::from_mins(2)).await;
        for stream in world.streams() {
            stream.inner.set_down(false);
        }
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(lock(&world.orchestrator.log).completed.len(), 1);
    });
}

#[test]
fn a_full_lane_keeps_the_events() {
    run(async {
        let world = World::with(1_000, 0);
        world.orchestrator.plan(|_, _| Plan::good(1));
        world
            .add_events(&["A severity=info", "B severity=info"])
            .await;
        world.lanes[&incident::Severity::Info].inner.set_down(true);
        let supervisor = world.start(Config::default());
        world.clock.sleep(Duration::from_mins(5)).await;
        assert!(
            lock(&world.events.acks).is_empty(),
            "nothing is acknowledged without its work"
        );
        world.lanes[&incident::Severity::Info].inner.set_down(false);
        world.until_idle().await;
        supervisor.drain(Duration::from_secs(5)).await;
        assert_eq!(lock(&world.events.acks).len(), 2);
    });
}

#[test]
fn backlog_and_age_are_measured() {
    run(async {
        let world = World::new();
        world.orchestrator.plan(|_, _| Plan::good(200));
        world
            .add_work(Warning, (0..10).map(|n| format!("w{n}")))
            .await;
        let supervisor = world.start(Config::default());
        world.clock.sleep(Duration::from_secs(16)).await;
        let text = world.metrics.render();
        let of_lane = |line: &&str| line.contains("incident:work:warning");
        let mut lines: Vec<&str> = text.lines().filter(of_lane).collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        nightshift_backlog_entries{stream="incident:work:warning",lane="warning",state="claimed"} 3
        nightshift_backlog_entries{stream="incident:work:warning",lane="warning",state="dead"} 0
        nightshift_backlog_entries{stream="incident:work:warning",lane="warning",state="waiting"} 7
        nightshift_backlog_work_seconds{stream="incident:work:warning",lane="warning"} 510.0
        nightshift_backlog{stream="incident:work:warning",lane="warning"} 10
        nightshift_oldest_age_seconds{stream="incident:work:warning",lane="warning"} 15.0
        "#);
        supervisor.shutdown().abort.cancel();
        supervisor.drain(Duration::ZERO).await;
    });
}

#[test]
fn a_configuration_that_cannot_work_says_so() {
    let problems = |config: &Config| {
        let mut problems = Vec::new();
        config.check("dispatcher", &mut problems);
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(problems(&Config::default()), "");
    let bad = Config {
        triage: Triage {
            batch_max: 0,
            batch_wait: Span::secs(0),
            ..Triage::default()
        },
        work: Work {
            reserved_for_critical: 4,
            investigations_max: 3,
            aged_share: 0,
            ..Work::default()
        },
        retry: Retry {
            wait_min: Span::secs(300),
            ..Retry::default()
        },
        breaker: Breaker {
            open_min: Span::secs(120),
            ..Breaker::default()
        },
        ..Config::default()
    };
    insta::assert_snapshot!(problems(&bad), @"
    dispatcher.triage.batch_max: 0 is out of range. Choose a number from 1 to 1000.
    dispatcher.work.investigations_max: 4 of 3 are reserved, so nothing else would ever run. Choose more than work.reserved_for_critical, or 0 for no limit.
    dispatcher.work.reserved_for_critical: 4 of 4 are reserved, so nothing else would ever run. Choose less than work.concurrency.
    dispatcher.work.aged_share: 0 is no share. Choose 1 or more.
    dispatcher.triage.batch_wait: it is zero. Choose a length of time above zero.
    dispatcher.breaker.open_min: 2m is more than open_max. Choose at most breaker.open_max.
    dispatcher.retry.wait_min: 5m is more than wait_max. Choose at most retry.wait_max.
    ");
}
