//! Redis behind sentinels while masters die, freeze and come back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::error::Classify as _;
use incident::ports::Appended;
use runtime::config::Span;
use tests::conformance::{Open, Rules, STREAM, sentinel};
use tests::redis::sentinel::{MASTER, Sentinels};

use super::failover::{Check, Writers, brisk, entry, eventually, is_short};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_takes_nothing_with_it() -> Check {
    let mut servers = Sentinels::start().await?;
    servers.ready().await?;
    let writers = Writers::start(&brisk(sentinel(&servers, Rules::default()))).await?;
    let old = servers.master()?;
    servers.servers[old].kill()?;
    servers.another_master(old).await?;
    servers.settled(1).await?;
    writers.recovered().await?;
    // It comes up as a master that nobody follows, until the sentinels see it.
    servers.servers[old].restart().await?;
    writers.more().await?;
    writers.more().await?;
    writers.audit().await.with_context(|| servers.logs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_master_that_comes_back_is_not_believed() -> Check {
    let servers = Sentinels::start().await?;
    servers.ready().await?;
    let config = brisk(sentinel(&servers, Rules::default()));
    let writers = Writers::start(&config).await?;
    // It looks at nothing while the master changes.
    let idle = Open::new(&bus::Config {
        poll: Span::secs(3600),
        sweep: Span::secs(3600),
        ..config
    })
    .await?;
    let stream = idle.bus.stream(STREAM, "idle").await?;
    stream.append(vec![entry("before")]).await?;
    let old = servers.master()?;
    servers.servers[old].freeze()?;
    servers.another_master(old).await?;
    servers.settled(1).await?;
    writers.recovered().await?;
    // For some seconds there are two who say that they are master.
    servers.servers[old].thaw()?;
    let role = servers.servers[old].info("replication", "role")?;
    ensure!(role == "master", "{role}: the test came too late");
    // Its connection leads to the old one, which nobody follows any more.
    let stale = stream.append(vec![entry("after")]).await;
    let why = stale.err().context("it was stored by nobody")?.to_string();
    ensure!(why.contains("the write reached 0 of"), "{why}");
    eventually("the new master is found", async || {
        stream.append(vec![entry("after")]).await.is_ok()
    })
    .await?;
    ensure!(stream.append(vec![entry("after")]).await? == [Appended::Duplicate]);
    writers.more().await?;
    servers.settled(2).await?;
    writers.more().await?;
    writers.audit().await?;
    idle.close().await;
    Ok(())
}

/// The old master is well and goes on answering, and for a moment one replica follows it still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_master_that_is_replaced_takes_nothing_with_it() -> Check {
    let servers = Sentinels::start().await?;
    servers.ready().await?;
    let writers = Writers::start(&brisk(sentinel(&servers, Rules::default()))).await?;
    let old = servers.master()?;
    servers.sentinels[0].cli(0, &["SENTINEL", "FAILOVER", MASTER])?;
    servers.another_master(old).await?;
    servers.settled(2).await?;
    writers.recovered().await?;
    writers.audit().await.with_context(|| servers.logs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_replica_nothing_counts_as_stored() -> Check {
    let mut servers = Sentinels::start().await?;
    // Time for the refusal itself: a claim whose answer comes too late cannot be given back.
    let open = Open::new(&bus::Config {
        timeout: Span::secs(8),
        ..brisk(sentinel(&servers, Rules::default()))
    })
    .await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    stream.append(vec![entry("1")]).await?;
    let held = stream.claim(1, Duration::ZERO).await?;
    for replica in [1, 2] {
        servers.servers[replica].kill()?;
    }
    is_short(&open, &stream, "2").await?;
    ensure!(stream.ack(&held[0].lease).await.is_err());
    servers.servers[1].restart().await?;
    servers.settled(1).await?;
    // As soon as the sentinels know that the other one is gone.
    eventually("it is stored", async || {
        let stored = stream.append(vec![entry("2")]).await;
        stored.is_ok_and(|stored| stored == [Appended::Duplicate])
    })
    .await?;
    // It was never handed out, so this is the first time.
    let claimed = stream.claim(9, Duration::ZERO).await?;
    let seen: Vec<_> = claimed
        .iter()
        .map(|d| (d.key.as_str(), d.attempt))
        .collect();
    ensure!(seen == [("2", 1)], "{seen:?}");
    stream.ack(&claimed[0].lease).await?;
    ensure!(stream.backlog().await?.total() == 0);
    open.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_the_wrong_way_is_told() -> Check {
    let servers = Sentinels::start().await?;
    let plain = brisk(sentinel(&servers, Rules::default()));
    let code = async |config: bus::Config| match Open::new(&config).await {
        Ok(open) => {
            open.close().await;
            anyhow::Ok("opened".to_owned())
        }
        Err(error) => Ok(error.downcast::<bus::OpenError>()?.code().to_string()),
    };
    let mut unknown = plain.clone();
    unknown.sentinel.master = "somebody".to_owned();
    ensure!(code(unknown).await? == "E-BUS-005");
    let mut missing = plain.clone();
    missing.sentinel.password_file = Some("/nonexistent/word".into());
    ensure!(code(missing).await? == "E-BUS-004");
    // One that answers is enough.
    let mut some = plain.clone();
    some.sentinel.nodes.insert(0, "127.0.0.1:1".to_owned());
    some.sentinel.nodes.truncate(2);
    ensure!(code(some).await? == "opened");
    // Sentinels and servers that ask for a password each.
    for sentinel in &servers.sentinels {
        sentinel.cli(0, &["ACL", "SETUSER", "default", ">guards"])?;
    }
    for server in &servers.servers {
        server.cli(0, &["CONFIG", "SET", "masterauth", "holds"])?;
        server.cli(0, &["CONFIG", "SET", "requirepass", "holds"])?;
    }
    let dir = tempfile::tempdir()?;
    let file = |word: &str| {
        let path = dir.path().join(word);
        std::fs::write(&path, format!("{word}\n"))?;
        anyhow::Ok(Some(path))
    };
    ensure!(code(plain.clone()).await? == "E-BUS-005");
    let mut half = plain;
    half.sentinel.password_file = file("guards")?;
    ensure!(code(half.clone()).await? == "E-BUS-005");
    half.password_file = file("holds")?;
    ensure!(code(half).await? == "opened");
    Ok(())
}
