//! Reconciliation against Alertmanagers that fail in the ways real ones do. What the real one and
//! triage make of it is in the workspace's own tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use hook::{Config, Resolve};
use incident::incident::IncidentStatus;
use incident::ports::Clock as _;
use incident::{AlertStatus, Disposition, EventKey, Fingerprint, Ruling, keys};
use runtime::config::Span;
use runtime::{Shutdown, Supervisor, SystemClock};
use serde_json::{Value, json};

use crate::alertmanager::{Fake, Fault, Says, held};
use crate::api::{an_incident, at, id, keep};
use crate::world::{World, alert, body};

const SOON: Duration = Duration::from_secs(20);

fn quick(config: &mut Config) {
    config.reconcile.every = Span::millis(200);
    config.reconcile.soon = Span::millis(50);
    config.reconcile.settle = Span::secs(60);
}

fn looks(world: &World, outcome: &str) -> u64 {
    world.count(&format!(
        "nightshift_reconcile_looks_total{{outcome=\"{outcome}\"}}"
    ))
}

fn filled(world: &World, kind: &str) -> u64 {
    world.count(&format!(
        "nightshift_reconcile_filled_total{{kind=\"{kind}\"}}"
    ))
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    while !look() {
        assert!(clock.elapsed() < SOON, "waited in vain for {what}");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

/// So many more looks of any outcome.
async fn more_looks(world: &World, more: u64) {
    let all = || {
        let outcomes = ["complete", "partial", "failed"];
        outcomes
            .map(|outcome| looks(world, outcome))
            .iter()
            .sum::<u64>()
    };
    let from = all();
    until("looks", || all() >= from + more).await;
}

struct Started {
    world: World,
    supervisor: Supervisor,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.supervisor.shutdown().abort.cancel();
    }
}

fn start(peers: &[&Fake], change: impl FnOnce(&mut Config)) -> Started {
    let urls: Vec<String> = peers.iter().map(|fake| fake.url.clone()).collect();
    let world = World::watching(&urls, |config| {
        quick(config);
        change(config);
    });
    let supervisor = Supervisor::new(Shutdown::new(), SystemClock::new());
    world.hook.start(&supervisor);
    Started { world, supervisor }
}

#[tokio::test]
async fn what_was_missed_is_stored_once_however_many_look() {
    let fake = Fake::start().await;
    fake.say(|says| says.ours = vec![held("HighErrorRate"), held("DiskFull")]);
    let started = start(&[&fake], |_| {});
    let world = &started.world;
    // A second hook on the same stream.
    world.hook.start(&started.supervisor);
    more_looks(world, 6).await;
    assert_eq!(filled(world, "missed"), 2);
    assert_eq!(world.count("nightshift_received_total"), 2);
    let last = world.count("nightshift_reconcile_last_success_timestamp_seconds");
    assert!(last > 1_700_000_000, "{last}");

    let events = world.take().await;
    let event = events.iter().find(|event| event.name() == "DiskFull");
    let event = event.expect("it is among them");
    assert_eq!((events.len(), event.status), (2, AlertStatus::Firing));
    let sent = alert("DiskFull");
    assert_eq!(
        Some(event.fingerprint.as_str()),
        sent["fingerprint"].as_str()
    );
    assert_eq!(event.starts_at, at("2026-11-20T11:58:00.5Z"));
    assert_eq!(event.label("namespace"), Some("shop"));
    assert_eq!(event.annotation("summary"), Some("Too many errors."));
    assert_eq!(event.external_url.expose(), fake.url);
    let group = event.group_key.as_str();
    assert!(group.starts_with("nightshift/reconciliation:"), "{group}");
}

#[tokio::test]
async fn what_is_known_young_or_suppressed_is_no_gap() {
    let fake = Fake::start().await;
    let with = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut alert = held(name);
        change(&mut alert);
        alert
    };
    let suppressed = |by: &str| json!({"state": "suppressed", by: ["x"]});
    fake.say(|says| {
        says.ours = vec![
            held("Control"),
            with("Silenced", &|a| a["status"] = suppressed("silencedBy")),
            with("Inhibited", &|a| a["status"] = suppressed("inhibitedBy")),
            with("Muted", &|a| {
                a["status"] = json!({"state": "active", "mutedBy": ["night"]});
            }),
            with("Unprocessed", &|a| {
                a["status"]["state"] = json!("unprocessed");
            }),
            with("Young", &|a| a["startsAt"] = json!("2026-11-20T11:59:45Z")),
            with("Future", &|a| a["startsAt"] = json!("2099-01-01T00:00:00Z")),
            with("Timeless", &|a| {
                a["startsAt"] = json!("0001-01-01T00:00:00Z");
            }),
            with("Nameless", &|a| a["fingerprint"] = json!("../../etc")),
            with("Known", &|a| a["fingerprint"] = json!("9226ed7d0febc033")),
            with("Ruled", &|a| a["fingerprint"] = json!("00000000000000aa")),
        ];
    });
    let started = start(&[&fake], |config| config.reconcile.every = Span::secs(3600));
    let world = &started.world;
    let mut incident = an_incident(1, IncidentStatus::Open);
    for member in incident.members.values_mut() {
        member.starts_at = at("2026-11-20T11:58:00.5Z");
    }
    keep(world, keys::incident(&id(1)), &incident).await;
    keep_ruling(world, "00000000000000aa", "firing", "11:58:00.5", None).await;
    until("a look", || looks(world, "complete") == 1).await;
    let names: Vec<String> = world
        .take()
        .await
        .iter()
        .map(|e| e.name().to_owned())
        .collect();
    assert_eq!(names, ["Control"]);
}

/// A ruling as triage keeps it.
async fn keep_ruling(world: &World, print: &str, status: &str, start: &str, end: Option<&str>) {
    let fingerprint = Fingerprint::from_stored(print);
    let day = |time: &str| at(&format!("2026-11-20T{time}Z"));
    let mut based_on = BTreeMap::from([
        (String::from("status"), status.to_owned()),
        (String::from("starts at"), day(start).to_string()),
    ]);
    if let Some(end) = end {
        based_on.insert(String::from("ends at"), day(end).to_string());
    }
    let made = day("11:59:00");
    let ruling = Ruling {
        event: EventKey::from_stored(format!("{print}{status}")),
        fingerprint: fingerprint.clone(),
        alert: String::new(),
        disposition: Disposition::Suppressed { incident: None },
        rule: String::from("test"),
        based_on,
        at: made,
    };
    let micros = made.as_microsecond();
    let key = format!(
        "{}{micros:020}-{}",
        keys::history(&fingerprint),
        ruling.event
    );
    keep(world, key, &ruling).await;
}

#[tokio::test]
async fn an_alert_that_was_told_to_have_ended_and_goes_on_fires_again() {
    let fake = Fake::start().await;
    let mut alert = held("HighErrorRate");
    alert["startsAt"] = json!("2026-11-20T11:40:00Z");
    let print = alert["fingerprint"].as_str().expect("text").to_owned();
    let mut late = held("DiskFull");
    late["startsAt"] = json!("2026-11-20T11:40:00Z");
    let late_print = late["fingerprint"].as_str().expect("text").to_owned();
    let started = start(&[&fake], |_| {});
    let world = &started.world;
    keep_ruling(world, &print, "firing", "11:40:00", None).await;
    keep_ruling(world, &print, "resolved", "11:40:00", Some("11:50:00")).await;
    // This end is younger than the look may judge.
    keep_ruling(world, &late_print, "resolved", "11:40:00", Some("11:59:50")).await;
    fake.say(|says| says.ours = vec![alert, late]);
    more_looks(world, 4).await;
    assert_eq!((filled(world, "refired"), world.held().await), (1, 1));
    let event = world.take().await.remove(0);
    assert_eq!(event.fingerprint.as_str(), print);
    assert_eq!(event.starts_at, at("2026-11-20T11:50:01Z"));
}

#[tokio::test]
async fn while_triage_is_behind_a_gap_may_be_on_its_way() {
    let fake = Fake::start().await;
    let started = start(&[&fake], |config| {
        config.reconcile.unruled_max = Span::secs(2);
    });
    let world = &started.world;
    let answer = world.post(body(&[alert("DiskFull")]).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    fake.say(|says| says.ours = vec![held("DiskFull")]);
    more_looks(world, 4).await;
    assert_eq!(filled(world, "missed"), 0);
    // Triage never comes to it.
    until("the gap is filled", || filled(world, "missed") == 1).await;
}

#[tokio::test]
async fn a_body_that_was_cut_short_calls_for_a_look() {
    let fake = Fake::start().await;
    let started = start(&[&fake], |config| {
        config.reconcile.every = Span::secs(3600);
        config.reconcile.settle = Span::secs(3600);
    });
    let world = &started.world;
    until("the look at the start", || looks(world, "complete") == 1).await;
    fake.say(|says| says.ours = vec![held("HighErrorRate"), held("DiskFull")]);
    let mut short = body(&[alert("HighErrorRate")]);
    short["truncatedAlerts"] = json!(1);
    assert_eq!(world.post(short.to_string()).await.status, StatusCode::OK);
    // Triage is quick.
    world.settle().await;
    until("what was cut off", || filled(world, "missed") >= 1).await;
    let names: BTreeSet<String> = world
        .take()
        .await
        .iter()
        .map(|e| e.name().to_owned())
        .collect();
    assert!(names.contains("DiskFull"), "{names:?}");
}

#[tokio::test]
async fn whatever_fails_nothing_is_stored_and_the_webhook_works() {
    let faults = [
        Fault::Status(500),
        Fault::Status(401),
        Fault::Status(302),
        Fault::Garbage,
        Fault::Huge,
        Fault::Hang,
    ];
    for fault in faults {
        let fake = Fake::start().await;
        fake.say(|says| {
            says.ours = vec![held("DiskFull")];
            says.fault = fault;
        });
        let started = start(&[&fake], |_| {});
        let world = &started.world;
        until("a failed look", || looks(world, "failed") >= 2).await;
        assert_eq!(
            looks(world, "complete") + looks(world, "partial"),
            0,
            "{fault:?}"
        );
        let answer = world
            .post(body(&[alert("HighErrorRate")]).to_string())
            .await;
        assert_eq!((answer.status, world.held().await), (StatusCode::OK, 1));
        fake.say(|says| says.fault = Fault::None);
        until("a good look", || looks(world, "complete") >= 1).await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_told() {
    let fake = Fake::start().await;
    fake.say(|says| says.receivers = vec!["pager"]);
    let started = start(&[&fake], |_| {});
    until("a failed look", || looks(&started.world, "failed") >= 1).await;
    assert_eq!(looks(&started.world, "complete"), 0);
}

#[tokio::test]
async fn one_peer_that_answers_is_enough_to_find_what_was_missed() {
    let (dead, fake) = (Fake::start().await, Fake::start().await);
    dead.say(|says| says.fault = Fault::Status(503));
    fake.say(|says| says.ours = vec![held("DiskFull")]);
    let started = start(&[&dead, &fake], |_| {});
    let world = &started.world;
    until("the gap is filled", || filled(world, "missed") == 1).await;
    assert_eq!(looks(world, "complete"), 0);
}

/// A silence may be known to one peer and not yet to the other.
#[tokio::test]
async fn what_one_peer_suppresses_is_no_gap() {
    let (one, other) = (Fake::start().await, Fake::start().await);
    one.say(|says| says.ours = vec![held("DiskFull")]);
    let mut silenced = held("DiskFull");
    silenced["status"] = json!({"state": "suppressed", "silencedBy": ["x"]});
    other.say(|says| says.ours = vec![silenced]);
    let started = start(&[&one, &other], |_| {});
    more_looks(&started.world, 3).await;
    assert_eq!(started.world.held().await, 0);
}

/// An old Alertmanager that mutes by time does not say whom.
#[tokio::test]
async fn what_may_be_muted_by_time_is_left_alone() {
    let fake = Fake::start().await;
    fake.say(|says| {
        says.ours = vec![held("DiskFull")];
        says.config = "route:\n  mute_time_intervals:\n  - night\n";
    });
    let started = start(&[&fake], |_| {});
    more_looks(&started.world, 3).await;
    assert_eq!(started.world.held().await, 0);
    assert_eq!(looks(&started.world, "complete"), 0);
    // A newer one says it.
    let mut clear = held("DiskFull");
    clear["status"]["mutedBy"] = json!([]);
    fake.say(|says| says.ours = vec![clear]);
    until("the gap is filled", || {
        filled(&started.world, "missed") == 1
    })
    .await;
}

/// An incident with one firing alert, known under this name.
async fn keep_open(world: &World) {
    let mut incident = an_incident(1, IncidentStatus::Open);
    for member in incident.members.values_mut() {
        member
            .labels
            .insert("alertname".into(), "HighErrorRate".into());
    }
    keep(world, keys::incident(&id(1)), &incident).await;
}

/// The alert of [`keep_open`] as Alertmanager shows it.
fn open_there() -> Value {
    let mut open = held("HighErrorRate");
    open["fingerprint"] = json!("9226ed7d0febc033");
    open["startsAt"] = json!("2026-11-20T11:58:00Z");
    open
}

#[tokio::test]
async fn an_alert_that_several_looks_miss_has_ended() {
    let fake = Fake::start().await;
    fake.say(|says| says.ours = vec![open_there()]);
    let started = start(&[&fake], |_| {});
    let world = &started.world;
    keep_open(world).await;
    more_looks(world, 4).await;
    assert_eq!(world.held().await, 0);
    fake.say(|says| says.ours.clear());
    until("the end is stored", || filled(world, "resolved") == 1).await;
    more_looks(world, 3).await;
    let events = world.take().await;
    assert_eq!(events.len(), 1, "once");
    let event = &events[0];
    assert_eq!(event.status, AlertStatus::Resolved);
    assert_eq!(event.starts_at, at("2026-11-20T11:58:00Z"));
    assert!(event.ends_at.expect("a time") >= at("2026-11-20T12:00:00Z"));
}

type Doubt<'a> = &'a dyn Fn(&mut Says);

/// Under each of these, what Alertmanager does not hold means nothing.
#[tokio::test]
async fn absence_counts_only_where_it_can_be_trusted() {
    let doubts: [(&str, Doubt<'_>); 5] = [
        ("restarted", &|says| says.started = "2026-11-20T11:58:00Z"),
        ("no start", &|says| says.started = ""),
        ("long memory", &|says| {
            says.config = "global:\n  resolve_timeout: 2h\n";
        }),
        ("settling", &|says| says.cluster = "settling"),
        ("held for another receiver", &|says| {
            says.others = vec![open_there()];
        }),
    ];
    for (what, doubt) in doubts {
        let fake = Fake::start().await;
        let started = start(&[&fake], |config| config.reconcile.resolve = Resolve::All);
        fake.say(|says| doubt(says));
        keep_open(&started.world).await;
        more_looks(&started.world, 7).await;
        assert_eq!(filled(&started.world, "resolved"), 0, "{what}");
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_a_witness_that_is_gone_and_a_stranger_hold_everything_back() {
    let (dead, fake) = (Fake::start().await, Fake::start().await);
    dead.say(|says| says.fault = Fault::Status(503));
    let all = |config: &mut Config| config.reconcile.resolve = Resolve::All;
    let started = start(&[&dead, &fake], all);
    keep_open(&started.world).await;
    more_looks(&started.world, 7).await;
    assert_eq!(filled(&started.world, "resolved"), 0, "a peer is silent");
    drop(started);

    let witness = |config: &mut Config| {
        config.reconcile.resolve = Resolve::All;
        config.reconcile.witness = Some(String::from("Watchdog"));
    };
    let started = start(&[&fake], witness);
    keep_open(&started.world).await;
    more_looks(&started.world, 7).await;
    assert_eq!(
        filled(&started.world, "resolved"),
        0,
        "nobody reports there"
    );
    fake.say(|says| says.others = vec![held("Watchdog")]);
    until("the end is stored", || {
        filled(&started.world, "resolved") == 1
    })
    .await;
    drop(started);

    // Never seen in this Alertmanager: another one may have sent it.
    let started = start(&[&fake], |_| {});
    keep_open(&started.world).await;
    more_looks(&started.world, 7).await;
    assert_eq!(filled(&started.world, "resolved"), 0, "never seen");
}
