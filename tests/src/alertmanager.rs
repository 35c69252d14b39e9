//! Debian's Alertmanager, with one receiver: a webhook.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::process::Command;

use crate::ports;
use crate::process::Process;

/// Longest wait until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Starts on another port if somebody took the first.
const STARTS_MAX: usize = 3;

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    /// Where Prometheus sends alerts.
    pub address: SocketAddr,
    /// Its address.
    pub url: String,
    /// The process.
    pub process: Process,
}

impl Alertmanager {
    /// Starts it in `folder`, posting to `webhook_url` with a bearer token, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn start(folder: &Path, webhook_url: &str, token: &str) -> anyhow::Result<Self> {
        let folder = folder.join("alertmanager");
        std::fs::create_dir_all(&folder)?;
        let webhook = json!({
            "url": webhook_url,
            "send_resolved": true,
            "http_config": {"authorization": {"type": "Bearer", "credentials": token}},
        });
        // JSON is YAML.
        let config = json!({
            "route": {
                "receiver": "nightshift",
                "group_by": ["alertname", "service"],
                "group_wait": "1s",
                "group_interval": "5s",
                "repeat_interval": "30s",
            },
            "receivers": [{"name": "nightshift", "webhook_configs": [webhook]}],
        });
        std::fs::write(folder.join("alertmanager.yml"), config.to_string())?;
        let mut last = None;
        for _ in 0..STARTS_MAX {
            match launch(&folder).await {
                Ok(running) => return Ok(running),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("nothing was tried")?)
    }
}

async fn launch(folder: &Path) -> anyhow::Result<Alertmanager> {
    let address = ports::free()?;
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
    Ok(Alertmanager {
        address,
        url,
        process,
    })
}
