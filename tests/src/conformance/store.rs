//! The contract of the Store port. See `incident::ports::Store`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::ports::{Expect, Fence, Put, StoreError, Versioned};

use super::{Kind, Peer, Rules};

type Check = anyhow::Result<()>;

async fn start(kind: Kind) -> anyhow::Result<Peer> {
    Peer::start(kind, Rules::default()).await
}

fn put(key: &str, value: &str) -> Put {
    Put::new(key, value, Expect::Any)
}

fn is(found: Option<&Versioned>, value: &str, version: u64) -> Check {
    let expect = Versioned {
        value: value.as_bytes().to_vec(),
        version,
    };
    ensure!(found == Some(&expect), "{found:?} instead of {expect:?}");
    Ok(())
}

fn conflict<T: std::fmt::Debug>(result: Result<T, StoreError>, at: Option<u64>) -> Check {
    match result {
        Err(StoreError::Conflict { found, .. }) if found == at => Ok(()),
        other => anyhow::bail!("no conflict with {at:?}: {other:?}"),
    }
}

fn stale<T: std::fmt::Debug>(result: Result<T, StoreError>, fence: &Fence, at: u64) -> Check {
    match result {
        Err(StoreError::Stale {
            name,
            token,
            newest,
        }) if name == fence.name && token == fence.token && newest == at => Ok(()),
        other => anyhow::bail!("not stale: {other:?}"),
    }
}

/// Values come out as they went in, and versions count puts.
pub async fn values(kind: Kind) -> Check {
    let peer = start(kind).await?;
    let store = peer.store();
    ensure!(store.get("a/b").await?.is_none());
    ensure!(store.put(put("a/b", "one")).await? == 1);
    ensure!(store.put(put("a/b", "two")).await? == 2);
    is(store.get("a/b").await?.as_ref(), "two", 2)?;
    let bytes: Vec<u8> = (0..=255).collect();
    store
        .put(Put::new("ключ \"x\"", bytes.clone(), Expect::Any))
        .await?;
    ensure!(store.get("ключ \"x\"").await?.context("bytes")?.value == bytes);
    store.put(put("empty", "")).await?;
    is(store.get("empty").await?.as_ref(), "", 1)?;
    ensure!(store.delete("a/b", Expect::Any).await?);
    ensure!(!store.delete("a/b", Expect::Any).await?);
    ensure!(store.get("a/b").await?.is_none());
    ensure!(
        store.put(put("a/b", "anew")).await? == 1,
        "versions start over"
    );
    Ok(())
}

/// What a writer expects is checked.
pub async fn expectations(kind: Kind) -> Check {
    let peer = start(kind).await?;
    let store = peer.store();
    let with = |expect| Put::new("k", "v", expect);
    conflict(store.put(with(Expect::Version(1))).await, None)?;
    conflict(store.put(with(Expect::Version(0))).await, None)?;
    ensure!(store.put(with(Expect::Absent)).await? == 1);
    conflict(store.put(with(Expect::Absent)).await, Some(1))?;
    ensure!(store.put(with(Expect::Version(1))).await? == 2);
    conflict(store.put(with(Expect::Version(1))).await, Some(2))?;
    conflict(store.put(with(Expect::Version(3))).await, Some(2))?;
    conflict(store.delete("k", Expect::Version(1)).await, Some(2))?;
    conflict(store.delete("k", Expect::Absent).await, Some(2))?;
    is(store.get("k").await?.as_ref(), "v", 2)?;
    ensure!(store.delete("k", Expect::Version(2)).await?);
    conflict(store.delete("k", Expect::Version(2)).await, None)?;
    ensure!(!store.delete("k", Expect::Absent).await?);
    Ok(())
}

/// Eight writers count together and none of their steps is lost.
pub async fn races(kind: Kind) -> Check {
    const STEPS: u64 = 15;
    let peer = start(kind).await?;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = peer.store();
        writers.spawn(async move {
            let mut done = 0;
            while done < STEPS {
                let found = store.get("counter").await?;
                let (count, expect) = match &found {
                    Some(found) => (
                        std::str::from_utf8(&found.value)?.parse::<u64>()?,
                        Expect::Version(found.version),
                    ),
                    None => (0, Expect::Absent),
                };
                let next = (count + 1).to_string();
                match store.put(Put::new("counter", next, expect)).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => return Err(other.into()),
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    is(peer.store().get("counter").await?.as_ref(), "120", 120)
}

/// Several puts happen together or not at all, and later ones see earlier ones.
pub async fn all_or_nothing(kind: Kind) -> Check {
    let peer = start(kind).await?;
    let store = peer.store();
    ensure!(store.put_all(Vec::new()).await?.is_empty());
    store.put(put("b", "old")).await?;
    let expecting = |key: &str, expect| Put::new(key, "new", expect);
    let batch = vec![
        put("a", "new"),
        put("b", "new"),
        expecting("c", Expect::Version(1)),
    ];
    conflict(store.put_all(batch).await, None)?;
    ensure!(store.get("a").await?.is_none());
    is(store.get("b").await?.as_ref(), "old", 1)?;

    let fence = store.fence("f").await?;
    store.fence("f").await?;
    let batch = vec![put("a", "new"), put("b", "new").fenced(Some(&fence))];
    stale(store.put_all(batch).await, &fence, 2)?;
    ensure!(store.get("a").await?.is_none());

    let batch = vec![
        expecting("a", Expect::Absent),
        expecting("b", Expect::Version(1)),
        Put::new("a", "newer", Expect::Version(1)),
    ];
    ensure!(store.put_all(batch).await? == [1, 2, 2]);
    is(store.get("a").await?.as_ref(), "newer", 2)?;
    let twice = vec![
        expecting("d", Expect::Absent),
        expecting("d", Expect::Absent),
    ];
    conflict(store.put_all(twice).await, Some(1))?;
    ensure!(store.get("d").await?.is_none());
    Ok(())
}

/// Only the newest holder of a name writes, also after a restart.
pub async fn fencing(kind: Kind) -> Check {
    let mut peer = start(kind).await?;
    let store = peer.store();
    let first = store.fence("work/1").await?;
    ensure!(first.name == "work/1");
    store.put(put("k", "1").fenced(Some(&first))).await?;
    let second = store.fence("work/1").await?;
    ensure!(second.token > first.token);
    ensure!(
        store.fence("work/2").await?.token == 1,
        "names do not share tokens"
    );
    stale(
        store.put(put("k", "2").fenced(Some(&first))).await,
        &first,
        second.token,
    )?;
    store.put(put("k", "3").fenced(Some(&second))).await?;
    store.put(put("k", "4")).await?;
    drop(store);
    peer.reopen().await?;
    let store = peer.store();
    stale(
        store.put(put("k", "5").fenced(Some(&first))).await,
        &first,
        second.token,
    )?;
    store.put(put("k", "6").fenced(Some(&second))).await?;
    let third = store.fence("work/1").await?;
    ensure!(third.token > second.token);
    stale(
        store.put(put("k", "7").fenced(Some(&second))).await,
        &second,
        third.token,
    )?;
    let unknown = Fence {
        name: "never".to_owned(),
        token: 1,
    };
    stale(
        store.put(put("k", "8").fenced(Some(&unknown))).await,
        &unknown,
        0,
    )?;
    is(store.get("k").await?.as_ref(), "6", 4)
}

/// An expired value is gone, for every operation.
pub async fn expiry(kind: Kind) -> Check {
    let peer = start(kind).await?;
    let store = peer.store();
    let ttl = kind.handful(Duration::from_millis(300));
    let before = peer.clock.elapsed();
    for key in ["t/1", "t/2", "t/3", "t/kept", "t/renewed"] {
        store.put(put(key, "v").ttl(ttl)).await?;
    }
    store.put(put("t/kept", "v")).await?;
    store
        .put(put("t/renewed", "v").ttl(Duration::from_hours(1)))
        .await?;
    let gone = async |key: &str| store.get(key).await.unwrap().is_none();
    peer.eventually("the value is gone", async || gone("t/3").await)
        .await;
    let after = peer.clock.elapsed() - before;
    ensure!(
        after >= ttl - Duration::from_millis(2),
        "gone after {after:?}"
    );
    let left: Vec<String> = store
        .list("t/", None, 16)
        .await?
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    ensure!(left == ["t/kept", "t/renewed"], "{left:?}");
    ensure!(store.put(Put::new("t/1", "anew", Expect::Absent)).await? == 1);
    conflict(
        store.put(Put::new("t/2", "v", Expect::Version(1))).await,
        None,
    )?;
    ensure!(!store.delete("t/2", Expect::Any).await?);
    // Housekeeping takes nothing that is not expired.
    peer.passed(peer.clock.elapsed(), Duration::from_millis(500))
        .await;
    is(store.get("t/1").await?.as_ref(), "anew", 1)?;
    is(store.get("t/kept").await?.as_ref(), "v", 2)?;
    ensure!(store.put(put("t/2", "v").ttl(Duration::ZERO)).await? == 1);
    peer.eventually("it ends at once", async || gone("t/2").await)
        .await;
    Ok(())
}

/// Keys are listed by prefix, in order, page by page.
pub async fn listing(kind: Kind) -> Check {
    let peer = start(kind).await?;
    let store = peer.store();
    let keys = [
        "a/1", "a/10", "a/2", "a/é", "b/1", "ab", "a", "a0", "a.", "a/",
    ];
    for key in keys {
        store.put(put(key, key)).await?;
    }
    let list = async |prefix: &str, after: Option<&str>, limit: usize| {
        let found = store.list(prefix, after, limit).await?;
        for (key, versioned) in &found {
            is(Some(versioned), key, 1)?;
        }
        let found: Vec<String> = found.into_iter().map(|(key, _)| key).collect();
        anyhow::Ok(found.join(" "))
    };
    ensure!(list("a/", None, 16).await? == "a/ a/1 a/10 a/2 a/é");
    ensure!(list("", None, 16).await? == "a a. a/ a/1 a/10 a/2 a/é a0 ab b/1");
    ensure!(list("b", None, 16).await? == "b/1");
    ensure!(list("c", None, 16).await?.is_empty());
    ensure!(list("a/", None, 0).await?.is_empty());
    ensure!(list("a/", None, 2).await? == "a/ a/1");
    ensure!(list("a/", Some("a/1"), 2).await? == "a/10 a/2");
    ensure!(list("a/", Some("a/2"), 2).await? == "a/é");
    ensure!(list("a/", Some("a/é"), 2).await?.is_empty());
    ensure!(
        list("a/", Some("a/15"), 2).await? == "a/2 a/é",
        "after need not exist"
    );
    ensure!(list("a/", Some("A"), 1).await? == "a/");
    ensure!(list("a/", Some("b"), 1).await?.is_empty());
    store.delete("a/10", Expect::Any).await?;
    ensure!(list("a/1", None, 16).await? == "a/1");
    Ok(())
}

fn limit<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Check {
    ensure!(
        matches!(result, Err(StoreError::Limit { .. })),
        "{result:?}"
    );
    Ok(())
}

/// Limits are named, and nothing beyond them is written.
pub async fn limits(kind: Kind) -> Check {
    let peer = start(kind).await?;
    let store = peer.store();
    let long = "k".repeat(Put::KEY_BYTES_MAX);
    let longer = "k".repeat(Put::KEY_BYTES_MAX + 1);
    ensure!(store.put(put(&long, "v")).await? == 1);
    for key in ["", &longer] {
        limit(store.put(put(key, "v")).await)?;
        limit(store.get(key).await)?;
        limit(store.delete(key, Expect::Any).await)?;
        limit(store.fence(key).await)?;
    }
    let huge = vec![1; Put::VALUE_BYTES_MAX];
    store
        .put(Put::new("huge", huge.clone(), Expect::Any))
        .await?;
    ensure!(
        store
            .get("huge")
            .await?
            .is_some_and(|found| found.value == huge)
    );
    let over = vec![1; Put::VALUE_BYTES_MAX + 1];
    limit(store.put(Put::new("over", over, Expect::Any)).await)?;
    let many = |n| {
        (0..n)
            .map(|n: usize| put(&format!("many/{n}"), "v"))
            .collect()
    };
    limit(store.put_all(many(Put::BATCH_MAX + 1)).await)?;
    ensure!(store.list("many/", None, 1).await?.is_empty());
    ensure!(store.put_all(many(Put::BATCH_MAX)).await?.len() == Put::BATCH_MAX);
    ensure!(store.list("many/", None, 1000).await?.len() == Put::BATCH_MAX);
    Ok(())
}

/// A restart keeps values, versions and the rest of their time.
pub async fn reopening(kind: Kind) -> Check {
    let mut peer = start(kind).await?;
    let ttl = Duration::from_secs(2);
    let store = peer.store();
    store.put(put("kept", "1")).await?;
    store.put(put("kept", "2")).await?;
    store.put(put("gone", "1")).await?;
    store.delete("gone", Expect::Any).await?;
    let before = peer.clock.elapsed();
    store.put(put("short", "1").ttl(ttl)).await?;
    drop(store);
    peer.reopen().await?;
    let store = peer.store();
    is(store.get("kept").await?.as_ref(), "2", 2)?;
    ensure!(store.get("gone").await?.is_none());
    if peer.clock.elapsed() < before + ttl - Duration::from_millis(500) {
        is(store.get("short").await?.as_ref(), "1", 1)?;
    }
    let gone = async || store.get("short").await.unwrap().is_none();
    peer.eventually("its time is over", gone).await;
    ensure!(peer.clock.elapsed() >= before + ttl - Duration::from_millis(5));
    ensure!(store.put(Put::new("kept", "3", Expect::Version(2))).await? == 3);
    Ok(())
}
