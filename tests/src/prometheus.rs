//! Debian's Prometheus, with a configuration of ours.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::ports;
use crate::process::Process;

/// Longest wait until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Starts on another port if somebody took the first.
const STARTS_MAX: usize = 3;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it scrapes and evaluates, every second.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Job names and addresses.
    pub targets: Vec<(String, SocketAddr)>,
    /// Rule groups, as in a rule file.
    pub rules: Value,
    /// Where alerts go.
    pub alertmanager: Option<SocketAddr>,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// Its address.
    pub url: String,
    /// The process.
    pub process: Process,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts it in `folder` and waits until it is ready.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn start(folder: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let folder = folder.join("prometheus");
        std::fs::create_dir_all(&folder)?;
        let scrapes: Vec<Value> = plan
            .targets
            .iter()
            .map(|(job, address)| {
                json!({"job_name": job, "static_configs": [{"targets": [address.to_string()]}]})
            })
            .collect();
        let managers: Vec<String> = plan.alertmanager.iter().map(ToString::to_string).collect();
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": scrapes,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}]},
        });
        std::fs::write(folder.join("prometheus.yml"), config.to_string())?;
        std::fs::write(folder.join("rules.yml"), plan.rules.to_string())?;
        let mut last = None;
        for _ in 0..STARTS_MAX {
            match launch(&folder).await {
                Ok(running) => return Ok(running),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("nothing was tried")?)
    }

    /// The result of an instant query: one value for each series.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn query(&self, promql: &str) -> anyhow::Result<Vec<f64>> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = self.client.get(url).query(&[("query", promql)]).send();
        let body: Value = answer.await?.error_for_status()?.json().await?;
        let series = body["data"]["result"].as_array().cloned();
        let number = |s: Value| s["value"][1].as_str()?.parse().ok();
        Ok(series
            .unwrap_or_default()
            .into_iter()
            .filter_map(number)
            .collect())
    }

    /// `pending` or `firing`; none while the alert is inactive.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn alert_state(&self, name: &str) -> anyhow::Result<Option<String>> {
        let answer = self
            .client
            .get(format!("{}/api/v1/alerts", self.url))
            .send();
        let body: Value = answer.await?.error_for_status()?.json().await?;
        let alerts = body["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ours = alerts.iter().find(|a| a["labels"]["alertname"] == name);
        Ok(ours.and_then(|a| a["state"].as_str()).map(str::to_owned))
    }
}

async fn launch(folder: &Path) -> anyhow::Result<Prometheus> {
    let address = ports::free()?;
    let url = format!("http://{address}");
    let mut command = Command::new("prometheus");
    command
        .arg(format!(
            "--config.file={}",
            folder.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--web.external-url={url}"));
    let mut process = Process::start("prometheus", folder, &mut command)?;
    process
        .ready(&format!("{url}/-/ready"), READY_WITHIN)
        .await?;
    Ok(Prometheus {
        url,
        process,
        client: runtime::http::client(TIMEOUT)?,
    })
}
