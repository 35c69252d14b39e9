//! The webhook, against a server in Slack's place that limits, fails and hangs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use incident::ports::{Cx, NoticeKind, Notifier as _, NotifyError, Search, Sight};
use runtime::config::Span;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::Value;

use super::shown::{at, incident, notice, report, shown};
use crate::{Config, Webhook};

/// A server in Slack's place: answers by script, keeps what it gets.
#[derive(Clone, Default)]
struct Fake {
    script: Arc<Mutex<Vec<(u16, &'static str)>>>,
    got: Arc<Mutex<Vec<Value>>>,
}

async fn answer(State(fake): State<Fake>, body: String) -> (StatusCode, HeaderMap, &'static str) {
    fake.got
        .lock()
        .unwrap()
        .push(serde_json::from_str(&body).unwrap());
    let next = fake.script.lock().unwrap().pop();
    let (status, text) = next.unwrap_or((200, "ok"));
    if text == "hang" {
        std::future::pending::<()>().await;
    }
    let mut headers = HeaderMap::new();
    if status == 429 {
        headers.insert("retry-after", HeaderValue::from_static("30"));
    }
    (StatusCode::from_u16(status).unwrap(), headers, text)
}

struct World {
    fake: Fake,
    slack: Webhook,
    dir: tempfile::TempDir,
    shutdown: Shutdown,
}

impl World {
    async fn new() -> Self {
        let fake = Fake::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/services/T0/B0/secret-part", post(answer))
            .with_state(fake.clone());
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        let serving = runtime::http::serve(listener, router, shutdown.clone());
        supervisor.spawn(TaskKind::Work, "fake slack", async move {
            serving.await.unwrap();
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        std::fs::write(
            &file,
            format!("http://{address}/services/T0/B0/secret-part\n"),
        )
        .unwrap();
        let config = Config {
            url_file: Some(file),
            timeout: Span::millis(300),
            post_gap: Span::millis(50),
            ..Config::default()
        };
        let http = runtime::http::client(Duration::from_secs(2)).unwrap();
        Self {
            fake,
            slack: Webhook::new(config, http),
            dir,
            shutdown,
        }
    }

    fn says(&self, status: u16, text: &'static str) {
        self.fake.script.lock().unwrap().push((status, text));
    }

    async fn post(&self) -> Result<(), NotifyError> {
        self.slack
            .post(&notice(NoticeKind::Opened(incident())), &cx())
            .await
            .map(drop)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.drain.cancel();
        self.shutdown.abort.cancel();
    }
}

fn cx() -> Cx {
    Cx::root(SystemClock::new(), Duration::from_secs(10), "0")
}

#[tokio::test]
async fn faults_are_told_apart_and_the_address_stays_secret() {
    let world = World::new().await;
    assert_eq!(world.post().await, Ok(()));
    let mut told = String::new();
    for (status, text) in [
        (429, "slow down"),
        (500, "oops\nagain"),
        (503, ""),
        (404, "no_service"),
        (400, "invalid_blocks"),
        (302, "moved"),
        (200, "hang"),
    ] {
        world.says(status, text);
        let error = world.post().await.unwrap_err();
        let kind = incident::Classify::kind(&error);
        told.push_str(&[status.to_string(), format!("{kind:?}"), error.to_string()].join(" | "));
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r#"
    429 | Overloaded { retry_after: Some(30s) } | slack asks to wait
    500 | Transient | slack cannot be reached: it answered 500 "oops again"
    503 | Transient | slack cannot be reached: it answered 503 ""
    404 | Permanent | slack refused the message: it answered 404 "no_service"
    400 | Permanent | slack refused the message: it answered 400 "invalid_blocks"
    302 | Permanent | slack refused the message: it answered 302 "moved"
    200 | Transient | slack cannot be reached: no answer
    "#);
    world.shutdown.drain.cancel();
    world.shutdown.abort.cancel();
    let file = world.dir.path().join("url");
    for (url, expect) in [
        ("http://127.0.0.1:1/secret-part", "no connection"),
        ("http://example.com/secret-part", "https://"),
        ("secret-part", "no address"),
        ("", "empty"),
    ] {
        std::fs::write(&file, url).unwrap();
        let error = world.post().await.unwrap_err().to_string();
        assert!(
            error.contains(expect) && !error.contains("secret-part"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn messages_keep_their_distance_and_an_update_is_a_follow_up() {
    let world = World::new().await;
    let clock = SystemClock::new();
    let started = incident::ports::Clock::elapsed(&*clock);
    let receipt = world
        .slack
        .post(&notice(NoticeKind::Report(report())), &cx())
        .await
        .unwrap();
    assert_eq!(
        (receipt.notifier.as_str(), receipt.reference.as_str()),
        ("slack", "")
    );
    world
        .slack
        .update(&receipt, &notice(NoticeKind::Report(report())), &cx())
        .await
        .unwrap();
    world.post().await.unwrap();
    let took = incident::ports::Clock::elapsed(&*clock).saturating_sub(started);
    assert!(took >= Duration::from_millis(100), "{took:?}");
    let search = Search {
        keys: vec![notice(NoticeKind::Report(report())).key()],
        since: at(0),
    };
    let sight = world.slack.find(&search, &cx()).await.unwrap();
    assert_eq!(sight, Sight::Unknown);
    let got = world.fake.got.lock().unwrap();
    assert_eq!(got.len(), 3);
    assert!(shown(&got[1]).contains("(update)") && !shown(&got[0]).contains("(update)"));
}
