//! Debian's Alertmanager, with one receiver: a webhook.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::ports;
use crate::process::Process;

/// Longest wait until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Starts on another port if somebody took the first.
const STARTS_MAX: usize = 3;

/// How it is set up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it posts to.
    pub webhook_url: String,
    /// The bearer token it sends.
    pub token: String,
    /// `group_wait`, such as `1s`.
    pub group_wait: &'static str,
    /// `group_interval`.
    pub group_interval: &'static str,
    /// `resolve_timeout`.
    pub resolve_timeout: &'static str,
    /// `max_alerts` of one body; 0 for all.
    pub max_alerts: u32,
}

impl Plan {
    /// The usual one.
    pub fn new(webhook_url: &str, token: &str) -> Self {
        Self {
            webhook_url: webhook_url.to_owned(),
            token: token.to_owned(),
            group_wait: "1s",
            group_interval: "5s",
            resolve_timeout: "5m",
            max_alerts: 0,
        }
    }
}

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    /// Where Prometheus sends alerts.
    pub address: SocketAddr,
    /// Its address.
    pub url: String,
    /// The process.
    pub process: Process,
    folder: PathBuf,
}

impl Alertmanager {
    /// Starts it in `folder`, posting to `webhook_url` with a bearer token, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn start(folder: &Path, webhook_url: &str, token: &str) -> anyhow::Result<Self> {
        Self::with(folder, &Plan::new(webhook_url, token)).await
    }

    /// The same by a plan.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn with(folder: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let folder = folder.join("alertmanager");
        std::fs::create_dir_all(&folder)?;
        let webhook = json!({
            "url": plan.webhook_url,
            "send_resolved": true,
            "max_alerts": plan.max_alerts,
            "http_config": {"authorization": {"type": "Bearer", "credentials": plan.token}},
        });
        // JSON is YAML.
        let config = json!({
            "global": {"resolve_timeout": plan.resolve_timeout},
            "route": {
                "receiver": "nightshift",
                "group_by": ["alertname", "service"],
                "group_wait": plan.group_wait,
                "group_interval": plan.group_interval,
                "repeat_interval": "30s",
            },
            "receivers": [{"name": "nightshift", "webhook_configs": [webhook]}],
        });
        std::fs::write(folder.join("alertmanager.yml"), config.to_string())?;
        let mut last = None;
        for _ in 0..STARTS_MAX {
            match launch(&folder, ports::free()?).await {
                Ok((process, address)) => {
                    return Ok(Self {
                        address,
                        url: format!("http://{address}"),
                        process,
                        folder,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("nothing was tried")?)
    }

    /// Kills it and starts it again at its address with nothing in its memory.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.process.kill_9().await?;
        std::fs::remove_dir_all(self.folder.join("data"))?;
        (self.process, _) = launch(&self.folder, self.address).await?;
        Ok(())
    }

    /// Sends alerts as Prometheus does.
    ///
    /// # Errors
    /// It does not take them.
    pub async fn send(&self, alerts: &Value) -> anyhow::Result<()> {
        self.post("api/v2/alerts", alerts).await
    }

    /// Silences alerts with this label for an hour from `now`.
    ///
    /// # Errors
    /// It does not take it.
    pub async fn silence(&self, label: (&str, &str), now: Timestamp) -> anyhow::Result<()> {
        let until = now.checked_add(SignedDuration::from_hours(1))?;
        let silence = json!({
            "matchers": [{"name": label.0, "value": label.1, "isRegex": false, "isEqual": true}],
            "startsAt": now.to_string(),
            "endsAt": until.to_string(),
            "createdBy": "cleo",
            "comment": "works are announced",
        });
        self.post("api/v2/silences", &silence).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let client = runtime::http::client(READY_WITHIN)?;
        let request = client.post(format!("{}/{path}", self.url)).json(body);
        let answer = request.send().await?;
        let status = answer.status();
        anyhow::ensure!(
            status.is_success(),
            "{path}: {status} {}",
            answer.text().await?
        );
        Ok(())
    }
}

async fn launch(folder: &Path, address: SocketAddr) -> anyhow::Result<(Process, SocketAddr)> {
    let url = format!("http://{address}");
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!(
            "--config.file={}",
            folder.join("alertmanager.yml").display()
        ))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--web.external-url={url}"))
        .arg("--cluster.listen-address=");
    let mut process = Process::start("alertmanager", folder, &mut command)?;
    process
        .ready(&format!("{url}/-/ready"), READY_WITHIN)
        .await?;
    Ok((process, address))
}
