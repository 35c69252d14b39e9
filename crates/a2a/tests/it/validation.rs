//! What comes in wrong, and what is answered.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::world::*;

/// The good message with one thing changed.
fn with(pointer: &str, value: Value) -> String {
    let mut params = message("m1", &json!({"n": 1}));
    params["configuration"] = json!({});
    params["metadata"] = json!({});
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = params.pointer_mut(parent).unwrap();
    match parent {
        Value::Object(map) if value == json!("<gone>") => {
            map.remove(member);
        }
        other => other[member] = value,
    }
    envelope("SendMessage", &params)
}

type Case = (&'static str, String);

/// Envelopes, ids and roles.
fn envelopes() -> Vec<Case> {
    let gone = || json!("<gone>");
    vec![
        ("no JSON", "{".to_owned()),
        ("no method", r#"{"jsonrpc":"2.0","id":7}"#.to_owned()),
        (
            "other JSON-RPC",
            r#"{"jsonrpc":"1.0","id":7,"method":"GetTask"}"#.to_owned(),
        ),
        ("a 0.3 method", envelope("message/send", &json!({}))),
        (
            "no params",
            r#"{"jsonrpc":"2.0","id":7,"method":"SendMessage"}"#.to_owned(),
        ),
        ("no message", envelope("SendMessage", &json!({}))),
        ("no message id", with("/message/messageId", gone())),
        (
            "a long message id",
            with("/message/messageId", json!("m".repeat(257))),
        ),
        ("no role", with("/message/role", gone())),
        (
            "the agent's role",
            with("/message/role", json!("ROLE_AGENT")),
        ),
        ("a 0.3 role", with("/message/role", json!("user"))),
    ]
}

/// What a message carries.
fn parts() -> Vec<Case> {
    let gone = || json!("<gone>");
    vec![
        ("no parts", with("/message/parts", gone())),
        ("no part", with("/message/parts", json!([]))),
        (
            "two parts",
            with("/message/parts", json!([{"data": {}}, {"data": {}}])),
        ),
        ("an empty part", with("/message/parts", json!([{}]))),
        (
            "a text part",
            with("/message/parts", json!([{"text": "look into it"}])),
        ),
        (
            "a data part without schema",
            with("/message/parts", json!([{"data": {"body": {}}}])),
        ),
        (
            "a data part without body",
            with("/message/parts", json!([{"data": {"schema": "script/1"}}])),
        ),
        (
            "a data part that is a list",
            with("/message/parts", json!([{"data": [1]}])),
        ),
        (
            "an unknown schema",
            with(
                "/message/parts",
                json!([{"data": {"schema": "script/2", "body": {}}}]),
            ),
        ),
        (
            "another media type",
            with(
                "/message/parts",
                json!([{"mediaType": "text/csv", "data": {"schema": "script/1", "body": {}}}]),
            ),
        ),
        (
            "an integer beyond 2^53",
            with(
                "/message/parts",
                json!([{"data": {"schema": "script/1", "body": {"n": 9_007_199_254_740_993_u64}}}]),
            ),
        ),
    ]
}

/// Settings of a message, and the other operations.
fn the_rest() -> Vec<Case> {
    let extension = "urn:nightshift:a2a:context:1";
    vec![
        (
            "another task",
            with("/message/taskId", json!("task-of-mine")),
        ),
        ("a tenant", with("/tenant", json!("acme"))),
        (
            "other output modes",
            with("/configuration/acceptedOutputModes", json!(["text/plain"])),
        ),
        (
            "a push configuration",
            with(
                "/configuration/taskPushNotificationConfig",
                json!({"url": "http://127.0.0.1/"}),
            ),
        ),
        (
            "a negative history",
            with("/configuration/historyLength", json!(-1)),
        ),
        (
            "a deadline that is none",
            with(
                "/message/metadata",
                json!({extension: {"deadline": "soon"}}),
            ),
        ),
        ("GetTask without id", envelope("GetTask", &json!({}))),
        (
            "GetTask of nothing",
            envelope("GetTask", &json!({"id": "task-0"})),
        ),
        (
            "GetTask of a path",
            envelope("GetTask", &json!({"id": "../../incident/inc-0123456789ab"})),
        ),
        (
            "ListTasks with a token of ours not",
            envelope("ListTasks", &json!({"pageToken": "7"})),
        ),
        (
            "ListTasks of too many",
            envelope("ListTasks", &json!({"pageSize": 101})),
        ),
        (
            "CancelTask of nothing",
            envelope("CancelTask", &json!({"id": "task-0"})),
        ),
        (
            "SubscribeToTask of nothing",
            envelope("SubscribeToTask", &json!({"id": "task-0"})),
        ),
        (
            "push notifications",
            envelope(
                "GetTaskPushNotificationConfig",
                &json!({"taskId": "task-0", "id": "1"}),
            ),
        ),
        (
            "the extended card",
            envelope("GetExtendedAgentCard", &json!({})),
        ),
    ]
}

#[tokio::test]
async fn every_refusal_names_the_field_and_the_remedy() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let cases = [envelopes(), parts(), the_rest()].concat();
    let mut table = String::new();
    for (what, body) in cases {
        let answer: Value = post(&process, body).await.json().await.unwrap();
        writeln!(table, "{what}\n    {}", error_line(&answer)).unwrap();
    }
    insta::assert_snapshot!(table);
    assert_eq!(agent.runs("m1"), 0);
}

#[tokio::test]
async fn only_version_1_0_in_json_passes() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let cases = [
        ("", None, "application/json"),
        ("", Some("0.3"), "application/json"),
        ("", Some("1.1"), "application/json"),
        ("", Some("1.0"), "text/plain"),
        ("?a2a-version=0.3", None, "application/json"),
        ("?A2A-Version=1.0", None, "application/json"),
        ("", Some("1.0"), "application/json; charset=utf-8"),
    ];
    let mut table = String::new();
    for (query, version, media_type) in cases {
        let url = format!("{}/agents/script-agent{query}", process.url());
        let mut request = http().post(url).header("content-type", media_type);
        if let Some(version) = version {
            request = request.header("A2A-Version", version);
        }
        let body = envelope("SendMessage", &message("m1", &json!({})));
        let answer: Value = request
            .body(body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["id"], 7, "the id comes back");
        let said = match answer.get("error") {
            Some(_) => error_line(&answer),
            None => answer["result"]["task"]["status"]["state"].to_string(),
        };
        writeln!(table, "{query:?} {version:?} {media_type}\n    {said}").unwrap();
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn the_extension_is_echoed_to_who_asks_for_it() {
    let agent = Scripted::named("script-agent");
    let process = Process::start(Setup::new(&agent, &store())).await;
    let extension = "urn:nightshift:a2a:context:1";
    let ask = |extensions: &'static str| {
        let url = format!("{}/agents/script-agent/", process.url());
        let request = http()
            .post(url)
            .header("a2a-version", "1.0")
            .header("a2a-extensions", extensions);
        request
            .body(envelope("SendMessage", &message("m1", &json!({}))))
            .send()
    };
    let answer = ask("urn:other, urn:nightshift:a2a:context:1")
        .await
        .unwrap();
    assert_eq!(answer.headers()["a2a-extensions"], extension);
    let answer = ask("urn:other").await.unwrap();
    assert_eq!(answer.headers().get("a2a-extensions"), None);
}
