//! Whatever hangs, the report goes out by the deadline; whoever calls it off is heard at once.

use std::sync::Arc;
use std::time::Duration;

use incident::ports::{AgentError, Clock as _, Cx};
use incident::{Decision, Step};
use runtime::CancelToken;

use super::fakes::Mood;
use super::paused;
use super::world::{Done, World, word};

fn hang_everything(world: &World) {
    for agent in &world.specialists {
        *agent.mood.lock().unwrap() = Mood::Hangs;
    }
    for channel in [&world.slack, &world.hook] {
        *channel.mood.lock().unwrap() = Mood::Hangs;
    }
    world.forge.state.lock().unwrap().hangs = true;
}

#[test]
fn everything_hangs_and_the_report_goes_out() {
    paused!(async {
        let world = World::new().await;
        hang_everything(&world);
        let began = world.clock.now();
        let reply = world.investigate().await;
        assert!(!reply.awaiting_approval, "{reply:?}");
        let report = world.report().await;
        assert!(report.partial);
        assert_eq!(
            report.diagnosis.gaps.len(),
            2,
            "{:?}",
            report.diagnosis.gaps
        );
        let after = report.written_at.duration_since(began);
        assert!(after.as_secs() <= 150, "written after {after:#}");
        let timeline: Vec<&str> = report.timeline.iter().map(|m| m.text.as_str()).collect();
        assert!(
            timeline
                .iter()
                .any(|text| text.contains("slack could not be told that somebody")),
            "{timeline:?}"
        );
    });
}

/// The deadline holds also where the shares would add up to more.
#[test]
fn the_deadline_beats_the_shares() {
    paused!(async {
        let mut world = World::new().await;
        world.config.specialist_timeout = runtime::config::Span::secs(1000);
        world.config.preview_timeout = runtime::config::Span::secs(1000);
        *world.specialists[0].mood.lock().unwrap() = Mood::Hangs;
        world.forge.state.lock().unwrap().hangs = true;
        let began = world.clock.now();
        world.investigate().await;
        let report = world.report().await;
        assert!(report.partial);
        let after = report.written_at.duration_since(began);
        assert!(
            (120..=150).contains(&after.as_secs()),
            "written after {after:#}"
        );
    });
}

/// The caller's own deadline is nearer than ours.
#[test]
fn a_short_run_still_reports() {
    paused!(async {
        let world = World::new().await;
        hang_everything(&world);
        let cx = Cx::root(world.clock.clone(), Duration::from_secs(40), "0".repeat(32));
        let done = world.deliver(world.item(Step::Investigate), &cx).await;
        assert!(
            matches!(done, Done::Failed(AgentError::Deadline { .. })),
            "{done:?}"
        );
        assert!(
            world.report().await.partial,
            "the report was out before the run ended"
        );
    });
}

#[test]
fn an_error_of_a_specialist_is_a_gap() {
    paused!(async {
        let world = World::new().await;
        *world.specialists[0].mood.lock().unwrap() = Mood::Fails;
        world.investigate().await;
        let report = world.report().await;
        assert!(report.partial);
        let gap = &report.diagnosis.gaps[0];
        assert_eq!(gap.source, "observability-agent");
        assert_eq!(gap.why, "observability-agent failed: it is broken");
    });
}

/// A first message that fails is made up for with the report, in one message.
#[test]
fn a_channel_that_comes_back_hears_the_report() {
    paused!(async {
        let world = World::new().await;
        *world.slack.mood.lock().unwrap() = Mood::Fails;
        *world.specialists[0].mood.lock().unwrap() = Mood::Hangs;
        let back = async {
            world.clock.sleep(Duration::from_secs(30)).await;
            *world.slack.mood.lock().unwrap() = Mood::Works;
        };
        let (_, ()) = tokio::join!(world.investigate(), back);
        assert_eq!(world.slack.labels(), ["report"]);
    });
}

/// A channel that is away for minutes holds nothing up, is told when it is back, and the timeline says
/// what happened.
#[test]
fn a_channel_that_is_away_for_minutes_hears_later() {
    paused!(async {
        let world = World::new().await;
        *world.slack.mood.lock().unwrap() = Mood::Fails;
        let began = world.clock.now();
        let reply = world.investigate().await;
        let took = world.clock.now().duration_since(began);
        assert!(
            took.as_secs() < 10,
            "the run does not wait for it: {took:#}"
        );
        assert!(reply.awaiting_approval && reply.again.is_some());
        assert_eq!(world.hook.labels(), ["opened", "report"]);
        let lines = async || {
            let report = world.report().await;
            let lines = report.timeline.into_iter().map(|m| m.text);
            lines
                .filter(|text| text.contains("slack"))
                .collect::<Vec<_>>()
        };
        insta::assert_debug_snapshot!(lines().await, @r#"
        [
            "slack could not be told of the report yet, it is tried again: slack cannot be reached: connection reset",
            "slack could not be told that somebody is looking: slack cannot be reached: connection reset",
        ]
        "#);
        let back = async {
            world.clock.sleep(Duration::from_mins(5)).await;
            *world.slack.mood.lock().unwrap() = Mood::Works;
        };
        let (reply, ()) = tokio::join!(world.follow(reply), back);
        assert!(reply.awaiting_approval && reply.again.is_none());
        assert_eq!(world.slack.labels(), ["report"]);
        assert_eq!(
            world.hook.labels(),
            ["opened", "report"],
            "others hear nothing of it"
        );
        insta::assert_debug_snapshot!(lines().await, @r#"
        [
            "slack could not be told of the report yet, it is tried again: slack cannot be reached: connection reset",
            "slack could not be told that somebody is looking: slack cannot be reached: connection reset",
            "slack was told of the report at try 9.",
        ]
        "#);
    });
}

/// A channel that stays away is given up after a while; the next change of the report is told anew.
#[test]
fn a_channel_that_stays_away_is_given_up_until_there_is_news() {
    paused!(async {
        let world = World::new().await;
        *world.slack.mood.lock().unwrap() = Mood::Fails;
        let reply = world.investigate().await;
        let began = world.clock.now();
        let reply = world.follow(reply).await;
        assert!(reply.awaiting_approval, "{reply:?}");
        let minutes = world.clock.now().duration_since(began).as_mins();
        assert!((20..60).contains(&minutes), "{minutes} min");
        *world.slack.mood.lock().unwrap() = Mood::Works;
        world.decide(Decision::Approve, "n1").await;
        assert_eq!(world.slack.labels(), ["report"]);
    });
}

#[test]
fn called_off_it_stops_within_a_second_and_can_go_on() {
    paused!(async {
        let world = World::new().await;
        *world.specialists[0].mood.lock().unwrap() = Mood::Hangs;
        let token = CancelToken::new();
        let cx = world.cx().with_cancel(Arc::new(token.clone()));
        let cancelled_at = async {
            world.clock.sleep(Duration::from_secs(20)).await;
            token.cancel();
            world.clock.now()
        };
        let run = async {
            let done = world.deliver(world.item(Step::Investigate), &cx).await;
            (done, world.clock.now())
        };
        let ((done, stopped), cancelled) = tokio::join!(run, cancelled_at);
        assert!(
            matches!(done, Done::Failed(AgentError::Cancelled { .. })),
            "{done:?}"
        );
        assert!(stopped.duration_since(cancelled).as_secs() < 1);

        *world.specialists[0].mood.lock().unwrap() = Mood::Works;
        assert!(world.investigate().await.awaiting_approval);
        assert!(!world.report().await.partial);
        world.decide(Decision::Approve, "n1").await;
        assert_eq!(word(&world.report().await.change), "opened");
        assert_eq!(world.slack.labels(), ["report"]);
    });
}

/// After an outage longer than the deadline the specialists are still given a fair time.
#[test]
fn a_long_outage_does_not_make_an_empty_report() {
    paused!(async {
        let world = World::new().await;
        world.crasher.arm(30);
        assert!(matches!(world.work(Step::Investigate).await, Done::Crashed));
        world.crasher.disarm();
        world.clock.sleep(Duration::from_mins(15)).await;
        world.investigate().await;
        assert!(!world.report().await.partial);
    });
}
