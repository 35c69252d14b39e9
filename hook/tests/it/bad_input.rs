//! Every row of docs/bad-input.md that a body can cause.

use axum::body::Body;
use axum::http::Request;
use hook::NOTE;
use incident::AlertEvent;
use serde_json::{Value, json};

use crate::faulty::Fault;
use crate::world::{World, alert, body};

/// The body is refused for good, counted, and nothing is stored.
async fn refused(sent: impl Into<Body>, brief: &str, reason: &str) {
    let world = World::new();
    let answer = world.post(sent).await;
    assert_eq!(answer.brief(), brief, "{}", answer.text());
    let json = answer.json();
    for field in ["message", "remedy"] {
        assert!(
            json[field].as_str().is_some_and(|text| !text.is_empty()),
            "{json}"
        );
    }
    assert_eq!(
        answer.header("retry-after"),
        "",
        "a refusal asks for no other try"
    );
    let line = format!("nightshift_hook_rejected_total{{reason=\"{reason}\"}}");
    assert_eq!(world.count(&line), 1, "{line}");
    assert_eq!(world.held().await, 0);
}

/// The alert is stored; returns it with the note it carries.
async fn stored(alert: Value) -> (AlertEvent, String) {
    let world = World::new();
    let answer = world.post(body(&[alert]).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let event = world.take().await.remove(0);
    let note = event.annotation(NOTE).unwrap_or_default().to_owned();
    (event, note)
}

fn change(mut value: Value, field: &str, to: Value) -> String {
    value[field] = to;
    value.to_string()
}

fn good() -> Value {
    body(&[alert("A")])
}

fn alert_with(field: &str, to: Value) -> Value {
    let mut value = alert("A");
    value[field] = to;
    value
}

#[tokio::test(start_paused = true)]
async fn what_is_no_webhook_is_refused() {
    for junk in [
        "",
        "{",
        "{\"version\":\"4\"",
        "hello",
        "{\"a\":1}}",
        "{\"a\":01}",
        "\u{feff}{}",
        "{\"version\":\"\\ud800\"}",
    ] {
        refused(junk, "400 E-HOOK-009 body", "not_json").await;
    }
    for wrong in ["[]", "null", "\"text\"", "3", "true", "[[{}]]"] {
        refused(wrong, "400 E-HOOK-009 body", "not_json").await;
    }
    let mut not_utf8 = good().to_string().into_bytes();
    not_utf8[20] = 0xff;
    refused(not_utf8, "400 E-HOOK-009 body", "not_utf8").await;
    refused("{}", "400 E-HOOK-010 version", "version").await;
    for version in [json!("3"), json!("5"), json!(4), json!(null), json!(["4"])] {
        refused(
            change(good(), "version", version),
            "400 E-HOOK-010 version",
            "version",
        )
        .await;
    }
    for key in [json!(null), json!(""), json!(7), json!({})] {
        refused(
            change(good(), "groupKey", key),
            "400 E-HOOK-010 groupKey",
            "field",
        )
        .await;
    }
    for alerts in [json!(null), json!([]), json!({}), json!("all"), json!(0)] {
        refused(
            change(good(), "alerts", alerts),
            "400 E-HOOK-010 alerts",
            "field",
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_nothing_but_bad_alerts_is_refused() {
    for (bad, field, reason) in [
        (json!(3), "", "alert_not_object"),
        (json!(null), "", "alert_not_object"),
        (json!([[]]), "", "alert_not_object"),
        (alert_with("labels", json!(null)), ".labels", "alert_labels"),
        (alert_with("labels", json!([1])), ".labels", "alert_labels"),
        (alert_with("status", json!(null)), ".status", "alert_status"),
        (
            alert_with("status", json!("suppressed")),
            ".status",
            "alert_status",
        ),
        (
            alert_with("startsAt", json!(null)),
            ".startsAt",
            "alert_starts_at",
        ),
        (
            alert_with("startsAt", json!("yesterday")),
            ".startsAt",
            "alert_starts_at",
        ),
        (
            alert_with("startsAt", json!(1_763_640_000)),
            ".startsAt",
            "alert_starts_at",
        ),
        (
            alert_with("startsAt", json!("0001-01-01T00:00:00Z")),
            ".startsAt",
            "alert_starts_at",
        ),
        (
            alert_with("startsAt", json!("2026-13-01T00:00:00Z")),
            ".startsAt",
            "alert_starts_at",
        ),
    ] {
        let brief = format!("400 E-HOOK-011 alerts[0]{field}");
        refused(body(&[bad]).to_string(), &brief, reason).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_alert_does_not_take_the_good_ones_with_it() {
    let world = World::new();
    let alerts = [
        alert("A"),
        alert_with("startsAt", json!("soon")),
        json!(3),
        alert("Bb"),
    ];
    let answer = world.post(body(&alerts).to_string()).await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer.json()).expect("JSON"), @r#"
    {
      "accepted": 2,
      "duplicates": 0,
      "rejected": [
        {
          "code": "E-HOOK-011",
          "field": "alerts[1].startsAt",
          "message": "startsAt is \"soon\", not a time such as 2026-01-31T08:00:00Z"
        },
        {
          "code": "E-HOOK-011",
          "field": "alerts[2]",
          "message": "the alert is a number, not an object"
        }
      ]
    }
    "#);
    let names: Vec<String> = world
        .take()
        .await
        .iter()
        .map(|e| e.name().to_owned())
        .collect();
    assert_eq!(names, ["A", "Bb"]);
    assert_eq!(
        world.count("nightshift_hook_alerts_total{outcome=\"accepted\"}"),
        2
    );
    assert_eq!(
        world.count("nightshift_hook_alerts_total{outcome=\"rejected\"}"),
        2
    );
    assert_eq!(world.count("nightshift_received_total"), 2);
    assert_eq!(world.count("nightshift_hook_store_seconds_count"), 1);
    world.post(body(&alerts).to_string()).await;
    let duplicates = "nightshift_hook_alerts_total{outcome=\"duplicate\"}";
    assert_eq!(world.count(duplicates), 2);
    assert_eq!(world.count("nightshift_received_total"), 2, "once each");
}

#[tokio::test(start_paused = true)]
async fn what_can_be_repaired_is_kept_and_noted() {
    for sent in [json!(null), json!("nonsense"), json!(7)] {
        let (event, note) = stored(alert_with("fingerprint", sent)).await;
        assert_eq!(event.fingerprint.as_str().len(), 16);
        assert_eq!(note, "the fingerprint was missing, it is computed");
    }
    let (event, note) = stored(alert_with("annotations", json!([]))).await;
    assert_eq!(
        (event.annotations.len(), note.as_str()),
        (1, "annotations were not an object")
    );
    let labels =
        json!({"alertname": "A", "replicas": 3, "on": true, "none": null, "deep": {"a": [1]}});
    let (event, note) = stored(alert_with("labels", labels)).await;
    let labels: Vec<(&str, &str)> = event
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(
        labels,
        [("alertname", "A"), ("on", "true"), ("replicas", "3")]
    );
    assert_eq!(note, "4 values were not text");
    let mut resolved = alert_with("status", json!("resolved"));
    resolved["endsAt"] = json!("later");
    let (event, note) = stored(resolved).await;
    assert_eq!(event.ends_at, Some(event.received_at));
    assert_eq!(note, "endsAt was not a time, the time of receipt is used");
    let forged = json!({"summary": "s", NOTE: "all is well"});
    let (event, _) = stored(alert_with("annotations", forged)).await;
    assert_eq!(
        event.annotations.len(),
        1,
        "a note is ours or it is not there"
    );
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_labels_are_one_alert_with_the_labels_that_matter() {
    let mut many = alert("A");
    for i in 0..10_000 {
        many["labels"][format!("label_{i:05}")] = json!("x");
    }
    let (event, note) = stored(many.clone()).await;
    assert_eq!(event.labels.len(), 128);
    assert_eq!(event.name(), "A");
    assert_eq!(event.label("namespace"), Some("shop"));
    assert_eq!(event.label("label_00000"), Some("x"));
    assert_eq!(note, "9875 labels or annotations left out");
    assert_eq!(
        event.fingerprint.as_str(),
        many["fingerprint"],
        "identity is what was sent"
    );
}

#[tokio::test(start_paused = true)]
async fn long_values_are_cut_and_marked() {
    let mut long = alert("A");
    long["labels"]["path"] = json!("p".repeat(10_000));
    long["labels"]["n".repeat(1_000)] = json!("v");
    long["annotations"]["summary"] = json!("ü".repeat(20_000));
    let (event, note) = stored(long).await;
    let path = event.label("path").expect("it is kept");
    assert!(
        path.len() <= 4096 && path.contains("…[cut from 10000 bytes, sha256 "),
        "{path}"
    );
    let summary = event.annotation("summary").expect("it is kept");
    assert!(summary.len() <= 16_384 && summary.contains("[cut from 40000 bytes"));
    assert_eq!(note, "3 names or values cut");
}

#[tokio::test(start_paused = true)]
async fn an_event_always_fits_the_stream() {
    let mut huge = alert("A");
    // Control characters take six bytes each in JSON.
    for i in 0..150 {
        huge["labels"][format!("l{i}{}", "\u{1}".repeat(300))] = json!("\u{2}".repeat(5_000));
        huge["annotations"][format!("a{i}")] = json!("\u{3}".repeat(5_000));
    }
    huge["generatorURL"] = json!("\u{4}".repeat(30_000));
    let sent = change(body(&[huge]), "groupKey", json!("\u{5}".repeat(20_000)));
    let world = World::with(|config| config.body_max = runtime::config::ByteSize::mib(64));
    let answer = world.post(sent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let event = world.take().await.remove(0);
    let bytes = serde_json::to_vec(&event).expect("JSON").len();
    assert!(bytes <= world.config.event_bytes_max.get(), "{bytes}");
    assert_eq!(event.label("namespace"), Some("shop"));
}

#[tokio::test(start_paused = true)]
async fn alerts_beyond_the_limit_count_as_truncated() {
    let world = World::with(|config| config.alerts_max = 2);
    let alerts = [alert("A"), alert("Bb"), alert("Ccc"), json!([[[]]])];
    let answer = world
        .post(change(body(&alerts), "truncatedAlerts", json!(5)))
        .await;
    assert_eq!(
        answer.json(),
        json!({"accepted": 2, "duplicates": 0, "cut": 2})
    );
    assert!(world.take().await.iter().all(|event| event.truncated == 7));
    assert_eq!(
        world.count("nightshift_hook_alerts_total{outcome=\"cut\"}"),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_and_deep_nesting_are_passed_over() {
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    for place in ["\"version\"", "\"startsAt\""] {
        let sent = good()
            .to_string()
            .replacen(place, &format!("\"unknown\":{deep},{place}"), 1);
        let answer = World::new().post(sent).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for field in ["status", "labels", "annotations", "startsAt", "fingerprint"] {
        for nested in [deep.clone(), format!("{{\"a\":{deep}}}")] {
            let bad = format!("{{\"{field}\":{nested},");
            let sent = body(&[json!("BAD"), alert("Bb")]).to_string();
            let sent = sent.replace("\"BAD\"", &alert("A").to_string().replacen('{', &bad, 1));
            let answer = World::new().post(sent).await;
            assert_eq!(answer.status, 200, "{field}: {}", answer.text());
        }
    }
    let open = "[".repeat(1_000_000);
    refused(open.clone(), "400 E-HOOK-009 body", "not_json").await;
    for field in ["alerts", "labels", "status", "version"] {
        let sent = format!("{{\"{field}\":{open}");
        refused(sent, "400 E-HOOK-009 body", "not_json").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_count_that_cannot_be_read_means_some() {
    for (sent, expect) in [
        (json!(null), 0),
        (json!(3), 3),
        (json!("many"), 1),
        (json!(-1), 1),
    ] {
        let world = World::new();
        world.post(change(good(), "truncatedAlerts", sent)).await;
        assert_eq!(world.take().await[0].truncated, expect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_not() {
    let padded = |bytes: usize| {
        let mut sent = good().to_string();
        sent.push_str(&" ".repeat(bytes - sent.len()));
        sent
    };
    let limit = World::new().config.body_max.get();
    assert_eq!(limit, 4 << 20);
    assert_eq!(World::new().post(padded(limit)).await.status, 200);
    refused(padded(limit + 1), "413 E-HOOK-007 body", "too_large").await;
}

#[tokio::test(start_paused = true)]
async fn whatever_passes_by_itself_is_503_and_the_resend_is_taken() {
    for (fault, brief, reason) in [
        (
            Fault::Unavailable,
            "503 E-STREAM-004 ",
            "stream_unavailable",
        ),
        (Fault::Full, "503 E-STREAM-002 ", "stream_full"),
        (Fault::Hang, "503 E-HOOK-012 ", "append_timeout"),
        (Fault::AnswerLost, "503 E-STREAM-004 ", "stream_unavailable"),
        (Fault::Limit, "500 E-STREAM-003 ", "stream_limit"),
    ] {
        let world = World::new();
        world.events.set(fault);
        let answer = world
            .post(body(&[alert("A"), alert("Bb")]).to_string())
            .await;
        assert_eq!(answer.brief(), brief);
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), "5");
        }
        let line = format!("nightshift_hook_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(world.count(&line), 1, "{line}");
        assert_eq!(world.count("nightshift_received_total"), 0);
        let before = world.held().await;
        assert_eq!(before, if fault == Fault::AnswerLost { 2 } else { 0 });
        let again = world
            .post(body(&[alert("A"), alert("Bb")]).to_string())
            .await;
        assert_eq!(
            again.json(),
            json!({"accepted": 2 - before, "duplicates": before})
        );
        assert_eq!(world.held().await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_several_appends_is_taken_whole_by_the_resend() {
    let alerts: Vec<Value> = (0..1_500u64)
        .map(|i| {
            let mut one = alert("A");
            one["fingerprint"] = json!(format!("{i:016x}"));
            one
        })
        .collect();
    let sent = body(&alerts).to_string();
    let world = World::new();
    world.events.set(Fault::SecondFails);
    assert_eq!(world.post(sent.clone()).await.status, 503);
    let held = world.held().await;
    assert_eq!(held, 1_024, "one append of the two");
    let again = world.post(sent).await.json();
    assert_eq!(again, json!({"accepted": 1_500 - held, "duplicates": held}));
    assert_eq!(world.held().await, 1_500);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_gives_its_permit_back() {
    let world = World::with(|config| config.requests_max = 1);
    let stalled = || {
        let stream = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        Request::post("/webhook/alertmanager")
            .body(Body::from_stream(stream))
            .expect("a request")
    };
    let (slow, shed) = tokio::join!(biased; world.send(stalled()), world.post(good().to_string()));
    assert_eq!(slow.brief(), "503 E-HOOK-008 body");
    assert_eq!(shed.brief(), "503 E-HOOK-005 ");
    assert_eq!(world.post(good().to_string()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn equal_instants_are_one_key() {
    let world = World::new();
    for (time, accepted) in [
        ("2026-11-20T11:58:00.5Z", 1),
        ("2026-11-20T11:58:00.500000000Z", 0),
        ("2026-11-20T13:58:00.5+02:00", 0),
        ("2026-11-20t11:58:00.5z", 0),
        ("2026-11-20T11:58:00.500000001Z", 1),
    ] {
        let answer = world
            .post(body(&[alert_with("startsAt", json!(time))]).to_string())
            .await;
        assert_eq!(answer.json()["accepted"], accepted, "{time}");
    }
}
