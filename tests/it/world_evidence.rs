//! What the observability-agent sees in the real world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agents::observability::{Config, ObservabilityAgent, SKILL};
use incident::incident::Member;
use incident::message::{EvidenceReply, EvidenceRequest};
use incident::ports::{Agent as _, AgentTask, Clock as _, Outcome};
use incident::{
    AlertStatus, Cx, Fact, Fingerprint, Incident, IncidentId, IncidentStatus, MessageId, Series,
    SeriesRole, Severity, Subject, Untrusted, Window,
};
use jiff::{SignedDuration, Timestamp};
use runtime::{OsEntropy, SystemClock};
use serde_json::Value;
use tests::world::{SURGE_RATE, World};

use crate::world::{Watched, watched};

/// The evidence about the alert of a webhook body, asked for as an investigation does.
async fn evidence(world: &World, body: &Value) -> anyhow::Result<EvidenceReply> {
    let request = request(&body["alerts"][0])?;
    let config = Config {
        prometheus_url: Some(world.prometheus.url.clone()),
        ..Config::default()
    };
    let clock = SystemClock::new();
    let agent = ObservabilityAgent::new(config, clock.clone(), Arc::new(OsEntropy))?;
    let task = AgentTask {
        message_id: MessageId::derive("test", ["evidence"]),
        context: None,
        skill: SKILL.to_owned(),
        input: serde_json::to_value(&request)?,
    };
    let cx = Cx::root(clock, Duration::from_secs(30), "0".repeat(32));
    match agent.run(task, &cx).await? {
        Outcome::Completed { output } => Ok(serde_json::from_value(output)?),
        other @ Outcome::InputRequired { .. } => anyhow::bail!("{other:?}"),
    }
}

fn request(alert: &Value) -> anyhow::Result<EvidenceRequest> {
    let texts = |field: &str| -> anyhow::Result<BTreeMap<String, Untrusted>> {
        Ok(serde_json::from_value(alert[field].clone())?)
    };
    let fired_at: Timestamp = serde_json::from_value(alert["startsAt"].clone())?;
    let member = Member {
        status: AlertStatus::Firing,
        alert: serde_json::from_value(alert["labels"]["alertname"].clone())?,
        severity: Severity::Critical,
        labels: texts("labels")?,
        annotations: texts("annotations")?,
        generator_url: serde_json::from_value(alert["generatorURL"].clone())?,
        starts_at: fired_at,
        ends_at: None,
    };
    let fingerprint = alert["fingerprint"].as_str().unwrap_or_default();
    let incident = Incident {
        id: IncidentId::derive("test", "now"),
        correlation: "test".to_owned(),
        subject: Subject {
            kind: "service".to_owned(),
            name: "checkout".into(),
            namespace: None,
            cluster: None,
        },
        severity: Severity::Critical,
        status: IncidentStatus::Open,
        members: BTreeMap::from([(Fingerprint::from_stored(fingerprint), member)]),
        members_left_out: 0,
        groups: BTreeSet::new(),
        truncated: 0,
        started_at: fired_at,
        opened_at: fired_at,
        resolved_at: None,
        generation: 0,
    };
    Ok(EvidenceRequest {
        incident,
        window: Window::between(
            fired_at - SignedDuration::from_mins(30),
            SystemClock::new().now(),
        ),
        fired_at,
    })
}

/// The series of this role and name.
fn series<'r>(reply: &'r EvidenceReply, role: SeriesRole, name: &str) -> Option<&'r Series> {
    reply.observations.iter().find_map(|o| match &o.fact {
        Fact::Series(series) if series.role == role && series.name.expose() == name => Some(series),
        _ => None,
    })
}

fn lines(reply: &EvidenceReply) -> String {
    let seen = reply.observations.iter().map(|o| o.summary.clone());
    let gaps = reply
        .gaps
        .iter()
        .map(|g| format!("? {}: {}", g.what, g.why));
    seen.chain(gaps).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_smaller_pool_is_seen_where_it_shrank() {
    let Watched { sink, world } = watched().await.unwrap();
    world.break_with_commit().await.unwrap();
    let deployed_at = SystemClock::new().now();
    world
        .wait_until_firing(Duration::from_secs(40))
        .await
        .unwrap();
    let firing = sink.first("firing").await.unwrap();
    let reply = evidence(&world, &firing.body).await.unwrap();
    let text = lines(&reply);

    for (role, name, late_max) in [
        (SeriesRole::Saturation, "pool_size", 4),
        (SeriesRole::Saturation, "queue_depth", 6),
        (SeriesRole::Alert, "the alert's expression", 10),
        (SeriesRole::Latency, "p99 of request_duration_seconds", 10),
    ] {
        let found = series(&reply, role, name).unwrap_or_else(|| panic!("{name}\n{text}"));
        let onset = found
            .onset
            .unwrap_or_else(|| panic!("{name} did not move\n{text}"));
        let late = onset.duration_since(deployed_at).as_secs();
        assert!((-2..=late_max).contains(&late), "{name}: {late} s\n{text}");
    }
    let pool = series(&reply, SeriesRole::Saturation, "pool_size").unwrap();
    assert_eq!((pool.before, pool.after), (Some(20.0), Some(2.0)));
    let traffic = series(&reply, SeriesRole::Traffic, "traffic (requests_total)").unwrap();
    assert!(!traffic.moved(), "{text}");
}

#[tokio::test]
async fn a_surge_is_seen_as_traffic_and_not_as_a_change_of_the_service() {
    let Watched { sink, world } = watched().await.unwrap();
    world.load.set_rate(SURGE_RATE);
    world
        .wait_until_firing(Duration::from_secs(40))
        .await
        .unwrap();
    let firing = sink.first("firing").await.unwrap();
    let reply = evidence(&world, &firing.body).await.unwrap();
    let text = lines(&reply);

    let traffic = series(&reply, SeriesRole::Traffic, "traffic (requests_total)").unwrap();
    assert!(traffic.factor().is_some_and(|f| f > 3.0), "{text}");
    let pool = series(&reply, SeriesRole::Saturation, "pool_size").unwrap();
    assert!(!pool.moved(), "{text}");
}
