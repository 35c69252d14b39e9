//! `nightshift dlq` against a running Nightshift.

use std::time::Duration;

use incident::ports::{Cause, Entry};
use serde_json::Value;
use tests::conformance::{Open, Rules, embedded};
use tests::nightshift::Install;
use tests::wait::until;

/// What was redriven is handled, and given up again because it still cannot be read.
const BURIED_WITHIN: Duration = Duration::from_secs(20);

/// An installation whose log holds dead events, before anything runs on it.
async fn install(folder: &std::path::Path, keys: &[&str]) -> Install {
    let install = Install::new(folder, "").expect("an installation");
    let config = embedded(folder.join("data/bus"), Rules::default());
    let open = Open::new(&config).await.expect("an empty log");
    let stream = open.bus.stream(incident::keys::EVENTS, "test").await;
    let stream = stream.expect("the stream of events");
    for key in keys {
        let entry = Entry {
            key: (*key).to_owned(),
            payload: format!("{{\"broken\": \"{key}\"").into_bytes(),
        };
        stream.append(vec![entry]).await.expect("stored");
        let claimed = stream.claim(1, Duration::ZERO).await.expect("claimed");
        let cause = Cause {
            code: "E-DISPATCH-001".into(),
            text: format!("the entry cannot be read: {key}"),
        };
        let held = claimed.first().expect("an entry");
        stream.bury(&held.lease, &cause).await.expect("buried");
    }
    open.close().await;
    install
}

/// Exit code and what was said.
async fn run(install: &Install, args: &[&str]) -> (Option<i32>, String) {
    let output = install.run(args).await.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said + &told)
}

async fn letters(install: &Install) -> Vec<String> {
    let (code, said) = run(install, &["dlq", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    let rows: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    let names = rows.iter().filter_map(|row| row["name"].as_str());
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_person_looks_redrives_and_drops() {
    let folder = tempfile::tempdir().expect("a folder");
    let install = install(folder.path(), &["one", "two", "three"]).await;
    let (code, said) = run(&install, &["dlq", "list"]).await;
    assert!(
        code == Some(1) && said.contains("nightshift up"),
        "nothing runs yet: {said}"
    );
    let mut up = install.start(&["up"]).await.expect("it starts");

    let (code, said) = run(&install, &["dlq", "list", "--limit", "2"]).await;
    assert_eq!(code, Some(0));
    let said: String = said
        .lines()
        .map(|line| line.split(", given up").next().unwrap_or(line).to_owned() + "\n")
        .collect();
    insta::assert_snapshot!(said, @r#"
    events/0  unreadable: {"broken": "one"  1 try
        E-DISPATCH-001: the entry cannot be read: one
    events/1  unreadable: {"broken": "two"  1 try
        E-DISPATCH-001: the entry cannot be read: two

    2 of 3 dead letters; --limit shows more.
    Each stays until you redrive or drop it.

      nightshift dlq show events/0       all of it, with its payload
      nightshift dlq redrive events/0    try it again (or --all, once the reason is gone)
      docs/errors/E-DISPATCH-001.md    what E-DISPATCH-001 means and what to do
    "#);
    let (code, said) = run(&install, &["dlq", "show", "events/1"]).await;
    assert!(
        code == Some(0) && said.contains("{\"broken\": \"two\"\n"),
        "{said}"
    );

    // Without a terminal nothing is thrown away unasked.
    let (code, said) = run(&install, &["dlq", "drop", "events/1"]).await;
    assert!(code == Some(1) && said.contains("--yes"), "{said}");
    assert_eq!(letters(&install).await.len(), 3);
    let (code, said) = run(&install, &["dlq", "drop", "events/1", "--yes"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "dropped: events/1\n"));
    let (code, said) = run(&install, &["dlq", "drop", "events/1", "--yes"]).await;
    assert!(
        code == Some(1) && said.contains("not there: events/1"),
        "{said}"
    );
    for odd in ["7", "events/", "nope/1", "events/../x"] {
        let (code, said) = run(&install, &["dlq", "redrive", odd]).await;
        assert!(code == Some(1) && said.contains("error: "), "{odd}: {said}");
    }

    let none = ["dlq", "redrive", "--all", "--code", "E-OTHER"];
    let (code, said) = run(&install, &none).await;
    assert!(
        code == Some(0) && said.contains("nothing was done"),
        "{said}"
    );
    let all = ["dlq", "redrive", "--all", "--stream", "events", "--json"];
    let (code, said) = run(&install, &all).await;
    let outcome: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(code, Some(0));
    assert_eq!(outcome["done"], serde_json::json!(["events/0", "events/2"]));
    // The reason is not gone, so they come back, under new names.
    let again = until("they are given up again", BURIED_WITHIN, async || {
        Some(letters(&install).await).filter(|names| names.len() == 2)
    });
    let again = again.await.expect("they come back");
    assert!(!again.contains(&"events/0".to_owned()), "{again:?}");

    // A kill does not bring back what was dropped, nor lose what was not.
    up.kill_9().await.expect("it dies");
    let _up = install.start(&["up"]).await.expect("it starts again");
    assert_eq!(letters(&install).await, again);
    let (code, said) = run(&install, &["dlq", "drop", "--all", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&install, &["dlq", "list"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "no dead letters\n"));
}
