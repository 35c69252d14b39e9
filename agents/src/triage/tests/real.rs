//! Bodies that a real Alertmanager sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use incident::{AlertEvent, AlertStatus, EventKey, Fingerprint, GroupKey, Untrusted};
use serde_json::Value;

use super::world::{World, at};

/// Reads one body as the hook would; none if the folder is not there.
fn body(name: &str) -> Option<Vec<AlertEvent>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/alertmanager");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no real bodies at {}", folder.display());
        return None;
    }
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    Some(
        body["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| read(&body, alert))
            .collect(),
    )
}

fn read(body: &Value, alert: &Value) -> AlertEvent {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let map = |value: &Value| -> BTreeMap<String, Untrusted> {
        let pairs = value.as_object().unwrap().iter();
        pairs
            .map(|(name, value)| (name.clone(), Untrusted::new(text(value))))
            .collect()
    };
    let status: AlertStatus = serde_json::from_value(alert["status"].clone()).unwrap();
    let group_key = GroupKey::from_stored(text(&body["groupKey"]));
    let fingerprint = Fingerprint::from_stored(text(&alert["fingerprint"]));
    let starts_at: jiff::Timestamp = text(&alert["startsAt"]).parse().unwrap();
    let ends_at: jiff::Timestamp = text(&alert["endsAt"]).parse().unwrap();
    let key = EventKey::derive(
        &group_key,
        &fingerprint,
        &starts_at.to_string(),
        status.as_str(),
    );
    AlertEvent {
        key,
        group_key,
        fingerprint,
        status,
        labels: map(&alert["labels"]),
        annotations: map(&alert["annotations"]),
        starts_at,
        ends_at: Some(ends_at).filter(|_| status == AlertStatus::Resolved),
        generator_url: Untrusted::new(text(&alert["generatorURL"])),
        receiver: Untrusted::new(text(&body["receiver"])),
        external_url: Untrusted::new(text(&body["externalURL"])),
        truncated: body["truncatedAlerts"].as_u64().unwrap(),
        received_at: at(0.0),
    }
}

/// What stands after each of `bodies`: one line for each incident, the work behind it.
async fn check(bodies: &[&str]) -> Option<String> {
    let world = World::new();
    let mut out = String::new();
    for name in bodies {
        let events = body(name)?;
        let reply = world.send(&events).await;
        writeln!(out, "{name}: {} events", events.len()).unwrap();
        let mut incidents: Vec<_> = world.incidents().await.into_values().collect();
        incidents.sort_by_key(|incident| incident.subject.display());
        for incident in incidents {
            let work = reply
                .work
                .iter()
                .filter(|item| item.incident == incident.id);
            let work: Vec<String> = work.map(|item| item.step.to_string()).collect();
            let (firing, all) = (incident.firing(), incident.members.len());
            let (subject, status) = (incident.subject.display(), incident.status);
            let (cut, generation) = (incident.truncated, incident.generation);
            writeln!(
                out,
                "  {subject} {status} {firing}/{all} gen {generation} cut {cut} {work:?}"
            )
            .unwrap();
        }
    }
    Some(out)
}

#[tokio::test(start_paused = true)]
async fn a_group_of_two_owners_from_first_to_last() {
    let bodies = [
        "firing-single",
        "firing-grouped",
        "firing-partly-resolved",
        "resolved",
    ];
    let bodies = bodies.map(|name| format!("v0.33.1/{name}.json"));
    let Some(out) = check(&bodies.each_ref().map(String::as_str)).await else {
        return;
    };
    insta::assert_snapshot!(out, @r#"
    v0.33.1/firing-single.json: 1 events
      payments/checkout open 1/1 gen 0 cut 0 ["investigate"]
    v0.33.1/firing-grouped.json: 6 events
      payments/checkout open 3/3 gen 0 cut 0 ["investigate"]
      payments/ledger open 3/3 gen 0 cut 0 ["investigate"]
    v0.33.1/firing-partly-resolved.json: 6 events
      payments/checkout open 3/3 gen 0 cut 0 ["investigate"]
      payments/ledger resolved 0/3 gen 0 cut 0 ["close"]
    v0.33.1/resolved.json: 3 events
      payments/checkout resolved 0/3 gen 0 cut 0 ["close"]
      payments/ledger resolved 0/3 gen 0 cut 0 []
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_that_claims_resolved() {
    let bodies = [
        "v0.33.1/firing-truncated.json",
        "v0.33.1/truncated-claims-resolved.json",
        "v0.33.1/truncated-claims-resolved.same-moment-untruncated.json",
    ];
    let Some(out) = check(&bodies).await else {
        return;
    };
    insta::assert_snapshot!(out, @r#"
    v0.33.1/firing-truncated.json: 2 events
      node-1.example open 1/1 gen 0 cut 3 ["investigate"]
      node-2.example open 1/1 gen 0 cut 3 ["investigate"]
    v0.33.1/truncated-claims-resolved.json: 2 events
      node-1.example resolved 0/1 gen 0 cut 3 ["close"]
      node-2.example resolved 0/1 gen 0 cut 3 ["close"]
    v0.33.1/truncated-claims-resolved.same-moment-untruncated.json: 5 events
      node-1.example resolved 0/1 gen 0 cut 3 []
      node-2.example resolved 0/1 gen 0 cut 3 []
      node-3.example open 1/1 gen 0 cut 0 ["investigate"]
      node-4.example open 1/1 gen 0 cut 0 ["investigate"]
      node-5.example open 1/1 gen 0 cut 0 ["investigate"]
    "#);
}

#[tokio::test(start_paused = true)]
async fn resends_and_peers_change_nothing() {
    let bodies = [
        "v0.25.0/ha-duplicate-peer-1.json",
        "v0.25.0/ha-duplicate-peer-2.json",
        "v0.25.0/repeat-interval-first.json",
        "v0.25.0/repeat-interval-second.json",
    ];
    let Some(out) = check(&bodies).await else {
        return;
    };
    insta::assert_snapshot!(out, @r#"
    v0.25.0/ha-duplicate-peer-1.json: 1 events
      default/KubeAPIErrorBudgetBurn open 1/1 gen 0 cut 0 ["investigate"]
    v0.25.0/ha-duplicate-peer-2.json: 1 events
      default/KubeAPIErrorBudgetBurn open 1/1 gen 0 cut 0 ["investigate"]
    v0.25.0/repeat-interval-first.json: 5 events
      default/KubeAPIErrorBudgetBurn open 1/1 gen 0 cut 0 []
      node-1.example open 1/1 gen 0 cut 0 ["investigate"]
      node-2.example open 1/1 gen 0 cut 0 ["investigate"]
      node-3.example open 1/1 gen 0 cut 0 ["investigate"]
      node-4.example open 1/1 gen 0 cut 0 ["investigate"]
      node-5.example open 1/1 gen 0 cut 0 ["investigate"]
    v0.25.0/repeat-interval-second.json: 5 events
      default/KubeAPIErrorBudgetBurn open 1/1 gen 0 cut 0 []
      node-1.example open 1/1 gen 0 cut 0 ["investigate"]
      node-2.example open 1/1 gen 0 cut 0 ["investigate"]
      node-3.example open 1/1 gen 0 cut 0 ["investigate"]
      node-4.example open 1/1 gen 0 cut 0 ["investigate"]
      node-5.example open 1/1 gen 0 cut 0 ["investigate"]
    "#);
}
