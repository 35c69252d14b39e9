//! What only NATS has: a server that others look at, that delivers by itself, that goes away, freezes
//! and comes back.

mod crash;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::error::Classify as _;
use incident::ports::{
    Appended, Cause, Clock, Entry, Expect, Put, StoreError, Stream, StreamError,
};
use runtime::SystemClock;
use runtime::config::Span;
use serde_json::json;
use tests::conformance::{Open, PATIENCE, Rules, SHORT, STREAM, nats};
use tests::nats::NatsServer;

type Check = anyhow::Result<()>;

/// Longest wait for an answer in these tests.
const TIMEOUT: Duration = Duration::from_millis(500);

fn entry(key: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        payload: key.as_bytes().to_vec(),
    }
}

fn impatient(server: &NatsServer) -> bus::Config {
    bus::Config {
        timeout: Span(TIMEOUT),
        poll: Span::millis(200),
        ..nats(server, Rules::default())
    }
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let clock = SystemClock::new();
    while !done().await {
        assert!(clock.elapsed() < PATIENCE, "waited in vain until {what}");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

/// What the scaler adds up, as it reads it: pending and acknowledgements pending of the consumer.
async fn figures(server: &NatsServer, stream: &str) -> anyhow::Result<(u64, u64)> {
    let page = server
        .monitoring("/jsz?acc=%24G&consumers=true&config=true")
        .await?;
    let streams = page["account_details"][0]["stream_detail"].as_array();
    let found = streams
        .and_then(|all| all.iter().find(|found| found["name"] == stream))
        .with_context(|| format!("no {stream} in {page}"))?;
    let consumers = found["consumer_detail"].as_array();
    let group = consumers
        .and_then(|all| all.iter().find(|group| group["name"] == "dispatch-group"))
        .with_context(|| format!("no dispatch-group in {found}"))?;
    let number = |name: &str| group[name].as_u64().with_context(|| format!("no {name}"));
    Ok((number("num_pending")?, number("num_ack_pending")?))
}

#[tokio::test]
async fn scalers_find_the_names_and_numbers_they_rely_on() -> Check {
    let server = NatsServer::start().await?;
    let open = Open::new(&nats(&server, Rules::default())).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    let is = async |pending: u64, claimed: u64| {
        let found = figures(&server, "incident-events").await?;
        ensure!(found == (pending, claimed), "{found:?}");
        let total = stream.backlog().await?.total();
        ensure!(total == pending + claimed, "{total}");
        anyhow::Ok(())
    };
    is(0, 0).await?;
    stream.append(["1", "2", "3"].map(entry).to_vec()).await?;
    is(3, 0).await?;
    let claimed = stream.claim(2, Duration::ZERO).await?;
    is(1, 2).await?;
    let cause = Cause::unanswered(1);
    stream
        .retry_later(&claimed[0].lease, PATIENCE, &cause)
        .await?;
    is(1, 2).await?;
    stream.bury(&claimed[1].lease, &cause).await?;
    is(1, 1).await?;
    for lane in ["critical", "warning", "info"] {
        open.bus
            .stream(&format!("incident:work:{lane}"), "a")
            .await?;
        let found = figures(&server, &format!("incident-work-{lane}")).await?;
        ensure!(found == (0, 0), "{found:?}");
    }
    let mut prefixed = nats(&server, Rules::default());
    "other_".clone_into(&mut prefixed.nats.prefix);
    let other = Open::new(&prefixed).await?;
    let stream = other.bus.stream(STREAM, "a").await?;
    ensure!(stream.backlog().await? == incident::ports::Backlog::default());
    let put = Put::new("k", "v", Expect::Absent);
    other.bus.store().put(put.clone()).await?;
    open.bus.store().put(put).await?;
    open.close().await;
    other.close().await;
    Ok(())
}

#[tokio::test]
async fn a_late_acknowledgement_of_an_older_delivery_is_refused() -> Check {
    let server = NatsServer::start().await?;
    let rules = Rules {
        lease: SHORT,
        ..Rules::default()
    };
    let open = Open::new(&nats(&server, rules)).await?;
    let (a, b) = (
        open.bus.stream(STREAM, "a").await?,
        open.bus.stream(STREAM, "b").await?,
    );
    a.append(vec![entry("x")]).await?;
    let first = a.claim(1, PATIENCE).await?;
    let second = b.claim(1, PATIENCE).await?;
    ensure!(second.len() == 1 && second[0].attempt == 2, "{second:?}");
    let late = a.ack(&first[0].lease).await;
    ensure!(
        matches!(late, Err(StreamError::LeaseLost { .. })),
        "{late:?}"
    );
    // The server itself would have counted it.
    ensure!(figures(&server, "incident-events").await? == (0, 1));
    b.ack(&second[0].lease).await?;
    ensure!(figures(&server, "incident-events").await? == (0, 0));
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn a_consumer_takes_over_what_it_held_before_it_died() -> Check {
    let server = NatsServer::start().await?;
    let config = nats(&server, Rules::default());
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
    let mut taken = again.claim(16, PATIENCE).await?;
    if taken.len() < 2 {
        taken.extend(again.claim(16, PATIENCE).await?);
    }
    let seen: BTreeSet<_> = taken.iter().map(|d| (d.key.as_str(), d.attempt)).collect();
    ensure!(seen == BTreeSet::from([("1", 2), ("2", 2)]), "{seen:?}");
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
        took < TIMEOUT * 4 + Duration::from_secs(2),
        "it took {took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn while_it_is_down_calls_fail_soon_and_then_work_again() -> Check {
    let mut server = NatsServer::start().await?;
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
async fn it_may_come_up_later_than_we_do() -> Check {
    let mut server = NatsServer::start().await?;
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
async fn credentials_come_from_files_and_refusals_are_told() -> Check {
    let lines = "authorization { user: \"night\", password: \"open sesame\" }";
    let server = NatsServer::start_with(lines).await?;
    let dir = tempfile::tempdir()?;
    let with = |user: &str, word: &str| {
        let path = dir.path().join("word");
        std::fs::write(&path, format!("{word}\n"))?;
        let mut config = nats(&server, Rules::default());
        config.nats.user = Some(user.to_owned());
        config.nats.password_file = Some(path);
        anyhow::Ok(config)
    };
    let check = async |config: bus::Config, expect: &str| {
        let found = match Open::new(&config).await {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.downcast::<bus::OpenError>()?.code().to_string(),
        };
        ensure!(found == expect, "{found} instead of {expect}");
        anyhow::Ok(())
    };
    check(nats(&server, Rules::default()), "E-BUS-007").await?;
    check(with("night", "wrong")?, "E-BUS-007").await?;
    check(with("night", "open sesame")?, "opened").await?;
    let mut missing = with("night", "open sesame")?;
    missing.nats.password_file = Some(dir.path().join("missing"));
    check(missing, "E-BUS-007").await?;
    let mut odd = nats(&server, Rules::default());
    odd.nats.addresses = vec!["http://127.0.0.1".to_owned()];
    check(odd, "E-BUS-007").await
}

/// What the server does not take is refused by name, and the rest goes on.
#[tokio::test]
async fn the_servers_own_limit_is_named() -> Check {
    let server = NatsServer::start_with("max_payload: 262144").await?;
    let open = Open::new(&nats(&server, Rules::default())).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    let large = Entry {
        key: "large".to_owned(),
        payload: vec![1; 262_144],
    };
    match stream.append(vec![entry("small"), large]).await {
        Err(StreamError::Limit { key, why }) if key == "large" => {
            ensure!(why.contains("max_payload"), "{why}");
        }
        other => anyhow::bail!("not refused: {other:?}"),
    }
    ensure!(stream.backlog().await?.total() == 0);
    let fits = Entry {
        key: "fits".to_owned(),
        payload: vec![1; 240_000],
    };
    stream.append(vec![fits]).await?;
    let store = open.bus.store();
    let large = Put::new("k", vec![1; 262_144], Expect::Any);
    match store
        .put_all(vec![Put::new("j", "v", Expect::Any), large])
        .await
    {
        Err(StoreError::Limit { key, why }) if key == "k" => {
            ensure!(why.contains("max_payload"), "{why}");
        }
        other => anyhow::bail!("not refused: {other:?}"),
    }
    ensure!(store.get("j").await?.is_none());
    // A cause that does not fit beside the bytes is cut, and the letter is written.
    let held = stream.claim(1, PATIENCE).await?;
    let endless = Cause {
        code: "E-X".to_owned(),
        text: "x".repeat(60_000),
    };
    stream.bury(&held[0].lease, &endless).await?;
    let dead = stream.dead(None, 2).await?;
    ensure!(dead.len() == 1 && dead[0].payload.len() == 240_000);
    ensure!(dead[0].last.text.starts_with("xxx"));
    open.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_lose_nothing_that_was_stored() -> Check {
    let mut server = NatsServer::start().await?;
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
    eventually("it goes on", async || stored.lock().unwrap().len() > 600).await;
    producers.shutdown().await;
    let stored = std::mem::take(&mut *stored.lock().unwrap());
    let consumer = open.bus.stream(STREAM, "consumer").await?;
    let mut seen = BTreeSet::new();
    eventually("all was claimed", async || {
        for delivery in consumer
            .claim(256, Duration::ZERO)
            .await
            .unwrap_or_default()
        {
            assert!(seen.insert(delivery.key.clone()), "{} twice", delivery.key);
            consumer.ack(&delivery.lease).await.unwrap();
        }
        stored.is_subset(&seen)
    })
    .await;
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_changed_or_removed_is_mended() -> Check {
    let server = NatsServer::start().await?;
    let rules = Rules {
        lease: SHORT,
        ..Rules::default()
    };
    let open = Open::new(&nats(&server, rules)).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    let claimed = async |key: &str, attempt| {
        let claimed = stream.claim(1, PATIENCE).await?;
        let seen: Vec<_> = claimed
            .iter()
            .map(|d| (d.key.as_str(), d.attempt))
            .collect();
        ensure!(seen == [(key, attempt)], "{seen:?}");
        anyhow::Ok(claimed[0].lease.clone())
    };
    let mut consumer = json!({
        "stream_name": "incident-events",
        "config": {
            "durable_name": "dispatch-group",
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": 350_000_000,
            "max_deliver": 1,
            "max_ack_pending": -1,
            "max_waiting": 512,
            "replay_policy": "instant",
        },
    });
    // Somebody limits deliveries: one that was not acknowledged would never come again.
    stream.append(vec![entry("orphan")]).await?;
    let verb = "$JS.API.CONSUMER.DURABLE.CREATE.incident-events.dispatch-group";
    let changed = server.ask(verb, &consumer).await?;
    ensure!(changed["config"]["max_deliver"] == 1, "{changed}");
    claimed("orphan", 1).await?;
    stream.ack(&claimed("orphan", 2).await?).await?;

    // Somebody removes the consumer, and makes another that cannot be changed into ours.
    stream.append(vec![entry("held"), entry("waits")]).await?;
    let held = claimed("held", 1).await?;
    let remove = "$JS.API.CONSUMER.DELETE.incident-events.dispatch-group";
    server.ask(remove, &json!({})).await?;
    consumer["config"]["replay_policy"] = json!("original");
    let made = server.ask(verb, &consumer).await?;
    ensure!(made["error"].is_null(), "{made}");
    stream.ack(&held).await?;
    stream.ack(&claimed("waits", 1).await?).await?;

    // Somebody removes the stream. Numbers start over, and what was done before does not count.
    server
        .ask("$JS.API.STREAM.DELETE.incident-events", &json!({}))
        .await?;
    ensure!(stream.append(vec![entry("anew")]).await? == [Appended::Stored]);
    stream.ack(&claimed("anew", 1).await?).await?;
    server
        .ask("$JS.API.STREAM.DELETE.incident-events", &json!({}))
        .await?;
    ensure!(stream.claim(1, Duration::ZERO).await?.is_empty());
    ensure!(stream.backlog().await?.total() == 0);

    // Somebody puts something there that we did not make.
    server
        .ask("nightshift.incident-events", &json!({"by": "hand"}))
        .await?;
    let strange = stream.claim(1, PATIENCE).await?;
    ensure!(
        strange.len() == 1 && strange[0].payload == br#"{"by":"hand"}"#,
        "{strange:?}"
    );
    stream
        .bury(&strange[0].lease, &Cause::unanswered(1))
        .await?;
    ensure!(stream.dead(None, 9).await?.len() == 1);
    open.close().await;
    Ok(())
}

/// Kills the server while workers acknowledge. Debian's server forgets what it was told last about
/// acknowledgements and removals; the records of the entries do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_does_not_come_back_with_a_killed_server() -> Check {
    const ENTRIES: usize = 600;
    let mut server = NatsServer::start().await?;
    let config = bus::Config {
        // What nobody got an answer for comes back soon.
        lease: Span::secs(2),
        attempts_max: 100,
        ..impatient(&server)
    };
    let open = Open::new(&config).await?;
    let stream = open.bus.stream(STREAM, "producer").await?;
    let batch = (0..ENTRIES).map(|n| entry(&n.to_string())).collect();
    stream.append(batch).await?;
    let done = Arc::new(std::sync::Mutex::new((BTreeSet::new(), BTreeSet::new())));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let stream = open.bus.stream(STREAM, &format!("worker-{worker}")).await?;
        let done = done.clone();
        workers.spawn(async move {
            loop {
                let claimed = stream.claim(5, Duration::from_millis(50)).await;
                for delivery in claimed.unwrap_or_default() {
                    let key = delivery.key.clone();
                    assert!(!done.lock().unwrap().0.contains(&key), "{key} came back");
                    let answer = stream.ack(&delivery.lease).await;
                    let (sure, unsure) = &mut *done.lock().unwrap();
                    match answer {
                        Ok(()) => assert!(sure.insert(key), "two acknowledged the same"),
                        // Maybe it was done, and only the answer was lost.
                        Err(StreamError::Unavailable(_)) => drop(unsure.insert(key)),
                        Err(StreamError::LeaseLost { .. }) => {}
                        Err(other) => panic!("{key}: {other}"),
                    }
                }
            }
        });
    }
    for kills in 1..=3 {
        eventually("some are done", async || {
            done.lock().unwrap().0.len() > kills * 120
        })
        .await;
        server.kill()?;
        server.restart().await?;
    }
    eventually("all are done, and the server knows", async || {
        let known = {
            let (sure, unsure) = &*done.lock().unwrap();
            sure.union(unsure).count()
        };
        let counted = stream.backlog().await.map_or(1, |backlog| backlog.total());
        known == ENTRIES && counted == 0
    })
    .await;
    // A worker ends only by a panic.
    if let Some(ended) = workers.try_join_next() {
        ended?;
    }
    workers.shutdown().await;
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn what_the_server_keeps_is_told() -> Check {
    let server = NatsServer::start().await?;
    let mut config = nats(&server, Rules::default());
    let told = async |config: &bus::Config| {
        let open = Open::new(config).await?;
        open.bus.stream(STREAM, "a").await?;
        let found = open.bus.durability().await;
        open.close().await;
        anyhow::Ok(
            found
                .iter()
                .map(|f| (f.grade, f.text.clone()))
                .collect::<Vec<_>>(),
        )
    };
    let found = told(&config).await?;
    ensure!(
        found[0].0 == bus::Grade::Good && found[0].1.contains("one copy"),
        "{found:?}"
    );
    let flushing = found
        .iter()
        .find(|(_, text)| text.contains("sync_interval"));
    ensure!(
        flushing.is_some_and(|(grade, _)| *grade == bus::Grade::Warning),
        "{found:?}"
    );
    // One server cannot keep three copies. It says so when it is asked to.
    config.nats.replicas = 3;
    config.nats.prefix = "three_".to_owned();
    match told(&config).await {
        Ok(found) => ensure!(found[0].0 == bus::Grade::Bad, "{found:?}"),
        Err(error) => ensure!(error.to_string().contains("replicas"), "{error}"),
    }
    Ok(())
}
