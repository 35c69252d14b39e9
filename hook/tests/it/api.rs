//! Incidents and rulings.

use std::collections::{BTreeMap, BTreeSet};

use incident::alert::AlertStatus;
use incident::diagnosis::Diagnosis;
use incident::incident::Member;
use incident::ports::{Expect, Put, Store};
use incident::proposal::{ChangeKind, ChangeRequest, Preview};
use incident::report::{ChangeOutcome, VERSION};
use incident::{
    Disposition, EventKey, Fingerprint, Incident, IncidentId, IncidentStatus, Proposal, Report,
    Ruling, Severity, Subject, Verdict, keys,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::world::World;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub(crate) fn id(n: u64) -> IncidentId {
    IncidentId::parse(&format!("inc-{n:012x}")).expect("an id")
}

pub(crate) fn an_incident(n: u64, status: IncidentStatus) -> Incident {
    let started_at = at("2026-11-20T11:58:00Z");
    let member = Member {
        status: AlertStatus::Firing,
        alert: "HighErrorRate <b>".into(),
        severity: Severity::Critical,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        generator_url: "".into(),
        starts_at: started_at,
        ends_at: None,
    };
    Incident {
        id: id(n),
        correlation: "shop/checkout".into(),
        subject: subject(),
        severity: Severity::Critical,
        status,
        members: BTreeMap::from([(Fingerprint::from_stored("9226ed7d0febc033"), member)]),
        members_left_out: 4,
        groups: BTreeSet::new(),
        truncated: 0,
        started_at,
        opened_at: started_at,
        resolved_at: None,
        generation: 1,
    }
}

fn subject() -> Subject {
    Subject {
        kind: "service".into(),
        name: "checkout".into(),
        namespace: Some("shop".into()),
        cluster: None,
    }
}

pub(crate) fn a_proposal(n: u64, diff: &str) -> Proposal {
    Proposal {
        request: ChangeRequest {
            incident: id(n),
            kind: ChangeKind::Revert,
            repository: "shop".into(),
            commit: "c0ffee".into(),
        },
        preview: Preview {
            base: "main".into(),
            base_commit: "beef".into(),
            diff: diff.into(),
            files: vec!["config.toml".into()],
            lines: 2,
        },
        title: "Revert".into(),
        body: String::new(),
        evidence: Vec::new(),
        risk: String::new(),
        undo: String::new(),
    }
}

pub(crate) fn a_report(n: u64, change: ChangeOutcome) -> Report {
    Report {
        version: VERSION,
        incident: id(n),
        title: "HighErrorRate on shop/checkout".into(),
        subject: subject(),
        severity: Severity::Critical,
        status: IncidentStatus::Open,
        alerts: 5,
        started_at: at("2026-11-20T11:58:00Z"),
        resolved_at: None,
        impact: Vec::new(),
        cause: Vec::new(),
        diagnosis: Diagnosis {
            verdict: Verdict::Likely,
            hypotheses: Vec::new(),
            ruled_out: Vec::new(),
            gaps: Vec::new(),
            next_checks: Vec::new(),
            onset: None,
        },
        timeline: Vec::new(),
        next_steps: Vec::new(),
        change,
        evidence: Vec::new(),
        partial: false,
        model: None,
        written_at: at("2026-11-20T12:00:00Z"),
    }
}

pub(crate) fn awaiting(n: u64, diff: &str) -> ChangeOutcome {
    ChangeOutcome::AwaitingApproval {
        proposal: a_proposal(n, diff),
    }
}

pub(crate) async fn keep(world: &World, key: String, value: &impl Serialize) {
    let bytes = serde_json::to_vec(value).expect("JSON");
    world
        .store
        .put(Put::new(key, bytes, Expect::Any))
        .await
        .expect("it is up");
}

pub(crate) async fn keep_incident(world: &World, n: u64, status: IncidentStatus) {
    keep(world, keys::incident(&id(n)), &an_incident(n, status)).await;
}

#[tokio::test(start_paused = true)]
async fn a_summary_joins_incident_and_report() {
    let world = World::new();
    keep_incident(&world, 1, IncidentStatus::Open).await;
    keep_incident(&world, 2, IncidentStatus::Open).await;
    keep(&world, keys::report(&id(2)), &a_report(2, awaiting(2, "d"))).await;
    let answer = world.get("/api/v1/incidents").await.json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer).expect("JSON"));
}

#[tokio::test(start_paused = true)]
async fn pages_follow_one_another_and_filter() {
    let world = World::new();
    for n in 0..450 {
        let status = if n % 3 == 0 {
            IncidentStatus::Resolved
        } else {
            IncidentStatus::Open
        };
        keep_incident(&world, n, status).await;
    }
    for (filter, expect) in [("", 450), ("&status=open", 300), ("&status=resolved", 150)] {
        let (mut seen, mut after) = (BTreeSet::new(), String::new());
        loop {
            let page = world
                .get(&format!("/api/v1/incidents?limit=70{filter}{after}"))
                .await
                .json();
            let incidents = page["incidents"].as_array().expect("a page");
            assert!(incidents.len() <= 70);
            for one in incidents {
                assert!(
                    seen.insert(one["id"].as_str().expect("an id").to_owned()),
                    "{one} twice"
                );
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), expect, "{filter}");
    }
}

#[tokio::test(start_paused = true)]
async fn looking_through_the_store_is_bounded() {
    let world = World::with(|config| config.scan_max = 5);
    for n in 0..12 {
        keep_incident(&world, n, IncidentStatus::Open).await;
    }
    let page = world.get("/api/v1/incidents?status=resolved").await.json();
    assert_eq!(page["incidents"], json!([]));
    assert_eq!(
        page["next"],
        id(4).as_str(),
        "the next page goes on from there"
    );
}

#[tokio::test(start_paused = true)]
async fn questions_that_make_no_sense_are_refused() {
    let world = World::new();
    for (path, brief) in [
        ("/api/v1/incidents?limit=0", "400 E-HOOK-015 limit"),
        ("/api/v1/incidents?limit=201", "400 E-HOOK-015 limit"),
        ("/api/v1/incidents?limit=x", "400 E-HOOK-015 query"),
        ("/api/v1/incidents?status=closed", "400 E-HOOK-015 query"),
        ("/api/v1/incidents?stat=open", "400 E-HOOK-015 query"),
        ("/api/v1/incidents?after=../x", "400 E-HOOK-015 id"),
        ("/api/v1/incidents/%ff", "400 E-HOOK-015 path"),
        ("/api/v1/incidents/inc-1", "400 E-HOOK-015 id"),
        ("/api/v1/incidents/inc-0123456789ab", "404 E-HOOK-014 path"),
        ("/incidents/inc-0123456789ab", "404 E-HOOK-014 path"),
        ("/api/v1/alerts/xyz/rulings", "400 E-HOOK-015 fingerprint"),
        (
            "/api/v1/alerts/9226ed7d0febc033/rulings",
            "404 E-HOOK-014 path",
        ),
    ] {
        assert_eq!(world.get(path).await.brief(), brief, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_broken_hides_nothing_else() {
    let world = World::new();
    keep_incident(&world, 1, IncidentStatus::Open).await;
    keep(&world, keys::incident(&id(2)), &"no incident").await;
    keep_incident(&world, 3, IncidentStatus::Open).await;
    keep(&world, keys::report(&id(3)), &"no report").await;
    let page = world.get("/api/v1/incidents").await.json();
    assert_eq!(page["incidents"].as_array().map(Vec::len), Some(2));
    assert_eq!(page["unreadable"], json!([keys::incident(&id(2))]));
    let one = world.get(&format!("/api/v1/incidents/{}", id(2))).await;
    assert_eq!(one.brief(), "500 E-STORE-005 ");
    world.store.set_down(true);
    assert_eq!(
        world.get("/api/v1/incidents").await.brief(),
        "503 E-STORE-004 "
    );
}

#[tokio::test(start_paused = true)]
async fn one_incident_comes_with_its_report() {
    let world = World::new();
    keep_incident(&world, 1, IncidentStatus::Open).await;
    let path = format!("/api/v1/incidents/{}", id(1));
    let shown = world.get(&path).await.json();
    assert_eq!(
        (&shown["incident"]["id"], &shown["report"]),
        (&json!(id(1)), &json!(null))
    );
    keep(&world, keys::report(&id(1)), &a_report(1, awaiting(1, "d"))).await;
    let shown = world.get(&path).await.json();
    assert_eq!(shown["report"]["change"]["state"], "awaiting_approval");
}

#[tokio::test(start_paused = true)]
async fn the_page_may_do_nothing_but_be_read() {
    let world = World::new();
    keep_incident(&world, 1, IncidentStatus::Open).await;
    let path = format!("/incidents/{}", id(1));
    let page = world.get(&path).await;
    assert!(
        page.text()
            .contains("HighErrorRate &lt;b&gt; on shop/checkout"),
        "{}",
        page.text()
    );
    keep(&world, keys::report(&id(1)), &a_report(1, awaiting(1, "d"))).await;
    let page = world.get(&path).await;
    assert_eq!(page.text(), "<!doctype html><p>30</p>");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'; ")
    );
    assert!(!page.header("content-security-policy").contains("script"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
}

#[tokio::test(start_paused = true)]
async fn rulings_are_the_newest_and_the_current_one() {
    let world = World::with(|config| config.page_max = 3);
    let fingerprint = Fingerprint::from_stored("9226ed7d0febc033");
    for n in 0..450 {
        let ruling = Ruling {
            event: EventKey::from_stored(format!("event{n}")),
            fingerprint: fingerprint.clone(),
            alert: "HighErrorRate".into(),
            disposition: Disposition::Opened { incident: id(n) },
            rule: "new".into(),
            based_on: BTreeMap::new(),
            at: at("2026-11-20T12:00:00Z"),
        };
        let key = format!("{}{n:06}", keys::history(&fingerprint));
        keep(&world, key, &ruling).await;
    }
    let answer = world
        .get("/api/v1/alerts/9226ED7D0FEBC033/rulings")
        .await
        .json();
    assert_eq!(answer["left_out"], 447);
    let history = answer["history"].as_array().expect("a history");
    let events: Vec<&str> = history.iter().filter_map(|r| r["event"].as_str()).collect();
    assert_eq!(events, ["event447", "event448", "event449"]);
    assert_eq!(answer["current"]["event"], "event449");
    assert_eq!(answer["current"]["disposition"], "opened");
}
