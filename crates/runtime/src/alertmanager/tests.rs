//! The client against servers that ask for credentials or send it elsewhere.

use std::path::Path;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use incident::error::Classify as _;

use super::{Alertmanager, Basic, Config, Peer};
use crate::{Shutdown, Supervisor, SystemClock, TaskKind};

struct Served {
    url: String,
    shutdown: Shutdown,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

async fn serve(router: Router) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
    supervisor.spawn(TaskKind::Work, "fake", async move {
        crate::http::serve(listener, router, stop).await.unwrap();
    });
    Served { url, shutdown }
}

/// Tells its one receiver to whoever shows `expected`.
async fn guarded(expected: &'static str) -> Served {
    let answer = move |headers: HeaderMap| async move {
        let shown = headers.get(header::AUTHORIZATION);
        if shown.is_some_and(|shown| shown == expected) {
            return r#"[{"name":"nightshift"}]"#.into_response();
        }
        StatusCode::UNAUTHORIZED.into_response()
    };
    serve(Router::new().route("/prefix/api/v2/receivers", get(answer))).await
}

fn config(urls: &[String]) -> Config {
    Config {
        urls: urls.to_vec(),
        ..Config::default()
    }
}

async fn receivers(config: &Config) -> Result<Vec<String>, String> {
    let opened = Alertmanager::new(config).unwrap();
    let asked = opened.first(Peer::receivers).await;
    asked.map_err(|error| error.code().to_string())
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("secret");
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn credentials_are_shown_and_read_again_for_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let known = Ok(vec![String::from("nightshift")]);

    let served = guarded("Bearer the-second-word").await;
    let mut config = config(&[format!("{}/prefix", served.url)]);
    assert_eq!(receivers(&config).await, Err("E-AM-004".into()));
    config.token_file = Some(write(folder.path(), "the-first-word\n"));
    assert_eq!(receivers(&config).await, Err("E-AM-004".into()));
    let opened = Alertmanager::new(&config).unwrap();
    write(folder.path(), "the-second-word\n");
    assert!(opened.first(Peer::receivers).await.is_ok(), "no restart");
    std::fs::remove_file(folder.path().join("secret")).unwrap();
    assert_eq!(receivers(&config).await, Err("E-AM-002".into()));

    // me:word
    let served = guarded("Basic bWU6d29yZA==").await;
    config.urls = vec![format!("{}/prefix/", served.url)];
    config.token_file = None;
    config.basic = Some(Basic {
        username: "me".into(),
        password_file: write(folder.path(), "word"),
    });
    assert_eq!(receivers(&config).await, known);
}

#[tokio::test]
async fn one_peer_after_the_other_is_asked_and_nobody_is_followed_elsewhere() {
    let good = guarded("Bearer word").await;
    let target = format!("{}/prefix/api/v2/receivers", good.url);
    let away = move || {
        let target = target.clone();
        async move { (StatusCode::FOUND, [(header::LOCATION, target)]).into_response() }
    };
    let elsewhere = serve(Router::new().fallback(get(away))).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(std::slice::from_ref(&elsewhere.url));
    config.token_file = Some(write(folder.path(), "word"));
    assert_eq!(receivers(&config).await, Err("E-AM-004".into()));
    let broken = || async { Response::new("[{]".to_owned()) };
    let broken = serve(Router::new().fallback(get(broken))).await;
    config.urls.push(broken.url.clone());
    assert_eq!(receivers(&config).await, Err("E-AM-007".into()));
    config.urls.push(format!("{}/prefix", good.url));
    assert!(receivers(&config).await.is_ok());
    config.urls.clear();
    assert_eq!(receivers(&config).await, Err("E-AM-001".into()));
}

#[test]
fn a_file_without_certificates_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&[String::from("https://alertmanager:9093")]);
    for text in ["", "no certificate\n"] {
        config.ca_file = Some(write(folder.path(), text));
        let error = Alertmanager::new(&config).unwrap_err().to_string();
        assert!(
            error.contains("ca_file") && error.contains("PEM"),
            "{error}"
        );
    }
}
