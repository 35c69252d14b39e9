//! What a bus must keep while its master is killed, frozen or moved. Written once for sentinels and
//! cluster.
#![allow(
    clippy::unwrap_used,
    reason = "these are tests; a ledger that a writer left broken fails them"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::ports::{Clock, Entry, Expect, Fence, Put, Store, StoreError, Stream};
use runtime::SystemClock;
use runtime::config::Span;
use tests::conformance::{Open, PATIENCE, STREAM};

pub(super) type Check = anyhow::Result<()>;

/// How soon something must be stored again once there is another master.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// Longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// What each writer stores while nothing is wrong, before and after.
const ENOUGH: usize = 40;
const WRITERS: usize = 4;

pub(super) fn entry(key: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        payload: key.as_bytes().to_vec(),
    }
}

/// The configuration with the waits that a failover is measured with.
pub(super) fn brisk(config: bus::Config) -> bus::Config {
    bus::Config {
        timeout: Span::secs(2),
        poll: Span::millis(200),
        durability: bus::Durability {
            wait: Span::secs(1),
            ..config.durability.clone()
        },
        ..config
    }
}

pub(super) async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) -> Check {
    let clock = SystemClock::new();
    while !done().await {
        ensure!(
            clock.elapsed() < PATIENCE * 3,
            "waited in vain until {what}"
        );
        clock.sleep(PAUSE).await;
    }
    Ok(())
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    stored: BTreeSet<String>,
    tokens: Vec<u64>,
}

/// Writers that go on while servers come and go: entries to the stream, a counter and fencing tokens
/// to the store.
pub(super) struct Writers {
    open: Arc<Open>,
    ledger: Arc<Mutex<Ledger>>,
    tasks: tokio::task::JoinSet<()>,
}

impl Writers {
    pub(super) async fn start(config: &bus::Config) -> anyhow::Result<Self> {
        let open = Arc::new(Open::new(config).await?);
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let stream = open.bus.stream(STREAM, "writer").await?;
            tasks.spawn(write(writer, stream, ledger.clone()));
        }
        tasks.spawn(fence(open.bus.store(), ledger.clone()));
        let writers = Self {
            open,
            ledger,
            tasks,
        };
        writers.more().await?;
        Ok(writers)
    }

    fn count(&self) -> usize {
        self.ledger.lock().unwrap().stored.len()
    }

    /// Waits until they have stored some more, and how long the first of it took.
    pub(super) async fn more(&self) -> anyhow::Result<Duration> {
        let clock = SystemClock::new();
        let before = self.count();
        eventually("one more is stored", async || self.count() > before).await?;
        let first = clock.elapsed();
        let enough = before + ENOUGH;
        eventually("enough is stored", async || self.count() >= enough).await?;
        Ok(first)
    }

    /// The same after a failover: they must be back soon.
    pub(super) async fn recovered(&self) -> Check {
        let took = self.more().await?;
        ensure!(
            took <= RECOVERY_MAX,
            "it took {took:?} until something was stored"
        );
        Ok(())
    }

    /// Stops them and compares what was acknowledged with what is there.
    pub(super) async fn audit(mut self) -> Check {
        self.tasks.shutdown().await;
        let stream = self.open.bus.stream(STREAM, "auditor").await?;
        let mut found = BTreeSet::new();
        loop {
            let claimed = stream.claim(256, Duration::ZERO).await?;
            if claimed.is_empty() {
                break;
            }
            for delivery in claimed {
                ensure!(found.insert(delivery.key.clone()), "{} twice", delivery.key);
            }
        }
        let ledger = std::mem::take(&mut *self.ledger.lock().unwrap());
        let missing: Vec<_> = ledger.stored.difference(&found).collect();
        ensure!(
            missing.is_empty(),
            "{} of {} are lost: {missing:?}",
            missing.len(),
            ledger.stored.len()
        );
        let grows = ledger.tokens.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(grows, "tokens were handed out again: {:?}", ledger.tokens);
        ensure!(ledger.tokens.len() > 2, "{:?}", ledger.tokens);
        self.open.close().await;
        Ok(())
    }
}

async fn write(writer: usize, stream: Arc<dyn Stream>, ledger: Arc<Mutex<Ledger>>) {
    let clock = SystemClock::new();
    for n in 0.. {
        let key = format!("{writer}-{n}");
        // Again until it is stored: the key makes that safe.
        while stream.append(vec![entry(&key)]).await.is_err() {
            clock.sleep(PAUSE).await;
        }
        ledger.lock().unwrap().stored.insert(key);
        // Slow enough to leave the servers some air.
        clock.sleep(Duration::from_millis(2)).await;
    }
}

/// Takes tokens and writes under them; what was written under the last one must be there.
async fn fence(store: Arc<dyn Store>, ledger: Arc<Mutex<Ledger>>) {
    let clock = SystemClock::new();
    let mut before: Option<Fence> = None;
    loop {
        clock.sleep(PAUSE).await;
        let Ok(fence) = store.fence("who").await else {
            continue;
        };
        ledger.lock().unwrap().tokens.push(fence.token);
        if let Some(stale) = before.replace(fence.clone()) {
            let put = Put::new("fenced", "stale", Expect::Any).fenced(Some(&stale));
            let refused = store.put(put).await;
            let fine = matches!(
                refused,
                Err(StoreError::Stale { .. } | StoreError::Unavailable(_))
            );
            assert!(fine, "a stale token was accepted: {refused:?}");
        }
    }
}

/// Everything fails as unavailable for want of a replica, and works again with one.
pub(super) async fn is_short(open: &Open, stream: &Arc<dyn Stream>, key: &str) -> Check {
    let refused = stream.append(vec![entry(key)]).await;
    let why = refused
        .err()
        .context("it was stored without a replica")?
        .to_string();
    ensure!(why.contains("the write reached 0 of"), "{why}");
    // The entry is there, but that is not certain: the next one who tries is not told otherwise.
    let refused = stream.append(vec![entry(key)]).await;
    ensure!(
        refused.is_err(),
        "a duplicate counted as stored: {refused:?}"
    );
    let store = open.bus.store();
    for refused in [
        store.put(Put::new("k", "v", Expect::Any)).await.err(),
        store.get("k").await.err(),
        store.fence("who").await.err(),
        open.bus.check().await.err(),
    ] {
        let refused = refused.context("it counted without a replica")?;
        ensure!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    }
    let refused = stream.claim(1, Duration::ZERO).await;
    ensure!(
        refused.is_err(),
        "it was handed out without a replica: {refused:?}"
    );
    // How much there is to do can be seen all the same.
    stream.backlog().await?;
    Ok(())
}
