//! What only Redis has: a server that others look at, that goes away, freezes and comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::error::Classify as _;
use incident::ports::{Appended, Clock, Entry, Expect, Put, StoreError, Stream, StreamError};
use runtime::SystemClock;
use runtime::config::Span;
use tests::conformance::{Open, PATIENCE, Rules, SHORT, STREAM, redis};
use tests::redis::RedisServer;

type Check = anyhow::Result<()>;

/// Longest wait for an answer in these tests.
const TIMEOUT: Duration = Duration::from_secs(1);

fn entry(key: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        payload: key.as_bytes().to_vec(),
    }
}

fn impatient(server: &RedisServer) -> bus::Config {
    bus::Config {
        timeout: Span(TIMEOUT),
        poll: Span::millis(200),
        ..redis(server, Rules::default())
    }
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let clock = SystemClock::new();
    while !done().await {
        assert!(clock.elapsed() < PATIENCE, "waited in vain until {what}");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

/// Everything fails as unavailable, and soon.
async fn is_down(open: &Open, stream: &Arc<dyn Stream>) -> Check {
    let clock = SystemClock::new();
    let down = stream.append(vec![entry("lost")]).await;
    ensure!(matches!(down, Err(StreamError::Unavailable(_))), "{down:?}");
    let down = stream.claim(1, PATIENCE).await;
    ensure!(matches!(down, Err(StreamError::Unavailable(_))), "{down:?}");
    let down = open.bus.check().await;
    ensure!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    let took = clock.elapsed();
    ensure!(
        took < TIMEOUT * 3 + Duration::from_secs(2),
        "it took {took:?}"
    );
    Ok(())
}

/// The group of the stream as a scaler sees it: pending and lag.
fn group(server: &RedisServer, key: &str) -> anyhow::Result<(String, String)> {
    let text = server.cli(4, &["XINFO", "GROUPS", key])?;
    let lines: Vec<&str> = text.lines().collect();
    let field = |name: &str| {
        let at = lines.iter().position(|line| *line == name)?;
        lines.get(at + 1).map(ToString::to_string)
    };
    ensure!(field("name").as_deref() == Some("dispatch-group"), "{text}");
    Ok((
        field("pending").context("pending")?,
        field("lag").context("lag")?,
    ))
}

#[tokio::test]
async fn scalers_find_the_names_and_numbers_they_rely_on() -> Check {
    let server = RedisServer::start().await?;
    let open = Open::new(&redis(&server, Rules::default())).await?;
    let is = |pending: &str, lag: &str| {
        let found = group(&server, "incident:events")?;
        ensure!(found == (pending.to_owned(), lag.to_owned()), "{found:?}");
        anyhow::Ok(())
    };
    let stream = open.bus.stream("incident:events", "a").await?;
    is("0", "0")?;
    stream.append(["1", "2", "3"].map(entry).to_vec()).await?;
    is("0", "3")?;
    let claimed = stream.claim(2, Duration::ZERO).await?;
    is("2", "1")?;
    let cause = incident::ports::Cause::unanswered(1);
    stream
        .retry_later(&claimed[0].lease, PATIENCE, &cause)
        .await?;
    is("2", "1")?;
    stream.bury(&claimed[1].lease, &cause).await?;
    is("1", "1")?;
    ensure!(server.cli(4, &["XLEN", "incident:dead"])? == "1");
    for lane in ["critical", "warning", "info"] {
        let name = format!("incident:work:{lane}");
        open.bus.stream(&name, "a").await?;
        ensure!(group(&server, &name)? == ("0".to_owned(), "0".to_owned()));
    }
    let prefixed = bus::Config {
        prefix: "other:".to_owned(),
        ..redis(&server, Rules::default())
    };
    let other = Open::new(&prefixed).await?;
    let stream = other.bus.stream(STREAM, "a").await?;
    ensure!(stream.backlog().await? == incident::ports::Backlog::default());
    other
        .bus
        .store()
        .put(Put::new("k", "v", Expect::Absent))
        .await?;
    ensure!(group(&server, "other:incident:events")?.1 == "0");
    let keys = server.cli(4, &["KEYS", "*"])?;
    let strange = keys.lines().find(|key| {
        let own = key.strip_prefix("other:").unwrap_or(key);
        !own.starts_with("incident:") && !own.starts_with("nightshift:")
    });
    ensure!(strange.is_none(), "{strange:?}");
    open.close().await;
    other.close().await;
    Ok(())
}

#[tokio::test]
async fn a_count_that_a_failover_left_too_high_is_put_right() -> Check {
    let server = RedisServer::start().await?;
    let open = Open::new(&redis(&server, Rules::default())).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    stream
        .append(vec![entry("a"), entry("b"), entry("c")])
        .await?;
    for delivery in stream.claim(10, SHORT).await? {
        stream.ack(&delivery.lease).await?;
    }
    // What a replica of Redis 7.0 has once it is master: how far the group is, not how much it read.
    let text = server.cli(4, &["XINFO", "GROUPS", STREAM])?;
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == "last-delivered-id");
    let last = lines.get(at.context("no id")? + 1).context("no id")?;
    let stale = [
        "XGROUP",
        "SETID",
        STREAM,
        "dispatch-group",
        last,
        "ENTRIESREAD",
        "1",
    ];
    server.cli(4, &stale)?;
    ensure!(group(&server, STREAM)?.1 == "2", "the server counts wrong");
    ensure!(stream.backlog().await?.waiting == 0, "we do not");
    ensure!(
        stream.claim(10, SHORT).await?.is_empty(),
        "nothing is there"
    );
    ensure!(group(&server, STREAM)?.1 == "0", "and scalers see it");
    Ok(())
}

#[tokio::test]
async fn what_is_acknowledged_is_trimmed_and_nothing_else() -> Check {
    let server = RedisServer::start().await?;
    let open = Open::new(&redis(&server, Rules::default())).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    stream
        .append((0..300).map(|n| entry(&n.to_string())).collect())
        .await?;
    let claimed = stream.claim(250, Duration::ZERO).await?;
    // All but one in the middle.
    for delivery in claimed.iter().filter(|delivery| delivery.key != "100") {
        stream.ack(&delivery.lease).await?;
    }
    let length = || server.cli(4, &["XLEN", STREAM]).unwrap();
    eventually("the part before it is gone", async || length() == "200").await;
    ensure!(group(&server, STREAM)? == ("1".to_owned(), "50".to_owned()));
    let backlog = stream.backlog().await?;
    ensure!((backlog.waiting, backlog.claimed) == (50, 1), "{backlog:?}");
    stream.ack(&claimed[100].lease).await?;
    eventually("all of it is gone", async || length() == "50").await;
    let rest = stream.claim(256, Duration::ZERO).await?;
    ensure!(rest.len() == 50);
    for delivery in &rest {
        stream.ack(&delivery.lease).await?;
    }
    eventually("the rest is gone", async || length() == "0").await;
    ensure!(group(&server, STREAM)? == ("0".to_owned(), "0".to_owned()));
    stream.append(vec![entry("new")]).await?;
    ensure!(group(&server, STREAM)? == ("0".to_owned(), "1".to_owned()));
    ensure!(stream.backlog().await?.waiting == 1);
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn a_consumer_takes_over_what_it_held_before_it_died() -> Check {
    let server = RedisServer::start().await?;
    let config = redis(&server, Rules::default());
    let died = Open::new(&config).await?;
    let stream = died.bus.stream(STREAM, "pod-1").await?;
    stream.append(["1", "2", "3"].map(entry).to_vec()).await?;
    let held = stream.claim(2, Duration::ZERO).await?;
    // No goodbye: the process just is not there any more.
    let other = Open::new(&config).await?;
    let another = other.bus.stream(STREAM, "pod-2").await?;
    let claimed = another.claim(16, Duration::ZERO).await?;
    ensure!(claimed.len() == 1 && claimed[0].key == "3", "{claimed:?}");
    let again = other.bus.stream(STREAM, "pod-1").await?;
    let taken = again.claim(16, Duration::ZERO).await?;
    let seen: Vec<_> = taken.iter().map(|d| (d.key.as_str(), d.attempt)).collect();
    ensure!(seen == [("1", 2), ("2", 2)], "{seen:?}");
    // The same name a second time in this process takes nothing from the first.
    let twin = other.bus.stream(STREAM, "pod-1").await?;
    ensure!(twin.claim(16, Duration::ZERO).await?.is_empty());
    let stale = stream.ack(&held[0].lease).await;
    ensure!(
        matches!(stale, Err(StreamError::LeaseLost { .. })),
        "{stale:?}"
    );
    for delivery in &taken {
        again.ack(&delivery.lease).await?;
    }
    died.close().await;
    other.close().await;
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_read_or_removed_is_mended() -> Check {
    let server = RedisServer::start().await?;
    let rules = Rules {
        lease: SHORT,
        ..Rules::default()
    };
    let open = Open::new(&redis(&server, rules)).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    stream.append(["1", "2"].map(entry).to_vec()).await?;
    let read = [
        "XREADGROUP",
        "GROUP",
        "dispatch-group",
        "stranger",
        "COUNT",
        "1",
        "STREAMS",
        STREAM,
        ">",
    ];
    server.cli(4, &read)?;
    let mut seen = BTreeSet::new();
    eventually("both are claimed", async || {
        for delivery in stream.claim(16, Duration::ZERO).await.unwrap() {
            seen.insert((delivery.key, delivery.attempt));
            stream.ack(&delivery.lease).await.unwrap();
        }
        seen.len() == 2
    })
    .await;
    ensure!(
        seen == BTreeSet::from([("1".to_owned(), 2), ("2".to_owned(), 1)]),
        "{seen:?}"
    );
    // An operator acknowledges by hand what we hold.
    stream.append(vec![entry("3")]).await?;
    let held = stream.claim(1, PATIENCE).await?;
    server.cli(4, &["XACK", STREAM, "dispatch-group", &held[0].lease.id])?;
    let stale = stream.extend(&held[0].lease).await;
    ensure!(
        matches!(stale, Err(StreamError::LeaseLost { .. })),
        "{stale:?}"
    );
    // An operator removes the stream.
    server.cli(4, &["DEL", STREAM])?;
    ensure!(stream.append(vec![entry("4")]).await? == [Appended::Stored]);
    let claimed = stream.claim(1, PATIENCE).await?;
    ensure!(claimed.len() == 1 && claimed[0].key == "4");
    server.cli(4, &["DEL", STREAM])?;
    ensure!(stream.claim(1, Duration::ZERO).await?.is_empty());
    ensure!(stream.backlog().await?.total() == 0);
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn while_it_is_down_calls_fail_soon_and_then_work_again() -> Check {
    let mut server = RedisServer::start().await?;
    let open = Open::new(&impatient(&server)).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    ensure!(stream.claim(1, Duration::from_millis(10)).await?.is_empty());
    stream.append(vec![entry("kept")]).await?;
    for frozen in [false, true] {
        if frozen {
            server.freeze()?;
        } else {
            server.kill()?;
        }
        is_down(&open, &stream).await?;
        is_down(&open, &stream).await?;
        if frozen {
            server.thaw()?;
        } else {
            server.restart().await?;
        }
        eventually("it can store again", async || {
            open.bus.check().await.is_ok()
        })
        .await;
        ensure!(stream.append(vec![entry("kept")]).await? == [Appended::Duplicate]);
    }
    // A claim that waits hears of new work as before. (The frozen server may have done what it was
    // asked when nobody waited for the answer any more.)
    for delivery in stream.claim(16, Duration::ZERO).await? {
        stream.ack(&delivery.lease).await?;
    }
    let (claimed, appended) =
        tokio::join!(stream.claim(1, PATIENCE), stream.append(vec![entry("new")]));
    appended?;
    ensure!(claimed?.len() == 1);
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn a_waiting_claim_hears_of_work_from_another_process() -> Check {
    let server = RedisServer::start().await?;
    // Looking again by itself would take longer than the test allows.
    let config = bus::Config {
        block: Span::secs(60),
        ..redis(&server, Rules::default())
    };
    let (consumer, producer) = (Open::new(&config).await?, Open::new(&config).await?);
    let waits = consumer.bus.stream(STREAM, "a").await?;
    let appends = producer.bus.stream(STREAM, "b").await?;
    let clock = SystemClock::new();
    for n in 0..5 {
        let start = clock.elapsed();
        let batch = vec![entry(&n.to_string())];
        let (claimed, appended) = tokio::join!(waits.claim(1, PATIENCE), appends.append(batch));
        appended?;
        let claimed = claimed?;
        ensure!(claimed.len() == 1);
        waits.ack(&claimed[0].lease).await?;
        let took = clock.elapsed().saturating_sub(start);
        ensure!(took < PATIENCE / 2, "it woke after {took:?}");
    }
    consumer.close().await;
    producer.close().await;
    Ok(())
}

#[tokio::test]
async fn it_may_come_up_later_than_we_do() -> Check {
    let mut server = RedisServer::start().await?;
    server.kill()?;
    let open = Open::new(&impatient(&server)).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    is_down(&open, &stream).await?;
    server.restart().await?;
    eventually("it works", async || {
        stream.append(vec![entry("x")]).await.is_ok()
    })
    .await;
    ensure!(stream.claim(1, PATIENCE).await?.len() == 1);
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn passwords_come_from_a_file_and_refusals_are_told() -> Check {
    let server = RedisServer::start_with(&["--requirepass", "open sesame"]).await?;
    let dir = tempfile::tempdir()?;
    let plain = redis(&server, Rules::default());
    let with = |word: &str| {
        let path = dir.path().join("url");
        let url = format!("redis://:{word}@127.0.0.1:{}\n", server.port());
        std::fs::write(&path, url)?;
        anyhow::Ok(bus::Config {
            url_file: Some(path),
            ..plain.clone()
        })
    };
    let code = async |config: bus::Config| match Open::new(&config).await {
        Ok(_) => Ok("opened".to_owned()),
        Err(error) => Ok(error.downcast::<bus::OpenError>()?.code().to_string()),
    };
    let check = async |config, expect: &str| {
        let found: anyhow::Result<String> = code(config).await;
        let found = found?;
        ensure!(found == expect, "{found} instead of {expect}");
        anyhow::Ok(())
    };
    check(plain.clone(), "E-BUS-005").await?;
    check(with("wrong")?, "E-BUS-005").await?;
    check(with("open%20sesame")?, "opened").await?;
    let far = bus::Config {
        database: 4000,
        ..with("open%20sesame")?
    };
    check(far, "E-BUS-005").await?;
    let missing = bus::Config {
        url_file: Some(dir.path().join("missing")),
        ..plain.clone()
    };
    check(missing, "E-BUS-004").await?;
    let odd = bus::Config {
        url: "http://127.0.0.1".to_owned(),
        ..plain
    };
    check(odd, "E-BUS-004").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_lose_nothing_that_was_stored() -> Check {
    let mut server = RedisServer::start().await?;
    let open = Open::new(&impatient(&server)).await?;
    let stored = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let mut producers = tokio::task::JoinSet::new();
    for task in 0..8 {
        let stream = open.bus.stream(STREAM, "producer").await?;
        let stored = stored.clone();
        producers.spawn(async move {
            let clock = SystemClock::new();
            for n in 0.. {
                let key = format!("{task}-{n}");
                // Again until it is stored: the key makes that safe.
                while stream.append(vec![entry(&key)]).await.is_err() {
                    clock.sleep(Duration::from_millis(20)).await;
                }
                stored.lock().unwrap().insert(key);
            }
        });
    }
    for kills in 1..=3 {
        let enough = kills * 150;
        eventually("enough is stored", async || {
            stored.lock().unwrap().len() > enough
        })
        .await;
        server.kill()?;
        server.restart().await?;
    }
    producers.shutdown().await;
    let stream = open.bus.stream(STREAM, "consumer").await?;
    let mut found = BTreeSet::new();
    let mut last = Vec::new();
    eventually("the server answers", async || {
        match stream.claim(256, Duration::ZERO).await {
            Ok(claimed) => last = claimed,
            Err(_) => return false,
        }
        true
    })
    .await;
    while !last.is_empty() {
        for delivery in last {
            ensure!(
                found.insert(delivery.key.clone()),
                "{} is there twice",
                delivery.key
            );
        }
        last = stream.claim(256, Duration::ZERO).await?;
    }
    let stored = stored.lock().unwrap();
    let missing: Vec<_> = stored.difference(&found).collect();
    ensure!(
        missing.is_empty(),
        "{} of {} are lost: {missing:?}",
        missing.len(),
        stored.len()
    );
    Ok(())
}
