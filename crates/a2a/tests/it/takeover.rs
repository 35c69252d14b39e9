//! Crashes: what one process began, another finishes.

use std::sync::Arc;

use a2a::Config;
use incident::ports::{Agent as _, Clock as _};
use runtime::SystemClock;
use runtime::config::Span;
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn a_restart_in_the_middle_is_not_noticed() {
    let store = store();
    let first = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&first, &store)).await;
    let remote = remote(&process);
    let heard = Arc::new(Heard::default());
    let context = cx().with_progress(heard.clone());
    let run = remote.run(task("m1", json!({"do": "wait", "n": 3})), &context);
    let second = Scripted::named("script-agent");
    let crash = async {
        until("the first begins", || !heard.lines().is_empty()).await;
        let addr = process.kill();
        second.gate.cancel();
        Process::start(Setup {
            addr,
            seed: 2,
            ..Setup::new(&second, &store)
        })
        .await
    };
    let (outcome, process) = tokio::join!(run, crash);
    let interrupted = output(outcome.unwrap());
    assert_eq!((first.runs("m1"), second.runs("m1")), (1, 1));
    let whole = remote
        .run(task("m2", json!({"do": "wait", "n": 3})), &cx())
        .await
        .unwrap();
    assert_eq!(interrupted, output(whole));
    let id = call(&process, "ListTasks", json!({})).await["result"]["totalSize"].clone();
    assert_eq!(id, json!(2));
}

#[tokio::test]
async fn the_sole_owner_of_a_store_takes_over_at_once() {
    let store = store();
    let first = Scripted::named("script-agent");
    let started = message("m1", &json!({"do": "wait"}));
    let forever = Config {
        lease: Span::secs(3600),
        ..quick()
    };
    let process = Process::start(Setup {
        config: forever.clone(),
        ..Setup::new(&first, &store)
    })
    .await;
    let mut at_once = started.clone();
    at_once["configuration"] = json!({"returnImmediately": true});
    call(&process, "SendMessage", at_once).await;
    until("the first runs", || first.runs("m1") == 1).await;
    process.kill();
    let second = Scripted::named("script-agent");
    second.gate.cancel();
    let process = Process::start(Setup {
        config: forever,
        seed: 2,
        sole_owner: true,
        ..Setup::new(&second, &store)
    })
    .await;
    let taken = call(&process, "SendMessage", started).await;
    assert_eq!(
        taken["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED",
        "{taken}"
    );
    assert_eq!((first.runs("m1"), second.runs("m1")), (1, 1));
}

#[tokio::test]
async fn a_living_owner_is_waited_for_and_a_dead_one_is_not() {
    let store = store();
    let (first, second) = (
        Scripted::named("script-agent"),
        Scripted::named("script-agent"),
    );
    let one = Process::start(Setup::new(&first, &store)).await;
    let two = Process::start(Setup {
        seed: 2,
        ..Setup::new(&second, &store)
    })
    .await;
    let (at_one, at_two) = (remote(&one), remote(&two));
    let context = cx();
    let joined = at_two.run(task("m1", json!({"do": "wait"})), &context);
    let begin = async {
        let left = cx();
        let run = at_one.run(task("m1", json!({"do": "wait"})), &left);
        let finish = async {
            until("the first runs", || first.runs("m1") == 1).await;
            // Past its first length: the owner renews it.
            let first_end = until_lease("a lease", &store, |_| true).await;
            let renewed = |end| end > first_end && SystemClock::new().now() > first_end;
            until_lease("a renewed lease", &store, renewed).await;
            first.gate.cancel();
        };
        tokio::join!(run, finish).0
    };
    // The second is asked only once the first has the task.
    let second_call = async {
        until("the first runs", || first.runs("m1") == 1).await;
        joined.await
    };
    let (a, b) = tokio::join!(begin, second_call);
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!((first.runs("m1"), second.runs("m1")), (1, 0));
}

#[tokio::test]
async fn an_owner_that_lost_the_store_does_not_finish_what_another_took_over() {
    let store = store();
    let (first, second) = (
        Scripted::named("script-agent"),
        Scripted::named("script-agent"),
    );
    let one = Process::start(Setup::new(&first, &store)).await;
    let two = Process::start(Setup {
        seed: 2,
        ..Setup::new(&second, &store)
    })
    .await;
    let started = message("m1", &json!({"do": "ignore the end"}));
    let mut at_once = started.clone();
    at_once["configuration"] = json!({"returnImmediately": true});
    let begun = call(&one, "SendMessage", at_once).await;
    let id = begun["result"]["task"]["id"].clone();
    until("the first runs", || first.runs("m1") == 1).await;
    let end = until_lease("a lease", &store, |_| true).await;
    store.set_down(true);
    // Read before the store went away: it may have been renewed once more in between.
    let lapsed = || SystemClock::new().now() > end + 2 * quick().lease.0;
    until("the lease has lapsed", lapsed).await;
    store.set_down(false);
    second.gate.cancel();
    let taken = call(&two, "SendMessage", started).await;
    assert_eq!(
        taken["result"]["task"]["status"]["state"], "TASK_STATE_COMPLETED",
        "{taken}"
    );
    first.gate.cancel();
    let after = call(&one, "GetTask", json!({"id": id})).await;
    assert_eq!(
        after["result"]["artifacts"],
        taken["result"]["task"]["artifacts"]
    );
    assert_eq!((first.runs("m1"), second.runs("m1")), (1, 1));
}

#[tokio::test]
async fn a_store_that_was_away_is_waited_for() {
    let store = store();
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store)).await;
    let remote = remote(&process);
    store.set_down(true);
    let context = cx();
    let run = remote.run(task("m1", json!({})), &context);
    let back = async {
        until("it was asked twice in vain", || store.refused() >= 2).await;
        store.set_down(false);
    };
    let (outcome, ()) = tokio::join!(run, back);
    outcome.unwrap();
    assert_eq!(agent.runs("m1"), 1);
}

#[tokio::test]
async fn a_process_that_leaves_finishes_what_it_began() {
    let store = store();
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store)).await;
    let running = post(
        &process,
        envelope(
            "SendStreamingMessage",
            &message("m1", &json!({"do": "wait"})),
        ),
    )
    .await;
    until("the agent runs", || agent.runs("m1") == 1).await;
    let id = call(&process, "ListTasks", json!({})).await["result"]["tasks"][0]["id"].clone();
    let watching = post(&process, envelope("SubscribeToTask", &json!({"id": id}))).await;
    let supervisor = process.supervisor.clone();
    let drain = supervisor.drain(PATIENCE);
    let finish = async {
        until("the drain begins", || {
            use incident::ports::Cancel as _;
            supervisor.shutdown().drain.is_cancelled()
        })
        .await;
        let watched = watching.text().await.unwrap();
        assert!(
            !watched.contains("COMPLETED"),
            "who only watches is let go first: {watched}"
        );
        agent.gate.cancel();
        running.text().await.unwrap()
    };
    let (finished, text) = tokio::join!(drain, finish);
    assert!(finished);
    assert!(text.contains("TASK_STATE_COMPLETED"), "{text}");
}
