//! Credentials, limits, and the card.

use incident::ports::{Agent as _, AgentError};
use runtime::config::{ByteSize, Secret};
use serde_json::{Value, json};

use crate::world::*;

#[tokio::test]
async fn only_callers_with_the_token_pass() {
    let agent = Scripted::named("script-agent");
    let token = Some(Secret::new("open sesame"));
    let process = Process::start(Setup {
        token,
        ..Setup::new(&agent, &store())
    })
    .await;
    let url = process.url();
    for shown in [None, Some("open sesam"), Some("open sesame!"), Some("")] {
        let remote = remote_at(&url, "script-agent", shown);
        let error = remote.run(task("m1", json!({})), &cx()).await.unwrap_err();
        assert!(
            matches!(error, AgentError::Unreachable { .. }),
            "{shown:?} {error:?}"
        );
        insta::allow_duplicates! { insta::assert_snapshot!(error, @"script-agent cannot be reached: authorization: the bearer token is missing or wrong; send the token this server was given (a2a.token_file)"); }
    }
    let basic = http()
        .post(format!("{url}/agents/script-agent/"))
        .basic_auth("open", Some("sesame"));
    let answer = basic.body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    assert_eq!(agent.runs("m1"), 0);
    remote_at(&url, "script-agent", Some("open sesame"))
        .run(task("m1", json!({})), &cx())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_card_says_how_to_call() {
    let agent = Scripted::named("script-agent");
    let token = Some(Secret::new("open sesame"));
    let process = Process::start(Setup {
        token,
        ..Setup::new(&agent, &store())
    })
    .await;
    let url = format!(
        "{}/agents/script-agent/.well-known/agent-card.json",
        process.url()
    );
    let answer = http().get(&url).send().await.unwrap();
    let etag = answer.headers()["etag"].clone();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let text = answer
        .text()
        .await
        .unwrap()
        .replace(&process.url(), "http://agents.example");
    let card: Value = serde_json::from_str(&text).unwrap();
    insta::assert_json_snapshot!(card);
    let again = http()
        .get(&url)
        .header("if-none-match", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
}

#[tokio::test]
async fn too_much_at_once_is_put_off_and_not_refused() {
    let agent = Scripted::named("script-agent");
    let mut setup = Setup::new(&agent, &store());
    setup.config.executions_max = 1;
    let process = Process::start(setup).await;
    let first = post(
        &process,
        envelope(
            "SendStreamingMessage",
            &message("m1", &json!({"do": "wait"})),
        ),
    )
    .await;
    until("the agent runs", || agent.runs("m1") == 1).await;
    let answer = call(&process, "SendMessage", message("m2", &json!({}))).await;
    insta::assert_snapshot!(error_line(&answer), @"-32603 script-agent works on 1 tasks already; try again");
    let details = answer["error"]["data"].as_array().unwrap();
    assert_eq!(details.last().unwrap()["metadata"]["failure"], "OVERLOADED");
    let remote = remote(&process);
    let context = cx();
    let run = remote.run(task("m3", json!({})), &context);
    let open = async {
        agent.gate.cancel();
        first.text().await.unwrap()
    };
    let (outcome, _) = tokio::join!(run, open);
    outcome.unwrap();
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_with_the_limit() {
    let agent = Scripted::named("script-agent");
    let mut setup = Setup::new(&agent, &store());
    setup.config.request_bytes_max = ByteSize::kib(4);
    let process = Process::start(setup).await;
    let body = envelope(
        "SendMessage",
        &message("m1", &json!({"text": "x".repeat(4096)})),
    );
    let answer = post(&process, body).await;
    assert_eq!(answer.status(), 413);
    insta::assert_snapshot!(error_line(&answer.json().await.unwrap()), @"-32600 the body is longer than 4096 bytes or broke off; send less (a2a.request_bytes_max)");
    let error = remote(&process)
        .run(task("m1", json!({"text": "x".repeat(4096)})), &cx())
        .await
        .unwrap_err();
    assert!(matches!(error, AgentError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_json_rpc_is_explained() {
    use axum::http::StatusCode;
    let card = |url: String| {
        json!({
            "name": "script-agent", "description": "", "version": "1",
            "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
            "capabilities": {"streaming": true}, "defaultInputModes": [], "defaultOutputModes": [], "skills": [],
        })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let card = card(format!("{url}/agents/script-agent/"));
    let router = axum::Router::new()
        .route(
            "/agents/script-agent/",
            axum::routing::post(|| async { (StatusCode::BAD_REQUEST, "A2A-Version?\n<b>no</b>") }),
        )
        .route(
            "/agents/script-agent/.well-known/agent-card.json",
            axum::routing::get(|| async { axum::Json(card) }),
        );
    let supervisor =
        runtime::Supervisor::new(runtime::Shutdown::new(), runtime::SystemClock::new());
    let shutdown = supervisor.shutdown().clone();
    supervisor.spawn(runtime::TaskKind::Service, "stranger", async move {
        runtime::http::serve(listener, router, shutdown)
            .await
            .unwrap();
    });
    let error = remote_at(&url, "script-agent", None)
        .run(task("m1", json!({})), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&url, "<url>"), @"script-agent cannot be reached: <url>/agents/script-agent/ answered HTTP 400: A2A-Version? <b>no</b>");
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let error = remote_at(&elsewhere, "script-agent", None)
        .run(task("m1", json!({})), &cx())
        .await
        .unwrap_err();
    let port = url.rsplit(':').next().unwrap().to_owned();
    insta::assert_snapshot!(error.to_string().replace(&port, "<port>"), @"script-agent cannot be reached: its card names http://127.0.0.1:<port>/agents/script-agent/, another origin than http://localhost:<port>; set a2a.public_url of that agent");
}
