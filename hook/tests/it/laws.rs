//! What holds for every input.

use std::collections::BTreeSet;

use incident::EventKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::faulty::Fault;
use crate::world::{World, alert, body, real_bodies};

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// Sends `bytes`; the law: 2xx exactly if everything the answer counts is on the stream.
async fn honest(world: &World, bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let before = world.held().await;
    let answer = world.post(bytes).await;
    let stored = world.held().await - before;
    if answer.status.is_success() {
        let json = answer.json();
        prop_assert_eq!(json["accepted"].as_u64(), Some(stored));
        let taken = stored + json["duplicates"].as_u64().unwrap_or_default();
        prop_assert!(taken > 0, "a yes to nothing: {}", json);
    } else {
        prop_assert_eq!(stored, 0);
        prop_assert!(matches!(answer.status.as_u16(), 400 | 413 | 503));
    }
    Ok(())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("firing")),
        Just(json!("2026-11-20T11:58:00Z")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const FIELDS: [&str; 8] = [
    "status",
    "labels",
    "annotations",
    "startsAt",
    "endsAt",
    "generatorURL",
    "fingerprint",
    "other",
];
const TOP: [&str; 8] = [
    "version",
    "groupKey",
    "receiver",
    "status",
    "alerts",
    "externalURL",
    "truncatedAlerts",
    "other",
];

fn named(i: u64) -> Value {
    let mut one = alert("A");
    one["fingerprint"] = json!(format!("{i:016x}"));
    one
}

fn keys(events: &[incident::AlertEvent]) -> BTreeSet<EventKey> {
    events.iter().map(|event| event.key.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_are_answered_honestly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        run(honest(&World::new(), bytes))?;
    }

    #[test]
    fn any_damage_to_a_real_body_is_answered_honestly(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let bodies = real_bodies();
        prop_assume!(!bodies.is_empty());
        let mut bytes = which.get(&bodies).1.clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        run(honest(&World::new(), bytes))?;
    }

    #[test]
    fn any_value_in_any_field_is_answered_honestly(
        top in prop::collection::vec((0..TOP.len(), value()), 0..2),
        inner in prop::collection::vec((0..3usize, 0..FIELDS.len(), value()), 0..6),
    ) {
        let mut alerts = vec![named(1), named(2), named(3)];
        for (which, field, to) in inner {
            alerts[which][FIELDS[field]] = to;
        }
        let mut sent = body(&alerts);
        for (field, to) in top {
            sent[TOP[field]] = to;
        }
        run(honest(&World::new(), sent.to_string().into_bytes()))?;
    }

    #[test]
    fn order_and_resends_do_not_change_the_keys(
        order in Just((0..8u64).collect::<Vec<_>>()).prop_shuffle(),
        resend in 0..4u32,
    ) {
        run(async {
            let world = World::new();
            let plain: Vec<Value> = (0..8).map(named).collect();
            world.post(body(&plain).to_string()).await;
            let expect = keys(&world.take().await);
            let shuffled: Vec<Value> = order.into_iter().map(named).collect();
            let mut sent = body(&shuffled);
            sent["notification_reason"] = json!(format!("resend {resend}"));
            sent["externalURL"] = json!(format!("http://peer-{resend}.example"));
            sent["status"] = json!("resolved");
            let other = World::new();
            other.post(sent.to_string()).await;
            prop_assert_eq!(keys(&other.take().await), expect);
            let again = world.post(sent.to_string()).await.json();
            prop_assert_eq!(again, json!({"accepted": 0, "duplicates": 8}));
            Ok(())
        })?;
    }

    #[test]
    fn whatever_fails_a_batch_is_stored_whole_or_not_at_all(
        faults in prop::collection::vec(prop_oneof![
            Just(Fault::None), Just(Fault::Unavailable), Just(Fault::Full),
            Just(Fault::Hang), Just(Fault::Limit), Just(Fault::AnswerLost),
        ], 1..6),
        size in 1..40u64,
    ) {
        run(async {
            let world = World::new();
            let alerts: Vec<Value> = (0..size).map(named).collect();
            let sent = body(&alerts).to_string();
            let mut answered = false;
            for fault in faults {
                world.events.set(fault);
                let answer = world.post(sent.clone()).await;
                let held = world.held().await;
                prop_assert!(held == 0 || held == size, "{held} of {size}");
                prop_assert_eq!(answer.status.is_success(), fault == Fault::None);
                prop_assert!(answer.status.is_success() || answer.status.is_server_error());
                answered |= answer.status.is_success();
                prop_assert!(!answered || held == size);
            }
            Ok(())
        })?;
    }
}
