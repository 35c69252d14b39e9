//! A fleet of services that one commit broke: its repository, its alerts as Alertmanager sends them,
//! and what the product is told about it.
//!
//! For tests that need many incidents whose truth is known: one for each service, each with a draft
//! that takes the same commit back. Never: anything that runs.

use std::path::Path;

use anyhow::Result;
use incident::digest::Digest;
use incident::{EventKey, Fingerprint, GroupKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::repository::{ADA, BEN, Commit, Repository};

/// The file all services share.
const CLIENT_PATH: &str = "platform/client.toml";
const HEALTHY: &str = "requests_timeout_ms = 2000\nrequests_pool_size = 64\n";
const BROKEN: &str = "requests_timeout_ms = 50\nrequests_pool_size = 2\n";
/// How long ago the guilty commit was made.
const BROKEN_AGO: SignedDuration = SignedDuration::from_mins(12);
/// How long ago requests began to fail.
pub const FAILING_AGO: SignedDuration = SignedDuration::from_mins(10);
/// How long ago the first alert of a service fired.
const FIRED_AGO: SignedDuration = SignedDuration::from_mins(6);

/// A number of services with one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// When this fleet is looked at; everything in its past is counted from here.
    pub now: Timestamp,
    /// How many services there are.
    pub services: usize,
}

/// One alert of one service. The first of a service has number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// The service.
    pub service: usize,
    /// Which of its alerts.
    pub number: usize,
    /// When it was over, if it is.
    pub resolved_at: Option<Timestamp>,
}

/// One alert event as the product keys it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its key.
    pub key: EventKey,
    /// The alert it is about.
    pub fingerprint: String,
    /// The service it is about.
    pub service: String,
}

impl Fleet {
    /// The name of a service.
    pub fn service(index: usize) -> String {
        format!("svc-{index:03}")
    }

    /// A bare repository, with the people's work tree, in which a change to the shared client broke
    /// every service.
    ///
    /// # Errors
    /// Git refuses.
    pub async fn repository(&self, folder: &Path) -> Result<Repository> {
        let repository = Repository::create(folder).await?;
        let minutes = SignedDuration::from_mins;
        let history = [
            (minutes(3000), ADA, CLIENT_PATH, HEALTHY, "Import"),
            (
                minutes(90),
                BEN,
                "docs/runbook.md",
                "# Runbook\n",
                "Runbook",
            ),
            (
                BROKEN_AGO,
                ADA,
                CLIENT_PATH,
                BROKEN,
                "platform: lower the client's pool and timeout",
            ),
        ];
        for (ago, author, path, content, message) in history {
            let at = Some(self.now - ago);
            let commit = Commit {
                author,
                at,
                path,
                content,
                message,
            };
            repository.commit(commit).await?;
        }
        repository.push().await?;
        Ok(repository)
    }

    /// The configuration that names the repository and its services.
    pub fn toml(&self, repository: &Repository) -> String {
        let services: Vec<String> = (0..self.services)
            .map(|index| format!("\"{}\"", Self::service(index)))
            .collect();
        format!(
            "[[repositories]]\nname = \"platform\"\nremote = \"{}\"\npaths = [{{ prefix = \"platform/\", services = [{}] }}]\n",
            repository.remote.display(),
            services.join(", ")
        )
    }

    /// What Alertmanager posts about alerts of one service.
    pub fn webhook(&self, service: usize, alerts: &[Alert]) -> Value {
        let name = Self::service(service);
        let firing = alerts.iter().any(|alert| alert.resolved_at.is_none());
        let alerts: Vec<Value> = alerts.iter().map(|alert| self.alert(*alert)).collect();
        json!({
            "version": "4", "groupKey": format!("{{}}:{{service=\"{name}\"}}"), "truncatedAlerts": 0,
            "status": if firing { "firing" } else { "resolved" },
            "receiver": "nightshift", "groupLabels": { "service": name },
            "commonLabels": { "service": name }, "commonAnnotations": {},
            "externalURL": "http://alertmanager.example:9093",
            "alerts": alerts,
        })
    }

    /// One alert as Alertmanager's API takes it and its webhook gives it.
    pub fn alert(&self, alert: Alert) -> Value {
        let service = Self::service(alert.service);
        let labels = labels(&service, alert.number);
        let seconds = i64::try_from(alert.number).unwrap_or(i64::MAX);
        let starts_at = self.now - FIRED_AGO + SignedDuration::from_secs(seconds.min(60));
        let ends_at = alert.resolved_at.map_or_else(
            || "0001-01-01T00:00:00Z".to_owned(),
            |resolved| resolved.to_string(),
        );
        json!({
            "status": if alert.resolved_at.is_none() { "firing" } else { "resolved" },
            "labels": labels, "annotations": { "summary": "requests fail" },
            "startsAt": starts_at.to_string(), "endsAt": ends_at,
            "generatorURL": generator(&service),
            "fingerprint": fingerprint(&service, alert.number),
        })
    }
}

fn labels(service: &str, number: usize) -> Value {
    let (name, severity) = match number {
        0 => ("ErrorsHigh".to_owned(), "critical"),
        _ => (format!("PodErrorsHigh{number}"), "warning"),
    };
    json!({ "alertname": name, "service": service, "job": service, "severity": severity })
}

fn fingerprint(service: &str, number: usize) -> String {
    let number = number.to_string();
    let digest = Digest::of_fields("fleet/1", [service, &number]);
    digest.short(16).to_owned()
}

fn generator(service: &str) -> String {
    let of = |more: &str| {
        format!("sum(rate(app_requests_total%7Bservice%3D%22{service}%22{more}%7D%5B1m%5D))")
    };
    format!(
        "http://prometheus.example/graph?g0.expr={}%20%2F%20{}%20%3E%200.05",
        of("%2Ccode%3D~%225..%22"),
        of("")
    )
}

/// The events of a webhook body; alerts that cannot be read are left out.
pub fn events(body: &Value) -> Vec<Event> {
    let group = GroupKey::from_stored(text(&body["groupKey"]));
    let alerts = body["alerts"].as_array().map_or(&[][..], Vec::as_slice);
    let event = |alert: &Value| {
        let fingerprint = text(&alert["fingerprint"]).to_owned();
        let starts_at: Timestamp = text(&alert["startsAt"]).parse().ok()?;
        let key = EventKey::derive(
            &group,
            &Fingerprint::from_stored(fingerprint.as_str()),
            &starts_at.to_string(),
            text(&alert["status"]),
        );
        let service = text(&alert["labels"]["service"]).to_owned();
        Some(Event {
            key,
            fingerprint,
            service,
        })
    };
    alerts.iter().filter_map(event).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
