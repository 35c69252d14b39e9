//! Dead letters: read by whoever may call, changed only by a person's signed order.

use std::time::Duration;

use incident::approval::ApprovalKey;
use incident::order::{Action, Order, SignedOrder};
use incident::ports::{Cause, Clock as _, Entry, Stream};
use incident::{Severity, Step, WorkItem};
use jiff::SignedDuration;

use crate::api::id;
use crate::faulty::{Fault, Faulty};
use crate::world::{Answer, KEY, World};

async fn bury(stream: &Faulty, key: &str, payload: impl Into<Vec<u8>>, code: &str) {
    let entry = Entry {
        key: key.into(),
        payload: payload.into(),
    };
    stream.append(vec![entry]).await.expect("it is up");
    let claimed = stream.claim(1, Duration::ZERO).await.expect("it is up");
    let cause = Cause {
        code: code.into(),
        text: format!("because\u{202e} of {key}\n\u{1b}[31m"),
    };
    stream
        .bury(&claimed[0].lease, &cause)
        .await
        .expect("it is held");
}

/// Two events and a piece of work were given up.
async fn world() -> World {
    let world = World::with(|config| config.page_max = 40);
    bury(&world.events, "e1", "not \u{1b}[2J JSON", "E-A-001").await;
    bury(&world.events, "e2", "{}", "E-A-002").await;
    let item = WorkItem {
        incident: id(1),
        severity: Severity::Critical,
        generation: 1,
        step: Step::Investigate,
    };
    let item = serde_json::to_vec(&item).expect("plain text");
    bury(&world.critical, "w1", item, "E-A-001").await;
    world
}

async fn names(world: &World, query: &str) -> String {
    let page = world.get(&format!("/api/v1/dlq{query}")).await;
    let json = page.json();
    let Some(letters) = json["letters"].as_array() else {
        return page.brief();
    };
    let names: Vec<&str> = letters
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    format!(
        "{} of {}, next {}",
        names.join(" "),
        json["total"],
        json["next"]
    )
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_in_pages_and_filtered() {
    let world = world().await;
    for (query, expect) in [
        ("", "events/1 events/2 critical/1 of 3, next null"),
        ("?limit=2", "events/1 events/2 of 3, next \"critical/\""),
        ("?limit=2&after=critical/", "critical/1 of 3, next null"),
        ("?limit=1", "events/1 of 3, next \"events/1\""),
        (
            "?limit=1&after=events/1",
            "events/2 of 3, next \"critical/\"",
        ),
        ("?stream=events", "events/1 events/2 of 2, next null"),
        ("?code=E-A-001", "events/1 critical/1 of 3, next null"),
        ("?stream=critical&code=E-A-002", " of 1, next null"),
        ("?stream=info", " of 0, next null"),
        ("?stream=nope", "400 E-HOOK-015 stream"),
        ("?after=nope/1", "400 E-HOOK-015 after"),
        ("?limit=0", "400 E-HOOK-015 limit"),
        ("?limit=41", "400 E-HOOK-015 limit"),
        ("?colour=red", "400 E-HOOK-015 query"),
    ] {
        assert_eq!(names(&world, query).await, expect, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_letters_than_one_look_takes() {
    let world = World::with(|config| config.scan_max = 20);
    for n in 0..50 {
        let code = if n % 25 == 24 { "E-RARE" } else { "E-OFTEN" };
        bury(&world.events, &format!("k{n}"), "{}", code).await;
    }
    // A page may be empty and still not be the last.
    let (mut seen, mut pages, mut query) = (Vec::new(), 0, String::new());
    loop {
        let page = world
            .get(&format!("/api/v1/dlq?code=E-RARE{query}"))
            .await
            .json();
        let rows = page["letters"].as_array().expect("a page").iter();
        seen.extend(rows.map(|row| row["id"].as_str().expect("an id").to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => query = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec!["25".to_owned(), "50".to_owned()], 3));
    let far = world.get("/api/v1/dlq/events/50").await;
    assert_eq!(far.brief(), "400 E-HOOK-015 id", "{}", far.text());
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_cannot_write_to_a_terminal() {
    let world = world().await;
    let shown = world.get("/api/v1/dlq/events/1").await.json();
    insta::assert_json_snapshot!(shown, @r#"
    {
      "about": "unreadable: not [2J JSON",
      "appended_at": "2026-11-20T12:00:00Z",
      "attempts": 1,
      "buried_at": "2026-11-20T12:00:00Z",
      "first": null,
      "id": "1",
      "key": "e1",
      "last": {
        "code": "E-A-001",
        "text": "because of e1 [31m"
      },
      "name": "events/1",
      "payload": "not \u001b[2J JSON",
      "payload_bytes": 13,
      "stream": "events"
    }
    "#);
    let work = world.get("/api/v1/dlq/critical/1").await.json();
    assert_eq!(work["about"], "investigate inc-000000000001");
    for (path, brief) in [
        ("/api/v1/dlq/events/3", "404 E-HOOK-014 path"),
        ("/api/v1/dlq/nope/1", "400 E-HOOK-015 stream"),
        ("/api/v1/dlq/events/%ff", "400 E-HOOK-015 path"),
        ("/api/v1/dlq/events", "404 E-HOOK-014 path"),
    ] {
        assert_eq!(world.get(path).await.brief(), brief, "{path}");
    }
}

fn order(world: &World, action: Action, change: impl FnOnce(&mut Order)) -> SignedOrder {
    let mut order = Order {
        action,
        stream: "events".into(),
        letter: "1".into(),
        person: "ana".into(),
        expires_at: world.clock.now() + SignedDuration::from_mins(5),
    };
    change(&mut order);
    order.sign(&ApprovalKey::new(KEY).expect("long enough"))
}

async fn send(world: &World, order: &SignedOrder) -> Answer {
    let body = serde_json::to_vec(order).expect("JSON");
    world.post_to("/api/v1/dlq/events/1", body).await
}

#[tokio::test(start_paused = true)]
async fn an_order_is_carried_out_once() {
    for (action, held) in [(Action::Redrive, 1), (Action::Drop, 0)] {
        let world = world().await;
        let order = order(&world, action, |_| {});
        let first = send(&world, &order).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(world.held().await, held);
        assert_eq!(send(&world, &order).await.brief(), "404 E-HOOK-014 path");
        assert_eq!(world.held().await, held);
        assert_eq!(
            names(&world, "?stream=events").await,
            "events/2 of 1, next null"
        );
        let line =
            format!("nightshift_hook_dead_letters_total{{stream=\"events\",action=\"{action}\"}}");
        assert_eq!(world.count(&line), 1, "{}", world.metrics.render());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_good_order_changes_nothing() {
    let world = world().await;
    let mut forged = order(&world, Action::Redrive, |_| {});
    forged.order.action = Action::Drop;
    let signed = |change: fn(&mut Order)| order(&world, Action::Drop, change);
    for (order, brief) in [
        (forged, "403 E-HOOK-016 signature"),
        (
            signed(|o| o.expires_at -= SignedDuration::from_mins(5)),
            "403 E-HOOK-016 expires_at",
        ),
        (
            signed(|o| o.expires_at += SignedDuration::from_hours(1)),
            "403 E-HOOK-016 expires_at",
        ),
        (signed(|o| o.letter = "2".into()), "400 E-HOOK-015 letter"),
        (
            signed(|o| o.stream = "critical".into()),
            "400 E-HOOK-015 letter",
        ),
    ] {
        let answer = send(&world, &order).await;
        assert_eq!(answer.brief(), brief, "{}", answer.text());
    }
    for body in ["", "{}", "yes"] {
        let answer = world.post_to("/api/v1/dlq/events/1", body).await;
        assert_eq!(answer.brief(), "400 E-HOOK-015 body");
    }
    let long = world
        .post_to("/api/v1/dlq/events/1", "x".repeat(9000))
        .await;
    assert_eq!(long.brief(), "413 E-HOOK-007 body");
    assert_eq!(world.held().await, 0);
    assert!(names(&world, "").await.ends_with("of 3, next null"));
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_full_or_down_are_told() {
    let world = world().await;
    world.events.set(Fault::Unavailable);
    let answer = world.get("/api/v1/dlq").await;
    assert_eq!(answer.brief(), "503 E-STREAM-004 ");
    let order = order(&world, Action::Redrive, |_| {});
    assert_eq!(send(&world, &order).await.brief(), "503 E-STREAM-004 ");
    world.events.set(Fault::Full);
    assert_eq!(send(&world, &order).await.brief(), "503 E-STREAM-002 ");
    world.events.set(Fault::Hang);
    assert_eq!(send(&world, &order).await.brief(), "503 E-HOOK-012 ");
    world.events.set(Fault::None);
    assert_eq!(
        names(&world, "?stream=events").await,
        "events/1 events/2 of 2, next null"
    );
}
