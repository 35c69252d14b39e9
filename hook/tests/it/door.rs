//! Who gets in, and what is said about readiness.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use hook::{Auth, Config};
use incident::ports::{Cause, Entry, Stream as _};
use serde_json::json;

use crate::faulty::Fault;
use crate::world::{World, alert, body};

fn guarded(config: &mut Config) {
    let dir = tempfile::tempdir().expect("a folder").keep();
    let token = dir.join("token");
    std::fs::write(&token, "example-token-0001\n").expect("a file");
    config.listen = "0.0.0.0:8080".parse().expect("an address");
    config.auth = Auth {
        token_files: vec![token],
        basic: Vec::new(),
    };
}

fn webhook() -> Builder {
    Request::post("/webhook/alertmanager")
}

fn good() -> Body {
    body(&[alert("A")]).to_string().into()
}

const TOKEN: &str = "Bearer example-token-0001";

#[tokio::test(start_paused = true)]
async fn without_credentials_nothing_is_taken_or_told() {
    let world = World::with(guarded);
    let answer = world.post(good()).await;
    assert_eq!(answer.brief(), "401 E-HOOK-003 authorization");
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"nightshift\""
    );
    let wrong = webhook()
        .header("authorization", "Bearer wrong")
        .body(good());
    assert_eq!(world.send(wrong.expect("a request")).await.status, 401);
    for path in [
        "/api/v1/incidents",
        "/api/v1/incidents/inc-0123456789ab",
        "/incidents/inc-0123456789ab",
        "/api/v1/alerts/9226ed7d0febc033/rulings",
        "/api/v1/backlog",
        "/metrics",
        "/nothing",
    ] {
        assert_eq!(world.get(path).await.status, 401, "{path}");
    }
    assert_eq!(world.get("/healthz").await.status, 200);
    assert_eq!(world.get("/readyz").await.status, 200);
    assert_eq!(world.held().await, 0);
    let right = webhook().header("authorization", TOKEN).body(good());
    assert_eq!(world.send(right.expect("a request")).await.status, 200);
    assert_eq!(world.held().await, 1);
}

#[tokio::test(start_paused = true)]
async fn metrics_can_be_opened() {
    let world = World::with(|config| {
        guarded(config);
        config.metrics_open = true;
    });
    let answer = world.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().contains("nightshift_received_total 0"),
        "{}",
        answer.text()
    );
    assert_eq!(world.get("/api/v1/backlog").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_web_page_cannot_reach_loopback() {
    let world = World::new();
    let page = webhook()
        .header("origin", "https://evil.example")
        .body(good());
    let answer = world.send(page.expect("a request")).await;
    assert_eq!(answer.brief(), "403 E-HOOK-004 origin");
    let rebound = Request::get("/api/v1/incidents").header("host", "evil.example:8080");
    let answer = world
        .send(rebound.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(answer.brief(), "403 E-HOOK-004 host");
    let own = Request::get("/api/v1/incidents").header("host", "localhost:8080");
    let answer = world
        .send(own.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.held().await, 0);
}

#[tokio::test(start_paused = true)]
async fn wrong_paths_and_methods_say_what_is_right() {
    let world = World::new();
    assert_eq!(
        world.post_to("/", good()).await.brief(),
        "404 E-HOOK-014 path"
    );
    assert_eq!(
        world.get("/webhook/alertmanager").await.brief(),
        "405 E-HOOK-014 method"
    );
    let lines = world.metrics.render();
    assert!(
        lines.contains(
            "nightshift_hook_requests_total{route=\"/webhook/alertmanager\",code=\"405\"} 1"
        ),
        "{lines}"
    );
}

#[tokio::test(start_paused = true)]
async fn ready_means_that_an_alert_would_be_stored() {
    let world = World::new();
    let cache = world.config.ready_cache.0;
    let stale = async || tokio::time::advance(cache).await;
    assert_eq!(world.get("/readyz").await.text(), "ready\n");
    let say = |result| *world.ready.lock().expect("no panic holds it") = result;
    say(Err("disk full".into()));
    assert_eq!(
        world.get("/readyz").await.status,
        200,
        "an answer stands for a moment"
    );
    stale().await;
    let answer = world.get("/readyz").await;
    assert_eq!(answer.brief(), "503 E-HOOK-013 ");
    assert!(answer.text().contains("disk full"), "{}", answer.text());
    assert_eq!(
        world.get("/healthz").await.status,
        200,
        "the process is fine"
    );
    say(Ok(()));
    stale().await;
    assert_eq!(world.get("/readyz").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_cause_is_not_told_to_strangers() {
    let world = World::with(guarded);
    *world.ready.lock().expect("no panic holds it") = Err("redis at 10.0.0.7 refuses".into());
    let answer = world.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.text().contains("10.0.0.7"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn draining_takes_nothing_new() {
    let world = World::new();
    world.drain.cancel();
    assert_eq!(world.get("/readyz").await.brief(), "503 E-HOOK-006 ");
    let answer = world.post(good()).await;
    assert_eq!(answer.brief(), "503 E-HOOK-006 ");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(world.held().await, 0);
}

#[tokio::test(start_paused = true)]
async fn backlog_is_never_a_wrong_zero() {
    let world = World::new();
    world.post(good()).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    let answer = world.get("/api/v1/backlog").await.json();
    assert_eq!(answer["total"], 1);
    assert_eq!(answer["streams"]["events"]["waiting"], 1);
    assert_eq!(answer["streams"]["events"]["stream"], "incident:events");
    assert_eq!(answer["streams"]["events"]["oldest_age_s"], 3.0);
    assert_eq!(answer["streams"]["critical"]["total"], 0);
    assert_eq!(
        (&answer["want"], &answer["late"]),
        (&json!(1), &json!(false))
    );
    for fault in [Fault::Unavailable, Fault::Hang] {
        world.critical.set(fault);
        assert_eq!(world.get("/api/v1/backlog").await.status, 503, "{fault:?}");
    }
}

/// What is claimed counts, whoever claimed it and whether they live; what was given up does not.
#[tokio::test(start_paused = true)]
async fn want_counts_what_nobody_lives_to_finish() {
    let world = World::new();
    let entries = (0..6).map(|n| Entry {
        key: format!("work-{n}"),
        payload: Vec::new(),
    });
    let stored = world.critical.append(entries.collect()).await;
    stored.expect("it is up");
    let claimed = world.critical.claim(4, Duration::ZERO).await;
    let claimed = claimed.expect("it is up");
    let cause = Cause {
        code: String::from("E-TEST-001"),
        text: String::from("given up"),
    };
    let buried = world.critical.bury(&claimed[0].lease, &cause).await;
    buried.expect("it is held");
    // Long after the leases have ended.
    tokio::time::advance(Duration::from_hours(1)).await;
    let answer = world.get("/api/v1/backlog").await.json();
    let numbers = ["dead", "total", "in_flight", "want", "late", "work_s"];
    let told = numbers
        .map(|name| format!("{name}={}", answer[name]))
        .join(" ");
    insta::assert_snapshot!(told, @"dead=1 total=5 in_flight=3 want=7 late=true work_s=210.0");
}
