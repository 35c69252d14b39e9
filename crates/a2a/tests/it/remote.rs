//! The client against the server.

use std::sync::Arc;
use std::time::Duration;

use incident::error::{Classify as _, Kind};
use incident::ports::{Agent as _, AgentError, Clock as _, Cx, Outcome};
use runtime::{CancelToken, SystemClock};
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn a_task_goes_there_and_its_output_comes_back() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    let sent =
        json!({"n": 42, "half": 0.5, "big": "9007199254740993", "list": [1, -1, 0], "none": null});
    let outcome = remote.run(task("m1", sent.clone()), &cx()).await.unwrap();
    assert_eq!(
        output(outcome),
        json!({"saw": sent, "context": "inc-0123456789ab"})
    );
    assert_eq!(
        agent.last_trace().as_deref(),
        Some("0af7651916cd43dd8448eb211c80319c")
    );
    let card = remote.card();
    assert_eq!((card.name.as_str(), card.skills.len()), ("script-agent", 2));
}

#[tokio::test]
async fn progress_comes_through() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let heard = Arc::new(Heard::default());
    let cx = cx().with_progress(heard.clone());
    remote(&process)
        .run(task("m1", json!({"do": "tell"})), &cx)
        .await
        .unwrap();
    assert_eq!(
        heard.lines(),
        ["reading: one of two", "thinking: two of two (done)"]
    );
}

#[tokio::test]
async fn the_same_message_many_times_is_one_task() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = Arc::new(remote(&process));
    let calls = (0..20).map(|_| {
        let remote = remote.clone();
        async move {
            remote
                .run(task("m1", json!({"do": "wait", "n": 1})), &cx())
                .await
        }
    });
    let all = futures_util::future::join_all(calls);
    let open = async {
        until("the agent runs", || agent.runs("m1") == 1).await;
        agent.gate.cancel();
    };
    let (outcomes, ()) = tokio::join!(all, open);
    let first = outcomes[0].clone().unwrap();
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| outcome.unwrap() == first)
    );
    let later = remote
        .run(task("m1", json!({"n": 1, "do": "wait"})), &cx())
        .await
        .unwrap();
    assert_eq!(later, first);
    assert_eq!(agent.runs("m1"), 1);
}

#[tokio::test]
async fn the_same_message_with_another_payload_is_refused() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    remote
        .run(task("m1", json!({"n": 1})), &cx())
        .await
        .unwrap();
    let error = remote
        .run(task("m1", json!({"n": 2})), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"script-agent refused the task: message.messageId: was used before with another skill, context or body; a new message needs a new id");
    assert_eq!(error.kind(), Kind::Permanent);
    assert_eq!(agent.runs("m1"), 1);
}

#[tokio::test]
async fn what_an_agent_refuses_is_refused_for_good() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    for _ in 0..2 {
        let error = remote
            .run(task("m1", json!({"do": "refuse"})), &cx())
            .await
            .unwrap_err();
        insta::allow_duplicates! { insta::assert_snapshot!(error, @"script-agent refused the task: the window ends before it starts; swap them"); }
    }
    assert_eq!(agent.runs("m1"), 1);
}

#[tokio::test]
async fn a_failure_is_told_and_the_same_message_runs_again() {
    for (what, expect) in [
        ("fail once", "the disk is full"),
        ("panic once", "failed unexpectedly"),
    ] {
        let agent = Scripted::named("script-agent");
        let process = Process::start(Setup::new(&agent, &store())).await;
        let remote = remote(&process);
        let error = remote
            .run(task("m1", json!({"do": what})), &cx())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, AgentError::Failed { why, .. } if why.contains(expect)),
            "{error}"
        );
        assert!(error.kind().is_retryable());
        remote
            .run(task("m1", json!({"do": what})), &cx())
            .await
            .unwrap();
        assert_eq!(agent.runs("m1"), 2);
    }
}

#[tokio::test]
async fn a_question_for_a_person_is_an_outcome() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    for _ in 0..2 {
        let outcome = remote
            .run(task("m1", json!({"do": "ask"})), &cx())
            .await
            .unwrap();
        let Outcome::InputRequired { question, output } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(question, "may I?");
        assert_eq!(output["saw"], json!({"do": "ask"}));
    }
    assert_eq!(agent.runs("m1"), 1);
}

#[tokio::test]
async fn numbers_that_would_lose_digits_do_not_travel() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    let error = remote
        .run(task("m1", json!({"n": 1_u64 << 53})), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"script-agent refused the task: input: /n is 9007199254740992, beyond the integers that survive A2A (2^53); send it as a string");
    let error = remote
        .run(task("m2", json!({"do": "too big"})), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"script-agent refused the task: its output cannot travel: /id is 18446744073709551615, beyond the integers that survive A2A (2^53); send it as a string");
    assert_eq!(agent.runs("m1"), 0);
}

#[tokio::test]
async fn the_deepest_input_that_is_sent_arrives() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    let objects = (0..28).fold(json!(1), |inner, _| json!({"in": inner}));
    let arrays = (0..28).fold(json!(1), |inner, _| json!([inner]));
    for (id, input) in [("m1", objects), ("m2", arrays)] {
        let request = remote.run(task(id, input.clone()), &cx()).await;
        // The output is one level deeper than the input, so it is the answer that cannot travel.
        let error = request.unwrap_err().to_string();
        assert!(error.contains("its output cannot travel"), "{error}");
        assert!(error.contains("nested deeper than 28 levels"), "{error}");
        assert_eq!(agent.runs(id), 1);
    }
    let objects = (0..27).fold(json!(1), |inner, _| json!({"in": inner}));
    let outcome = remote
        .run(task("m3", objects.clone()), &cx())
        .await
        .unwrap();
    assert_eq!(output(outcome)["saw"], objects);
}

#[tokio::test]
async fn the_deadline_is_kept_on_both_sides() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    for (id, what) in [("m1", "wait"), ("m2", "ignore the end")] {
        let clock = SystemClock::new();
        let cx = Cx::root(clock.clone(), Duration::from_millis(400), "none");
        let deadline = cx.deadline;
        let error = remote
            .run(task(id, json!({"do": what})), &cx)
            .await
            .unwrap_err();
        assert!(matches!(error, AgentError::Deadline { .. }), "{error:?}");
        assert!(
            clock.elapsed() < Duration::from_millis(1400),
            "{:?}",
            clock.elapsed()
        );
        assert_eq!(
            agent.last_deadline(),
            Some(deadline),
            "the agent knows the caller's deadline"
        );
    }
    agent.gate.cancel();
    remote
        .run(task("m1", json!({"do": "wait"})), &cx())
        .await
        .unwrap();
    assert_eq!(agent.runs("m1"), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_task() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let remote = remote(&process);
    let cancel = CancelToken::new();
    let left = cx().with_cancel(Arc::new(cancel.clone()));
    let run = remote.run(task("m1", json!({"do": "wait"})), &left);
    let leave = async {
        until("the agent runs", || agent.runs("m1") == 1).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(run, leave);
    assert!(
        matches!(result, Err(AgentError::Cancelled { .. })),
        "{result:?}"
    );
    agent.gate.cancel();
    remote
        .run(task("m1", json!({"do": "wait"})), &cx())
        .await
        .unwrap();
    assert_eq!(agent.runs("m1"), 1);
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for() {
    let agent = Scripted::named("script-agent");
    let store = store();
    let rude = Rude::start().await;
    let addr = rude.addr;
    let remote = remote_at(&format!("http://{addr}"), "script-agent", None);
    let context = cx();
    let run = remote.run(task("m1", json!({})), &context);
    let late = async {
        until("it was asked for twice in vain", || rude.callers() >= 2).await;
        rude.leave().await;
        Process::start(Setup {
            addr,
            ..Setup::new(&agent, &store)
        })
        .await
    };
    let (result, _process) = tokio::join!(run, late);
    result.unwrap();
}

#[tokio::test]
async fn a_wrong_address_is_told_at_once() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let other = remote_at(&process.url(), "git-agent", None);
    let error = other.run(task("m1", json!({})), &cx()).await.unwrap_err();
    let told = error.to_string().replace(&process.url(), "<url>");
    insta::assert_snapshot!(told, @"git-agent cannot be reached: its card at <url>/agents/git-agent/.well-known/agent-card.json answered HTTP 404");
}
