//! A small real world: a service under load that runs from a Git repository, watched by a real
//! Prometheus, which tells a real Alertmanager, which tells whoever is under test.
//!
//! Never: anything of the system under test. A world does not know what listens at the webhook.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use incident::ports::Clock as _;
use jiff::SignedDuration;
use runtime::SystemClock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::alertmanager::Alertmanager;
use crate::load::Load;
use crate::ports;
use crate::process::Process;
use crate::prometheus::{self, Prometheus};
use crate::repository::{ADA, BEN, CLEO, Commit, Person, Repository};
use crate::wait::until;

/// The alert of this world.
pub const ALERT: &str = "CheckoutErrorRatioHigh";
/// The file the service runs from, inside the repository.
pub const CONFIG_PATH: &str = "services/checkout/config.toml";
const PAYMENTS_PATH: &str = "services/payments/config.toml";
const DASHBOARD_PATH: &str = "dashboards/checkout.json";
/// Requests a second that the service bears easily.
pub const USUAL_RATE: f64 = 60.0;
/// Requests a second that are too many for the service as it is configured.
pub const SURGE_RATE: f64 = 400.0;

/// Longest wait until the service is up.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Samples of a healthy service before anything is broken.
const HEALTHY_SAMPLES: u32 = 15;

/// What a world is made with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `demo-service` program.
    pub service: PathBuf,
    /// Where Alertmanager posts.
    pub webhook_url: String,
    /// The bearer token it sends.
    pub token: String,
}

/// Everything that runs. Dropping it ends it all.
#[derive(Debug)]
pub struct World {
    /// Requests to the service.
    pub load: Load,
    /// The service.
    pub service: Process,
    /// Metrics.
    pub prometheus: Prometheus,
    /// Notifications.
    pub alertmanager: Alertmanager,
    /// The history.
    pub repository: Repository,
    folder: TempDir,
}

impl World {
    /// Starts everything healthy, with [`USUAL_RATE`], and waits until Prometheus knows what
    /// healthy looks like.
    ///
    /// # Errors
    /// Something is not installed or does not start.
    pub async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let repository = Repository::create(path).await?;
        write_history(&repository).await?;

        let address = ports::free()?;
        let config = repository.deployed.join(CONFIG_PATH);
        let mut command = Command::new(&plan.service);
        command
            .args(["--listen", &address.to_string(), "--config"])
            .arg(config);
        let mut service = Process::start("checkout", path, &mut command)?;
        let health = format!("http://{address}/healthz");
        service.ready(&health, READY_WITHIN).await?;

        let alertmanager = Alertmanager::start(path, &plan.webhook_url, &plan.token).await?;
        let watched = prometheus::Plan {
            targets: vec![("checkout".to_owned(), address)],
            rules: rules(),
            alertmanager: Some(alertmanager.address),
        };
        let prometheus = Prometheus::start(path, &watched).await?;
        let load = Load::start(format!("http://{address}/checkout"), USUAL_RATE)?;
        let world = Self {
            load,
            service,
            prometheus,
            alertmanager,
            repository,
            folder,
        };
        world.wait_until_known().await?;
        Ok(world)
    }

    /// The folder everything lives in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The guilty commit, with innocent ones before and after it, published and deployed. Returns
    /// the guilty one's full id.
    ///
    /// # Errors
    /// Git refuses.
    pub async fn break_with_commit(&self) -> anyhow::Result<String> {
        let repository = &self.repository;
        let bank = "payments: wait a little longer for the bank";
        let before = commit(BEN, PAYMENTS_PATH, PAYMENTS_LATER, bank);
        repository.commit(before).await?;
        let trim = "checkout: trim database connections\n\nThe database team asked for fewer.";
        let guilty = commit(ADA, CONFIG_PATH, CHECKOUT_TOO_SMALL, trim);
        let guilty = repository.commit(guilty).await?;
        let queue = "dashboards: show the queue of checkout";
        let after = commit(CLEO, DASHBOARD_PATH, DASHBOARD_LATER, queue);
        repository.commit(after).await?;
        repository.push().await?;
        repository.pull().await?;
        Ok(guilty)
    }

    /// Puts the service's configuration back by hand, published and deployed.
    ///
    /// # Errors
    /// Git refuses.
    pub async fn mend_with_commit(&self) -> anyhow::Result<String> {
        let mended = commit(
            ADA,
            CONFIG_PATH,
            CHECKOUT,
            "checkout: connections back to 20",
        );
        let mended = self.repository.commit(mended).await?;
        self.repository.push().await?;
        self.repository.pull().await?;
        Ok(mended)
    }

    /// Waits until the alert fires in Prometheus.
    ///
    /// # Errors
    /// It does not; the message says what the service did instead.
    pub async fn wait_until_firing(&self, within: Duration) -> anyhow::Result<()> {
        self.wait_for_state(Some("firing"), within).await
    }

    /// Waits until the alert is inactive in Prometheus.
    ///
    /// # Errors
    /// It is not.
    pub async fn wait_until_resolved(&self, within: Duration) -> anyhow::Result<()> {
        self.wait_for_state(None, within).await
    }

    async fn wait_for_state(&self, wanted: Option<&str>, within: Duration) -> anyhow::Result<()> {
        let what = format!("the alert to be {}", wanted.unwrap_or("inactive"));
        until(&what, within, async || {
            let state = self.prometheus.alert_state(ALERT).await.ok()?;
            (state.as_deref() == wanted).then_some(())
        })
        .await
        .with_context(|| self.condition())
    }

    /// Enough samples of a healthy service that serves requests.
    async fn wait_until_known(&self) -> anyhow::Result<()> {
        let query = format!(
            r#"count_over_time(requests_total{{job="checkout",code="200"}}[1m]) >= {HEALTHY_SAMPLES}"#
        );
        let within = Duration::from_mins(1);
        until("samples of a healthy service", within, async || {
            let found = self.prometheus.query(&query).await.ok()?;
            (!found.is_empty()).then_some(())
        })
        .await
        .with_context(|| self.condition())
    }

    /// How the service fares, for the message of a failed wait.
    fn condition(&self) -> String {
        format!("{:?}\n{}", self.load.counts(), self.service.log_tail())
    }
}

fn rules() -> Value {
    let failed = r#"sum(rate(requests_total{job="checkout",code=~"5.."}[10s]))"#;
    let all = r#"sum(rate(requests_total{job="checkout"}[10s]))"#;
    json!({"groups": [{"name": "checkout", "rules": [{
        "alert": ALERT,
        "expr": format!("{failed} / {all} > 0.05"),
        "for": "5s",
        "labels": {"severity": "critical", "service": "checkout"},
        "annotations": {
            "summary": "More than 5 % of checkout requests fail",
            "description": "{{ $value | humanizePercentage }} of requests fail.",
        },
    }]}]})
}

const CHECKOUT: &str = include_str!("world/checkout.toml");
const CHECKOUT_TOO_SMALL: &str = include_str!("world/checkout-too-small.toml");
const CHECKOUT_FIRST: &str = "[pool]\nsize = 20\n";
const PAYMENTS: &str = "[bank]\ntimeout = \"2s\"\n";
const PAYMENTS_LATER: &str = "[bank]\ntimeout = \"3s\"\n";
const DASHBOARD: &str = "{\"title\": \"Checkout\", \"panels\": [\"requests\", \"latency\"]}\n";
const DASHBOARD_LATER: &str =
    "{\"title\": \"Checkout\", \"panels\": [\"requests\", \"latency\", \"queue\"]}\n";
const README: &str = "# Shop\n\nThe services of a small shop and how they are configured.\n";
const RUNBOOK: &str = "# Checkout\n\nRequests fail: look at the pool and at its queue.\n";

fn commit<'a>(author: Person, path: &'a str, content: &'a str, message: &'a str) -> Commit<'a> {
    Commit {
        author,
        at: None,
        path,
        content,
        message,
    }
}

/// Some days of ordinary work, published and deployed.
async fn write_history(repository: &Repository) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    let past = [
        (4_320, commit(CLEO, "README.md", README, "Say what this is")),
        (
            4_300,
            commit(
                ADA,
                CONFIG_PATH,
                CHECKOUT_FIRST,
                "checkout: first configuration",
            ),
        ),
        (
            2_880,
            commit(
                BEN,
                PAYMENTS_PATH,
                PAYMENTS,
                "payments: first configuration",
            ),
        ),
        (
            1_500,
            commit(
                ADA,
                CONFIG_PATH,
                CHECKOUT,
                "checkout: say queue and cache out loud",
            ),
        ),
        (
            45,
            commit(CLEO, DASHBOARD_PATH, DASHBOARD, "dashboards: checkout"),
        ),
        (
            12,
            commit(
                CLEO,
                "docs/checkout.md",
                RUNBOOK,
                "docs: what to do when checkout fails",
            ),
        ),
    ];
    for (minutes_ago, commit) in past {
        let at = Some(now - SignedDuration::from_mins(minutes_ago));
        repository.commit(Commit { at, ..commit }).await?;
    }
    repository.push().await?;
    repository.pull().await
}
