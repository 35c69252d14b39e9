//! What it takes until something counts as stored on one Redis, and what dead consumers leave behind.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::ports::{Appended, Expect, Put};
use runtime::config::Span;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use tests::conformance::{Open, Rules, SHORT, STREAM, redis};
use tests::redis::RedisServer;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::failover::{Check, entry, eventually};

fn asking(server: &RedisServer, replicas: Option<u32>, fsync: bool) -> bus::Config {
    bus::Config {
        timeout: Span::secs(3),
        durability: bus::Durability {
            replicas,
            fsync,
            wait: Span::millis(500),
        },
        ..redis(server, Rules::default())
    }
}

async fn graded(open: &Open, expect: &[(bus::Grade, &str)]) -> Check {
    let found = open.bus.durability().await;
    let fits = found.len() == expect.len()
        && std::iter::zip(&found, expect)
            .all(|(found, (grade, text))| found.grade == *grade && found.text.contains(text));
    ensure!(fits, "{found:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_asked_for_is_waited_for() -> Check {
    let server = RedisServer::start().await?;
    let port = server.port().to_string();
    let mut replica = RedisServer::start_with(&[
        "--replicaof",
        "127.0.0.1",
        &port,
        "--repl-diskless-sync-delay",
        "0",
    ])
    .await?;
    let open = Open::new(&asking(&server, Some(1), false)).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    eventually("the replica follows", async || {
        stream.append(vec![entry("1")]).await.is_ok()
    })
    .await?;
    let flushed = (bus::Grade::Good, "flushed to the disk first");
    graded(
        &open,
        &[(bus::Grade::Warning, "1 replicas follow"), flushed],
    )
    .await?;
    replica.kill()?;
    for _ in 0..2 {
        let refused = stream.append(vec![entry("2")]).await;
        let why = refused.err().context("it was stored")?.to_string();
        ensure!(why.contains("0 of 1 replicas"), "{why}");
    }
    let refused = open.bus.store().fence("who").await;
    ensure!(refused.is_err(), "{refused:?}");
    graded(&open, &[(bus::Grade::Bad, "0 of the 1 replicas"), flushed]).await?;
    replica.restart().await?;
    eventually("the replica follows again", async || {
        let stored = stream.append(vec![entry("2")]).await;
        stored.is_ok_and(|stored| stored == [Appended::Duplicate])
    })
    .await?;
    let fence = open.bus.store().fence("who").await?;
    ensure!(fence.token == 2, "{fence:?}");
    open.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_cannot_be_promised_is_not() -> Check {
    let server = RedisServer::start().await?;
    ensure!(
        server.cli(0, &["COMMAND", "INFO", "WAITAOF"])?.is_empty(),
        "this test is about a server without WAITAOF"
    );
    server.cli(0, &["CONFIG", "SET", "appendfsync", "everysec"])?;
    let open = Open::new(&asking(&server, None, true)).await?;
    let store = open.bus.store();
    let refused = store.put(Put::new("k", "v", Expect::Any)).await;
    let why = refused.err().context("it was stored")?.to_string();
    ensure!(why.contains("appendfsync always"), "{why}");
    graded(&open, &[(bus::Grade::Bad, "cannot be kept")]).await?;
    server.cli(0, &["CONFIG", "SET", "appendfsync", "always"])?;
    // The connection that found it lacking is given up with the next refusal.
    eventually("it is stored", async || {
        store.put(Put::new("k", "v", Expect::Any)).await.is_ok()
    })
    .await?;
    graded(&open, &[(bus::Grade::Good, "flushed to the disk first")]).await?;
    open.close().await;
    Ok(())
}

/// Answers like a server that has WAITAOF, and says that so many disks have it.
async fn serve(stream: TcpStream, disks: &'static str) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = Vec::new();
        let count: usize = line.trim().trim_start_matches('*').parse()?;
        for _ in 0..count {
            let mut length = String::new();
            stream.read_line(&mut length).await?;
            let length: usize = length.trim().trim_start_matches('$').parse()?;
            let mut word = vec![0; length + 2];
            stream.read_exact(&mut word).await?;
            word.truncate(length);
            words.push(String::from_utf8_lossy(&word).into_owned());
        }
        let answer = match words[0].as_str() {
            "COMMAND" => "*1\r\n*1\r\n$7\r\nwaitaof\r\n",
            "EVALSHA" => "*2\r\n$2\r\nok\r\n:1\r\n",
            "WAITAOF" if words[1..] == ["1", "2", "500"] => disks,
            "WAITAOF" => "-ERR not what was asked for\r\n",
            "INFO" => "$21\r\nredis_version:7.2.0\r\n\r\n",
            _ => "+OK\r\n",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_are_waited_for_where_the_server_can() -> Check {
    for (disks, expect) in [
        ("*2\r\n:1\r\n:2\r\n", ""),
        (
            "*2\r\n:1\r\n:1\r\n",
            "the write reached 1 of 2 replicas within",
        ),
        (
            "*2\r\n:0\r\n:2\r\n",
            "the write reached 2 of 2 replicas, not its own disk",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("redis://{}", listener.local_addr()?);
        let shutdown = Shutdown::new();
        let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
        let owner = supervisor.clone();
        supervisor.spawn(TaskKind::Work, "server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                owner.spawn(TaskKind::Work, "connection", async move {
                    // A connection that is given up ends in the middle.
                    serve(stream, disks).await.ok();
                });
            }
        });
        let config = bus::Config {
            kind: bus::Kind::Redis,
            url,
            durability: bus::Durability {
                replicas: Some(2),
                fsync: true,
                wait: Span::millis(500),
            },
            ..bus::Config::default()
        };
        let open = Open::new(&config).await?;
        let stored = open.bus.store().put(Put::new("k", "v", Expect::Any)).await;
        let why = stored.err().map(|error| error.to_string());
        let why = why.unwrap_or_default();
        ensure!(
            why.contains(expect) && why.is_empty() == expect.is_empty(),
            "{why}"
        );
        open.close().await;
        supervisor.drain(Duration::ZERO).await;
    }
    Ok(())
}

#[tokio::test]
async fn consumers_of_dead_pods_are_claimed_from_and_then_deleted() -> Check {
    let server = RedisServer::start().await?;
    let rules = Rules {
        lease: SHORT,
        ..Rules::default()
    };
    let config = bus::Config {
        consumer_idle: Span(SHORT),
        ..redis(&server, rules)
    };
    let consumers = || {
        let text = server.cli(4, &["XINFO", "CONSUMERS", STREAM, "dispatch-group"])?;
        let names = text.lines().filter(|line| line.starts_with("pod-"));
        anyhow::Ok(names.map(ToString::to_string).collect::<Vec<String>>())
    };
    let died = Open::new(&config).await?;
    let stream = died.bus.stream(STREAM, "pod-1").await?;
    stream.append(["1", "2"].map(entry).to_vec()).await?;
    ensure!(stream.claim(2, Duration::ZERO).await?.len() == 2);
    drop(stream);
    died.close().await;
    let lives = Open::new(&config).await?;
    let stream = lives.bus.stream(STREAM, "pod-2").await?;
    // What it holds keeps it: deleting it would lose both.
    eventually("its lease is over", async || {
        stream
            .backlog()
            .await
            .is_ok_and(|backlog| backlog.oldest_age.is_some_and(|age| age > SHORT * 3))
    })
    .await?;
    ensure!(consumers()? == ["pod-1"], "{:?}", consumers());
    ensure!(stream.backlog().await?.total() == 2);
    let mut held = Vec::new();
    eventually("the other one has both", async || {
        held.extend(stream.claim(2, Duration::ZERO).await.unwrap_or_default());
        held.len() >= 2
    })
    .await?;
    eventually("the dead one is forgotten", async || {
        consumers().is_ok_and(|found| found == ["pod-2"])
    })
    .await?;
    for delivery in &held {
        ensure!(delivery.attempt == 2, "{delivery:?}");
    }
    lives.close().await;
    Ok(())
}
