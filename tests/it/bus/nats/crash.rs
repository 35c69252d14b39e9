//! Writers that die at every point of what they do: their futures are dropped after so many polls, or
//! left alone for a while and then go on.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::ports::{Cause, Clock as _, Entry, Expect, Fence, Put, Store, StoreError, Stream};
use runtime::SystemClock;
use runtime::config::Span;
use tests::conformance::{Open, PATIENCE, Rules, SHORT, STREAM, nats};
use tests::nats::NatsServer;

use super::{Check, eventually};

/// More polls than any of the operations here takes.
const POLLS_MAX: usize = 400;
/// Keys that are always written together.
const TOGETHER: [&str; 3] = ["together/x", "together/y", "together/z"];

/// When a writer dies.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Polls(usize),
    After(Duration),
}

/// Many points of an operation: between any two of its steps as this process sees them, and, because
/// several answers may come between two polls, at many times.
fn cuts() -> impl Iterator<Item = Cut> {
    let polls = (0..12).map(Cut::Polls);
    polls.chain((0..40).map(|n| Cut::After(Duration::from_micros(n * 50))))
}

/// Lets `work` go on until it is cut; none if it was not done by then.
async fn cut<F: Future>(cut: Cut, work: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match cut {
        Cut::Polls(polls) => polled(polls, work).await,
        Cut::After(span) => {
            let clock = SystemClock::new();
            tokio::select! {
                biased;
                done = work => Some(done),
                () = clock.sleep(span) => None,
            }
        }
    }
}

/// Polls `work` at most `polls` times; none if it was not done by then.
async fn polled<F: Future>(polls: usize, work: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let (mut work, mut left) = (work, polls);
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Short deadlines, so that what dead writers left is soon overdue.
fn config(server: &NatsServer) -> bus::Config {
    let rules = Rules {
        lease: SHORT,
        attempts_max: 1000,
        ..Rules::default()
    };
    bus::Config {
        timeout: Span::secs(3),
        ..nats(server, rules)
    }
}

fn together(tag: &str) -> Vec<Put> {
    let put = |key: &&str| Put::new(*key, tag, Expect::Any);
    TOGETHER.iter().map(put).collect()
}

async fn tag_of(store: &Arc<dyn Store>, key: &str) -> anyhow::Result<(String, u64)> {
    let found = store.get(key).await?.context("it has a value")?;
    Ok((String::from_utf8(found.value)?, found.version))
}

/// Reads what is written together. If the first is the same before and after, nothing was written in
/// between, and all must be of one writer.
async fn one_tag(store: &Arc<dyn Store>) -> anyhow::Result<Option<(String, u64)>> {
    let first = tag_of(store, TOGETHER[0]).await?;
    let mut rest = Vec::new();
    for key in &TOGETHER[1..] {
        rest.push(tag_of(store, key).await?);
    }
    if tag_of(store, TOGETHER[0]).await? != first {
        return Ok(None);
    }
    ensure!(
        rest.iter().all(|found| *found == first),
        "half of a write is visible: {first:?} and {rest:?}"
    );
    Ok(Some(first))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_dies_anywhere_leaves_all_or_nothing() -> Check {
    let server = NatsServer::start().await?;
    let (mortal, lives) = (
        Open::new(&config(&server)).await?,
        Open::new(&config(&server)).await?,
    );
    let (dying, living) = (mortal.bus.store(), lives.bus.store());
    living.put_all(together("first")).await?;
    let (mut before, mut deaths, mut aborted) = (("first".to_owned(), 1), 0, 0);
    for (n, at) in cuts().enumerate() {
        let tag = format!("after {n}");
        let done = cut(at, pin!(dying.put_all(together(&tag)))).await;
        let now = one_tag(&living).await?.context("nobody else writes")?;
        let all = (tag.clone(), before.1 + 1);
        ensure!(now == before || now == all, "{now:?} after {at:?}");
        if let Some(done) = done {
            ensure!(done? == [before.1 + 1; 3] && now == all);
        } else {
            (deaths, aborted) = (deaths + 1, aborted + u32::from(now == before));
        }
        // Whoever comes next is not held up for ever, and the dead one does not come back.
        let tag = format!("next {n}");
        let versions = living.put_all(together(&tag)).await?;
        let now = one_tag(&living).await?.context("nobody else writes")?;
        ensure!(versions == [now.1; 3] && now.0 == tag, "{now:?}");
        before = now;
    }
    ensure!(
        deaths > 10 && aborted > 0,
        "{deaths} died, {aborted} of them too early"
    );
    mortal.close().await;
    lives.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_meet_and_die_never_show_half() -> Check {
    const WRITERS: usize = 4;
    const WRITES: usize = 25;
    let server = NatsServer::start().await?;
    let open = Open::new(&config(&server)).await?;
    let store = open.bus.store();
    store.put_all(together("first")).await?;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let open = Open::new(&config(&server)).await?;
        writers.spawn(async move {
            let store = open.bus.store();
            let mut done = 0_u64;
            for n in 0..WRITES {
                let tag = format!("{writer}/{n}");
                // Not in the order of the keys, and some alone.
                let mut puts = together(&tag);
                puts.rotate_left((writer + n) % 3);
                // Every third dies somewhere.
                let polls = if n % 3 == 0 {
                    1 + (n * 7 + writer * 5) % 60
                } else {
                    POLLS_MAX
                };
                match polled(polls, pin!(store.put_all(puts))).await {
                    Some(Ok(_)) => done += 1,
                    None | Some(Err(StoreError::Unavailable(_))) => {}
                    Some(Err(other)) => return Err(other.into()),
                }
            }
            open.close().await;
            anyhow::Ok(done)
        });
    }
    let (mut looks, mut last) = (0, 0);
    let mut written = 0;
    while !writers.is_empty() {
        if let Some((_, version)) = one_tag(&store).await? {
            ensure!(version >= last, "version {version} after {last}");
            (looks, last) = (looks + 1, version);
        }
        while let Some(writer) = writers.try_join_next() {
            written += writer??;
        }
    }
    let (_, version) = one_tag(&store).await?.context("all are done")?;
    ensure!(
        written >= 40 && looks > 0,
        "{written} writes, {looks} looks"
    );
    ensure!(version > written, "{written} writes made version {version}");
    open.close().await;
    Ok(())
}

/// Starts a fenced write, stops it after `polls`, takes the next token, and lets it go on.
async fn overtaken(
    old: &Arc<dyn Store>,
    new: &Arc<dyn Store>,
    (name, at): (&str, Cut),
    puts: impl Fn(&Fence) -> Vec<Put>,
) -> anyhow::Result<bool> {
    let fence = old.fence(name).await?;
    let puts = puts(&fence);
    let keys: Vec<String> = puts.iter().map(|put| put.key.clone()).collect();
    let mut write = pin!(old.put_all(puts));
    let early = cut(at, write.as_mut()).await;
    let newest = new.fence(name).await?;
    ensure!(newest.token == fence.token + 1);
    let mut seen = BTreeMap::new();
    for key in &keys {
        seen.insert(key.clone(), new.get(key).await?);
    }
    let is_early = early.is_some();
    let done = match early {
        Some(done) => done,
        None => write.await,
    };
    match done {
        Ok(_) => {}
        Err(StoreError::Stale { newest: found, .. }) if found == newest.token => {}
        Err(other) => return Err(other.into()),
    }
    for (key, seen) in seen {
        let now = new.get(&key).await?;
        ensure!(now == seen, "{key} changed after {at:?}: {seen:?}, {now:?}");
    }
    // The new holder can write what the old one touched.
    let mine = keys.iter().map(|key| {
        let put = Put::new(key.clone(), "mine", Expect::Any);
        put.fenced(Some(&newest))
    });
    new.put_all(mine.collect()).await?;
    Ok(is_early)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_under_an_older_token_arrives_after_the_newer_was_taken() -> Check {
    let server = NatsServer::start().await?;
    let (a, b) = (
        Open::new(&config(&server)).await?,
        Open::new(&config(&server)).await?,
    );
    let (old, new) = (a.bus.store(), b.bus.store());
    for count in [1, 3] {
        let name = format!("fence/{count}");
        let mut early = 0;
        for (n, at) in cuts().enumerate() {
            // Keys that exist and keys that do not.
            let fresh = format!("fresh/{count}/{n}");
            let puts = |fence: &Fence| {
                let keys = [&fresh, "kept/1", "kept/2"];
                let put = |key: &&str| {
                    let put = Put::new(*key, format!("old {n}"), Expect::Any);
                    put.fenced(Some(fence))
                };
                keys.iter()
                    .rev()
                    .cycle()
                    .skip(n)
                    .take(count)
                    .map(put)
                    .collect()
            };
            early += u32::from(overtaken(&old, &new, (&name, at), puts).await?);
        }
        ensure!(early < 49, "{early} were done before they were stopped");
    }
    a.close().await;
    b.close().await;
    Ok(())
}

/// What a worker does with an entry, dying on the way.
async fn half_done(stream: &Arc<dyn Stream>, polls: usize) -> Check {
    let cause = Cause {
        code: "E-X".to_owned(),
        text: "because".to_owned(),
    };
    let soon = Duration::ZERO;
    let claimed = polled(polls, pin!(stream.claim(2, soon))).await;
    for (at, delivery) in claimed.transpose()?.unwrap_or_default().iter().enumerate() {
        match (at + polls) % 4 {
            0 => drop(polled(polls, pin!(stream.ack(&delivery.lease))).await),
            1 => drop(polled(polls, pin!(stream.bury(&delivery.lease, &cause))).await),
            2 => drop(
                polled(
                    polls,
                    pin!(stream.retry_later(&delivery.lease, soon, &cause)),
                )
                .await,
            ),
            _ => drop(polled(polls, pin!(stream.extend(&delivery.lease))).await),
        }
    }
    if let Some(Ok(letters)) = polled(polls, pin!(stream.dead(None, 1))).await {
        for letter in letters {
            drop(polled(polls, pin!(stream.redrive(&letter.id))).await);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_die_anywhere_lose_nothing_and_bring_nothing_back() -> Check {
    const STEPS: usize = 24;
    let server = NatsServer::start().await?;
    let open = Open::new(&config(&server)).await?;
    let stream = open.bus.stream(STREAM, "dying").await?;
    let entry = |n: usize| Entry {
        key: format!("k{n}"),
        payload: vec![b'x'; n],
    };
    for n in 0..STEPS {
        drop(polled(n, pin!(stream.append(vec![entry(n)]))).await);
        // Whoever was told nothing asks again.
        stream.append(vec![entry(n)]).await?;
        half_done(&stream, n).await?;
    }
    // From now on all is done properly. Every entry must come exactly once, or have been acknowledged.
    let healthy = open.bus.stream(STREAM, "healthy").await?;
    let mut acknowledged = BTreeMap::new();
    let clock = SystemClock::new();
    eventually("nothing is left", async || {
        for letter in healthy.dead(None, 64).await.unwrap() {
            healthy.redrive(&letter.id).await.unwrap();
        }
        for delivery in healthy.claim(16, Duration::ZERO).await.unwrap() {
            let n = delivery.payload.len();
            assert_eq!(delivery.key, format!("k{n}"));
            healthy.ack(&delivery.lease).await.unwrap();
            *acknowledged.entry(n).or_insert(0) += 1;
        }
        let backlog = healthy.backlog().await.unwrap();
        assert!(
            clock.elapsed() < PATIENCE,
            "{backlog:?} and {acknowledged:?}"
        );
        backlog.total() == 0 && backlog.dead == 0
    })
    .await;
    ensure!(
        acknowledged.values().all(|count| *count == 1),
        "{acknowledged:?}"
    );
    ensure!(acknowledged.len() > STEPS / 2, "{acknowledged:?}");
    for n in 0..STEPS {
        let again = stream.append(vec![entry(n)]).await?;
        ensure!(
            again == [incident::ports::Appended::Duplicate],
            "k{n} is forgotten"
        );
    }
    open.close().await;
    Ok(())
}

/// Kills the server under writers: what was acknowledged is there, and never half of anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_whole_writes() -> Check {
    let mut server = NatsServer::start().await?;
    let open = Open::new(&config(&server)).await?;
    let store = open.bus.store();
    store.put_all(together("first")).await?;
    let written = Arc::new(AtomicU64::new(1));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let (store, written) = (open.bus.store(), written.clone());
        writers.spawn(async move {
            for n in 0.. {
                let tag = format!("{writer}/{n}");
                if let Ok(versions) = store.put_all(together(&tag)).await {
                    written.fetch_max(versions[0], Ordering::SeqCst);
                }
            }
        });
    }
    for kills in 1..=3 {
        eventually("enough is written", async || {
            written.load(Ordering::SeqCst) > kills * 20
        })
        .await;
        server.kill()?;
        server.restart().await?;
    }
    writers.shutdown().await;
    let acknowledged = written.load(Ordering::SeqCst);
    let mut found = None;
    eventually("it can be read", async || {
        found = one_tag(&store).await.ok().flatten();
        found.is_some()
    })
    .await;
    let (tag, version) = found.context("found")?;
    ensure!(
        version >= acknowledged,
        "{tag} is {version}, {acknowledged} was acknowledged"
    );
    let versions = store.put_all(together("last")).await?;
    ensure!(
        versions == [version + 1; 3] || versions[0] > version,
        "{versions:?}"
    );
    ensure!(one_tag(&store).await?.is_some_and(|(tag, _)| tag == "last"));
    open.close().await;
    Ok(())
}
