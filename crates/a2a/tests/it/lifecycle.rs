//! The operations, as any client may call them.

use incident::ports::Clock as _;
use runtime::SystemClock;
use serde_json::{Value, json};

use crate::world::*;

async fn begun(process: &Process, agent: &Scripted, id: &str, input: &Value) -> String {
    let mut params = message(id, input);
    params["configuration"] = json!({"returnImmediately": true});
    let answer = call(process, "SendMessage", params).await;
    until("the agent runs", || agent.runs(id) > 0).await;
    let task = &answer["result"]["task"];
    assert_eq!(task["status"]["state"], "TASK_STATE_WORKING", "{answer}");
    task["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_stream_tells_the_task_its_notes_its_artifact_and_its_end() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let told = events(
        &process,
        "SendStreamingMessage",
        message("m1", &json!({"do": "tell"})),
    )
    .await;
    insta::assert_snapshot!(told.join("\n"), @r"
    task TASK_STATE_WORKING
    status TASK_STATE_WORKING (one of two)
    status TASK_STATE_WORKING (two of two (done))
    artifact output
    status TASK_STATE_COMPLETED
    ");
    let again = events(
        &process,
        "SendStreamingMessage",
        message("m1", &json!({"do": "tell"})),
    )
    .await;
    assert_eq!(again, ["task TASK_STATE_COMPLETED"]);
}

#[tokio::test]
async fn a_failure_ends_the_stream_with_its_reason() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let told = events(
        &process,
        "SendStreamingMessage",
        message("m1", &json!({"do": "fail once"})),
    )
    .await;
    assert_eq!(told.last().unwrap(), "-32603 the disk is full");
    let told = events(
        &process,
        "SendStreamingMessage",
        message("m1", &json!({"do": "fail once"})),
    )
    .await;
    assert!(
        told.last().unwrap().ends_with("TASK_STATE_COMPLETED"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_task_can_be_had_with_as_much_history_as_wanted() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let sent = call(
        &process,
        "SendMessage",
        message("m1", &json!({"do": "tell", "n": 1})),
    )
    .await;
    let id = sent["result"]["task"]["id"].clone();
    let get = |length: Option<i32>| {
        let params = json!({"id": id, "historyLength": length});
        let process = &process;
        async move { call(process, "GetTask", params).await["result"].clone() }
    };
    let mut whole = get(None).await;
    whole["status"]["timestamp"] = json!("<time>");
    insta::assert_json_snapshot!(whole);
    assert_eq!(get(Some(0)).await.get("history"), None);
    let newest = get(Some(1)).await;
    assert_eq!(newest["history"].as_array().unwrap().len(), 1);
    assert_eq!(
        newest["history"][0]["parts"][0]["text"],
        "two of two (done)"
    );
}

#[tokio::test]
async fn a_task_is_called_off_once_and_for_good() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    for (id, what) in [("m1", "wait"), ("m2", "ignore the end")] {
        let task = begun(&process, &agent, id, &json!({"do": what})).await;
        for _ in 0..2 {
            let answer = call(&process, "CancelTask", json!({"id": task})).await;
            assert_eq!(
                answer["result"]["status"]["state"], "TASK_STATE_CANCELED",
                "{answer}"
            );
        }
        let again = call(&process, "SendMessage", message(id, &json!({"do": what}))).await;
        assert_eq!(
            again["result"]["task"]["status"]["state"], "TASK_STATE_CANCELED",
            "{again}"
        );
        assert_eq!(agent.runs(id), 1);
    }
    let done = call(&process, "SendMessage", message("m3", &json!({}))).await;
    let answer = call(
        &process,
        "CancelTask",
        json!({"id": done["result"]["task"]["id"]}),
    )
    .await;
    assert!(error_line(&answer).starts_with("-32002 "), "{answer}");
    let asking = call(
        &process,
        "SendMessage",
        message("m4", &json!({"do": "ask"})),
    )
    .await;
    let answer = call(
        &process,
        "CancelTask",
        json!({"id": asking["result"]["task"]["id"]}),
    )
    .await;
    assert_eq!(
        answer["result"]["status"]["state"], "TASK_STATE_CANCELED",
        "{answer}"
    );
}

#[tokio::test]
async fn a_task_of_another_replica_is_called_off_and_subscribed_to() {
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
    let id = begun(&one, &first, "m1", &json!({"do": "wait"})).await;
    let subscribed = opened(&two, "SubscribeToTask", json!({"id": id})).await;
    let subscribed = subscribed.until("for the gate").await;
    let canceled = call(&two, "CancelTask", json!({"id": id})).await;
    let told = subscribed.rest().await;
    assert_eq!(
        canceled["result"]["status"]["state"], "TASK_STATE_CANCELED",
        "{canceled}"
    );
    assert_eq!(told.first().unwrap(), "task TASK_STATE_WORKING");
    assert!(
        told.contains(&"status TASK_STATE_WORKING (for the gate)".to_owned()),
        "{told:?}"
    );
    assert_eq!(
        told.last().unwrap(),
        "status TASK_STATE_CANCELED (called off by a caller)"
    );
}

#[tokio::test]
async fn a_task_that_waits_for_a_person_can_be_subscribed_to() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let asking = call(
        &process,
        "SendMessage",
        message("m1", &json!({"do": "ask"})),
    )
    .await;
    let id = asking["result"]["task"]["id"].clone();
    let subscribed = opened(&process, "SubscribeToTask", json!({"id": id})).await;
    let _answer = call(&process, "CancelTask", json!({"id": id})).await;
    let told = subscribed.rest().await;
    insta::assert_snapshot!(told.join("\n"), @r"
    task TASK_STATE_INPUT_REQUIRED (may I?)
    status TASK_STATE_CANCELED (called off by a caller)
    ");
}

#[tokio::test]
async fn a_subscription_survives_a_failed_execution() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let failed = call(
        &process,
        "SendMessage",
        message("m1", &json!({"do": "fail once"})),
    )
    .await;
    assert_eq!(error_line(&failed), "-32603 the disk is full");
    let tasks = call(&process, "ListTasks", json!({})).await;
    let task = &tasks["result"]["tasks"][0];
    assert_eq!(task["status"]["state"], "TASK_STATE_WORKING");
    let subscribed = opened(&process, "SubscribeToTask", json!({"id": task["id"]})).await;
    let _answer = call(
        &process,
        "SendMessage",
        message("m1", &json!({"do": "fail once"})),
    )
    .await;
    let told = subscribed.rest().await;
    insta::assert_snapshot!(told.join("\n"), @r"
    task TASK_STATE_WORKING (the disk is full)
    artifact output
    status TASK_STATE_COMPLETED
    ");
    let late = events(&process, "SubscribeToTask", json!({"id": task["id"]})).await;
    assert!(late[0].starts_with("-32004 "), "{late:?}");
}

#[tokio::test]
async fn tasks_are_listed_newest_first_page_by_page() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let clock = SystemClock::new();
    let mut sent = Vec::new();
    for n in 0..7 {
        let mut params = message(
            &format!("m{n}"),
            &json!({"do": if n == 3 { "ask" } else { "" }}),
        );
        params["message"]["contextId"] = json!(if n < 2 { "early" } else { "late" });
        let answer = call(&process, "SendMessage", params).await;
        sent.push(answer["result"]["task"]["id"].as_str().unwrap().to_owned());
        // Two tasks of one millisecond are in the order of their ids.
        let answered = clock.now().as_millisecond();
        until("the next millisecond", || {
            clock.now().as_millisecond() > answered
        })
        .await;
    }
    sent.reverse();
    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let answer = call(
            &process,
            "ListTasks",
            json!({"pageSize": 3, "pageToken": token}),
        )
        .await;
        let page = &answer["result"];
        assert_eq!(
            (&page["totalSize"], &page["pageSize"]),
            (&json!(7), &json!(3))
        );
        for task in page["tasks"].as_array().unwrap() {
            assert_eq!(task.get("artifacts"), None);
            listed.push(task["id"].as_str().unwrap().to_owned());
        }
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, sent);
    let count = |filter: Value| {
        let process = &process;
        async move { call(process, "ListTasks", filter).await["result"]["totalSize"].clone() }
    };
    assert_eq!(count(json!({"contextId": "early"})).await, json!(2));
    assert_eq!(
        count(json!({"status": "TASK_STATE_INPUT_REQUIRED"})).await,
        json!(1)
    );
    assert_eq!(
        count(json!({"statusTimestampAfter": "2100-01-01T00:00:00Z"})).await,
        Value::Null
    );
    let whole = call(
        &process,
        "ListTasks",
        json!({"includeArtifacts": true, "pageSize": 1}),
    )
    .await;
    assert_eq!(
        whole["result"]["tasks"][0]["artifacts"][0]["artifactId"],
        "output"
    );
}
