//! A small service with a connection pool, a queue, a cache and metrics, whose behaviour comes from
//! a configuration file in a Git work tree.
//!
//! For: being broken by a commit under load, for real: a pool that is too small makes requests
//! queue, time out and fail. It reads its file again when the content changes, so that deploying is
//! pulling.
//!
//! `demo-service load` is the traffic that goes with it.
//!
//! Never: a failure that is drawn or pretended. Only the time of a database query is.
#![forbid(unsafe_code)]

mod config;
mod load;
mod metrics;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use incident::ports::{Clock, Entropy};
use runtime::telemetry::LogFormat;
use runtime::{OsEntropy, Shutdown, Supervisor, SystemClock, TaskKind};
use tokio::sync::Semaphore;

use config::{Config, Watched};
use metrics::{Counted, Metrics};

/// Longest wait for open requests after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// Queries of the recommendations feature, for each request.
const RECOMMENDATION_QUERIES: u32 = 3;

/// The service.
struct Service {
    watched: Watched,
    pool: RwLock<Arc<Semaphore>>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::telemetry::init_logs("info", LogFormat::Text);
    let mut given = std::env::args().skip(1).peekable();
    if given.next_if(|word| word == "load").is_some() {
        return load::run(load::Plan::from_arguments(given)?).await;
    }
    let (listen, path) = arguments(given)?;
    serve(&listen, &path).await
}

/// The service, until SIGTERM or SIGINT.
async fn serve(listen: &str, path: &Path) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let shutdown = Shutdown::new();
    let supervisor = Supervisor::new(shutdown.clone(), Arc::clone(&clock));

    let service = Arc::new(Service::new(Watched::open(path).await?, clock));
    let listener = tokio::net::TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(address = %listener.local_addr()?, config = %path.display(), "listening");

    let router = service.clone().router();
    supervisor.spawn(TaskKind::Service, "http", async move {
        if let Err(error) = runtime::http::serve(listener, router, shutdown).await {
            tracing::error!(%error, "the listener broke");
        }
    });
    let drain = supervisor.shutdown().drain.clone();
    supervisor.spawn(TaskKind::Service, "config", async move {
        let changed = |config| service.reconfigured(config);
        tokio::select! {
            biased;
            () = drain.wait() => {}
            () = service.watched.follow(service.clock.as_ref(), changed) => {}
        }
    });
    tokio::select! {
        biased;
        signal = Shutdown::signal() => signal?,
        () = supervisor.service_failed() => bail!("a part of the service ended"),
    }
    tracing::info!("leaving");
    supervisor.drain(GRACE).await;
    Ok(())
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<(String, PathBuf)> {
    const USAGE: &str =
        "usage: demo-service --listen 127.0.0.1:8000 --config checkout.toml, or demo-service load";
    let (mut listen, mut config) = (None, None);
    while let Some(name) = given.next() {
        let value = given.next().context(USAGE)?;
        match name.as_str() {
            "--listen" => listen = Some(value),
            "--config" => config = Some(value.into()),
            _ => bail!("unknown argument {name}; {USAGE}"),
        }
    }
    Ok((listen.context(USAGE)?, config.context(USAGE)?))
}

impl Service {
    fn new(watched: Watched, clock: Arc<dyn Clock>) -> Self {
        let config = watched.current();
        let metrics = Metrics::new();
        metrics.configured(&config);
        Self {
            watched,
            pool: RwLock::new(Arc::new(Semaphore::new(config.pool.size))),
            metrics,
            clock,
        }
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/checkout", get(checkout))
            .route("/metrics", get(scrape))
            .with_state(self)
            .merge(runtime::http::health_route())
    }

    /// A new pool; requests that hold a connection of the old one finish on it.
    fn reconfigured(&self, config: anyhow::Result<Arc<Config>>) {
        match config {
            Ok(config) => {
                let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
                *pool = Arc::new(Semaphore::new(config.pool.size));
                self.metrics.configured(&config);
                self.metrics.reloads.inc();
                tracing::info!(pool_size = config.pool.size, "configuration changed");
            }
            Err(error) => {
                self.metrics.reload_failures.inc();
                tracing::warn!(%error, "configuration not usable; the old one stays");
            }
        }
    }

    async fn answer(&self) -> StatusCode {
        let config = self.watched.current();
        if config.cache.enabled && OsEntropy.unit() < config.cache.hit_ratio {
            self.metrics.cache_hits.inc();
            return StatusCode::OK;
        }
        self.metrics.cache_misses.inc();
        for attempt in 0..=config.retries.attempts {
            if attempt > 0 {
                self.metrics.retries.inc();
            }
            if let Some(status) = self.query(&config).await {
                return status;
            }
        }
        StatusCode::SERVICE_UNAVAILABLE
    }

    /// Waits for a connection and holds it for as long as the queries take. None if no connection
    /// came free in time.
    async fn query(&self, config: &Config) -> Option<StatusCode> {
        let pool = Arc::clone(&self.pool.read().unwrap_or_else(PoisonError::into_inner));
        let queued = Counted::new(&self.metrics.queue_depth);
        let _connection = tokio::select! {
            biased;
            connection = pool.acquire() => connection.ok()?,
            () = self.clock.sleep(config.pool.wait_timeout.0) => return None,
        };
        drop(queued);
        let _in_use = Counted::new(&self.metrics.pool_in_use);
        let more = if config.features.recommendations {
            RECOMMENDATION_QUERIES
        } else {
            0
        };
        let takes = config.database.query_time.0 * (1 + more);
        self.clock.sleep(takes.min(config.database.timeout.0)).await;
        Some(if takes > config.database.timeout.0 {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        })
    }
}

async fn checkout(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let started = service.clock.elapsed();
    let status = service.answer().await;
    let took = service.clock.elapsed().saturating_sub(started);
    service.metrics.answered(status.as_u16(), took);
    (status, format!("{status}\n"))
}

async fn scrape(State(service): State<Arc<Service>>) -> impl IntoResponse {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, OPENMETRICS)],
        service.metrics.render(),
    )
}
