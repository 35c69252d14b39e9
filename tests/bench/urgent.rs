//! How soon work on a critical alert starts: from sending the webhook until a dispatcher holds its
//! work and calls the orchestrator, with nothing else to do, and behind a thousand warnings that keep
//! every permit they may have. Work lasts, because Prometheus answers slowly.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use incident::ports::Clock as _;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::{Value, json};
use tests::nightshift::Install;
use tests::wait::until;

use crate::Bench;
use crate::backend::{Backend, Flush};
use crate::figure::Figure;
use crate::sample::{median, ms, sorted};

const NAME: &str = "urgent";
/// Warnings in the queue, each an incident of its own.
const WARNINGS: usize = 1_000;
/// Bodies under way at once.
const SENDERS: usize = 8;
/// How long Prometheus takes for every answer, so that work lasts.
const SLOW: Duration = Duration::from_secs(2);
/// The longest until work starts, in milliseconds.
const STARTED: f64 = 1_000.0;
/// Between looks whether work has started.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(2);
/// Buses that it is measured on.
const CASES: [Backend; 2] = [Backend::Embedded, Backend::Redis(Flush::Always)];

/// How many measurements one round takes.
pub(crate) fn steps() -> usize {
    CASES.len() * 2
}

/// Measures all of them in turn.
pub(crate) async fn run(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for backend in CASES {
        let running = backend.start().await?;
        let folder = tempfile::tempdir()?;
        let prometheus = Prometheus::start().await?;
        let toml = format!(
            "{}\n[agents.observability]\nprometheus_url = \"{}\"\n",
            running.toml(folder.path())?,
            prometheus.url
        );
        let install = Install::new(folder.path(), &toml)?;
        let up = install.start(&["up"]).await?;
        let mut measured = Vec::new();
        for (case, queued) in [("all permits free", 0), ("1,000 warnings queued", WARNINGS)] {
            let ready = queue(&install, queued).await;
            ready.with_context(|| up.log_tail())?;
            let mut times = Vec::new();
            for round in 0..bench.rounds {
                bench.step(&format!(
                    "{NAME}: {}, {case}, round {}",
                    backend.name(),
                    round + 1
                ));
                let service = format!("urgent-{queued}-{round}");
                let took = start(&install, &service).await;
                times.push(took.with_context(|| up.log_tail())?);
            }
            measured.push((case, sorted(times)));
        }
        let free = measured
            .first()
            .map(|(_, times)| median(times.iter().copied()));
        for (case, times) in measured {
            let (middle, worst) = (median(times.iter().copied()), times.last().copied());
            let case = format!("{}, {case}", backend.name());
            let figure = Figure::new(NAME, &case, "a critical's work starts", (middle, "ms"));
            figures.push(match free {
                Some(free) if case.contains("queued") => {
                    figure.beside("all permits free", free, middle / free)
                }
                _ => figure,
            });
            let worst = worst.unwrap_or(f64::NAN);
            let figure = Figure::new(NAME, &case, "the latest of all rounds", (worst, "ms"));
            figures.push(figure.at_most(STARTED));
        }
    }
    Ok(figures)
}

/// Sends `count` warnings and waits until they are incidents in line, with some at work.
async fn queue(install: &Install, count: usize) -> Result<()> {
    let bodies = stream::iter(0..count).map(|number| {
        let body = body(&format!("warning-{number:04}"), "warning");
        async move { post(install, &body).await }
    });
    bodies.buffer_unordered(SENDERS).try_collect::<()>().await?;
    if count == 0 {
        return Ok(());
    }
    until("the warnings in line", PATIENCE, async || {
        let backlog = install.get("/api/v1/backlog").await?;
        let count_of = |lane: &str, what: &str| backlog["streams"][lane][what].as_u64();
        let at_work = count_of("warning", "claimed")?;
        let in_line = count_of("warning", "waiting")? + at_work;
        let unruled = count_of("events", "total")?;
        // Some are done while the rest is still being queued.
        (unruled == 0 && at_work >= 3 && in_line >= count as u64 * 9 / 10).then_some(())
    })
    .await
}

async fn post(install: &Install, body: &Value) -> Result<()> {
    let status = install.post(body).await;
    ensure!(status == Some(200), "the webhook answered {status:?}");
    Ok(())
}

/// Milliseconds from the webhook of a critical alert to its work being held; then waits until that is
/// over, so that the next one finds the same.
async fn start(install: &Install, service: &str) -> Result<f64> {
    let clock = SystemClock::new();
    let sent = Instant::now();
    post(install, &body(service, "critical")).await?;
    while critical(install, "claimed").await != Some(1) {
        ensure!(
            sent.elapsed() < PATIENCE,
            "work on {service} does not start"
        );
        clock.sleep(LOOK_EVERY).await;
    }
    let started = sent.elapsed();
    until("the end of the critical's work", PATIENCE, async || {
        (critical(install, "total").await? == 0).then_some(())
    })
    .await?;
    Ok(ms(started))
}

/// A figure of the critical lane.
async fn critical(install: &Install, what: &str) -> Option<u64> {
    let backlog = install.get("/api/v1/backlog").await?;
    backlog["streams"]["critical"][what].as_u64()
}

fn body(service: &str, severity: &str) -> Value {
    let labels = json!({
        "alertname": "HighErrorRate", "severity": severity, "service": service, "namespace": service,
    });
    json!({
        "version": "4", "receiver": "nightshift", "status": "firing", "truncatedAlerts": 0,
        "groupKey": format!("{{}}:{{service=\"{service}\"}}"),
        "groupLabels": { "service": service }, "commonLabels": labels, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": { "summary": "Too many requests fail." },
            "startsAt": "2026-01-20T10:20:30.623Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up",
        }],
    })
}

/// A slow Prometheus that knows nothing.
struct Prometheus {
    url: String,
    shutdown: Shutdown,
}

impl Prometheus {
    async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer);
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        let stop = shutdown.clone();
        supervisor.spawn(TaskKind::Work, "prometheus", async move {
            runtime::http::serve(listener, router, stop).await.ok();
        });
        Ok(Self { url, shutdown })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

async fn answer() -> axum::Json<Value> {
    SystemClock::new().sleep(SLOW).await;
    axum::Json(json!({ "status": "success", "data": { "resultType": "matrix", "result": [] } }))
}
