//! A run in which everything works, and what it leaves behind.

use incident::message::WorkReply;
use incident::{Decision, IncidentStatus, Step};

use super::paused;
use super::world::{World, word};

fn line(reply: &WorkReply) -> String {
    format!("{} [awaiting {}]", reply.summary, reply.awaiting_approval)
}

#[test]
fn from_alert_to_closed_report() {
    paused!(async {
        let world = World::new().await;
        let mut said = vec![line(&world.investigate().await)];
        assert_eq!(word(&world.report().await.change), "awaiting");
        said.push(line(&world.decide(Decision::Approve, "n1").await));
        assert_eq!(word(&world.report().await.change), "opened");
        world.resolve().await;
        said.push(line(&world.close().await));
        // Work that comes again changes nothing.
        let before = world.journal().await;
        said.push(line(&world.investigate().await));
        said.push(line(&world.close().await));
        assert_eq!(world.journal().await, before);
        insta::assert_snapshot!(said.join("\n"));
        let report = world.report().await;
        assert_eq!(report.status, IncidentStatus::Resolved);
        assert!(!report.partial);
        assert_eq!(world.drafts(), 1);
        assert_eq!(
            world.slack.labels(),
            ["closed"],
            "one message, edited in place"
        );
        assert_eq!(
            world.hook.labels(),
            ["opened", "report", "report", "closed"]
        );
        insta::assert_json_snapshot!("journal", before);
        let metrics = world.metrics.render();
        // Every piece of work ran in a process of its own; the first posted twice to each channel.
        for wanted in [
            "nightshift_drafts_total{outcome=\"opened\"} 1",
            "nightshift_notices_total{notifier=\"slack\",outcome=\"posted\"} 2",
            "nightshift_report_seconds_count 1",
        ] {
            assert!(metrics.contains(wanted), "{wanted} is not in\n{metrics}");
        }
    });
}

#[test]
fn without_a_culprit_nothing_is_proposed() {
    paused!(async {
        let mut world = World::new().await;
        world.specialists.pop();
        let reply = world.investigate().await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        assert_eq!(word(&world.report().await.change), "none");
        assert_eq!(world.drafts(), 0);
    });
}

#[test]
fn policy_opens_the_draft_without_asking() {
    paused!(async {
        let mut world = World::new().await;
        world.config.approval.needed_for.clear();
        let reply = world.investigate().await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        assert_eq!(word(&world.report().await.change), "opened");
        assert_eq!(world.drafts(), 1);
        assert_eq!(world.hook.labels(), ["opened", "report", "report"]);
    });
}

#[test]
fn without_an_approval_key_nothing_is_asked() {
    paused!(async {
        let mut world = World::new().await;
        world.key = None;
        let reply = world.investigate().await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        assert_eq!(word(&world.report().await.change), "failed");
    });
}

/// A re-fired incident is a new generation: a report and a first message of its own, and the draft
/// that is open already is not opened again.
#[test]
fn a_refired_incident_starts_over() {
    paused!(async {
        let mut world = World::new().await;
        world.investigate().await;
        world.decide(Decision::Approve, "n1").await;
        world.resolve().await;
        world.close().await;
        let first = world.report().await;

        world.incident.generation += 1;
        world.put_incident(&world.incident).await;
        let reply = world.investigate().await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        let second = world.report().await;
        assert_eq!(second.status, IncidentStatus::Open);
        assert!(second.written_at >= first.written_at);
        assert_eq!(
            word(&second.change),
            "opened",
            "the draft of before is still there"
        );
        assert_eq!(world.drafts(), 1);
        assert_eq!(world.slack.labels(), ["closed", "report"]);

        // Late work of the older generation does not touch the newer report.
        let mut late = world.item(Step::Close);
        late.generation -= 1;
        let reply = world.deliver(late, &world.cx()).await.reply();
        assert!(
            reply.summary.contains("opened again as generation 2"),
            "{reply:?}"
        );
        assert_eq!(world.report().await, second);
    });
}

#[test]
fn bad_input_is_refused() {
    paused!(async {
        use incident::ports::Agent as _;
        let world = World::new().await;
        let orchestrator = world.orchestrator();
        let mut said = Vec::new();
        let good = super::world::task(world.item(Step::Investigate));
        let mut wrong_skill = good.clone();
        wrong_skill.skill = "triage/1".to_owned();
        let mut wrong_input = good.clone();
        wrong_input.input = serde_json::json!({"item": 7});
        let mut unknown = world.item(Step::Close);
        unknown.incident = incident::IncidentId::derive("other", "never");
        for task in [wrong_skill, wrong_input, super::world::task(unknown)] {
            let error = orchestrator.run(task, &world.cx()).await.unwrap_err();
            said.push(error.to_string());
        }
        insta::assert_snapshot!(said.join("\n"));
    });
}

/// An alert that fires for days is looked at around its onset, and a resumed run asks the same.
#[test]
fn the_question_is_bounded_and_asked_once() {
    paused!(async {
        let mut world = World::new().await;
        world.incident.started_at -= jiff::SignedDuration::from_hours(72);
        world.put_incident(&world.incident).await;
        world.crasher.arm(30);
        world.work(Step::Investigate).await;
        world.crasher.disarm();
        world.investigate().await;
        for agent in &world.specialists {
            let tasks = agent.tasks.lock().unwrap().clone();
            assert_eq!(tasks.len(), 1);
            let input = tasks.into_values().next().unwrap();
            let request: incident::message::EvidenceRequest =
                serde_json::from_value(input).unwrap();
            let window = request.window;
            assert_eq!(window.length(), jiff::SignedDuration::from_hours(24));
            let before = request.fired_at.duration_since(window.start);
            assert_eq!(before, jiff::SignedDuration::from_hours(1));
        }
    });
}
