//! A sender that behaves like Alertmanager: one group after the other for each service, again after
//! 5xx or no answer and after nothing else, until somebody says 200.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::http::StatusCode;
use incident::ports::{Clock, Entropy};
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use serde_json::Value;
use tests::fleet::{Alert, Fleet};
use tests::nightshift::Install;

use crate::ledger::Ledger;
use crate::schedule::entropy;

/// Longest wait for one answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Waits between tries: the first, and the longest.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Between the first alerts of two services.
const SERVICE_EVERY: Duration = Duration::from_millis(1500);
/// Bodies that one service sends: each carries all alerts so far and a new one.
const BODIES: usize = 5;
/// One service in so many gets well again, with all its alerts, while things still go wrong.
const BRIEF_ONE_IN: usize = 4;
/// Longest wait for the last acknowledgement after everything is up again.
const DRAIN_WITHIN: Duration = Duration::from_mins(1);

/// The way to the webhook.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) install: Arc<Install>,
    http: reqwest::Client,
    pub(crate) ledger: Ledger,
}

impl Door {
    pub(crate) fn new(install: Arc<Install>, ledger: Ledger, within: Duration) -> Result<Self> {
        Ok(Self {
            install,
            http: runtime::http::client(within)?,
            ledger,
        })
    }

    /// Sends once and writes down what came of it.
    pub(crate) async fn knock(&self, body: &Value) -> Option<StatusCode> {
        let request = self
            .http
            .post(self.install.webhook())
            .bearer_auth(&self.install.token)
            .json(body);
        let answer = request.send().await.ok();
        let status = answer.and_then(|answer| StatusCode::from_u16(answer.status().as_u16()).ok());
        self.ledger.hear(body, status);
        status
    }
}

/// A running sender.
#[derive(Debug)]
pub(crate) struct Sender {
    shutdown: Shutdown,
    supervisor: Supervisor,
    services: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
struct Source {
    door: Door,
    fleet: Fleet,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

impl Sender {
    /// Starts one service after the other until it is stopped or the fleet ends.
    pub(crate) fn start(door: Door, fleet: Fleet, seed: u64) -> Self {
        let clock: Arc<dyn Clock> = SystemClock::new();
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::new(shutdown.clone(), clock.clone());
        let services = Arc::new(AtomicUsize::new(0));
        let source = Source {
            door,
            fleet,
            clock: clock.clone(),
            shutdown: shutdown.clone(),
        };
        let (started, owner) = (services.clone(), supervisor.clone());
        supervisor.spawn(TaskKind::Work, "sender", async move {
            for service in 0..fleet.services {
                if source.rest(SERVICE_EVERY).await.is_err() {
                    return;
                }
                started.store(service + 1, Ordering::Relaxed);
                let source = source.clone();
                owner.spawn(TaskKind::Work, "service", async move {
                    source.service(service, seed).await;
                });
            }
        });
        Self {
            shutdown,
            supervisor,
            services,
        }
    }

    /// Begins nothing new, and waits until what is under way has been acknowledged. Returns how many
    /// services sent something.
    pub(crate) async fn finish(&self) -> Result<usize> {
        let drained = self.supervisor.drain(DRAIN_WITHIN).await;
        drained.then_some(()).context(format!(
            "the webhook did not take everything within {DRAIN_WITHIN:?} after the last fault"
        ))?;
        Ok(self.services.load(Ordering::Relaxed))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}

/// The sender was stopped.
struct Stopped;

impl Source {
    /// The life of one service: alerts come, and for some all of them end.
    async fn service(&self, service: usize, seed: u64) {
        let entropy = entropy(seed, &Fleet::service(service));
        let mut alerts: Vec<Alert> = Vec::new();
        for number in 0..BODIES {
            alerts.push(Alert {
                service,
                number,
                resolved_at: None,
            });
            self.send(&self.fleet.webhook(service, &alerts)).await;
            let pause = Duration::from_secs_f64(0.3 + entropy.unit() * 1.7);
            if self.rest(pause).await.is_err() {
                return;
            }
        }
        if service % BRIEF_ONE_IN == BRIEF_ONE_IN - 1 {
            let resolved_at = Some(self.clock.now());
            for alert in &mut alerts {
                alert.resolved_at = resolved_at;
            }
            self.send(&self.fleet.webhook(service, &alerts)).await;
        }
    }

    async fn send(&self, body: &Value) {
        let mut wait = RETRY_MIN;
        loop {
            match self.door.knock(body).await {
                Some(status) if !status.is_server_error() => return,
                _ => self.clock.sleep(wait).await,
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn rest(&self, pause: Duration) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.shutdown.drain.wait() => Err(Stopped),
            () = self.clock.sleep(pause) => Ok(()),
        }
    }
}
