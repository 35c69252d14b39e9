//! Scale-in: a dispatcher is told to stop in the middle of an investigation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use incident::ports::Clock as _;
use jiff::SignedDuration;
use runtime::SystemClock;
use serde_json::{Value, json};
use tests::fakes::{self, Fake};
use tests::nightshift::Install;
use tests::process::Process;
use tests::redis::RedisServer;
use tests::wait::until;
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(40);

/// A Prometheus that answers nobody until it is told to.
#[derive(Clone)]
struct Slow {
    open: watch::Receiver<bool>,
    asked: Arc<AtomicUsize>,
}

async fn answer(State(mut slow): State<Slow>, Path(what): Path<String>) -> Json<Value> {
    slow.asked.fetch_add(1, Ordering::SeqCst);
    slow.open
        .wait_for(|open| *open)
        .await
        .expect("the test lives");
    let data = match what.as_str() {
        "metadata" => json!({}),
        "series" => json!([]),
        "rules" => json!({"groups": []}),
        _ => json!({"resultType": "matrix", "result": []}),
    };
    Json(json!({"status": "success", "data": data}))
}

/// How often the log of a role has a line with these words.
fn told(folder: &std::path::Path, role: &str, words: &str) -> usize {
    let log = std::fs::read_to_string(folder.join(format!("{role}.log")));
    let log = log.unwrap_or_default();
    log.lines().filter(|line| line.contains(words)).count()
}

fn body(now: jiff::Timestamp) -> Value {
    let labels = json!({"alertname": "ErrorsHigh", "service": "checkout", "job": "checkout", "severity": "critical"});
    let started = now
        .checked_sub(SignedDuration::from_mins(6))
        .expect("a time");
    json!({
        "version": "4", "groupKey": "{}:{service=\"checkout\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "nightshift", "externalURL": "http://alertmanager.example:9093",
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": {"summary": "requests fail"},
            "startsAt": started.to_string(), "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph?g0.expr=up%20%3D%3D%200",
            "fingerprint": "00000000000000ab",
        }],
    })
}

/// One more dispatcher, with a port of its own for its metrics.
fn dispatcher(install: &Install, folder: &std::path::Path, name: &str) -> Process {
    let mut command = install.command(&["dispatcher"]).expect("it is built");
    command.env("NIGHTSHIFT__METRICS_LISTEN", "127.0.0.1:0");
    Process::start(name, folder, &mut command).expect("it starts")
}

async fn critical(install: &Install) -> Option<Value> {
    let backlog = install.get("/api/v1/backlog").await?;
    assert!(
        backlog["want"].as_u64() >= Some(1),
        "it wants somebody: {backlog}"
    );
    Some(backlog["streams"]["critical"].clone())
}

/// A dispatcher that gives running work one second, and a Prometheus that may take its time.
fn settings(redis: &str, prometheus: &str, folder: &std::path::Path) -> String {
    let slack = folder.join("slack-url");
    format!(
        "[bus]\nkind = \"redis\"\nurl = \"{redis}\"\n\n[dispatcher]\ngrace = \"1s\"\n\n[agents.observability]\nprometheus_url = \"{prometheus}\"\nrequest_timeout = \"60s\"\n\n[slack]\nurl_file = \"{}\"\n",
        slack.display(),
    )
}

/// The first dispatcher has the incident; it is told to stop and may not finish it. Another one takes
/// the entry over at once and joins the task where it stands: nothing is lost, no agent begins again.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_dispatcher_that_is_taken_away_costs_nothing() {
    let redis = RedisServer::start().await.expect("redis-server starts");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (open, closed) = watch::channel(false);
    let slow = Slow {
        open: closed,
        asked: Arc::default(),
    };
    let asked = slow.asked.clone();
    let router = Router::new()
        .route("/api/v1/{what}", get(answer).post(answer))
        .with_state(slow);
    let prometheus = Fake::serve(router).await.expect("a port");
    let (slack, heard) = fakes::slack().await.expect("a fake Slack");
    std::fs::write(folder.join("slack-url"), format!("{}/hook", slack.url)).expect("a file");
    let toml = settings(&redis.url(), &prometheus.url, folder);
    let install = Install::new(folder, &toml).expect("an installation");
    let _hook = install.start(&["hook"]).await.expect("it starts");
    let _agents = install.start(&["agent", "all"]).await.expect("it starts");
    let mut first = dispatcher(&install, folder, "dispatcher-1");
    let now = SystemClock::new().now();
    assert_eq!(install.post(&body(now)).await, Some(200));
    until("the investigation to be under way", SOON, async || {
        let claimed = critical(&install).await?["claimed"] == 1;
        (claimed && asked.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", first.log_tail()));

    let mut second = dispatcher(&install, folder, "dispatcher-2");
    let status = first.terminate(SOON).await.expect("it ends in time");
    assert!(status.success(), "{status}");
    until("another one to have it", SOON, async || {
        (critical(&install).await?["claimed"] == 1).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", second.log_tail()));
    let before = asked.load(Ordering::SeqCst);
    open.send_replace(true);
    let id = until("the report", SOON, async || {
        let id = install.incidents().await.first()?.clone();
        install.incident(&id).await?.report.map(|_| id)
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", second.log_tail()));
    until("nothing to be left", SOON, async || {
        let backlog = install.get("/api/v1/backlog").await?;
        (backlog["total"] == 0 && backlog["dead"] == 0 && backlog["want"] == 0).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", second.log_tail()));

    assert_eq!(install.incidents().await, std::slice::from_ref(&id));
    for words in ["repositories were read", "report written"] {
        let words = format!("{words} incident={id}");
        assert_eq!(told(folder, "agent-all", &words), 1, "{words}");
    }
    let posts: Vec<u32> = heard.bodies().into_values().collect();
    assert!(
        posts.iter().all(|times| *times == 1),
        "no message twice: {posts:?}"
    );
    assert!(
        before <= 4,
        "asked again after the hand-over: {before} questions were open"
    );
    let status = second.terminate(SOON).await.expect("it ends in time");
    assert!(status.success(), "{status}");
}
