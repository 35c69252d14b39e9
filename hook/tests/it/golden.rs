//! Every real Alertmanager body: what comes out on the stream.

use std::fmt::Write as _;

use incident::AlertEvent;
use serde_json::Value;

use crate::world::{World, real_bodies};

async fn events(body: &[u8]) -> Vec<AlertEvent> {
    let world = World::new();
    let answer = world.post(body.to_vec()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    world.take().await
}

fn short(text: &str, n: usize) -> &str {
    text.get(..n).unwrap_or(text)
}

#[tokio::test(start_paused = true)]
async fn every_real_body_becomes_its_events() {
    let bodies = real_bodies();
    if bodies.is_empty() {
        return;
    }
    let mut table = String::new();
    for (name, body) in &bodies {
        let events = events(body).await;
        let sent: Value = serde_json::from_slice(body).expect("real bodies are JSON");
        let claims = sent["status"].as_str().unwrap_or_default();
        let truncated = events[0].truncated;
        writeln!(table, "{name}: group says {claims}, truncated {truncated}").expect("a string");
        for event in events {
            let (key, print) = (event.key.as_str(), event.fingerprint.as_str());
            let ends = event.ends_at.map_or("-".to_owned(), |at| at.to_string());
            writeln!(
                table,
                "  {} {:<8} {} {} {} {} ends {} labels {} annotations {} receiver {}",
                short(key, 8),
                event.status.as_str(),
                event.severity(),
                short(print, 8),
                event.name(),
                event.starts_at,
                ends,
                event.labels.len(),
                event.annotations.len(),
                event.receiver.one_line(40),
            )
            .expect("a string");
        }
    }
    insta::assert_snapshot!("real_bodies", table);
}

#[tokio::test(start_paused = true)]
async fn the_computed_fingerprint_is_the_one_alertmanager_sends() {
    let mut alerts = 0;
    for (name, body) in real_bodies() {
        for event in events(&body).await {
            let pairs = event.labels.iter();
            let pairs = pairs.map(|(name, value)| (name.as_str(), value.expose()));
            assert_eq!(hook::fingerprint(pairs), event.fingerprint, "{name}");
            alerts += 1;
        }
    }
    // 68 alerts were captured; fewer means that this test looked at nothing.
    assert!(alerts == 0 || alerts == 68, "{alerts}");
}

#[tokio::test(start_paused = true)]
async fn a_body_without_fingerprints_gets_the_same_keys() {
    for (name, body) in real_bodies() {
        let mut sent: Value = serde_json::from_slice(&body).expect("real bodies are JSON");
        for alert in sent["alerts"].as_array_mut().expect("alerts") {
            alert
                .as_object_mut()
                .expect("an alert")
                .remove("fingerprint");
        }
        let keys = |events: Vec<AlertEvent>| events.into_iter().map(|e| e.key).collect::<Vec<_>>();
        let without = keys(events(sent.to_string().as_bytes()).await);
        assert_eq!(without, keys(events(&body).await), "{name}");
    }
}

/// `second` after `first`: nothing new may be stored.
async fn check_duplicate(first: &str, second: &str) {
    let bodies = real_bodies();
    let find = |name: &str| {
        bodies
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, body)| body.clone())
    };
    let (Some(first), Some(second)) = (find(first), find(second)) else {
        assert!(bodies.is_empty(), "{first} or {second} is missing");
        return;
    };
    let world = World::new();
    let before = world.post(first).await.json();
    let after = world.post(second).await.json();
    assert_eq!(after["accepted"], 0, "{after}");
    assert_eq!(after["duplicates"], before["accepted"], "{before} {after}");
}

#[tokio::test(start_paused = true)]
async fn resends_and_second_peers_are_duplicates() {
    check_duplicate(
        "v0.33.1/firing-grouped.json",
        "v0.33.1/repeat-interval-resend.json",
    )
    .await;
    check_duplicate(
        "v0.25.0/ha-duplicate-peer-1.json",
        "v0.25.0/ha-duplicate-peer-2.json",
    )
    .await;
    check_duplicate(
        "v0.25.0/repeat-interval-first.json",
        "v0.25.0/repeat-interval-second.json",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_never_resolves_what_it_does_not_show() {
    for version in ["v0.25.0", "v0.33.1"] {
        let wanted = format!("{version}/truncated-claims-resolved.json");
        for (_, body) in real_bodies()
            .into_iter()
            .filter(|(name, _)| *name == wanted)
        {
            let events = events(&body).await;
            let resolved = events.iter().filter(|e| e.ends_at.is_some()).count();
            assert_eq!(
                (events.len(), resolved),
                (2, 2),
                "only the two alerts it shows"
            );
            assert!(
                events.iter().all(|e| e.truncated == 3),
                "and each says that three are missing"
            );
        }
    }
}
