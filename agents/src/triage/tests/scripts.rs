//! Stories of alerts, told in requests (separated by empty lines), with what came of them.

use std::fmt::Write as _;

use super::super::Config;
use super::world::{World, at, event, send};
use incident::ports::{AgentError, Store as _};
use incident::{IncidentId, Ruling, WorkItem, keys};
use runtime::config::ByteSize;

/// One line for each event, then one for each piece of work; incidents at the end. Incidents are
/// numbered in order of appearance.
async fn check(script: &str) -> String {
    check_with(Config::default(), script).await
}

async fn check_with(config: Config, script: &str) -> String {
    let world = World::with(config, None);
    let mut names = Vec::new();
    let mut out = String::new();
    for request in script.split("\n\n") {
        let lines = request
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let events: Vec<_> = lines.map(event).collect();
        let reply = world.send(&events).await;
        assert_eq!(
            reply.rulings.len(),
            events.len(),
            "one ruling for each event"
        );
        for ruling in &reply.rulings {
            writeln!(out, "{}", one_ruling(ruling, &mut names)).unwrap();
        }
        for item in &reply.work {
            writeln!(out, "  work: {}", one_item(item, &mut names)).unwrap();
        }
    }
    for incident in world.incidents().await.into_values() {
        let name = name(&incident.id, &mut names);
        let members: Vec<String> = incident
            .members
            .values()
            .map(|m| format!("{} {}", m.alert.one_line(40), m.status.as_str()))
            .collect();
        writeln!(
            out,
            "{name}: {} {} {} gen {} truncated {} left out {} [{}]",
            incident.subject.display(),
            incident.severity,
            incident.status,
            incident.generation,
            incident.truncated,
            incident.members_left_out,
            members.join(", ")
        )
        .unwrap();
    }
    out
}

fn name(id: &IncidentId, names: &mut Vec<IncidentId>) -> String {
    let known = names.iter().position(|known| known == id);
    let number = known.unwrap_or_else(|| {
        names.push(id.clone());
        names.len() - 1
    });
    format!("I{}", number + 1)
}

fn one_ruling(ruling: &Ruling, names: &mut Vec<IncidentId>) -> String {
    let incident = ruling.disposition.incident();
    let incident = incident.map_or_else(|| String::from("-"), |id| name(id, names));
    format!("{} {} {incident}", ruling.rule, ruling.disposition.label())
}

fn one_item(item: &WorkItem, names: &mut Vec<IncidentId>) -> String {
    let incident = name(&item.incident, names);
    format!(
        "{} {incident} gen {} {}",
        item.step, item.generation, item.severity
    )
}

#[tokio::test(start_paused = true)]
async fn one_alert_from_first_to_last() {
    let out = check(
        "firing Errors service=shop from=0

         resolved Errors service=shop from=0 to=5",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 warning
    resolved resolved I1
      work: close I1 gen 0 warning
    I1: shop warning resolved gen 0 truncated 0 left out 0 [Errors resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn the_same_alert_by_two_routes_counts_once() {
    let out = check(
        "firing Errors service=shop from=0 group=a

         firing Errors service=shop from=0 group=b

         firing Errors service=shop from=0 group=a

         resolved Errors service=shop from=0 to=5 group=b

         resolved Errors service=shop from=0 to=5 group=a",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 warning
    same-alert suppressed I1
    open opened I1
      work: investigate I1 gen 0 warning
    resolved resolved I1
      work: close I1 gen 0 warning
    same-alert suppressed I1
    I1: shop warning resolved gen 0 truncated 0 left out 0 [Errors resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_not_raised_by_its_own_past() {
    let out = check(
        "resolved Errors service=shop from=0 to=5

         firing Errors service=shop from=0

         firing Errors service=shop from=6",
    )
    .await;
    insta::assert_snapshot!(out, @"
    resolved resolved -
    stale suppressed -
    open opened I1
      work: investigate I1 gen 0 warning
    I1: shop warning open gen 0 truncated 0 left out 0 [Errors firing]
    ");
}

#[tokio::test(start_paused = true)]
async fn a_start_corrected_backwards_still_resolves() {
    let out = check(
        "firing Errors service=shop from=2

         firing Errors service=shop from=1

         resolved Errors service=shop from=1 to=9",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 warning
    stale suppressed I1
    resolved resolved I1
      work: close I1 gen 0 warning
    I1: shop warning resolved gen 0 truncated 0 left out 0 [Errors resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn firing_again_soon_opens_the_same_incident() {
    let out = check(
        "firing Errors service=shop from=0

         resolved Errors service=shop from=0 to=5

         firing Errors service=shop from=19

         resolved Errors service=shop from=19 to=21

         firing Errors service=shop from=40",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 warning
    resolved resolved I1
      work: close I1 gen 0 warning
    refire attached I1
      work: investigate I1 gen 1 warning
    resolved resolved I1
      work: close I1 gen 1 warning
    open opened I2
      work: investigate I2 gen 0 warning
    I2: shop warning open gen 0 truncated 0 left out 0 [Errors firing]
    I1: shop warning resolved gen 1 truncated 0 left out 0 [Errors resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn owners_meet_and_strangers_do_not() {
    let out = check(
        "firing Crash namespace=pay pod=checkout-7d9c5b6f4-b81kq job=kube-state-metrics from=0
         firing Crash namespace=pay pod=checkout-7d9c5b6f4-x2x7p job=kube-state-metrics from=1
         firing Errors namespace=pay service=checkout from=2
         firing Replicas namespace=pay deployment=checkout instance=ksm:8080 from=3
         firing Crash namespace=pay pod=ledger-0 service=kps-kube-state-metrics from=0
         firing Crash namespace=web pod=checkout-7d9c5b6f4-b81kq from=0
         firing Crash namespace=pay pod=checkout-7d9c5b6f4-b81kq cluster=b from=0
         firing Disk instance=node-1:9100 job=node-exporter pod=node-exporter-x2x7p namespace=mon from=0
         firing Disk instance=node-2:9100 job=node-exporter pod=node-exporter-zz4rm namespace=mon from=0
         firing Slow job=api instance=10.0.0.1:80 from=0
         firing Slow job=api instance=10.0.0.2:80 from=0
         firing NotReady node=n7 job=kube-state-metrics from=0
         firing Budget namespace=default from=0",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
    group attached I1
    owner attached I1
    owner attached I1
    open opened I2
    open opened I3
    open opened I4
    open opened I5
    open opened I6
    group attached I7
    open opened I7
    open opened I8
    open opened I9
      work: investigate I8 gen 0 warning
      work: investigate I3 gen 0 warning
      work: investigate I9 gen 0 warning
      work: investigate I7 gen 0 warning
      work: investigate I1 gen 0 warning
      work: investigate I6 gen 0 warning
      work: investigate I5 gen 0 warning
      work: investigate I4 gen 0 warning
      work: investigate I2 gen 0 warning
    I8: n7 warning open gen 0 truncated 0 left out 0 [NotReady firing]
    I3: web/checkout warning open gen 0 truncated 0 left out 0 [Crash firing]
    I9: default/Budget warning open gen 0 truncated 0 left out 0 [Budget firing]
    I7: api warning open gen 0 truncated 0 left out 0 [Slow firing, Slow firing]
    I1: pay/checkout warning open gen 0 truncated 0 left out 0 [Crash firing, Replicas firing, Errors firing, Crash firing]
    I6: node-2 warning open gen 0 truncated 0 left out 0 [Disk firing]
    I5: node-1 warning open gen 0 truncated 0 left out 0 [Disk firing]
    I4: pay/checkout warning open gen 0 truncated 0 left out 0 [Crash firing]
    I2: pay/ledger warning open gen 0 truncated 0 left out 0 [Crash firing]
    ");
}

#[tokio::test(start_paused = true)]
async fn other_names_belong_together_within_the_window_only() {
    let out = check(
        "firing Errors service=shop from=0

         firing Slow service=shop from=9

         firing Memory service=shop from=18

         firing Disk service=shop from=60

         firing Errors service=shop pod=a from=90",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 warning
    owner attached I1
    owner attached I1
    open opened I2
      work: investigate I2 gen 0 warning
    group attached I1
    I2: shop warning open gen 0 truncated 0 left out 0 [Disk firing]
    I1: shop warning open gen 0 truncated 0 left out 0 [Slow firing, Errors firing, Errors firing, Memory firing]
    ");
}

#[tokio::test(start_paused = true)]
async fn a_more_severe_alert_calls_again_in_its_lane() {
    let out = check(
        "firing Slow service=shop severity=info from=0

         firing Errors service=shop severity=critical from=1

         firing Memory service=shop severity=warning from=2",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 info
    owner attached I1
      work: investigate I1 gen 0 critical
    owner attached I1
    I1: shop critical open gen 0 truncated 0 left out 0 [Errors firing, Slow firing, Memory firing]
    ");
}

#[tokio::test(start_paused = true)]
async fn a_truncated_group_is_not_believed() {
    let out = check(
        "firing Disk instance=n1 group=g truncated=3 received=0 from=0
         firing Disk instance=n2 group=g truncated=3 received=0 from=0

         resolved Disk instance=n1 group=g truncated=3 received=5 from=0 to=5

         firing Inode instance=n1 group=g truncated=0 received=10 from=0",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
    open opened I2
      work: investigate I2 gen 0 warning
      work: investigate I1 gen 0 warning
    resolved resolved I1
      work: close I1 gen 0 warning
    refire attached I1
      work: investigate I1 gen 1 warning
    I2: n2 warning open gen 0 truncated 3 left out 0 [Disk firing]
    I1: n1 warning open gen 1 truncated 0 left out 0 [Inode firing, Disk resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn members_are_bounded_and_the_most_severe_stay() {
    let config = Config {
        members_max: 2,
        ..Config::default()
    };
    let out = check_with(
        config,
        "firing A service=shop severity=warning from=1
         firing B service=shop severity=info from=0
         firing C service=shop severity=critical from=2
         firing D service=shop severity=info from=3

         resolved A service=shop severity=warning from=1 to=5
         resolved B service=shop severity=info from=0 to=5
         resolved C service=shop severity=critical from=2 to=5

         resolved D service=shop severity=info from=3 to=6",
    )
    .await;
    insta::assert_snapshot!(out, @"
    owner attached I1
    open opened I1
    owner attached I1
    owner attached I1
      work: investigate I1 gen 0 critical
    resolved resolved I1
    resolved resolved I1
    resolved resolved I1
    resolved resolved I1
      work: close I1 gen 0 critical
    I1: shop critical resolved gen 0 truncated 0 left out 2 [A resolved, C resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn an_owner_with_many_open_incidents_gets_no_more() {
    let config = Config {
        incidents_per_owner_max: 2,
        ..Config::default()
    };
    let out = check_with(
        config,
        "firing A service=shop from=0

         firing B service=shop from=60

         firing C service=shop from=120

         resolved A service=shop from=0 to=121

         firing D service=shop from=180",
    )
    .await;
    insta::assert_snapshot!(out, @"
    open opened I1
      work: investigate I1 gen 0 warning
    open opened I2
      work: investigate I2 gen 0 warning
    crowded attached I2
    resolved resolved I1
      work: close I1 gen 0 warning
    open opened I3
      work: investigate I3 gen 0 warning
    I3: shop warning open gen 0 truncated 0 left out 0 [D firing]
    I2: shop warning open gen 0 truncated 0 left out 0 [B firing, C firing]
    I1: shop warning resolved gen 0 truncated 0 left out 0 [A resolved]
    ");
}

#[tokio::test(start_paused = true)]
async fn large_texts_do_not_outgrow_the_store() {
    let config = Config {
        members_size_max: ByteSize::kib(64),
        ..Config::default()
    };
    let world = World::with(config, None);
    let events: Vec<_> = (0..100)
        .map(|n| {
            let mut event = event(&format!("firing A service=shop pod=p{n} from=0"));
            for m in 0..100 {
                event
                    .annotations
                    .insert(format!("a{m}"), "ü".repeat(10_000).into());
            }
            event
        })
        .collect();
    world.send(&events).await;
    let incidents = world.incidents().await;
    let incident = incidents.values().next().unwrap();
    assert_eq!(incident.members.len(), 1, "one always stays");
    assert_eq!(incident.members_left_out, 99);
    let size = serde_json::to_vec(incident).unwrap().len();
    assert!(size < 512 * 1024, "{size} bytes");
}

#[tokio::test(start_paused = true)]
async fn every_ruling_is_found_again_with_its_history() {
    let world = World::new();
    let story = [
        "firing A service=shop from=0",
        "resolved A service=shop from=0 to=5",
    ];
    for line in story {
        world.send(&[event(line)]).await;
        tokio::time::advance(std::time::Duration::from_millis(7)).await;
    }
    let print = event(story[0]).fingerprint;
    let history = world
        .store
        .list(&keys::history(&print), None, 10)
        .await
        .unwrap();
    let rules: Vec<String> = history
        .iter()
        .map(|(_, stored)| {
            serde_json::from_slice::<Ruling>(&stored.value)
                .unwrap()
                .rule
        })
        .collect();
    assert_eq!(rules, ["open", "resolved"]);
    let stored = world
        .store
        .get(&keys::ruling(&event(story[1]).key))
        .await
        .unwrap()
        .unwrap();
    let mut ruling: Ruling = serde_json::from_slice(&stored.value).unwrap();
    ruling.at = at(0.0);
    insta::assert_json_snapshot!(ruling, @r#"
    {
      "event": "395d8eb88b49e043dddf411d39d87265",
      "fingerprint": "6d42acaecfaa3d19",
      "alert": "A",
      "disposition": "resolved",
      "incident": "inc-a749309513e9",
      "rule": "resolved",
      "based_on": {
        "ends at": "2026-11-20T10:05:00Z",
        "incident": "inc-a749309513e9: open, 1 of 1 alerts firing, since 2026-11-20T10:00:00Z",
        "incidents of the owner": "1 open, 1 remembered",
        "known of the alert": "firing since 2026-11-20T10:00:00Z, started 2026-11-20T10:00:00Z",
        "starts at": "2026-11-20T10:00:00Z",
        "status": "resolved"
      },
      "at": "2026-11-20T10:00:00Z"
    }
    "#);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_refused_or_rejected() {
    let world = World::new();
    let good = event("firing A service=shop from=0");
    let mut odd = event("firing B service=shop from=0");
    odd.fingerprint = incident::Fingerprint::from_stored("../incident/x");
    let reply = world.send(&[good.clone(), odd]).await;
    let labels: Vec<&str> = reply
        .rulings
        .iter()
        .map(|r| r.disposition.label())
        .collect();
    assert_eq!(labels, ["opened", "rejected"]);

    let mut refused = good.clone();
    refused.key = incident::EventKey::from_stored("no/key");
    let error = send(&world.agent, &world.clock, &[refused])
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @r#"
    triage-agent refused the task: E-TRIAGE-004: event key "no/key" is no digest of lower-case hex digits; the sender has to correct it
    "#);

    let many = vec![good.clone(); 1001];
    let error = send(&world.agent, &world.clock, &many).await.unwrap_err();
    insta::assert_snapshot!(error, @"
    triage-agent refused the task: E-TRIAGE-003: the request has 1001 events, the limit triage.events_max is 1000; send fewer
    ");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_no_refusal() {
    let world = World::new();
    world.store.inner.set_down(true);
    let good = event("firing A service=shop from=0");
    let error = send(&world.agent, &world.clock, std::slice::from_ref(&good))
        .await
        .unwrap_err();
    assert!(matches!(error, AgentError::Failed { .. }), "{error}");
    world.store.inner.set_down(false);
    assert_eq!(world.send(&[good]).await.rulings[0].rule, "open");
}

#[tokio::test(start_paused = true)]
async fn dispositions_add_up() {
    let world = World::new();
    let lines = [
        "firing A service=shop from=0",
        "firing A service=shop from=0 group=b",
        "resolved A service=shop from=0 to=5",
        "resolved Z service=shop from=0 to=5",
    ];
    world.send(&lines.map(event)).await;
    world.send(&lines.map(event)).await;
    let text = world.metrics.render();
    let mut counts: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    counts.sort_unstable();
    insta::assert_snapshot!(counts.join("\n"), @r#"
    nightshift_dispositions_total{disposition="opened",rule="open"} 1
    nightshift_dispositions_total{disposition="resolved",rule="resolved"} 2
    nightshift_dispositions_total{disposition="suppressed",rule="same-alert"} 1
    nightshift_triage_events_ruled_before_total 4
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_storm_from_one_cause_is_one_incident() {
    let world = World::new();
    let line = |n: usize| {
        let hash = ["7d9c5b6f4", "6b8d9c7f5d"][n % 2];
        let what = format!("A{} namespace=pay pod=checkout-{hash}-x{:04}", n % 5, n);
        event(&format!("firing {what} from={}", n % 9))
    };
    let events: Vec<_> = (0..600).map(line).collect();
    let mut work = Vec::new();
    for request in events.chunks(64) {
        work.extend(world.send(request).await.work);
    }
    let incidents = world.incidents().await;
    assert_eq!(incidents.len(), 1);
    let incident = incidents.values().next().unwrap();
    assert_eq!(
        (incident.members.len(), incident.members_left_out),
        (500, 100)
    );
    assert_eq!(work.len(), 1, "{work:?}");
}
