//! A storm: many alerts of a few hundred groups at once, from the webhook to the last report.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use incident::ports::Clock as _;
use runtime::SystemClock;
use serde_json::{Value, json};

use crate::nightshift::Install;
use crate::ports;
use crate::process::Process;
use crate::wait::until;

/// Bodies under way at once.
const SENDERS: usize = 8;
/// How long nothing may be in any stream before the storm is over: between two streams there is a
/// moment in which neither has it.
const QUIET: Duration = Duration::from_millis(300);

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// Groups of Alertmanager, each with one cause.
    pub groups: usize,
    /// Alerts of each group.
    pub alerts: usize,
}

/// Ten thousand alerts of two hundred causes.
pub const TEN_THOUSAND: Storm = Storm {
    groups: 200,
    alerts: 50,
};

impl Storm {
    /// Posts every group's body.
    ///
    /// # Errors
    /// One is not answered 200.
    pub async fn post(self, install: &Install) -> Result<()> {
        let bodies = stream::iter(0..self.groups).map(|group| {
            let body = self.body(group);
            async move {
                let status = install.post(&body).await;
                ensure!(status == Some(200), "the webhook answered {status:?}");
                Ok(())
            }
        });
        bodies.buffer_unordered(SENDERS).try_collect().await
    }

    /// One group's body.
    pub fn body(self, group: usize) -> Value {
        let service = format!("service-{group:03}");
        let common = json!({
            "alertname": "HighErrorRate", "severity": "warning", "service": service,
            "namespace": format!("team-{}", group % 20), "cluster": "eu-1",
        });
        let alerts = (0..self.alerts).map(|alert| {
            let mut labels = common.clone();
            labels["pod"] = json!(format!("{service}-7d9c5b6f4-{alert:05}"));
            json!({
                "status": "firing", "labels": labels,
                "annotations": { "summary": "Too many requests fail.", "description": "x".repeat(300) },
                "startsAt": "2026-01-20T10:20:30.623Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up",
                "fingerprint": format!("{group:08x}{alert:08x}"),
            })
        });
        json!({
            "version": "4", "receiver": "nightshift", "status": "firing", "truncatedAlerts": 0,
            "groupKey": format!("{{}}:{{alertname=\"HighErrorRate\", service=\"{service}\"}}"),
            "groupLabels": { "alertname": "HighErrorRate", "service": service },
            "commonLabels": common, "commonAnnotations": {},
            "externalURL": "http://alertmanager.example:9093",
            "alerts": alerts.collect::<Vec<_>>(),
        })
    }
}

/// Starts hook, agents and so many dispatchers as processes of their own; each with its role's name.
///
/// # Errors
/// One does not start.
pub async fn start_roles(
    install: &Install,
    folder: &Path,
    dispatchers: usize,
) -> Result<Vec<(&'static str, Process)>> {
    let mut processes = vec![
        ("hook", install.start(&["hook"]).await?),
        ("agents", install.start(&["agent", "all"]).await?),
    ];
    for number in 0..dispatchers {
        let name = format!("dispatcher-{number}");
        let mut command = install.command(&["dispatcher"])?;
        command.env("NIGHTSHIFT__METRICS_LISTEN", ports::free()?.to_string());
        processes.push(("dispatcher", Process::start(&name, folder, &mut command)?));
    }
    Ok(processes)
}

/// Waits until nothing waits and nothing is worked on any more; how long ago that began.
///
/// # Errors
/// It does not come in time.
pub async fn drained(install: &Install, within: Duration) -> Result<Duration> {
    let clock = SystemClock::new();
    let mut empty_since = None;
    until("the end of the storm", within, async || {
        let backlog = install.get("/api/v1/backlog").await?;
        if backlog.get("total").and_then(Value::as_u64)? > 0 {
            empty_since = None;
            return None;
        }
        let since: Duration = *empty_since.get_or_insert_with(|| clock.elapsed());
        let quiet = clock.elapsed().saturating_sub(since);
        (quiet > QUIET).then_some(quiet)
    })
    .await
}
