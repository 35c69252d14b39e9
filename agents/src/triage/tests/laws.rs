//! Laws: the order of a request, repetition, a second replica and a failing store change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use incident::{AlertEvent, AlertStatus, Fingerprint, Incident, Ruling};
use proptest::prelude::*;

use super::super::Config;
use super::world::{World, event, send};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// A story of few alerts, owners, groups and minutes, so that they meet often.
fn story() -> impl Strategy<Value = Vec<AlertEvent>> {
    let one = (
        0..4_u8,
        0..2_u8,
        0..2_u8,
        0..60_u32,
        prop::option::of(1..30_u32),
        0..3_u8,
    );
    let line = one.prop_map(|(name, service, group, from, length, severity)| {
        let severity = ["info", "warning", "critical"][usize::from(severity)];
        let end = length
            .map(|length| format!(" to={}", from + length))
            .unwrap_or_default();
        let status = if length.is_some() {
            "resolved"
        } else {
            "firing"
        };
        let what = format!("A{name} service=s{service} severity={severity}");
        event(&format!("{status} {what} from={from}{end} group=g{group}"))
    });
    prop::collection::vec(line, 1..24).prop_map(|mut events| {
        // One event has one content, as the hook derives its key from it.
        events.sort_by(|a, b| a.key.cmp(&b.key));
        events.dedup_by(|a, b| a.key == b.key);
        events
    })
}

fn shuffled() -> impl Strategy<Value = (Vec<AlertEvent>, Vec<AlertEvent>)> {
    story().prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()))
}

fn by_event(rulings: Vec<Ruling>) -> BTreeMap<String, Ruling> {
    rulings
        .into_iter()
        .map(|ruling| (ruling.event.to_string(), ruling))
        .collect()
}

/// What must not depend on who came first across requests: which alerts form an incident, and where
/// each stands. Its name comes from the earliest alert known when it opened.
type Shape = Vec<(String, String, BTreeMap<Fingerprint, AlertStatus>)>;

fn shape(incidents: impl IntoIterator<Item = Incident>) -> Shape {
    let mut shape: Shape = incidents
        .into_iter()
        .map(|i| {
            let members = i
                .members
                .into_iter()
                .map(|(print, member)| (print, member.status));
            (i.correlation, i.status.to_string(), members.collect())
        })
        .collect();
    shape.sort();
    shape
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_a_request_does_not_matter((one, other) in shuffled()) {
        block_on(async {
            let (left, right) = (World::new(), World::new());
            let a = left.send(&one).await;
            let b = right.send(&other).await;
            assert_eq!(left.incidents().await, right.incidents().await);
            assert_eq!(a.work, b.work);
            assert_eq!(by_event(a.rulings), by_event(b.rulings));
        });
    }

    #[test]
    fn the_same_events_again_change_nothing(events in story(), cut in 0..24_usize) {
        block_on(async {
            let world = World::new();
            let first = world.send(&events).await;
            let stored = world.dump().await;
            assert_eq!(world.send(&events).await, first);
            let part: Vec<_> = events.iter().take(cut).cloned().collect();
            world.send(&part).await;
            assert_eq!(world.dump().await, stored);
        });
    }

    #[test]
    fn two_replicas_with_the_same_request_agree(events in story(), seed: u64) {
        block_on(async {
            let alone = World::new();
            let expected = alone.send(&events).await;
            let shared = World::with(Config::default(), Some((seed, 0.0)));
            let second = shared.replica();
            let (a, b) = tokio::join!(
                shared.send(&events),
                send(&second, &shared.clock, &events),
            );
            let b = b.unwrap();
            // The wait after a conflict moves the clock, so times are left out.
            let untimed = |mut reply: incident::message::TriageReply| {
                reply.rulings.iter_mut().for_each(|ruling| ruling.at = jiff::Timestamp::UNIX_EPOCH);
                reply
            };
            assert_eq!(untimed(a), untimed(expected.clone()));
            assert_eq!(untimed(b), untimed(expected));
            assert_eq!(shape(shared.incidents().await.into_values()), shape(alone.incidents().await.into_values()));
        });
    }

    #[test]
    fn many_replicas_open_one_incident_for_one_cause(
        count in 2..40_usize, parts in 2..5_usize, seed: u64,
    ) {
        block_on(async {
            let world = World::with(Config::default(), Some((seed, 0.0)));
            let line = |n: usize| event(&format!("firing A{} service=shop pod=p{n} from={}", n % 3, n % 10));
            let events: Vec<_> = (0..count).map(line).collect();
            let replicas: Vec<_> = (0..parts).map(|_| world.replica()).collect();
            let calls = replicas.iter().enumerate().map(|(part, replica)| {
                // Each replica also gets some of its neighbour's, as a redelivery does.
                let mine = events.iter().enumerate();
                let mine = mine.filter(|(n, _)| n % parts == part || n % 7 == 0);
                let mine: Vec<_> = mine.map(|(_, event)| event.clone()).collect();
                let clock = Arc::clone(&world.clock);
                async move { send(replica, &clock, &mine).await.unwrap() }
            });
            let replies = futures_util::future::join_all(calls).await;
            let incidents = world.incidents().await;
            assert_eq!(incidents.len(), 1);
            let incident = incidents.values().next().unwrap();
            assert_eq!(incident.members.len(), count);
            let opened = replies.iter().flat_map(|reply| &reply.rulings);
            let opened = opened.filter(|ruling| ruling.disposition.label() == "opened");
            let opened: std::collections::BTreeSet<_> = opened.map(|ruling| &ruling.event).collect();
            assert_eq!(opened.len(), 1, "one event opened it, whoever tells of it");
        });
    }

    #[test]
    fn a_failing_store_changes_nothing_but_time(events in story(), seed: u64) {
        block_on(async {
            let alone = World::new();
            let expected = alone.send(&events).await;
            let rough = World::with(Config::default(), Some((seed, 0.05)));
            let mut reply = None;
            for _ in 0..20 {
                reply = send(&rough.agent, &rough.clock, &events).await.ok();
                if reply.is_some() {
                    break;
                }
            }
            let reply = reply.expect("one of twenty tries gets through");
            assert_eq!(reply.work, expected.work);
            let rules = |rulings: &[Ruling]| -> Vec<String> {
                rulings.iter().map(|ruling| format!("{} {:?}", ruling.rule, ruling.disposition)).collect()
            };
            assert_eq!(rules(&reply.rulings), rules(&expected.rulings));
            assert_eq!(shape(rough.incidents().await.into_values()), shape(alone.incidents().await.into_values()));
        });
    }
}
