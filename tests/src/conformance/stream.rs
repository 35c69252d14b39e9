//! The contract of the Stream port. See `incident::ports::Stream`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::ports::{Appended, Cause, Delivery, Entry, Stream, StreamError};

pub use super::dead::{graves, redrive};
use super::{Kind, PATIENCE, Peer, Rules, SHORT, STREAM};

pub(super) type Check = anyhow::Result<()>;

fn entry(key: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        payload: format!("payload of {key}").into_bytes(),
    }
}

pub(super) fn entries(keys: &[&str]) -> Vec<Entry> {
    keys.iter().map(|key| entry(key)).collect()
}

pub(super) fn cause(code: &str) -> Cause {
    Cause {
        code: code.to_owned(),
        text: format!("because of {code} (\"{code}\", ünïcode)"),
    }
}

pub(super) fn keys(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|d| d.key.as_str()).collect()
}

/// Claims one entry that must come.
pub(super) async fn one(stream: &Arc<dyn Stream>) -> anyhow::Result<Delivery> {
    let claimed = stream.claim(1, PATIENCE).await?;
    claimed
        .into_iter()
        .next()
        .context("nothing was claimed in time")
}

/// Nothing can be claimed now.
pub(super) async fn nothing(stream: &Arc<dyn Stream>) -> Check {
    let claimed = stream.claim(16, Duration::ZERO).await?;
    ensure!(claimed.is_empty(), "claimed {:?}", keys(&claimed));
    Ok(())
}

fn lost(result: Result<(), StreamError>) -> Check {
    ensure!(
        matches!(result, Err(StreamError::LeaseLost { .. })),
        "the stale lease was accepted: {result:?}"
    );
    Ok(())
}

async fn all_lost(stream: &Arc<dyn Stream>, delivery: &Delivery) -> Check {
    lost(stream.extend(&delivery.lease).await)?;
    lost(
        stream
            .retry_later(&delivery.lease, Duration::ZERO, &cause("E-X"))
            .await,
    )?;
    lost(stream.bury(&delivery.lease, &cause("E-X")).await)?;
    lost(stream.ack(&delivery.lease).await)
}

/// What is appended comes out as it went in, in order, once.
pub async fn order(kind: Kind) -> Check {
    let peer = Peer::start(kind, Rules::default()).await?;
    let stream = peer.stream("a").await?;
    ensure!(stream.name() == STREAM && stream.lease() == Rules::default().lease);
    ensure!(stream.append(Vec::new()).await?.is_empty());
    let before = peer.clock.now();
    let mut batch = entries(&["c", "a", "b"]);
    batch.push(Entry {
        key: "ключ/ \"k\"".to_owned(),
        payload: (0..=255).collect(),
    });
    ensure!(stream.append(batch.clone()).await? == [Appended::Stored; 4]);
    ensure!(stream.append(vec![entry("d")]).await? == [Appended::Stored]);
    batch.push(entry("d"));
    let mut claimed = stream.claim(2, Duration::ZERO).await?;
    ensure!(claimed.len() == 2, "max is kept");
    claimed.extend(stream.claim(16, Duration::ZERO).await?);
    for (delivery, entry) in claimed.iter().zip(&batch) {
        ensure!(delivery.key == entry.key && delivery.payload == entry.payload);
        ensure!(delivery.attempt == 1);
        let age = delivery.appended_at.duration_since(before).as_secs();
        ensure!((-5..60).contains(&age), "appended {age} s after it was");
    }
    ensure!(claimed.len() == batch.len());
    nothing(&stream).await?;
    for delivery in &claimed {
        stream.ack(&delivery.lease).await?;
        all_lost(&stream, delivery).await?;
    }
    ensure!(stream.claim(0, PATIENCE).await?.is_empty());
    nothing(&stream).await
}

/// A batch that breaks a limit is refused as a whole.
pub async fn atomic_batch(kind: Kind) -> Check {
    let rules = Rules {
        capacity: 3,
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    let too_large = Entry {
        key: "large".to_owned(),
        payload: vec![0; Entry::PAYLOAD_BYTES_MAX + 1],
    };
    for bad in [
        too_large,
        entry(""),
        entry(&"k".repeat(Entry::KEY_BYTES_MAX + 1)),
    ] {
        let refused = stream.append(vec![entry("good"), bad]).await;
        ensure!(
            matches!(refused, Err(StreamError::Limit { .. })),
            "{refused:?}"
        );
    }
    let many = (0..=Entry::BATCH_MAX).map(|n| entry(&n.to_string()));
    let refused = stream.append(many.collect()).await;
    ensure!(
        matches!(refused, Err(StreamError::Limit { .. })),
        "{refused:?}"
    );
    let refused = stream.append(entries(&["1", "2", "3", "4"])).await;
    let full = |entries, refused: Result<_, _>| match refused {
        Err(StreamError::Full {
            entries: e,
            limit: 3,
        }) if e == entries => Ok(()),
        other => Err(anyhow::anyhow!("not full with {entries}: {other:?}")),
    };
    full(0, refused)?;
    ensure!(stream.backlog().await?.total() == 0);
    let largest = Entry {
        key: "k".repeat(Entry::KEY_BYTES_MAX),
        payload: vec![7; Entry::PAYLOAD_BYTES_MAX],
    };
    ensure!(stream.append(vec![largest.clone()]).await? == [Appended::Stored]);
    let back = one(&stream).await?;
    ensure!(back.payload == largest.payload && back.key == largest.key);
    ensure!(stream.append(entries(&["2", "3"])).await? == [Appended::Stored; 2]);
    full(3, stream.append(entries(&["4"])).await)?;
    ensure!(stream.append(entries(&["2", "3"])).await? == [Appended::Duplicate; 2]);
    let later = one(&stream).await?;
    stream
        .retry_later(&later.lease, PATIENCE, &cause("E-X"))
        .await?;
    full(3, stream.append(entries(&["4"])).await)?;
    stream.ack(&back.lease).await?;
    ensure!(stream.append(entries(&["4"])).await? == [Appended::Stored]);
    Ok(())
}

/// The same key is stored once within the window, and again after it.
pub async fn dedup(kind: Kind) -> Check {
    use Appended::{Duplicate, Stored};
    let peer = Peer::start(kind, Rules::default()).await?;
    let stream = peer.stream("a").await?;
    let appended = stream.append(entries(&["x", "y", "x"])).await?;
    ensure!(appended == [Stored, Stored, Duplicate], "{appended:?}");
    let appended = stream.append(entries(&["z", "x"])).await?;
    ensure!(appended == [Stored, Duplicate], "{appended:?}");
    let claimed = stream.claim(16, Duration::ZERO).await?;
    ensure!(keys(&claimed) == ["x", "y", "z"]);
    for delivery in &claimed {
        stream.ack(&delivery.lease).await?;
    }
    ensure!(
        stream.append(entries(&["x"])).await? == [Duplicate],
        "after the ack"
    );
    nothing(&stream).await?;

    let rules = Rules {
        window: Duration::from_millis(200),
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    ensure!(stream.append(entries(&["x"])).await? == [Stored]);
    peer.eventually("the key is forgotten", async || {
        matches!(
            stream.append(entries(&["x"])).await.as_deref(),
            Ok([Stored])
        )
    })
    .await;
    ensure!(stream.claim(16, Duration::ZERO).await?.len() == 2);
    Ok(())
}

/// Eight consumers at once: every entry is held by one at a time and handed out once.
pub async fn no_two_holders(kind: Kind) -> Check {
    const ENTRIES: usize = 160;
    let peer = Peer::start(kind, Rules::default()).await?;
    let stream = peer.stream("producer").await?;
    let batch = (0..ENTRIES).map(|n| entry(&format!("k{n}"))).collect();
    stream.append(batch).await?;
    let held = Arc::new(Mutex::new(BTreeSet::new()));
    let done = Arc::new(Mutex::new(Vec::new()));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let stream = peer.stream(&format!("worker-{worker}")).await?;
        let (held, done) = (held.clone(), done.clone());
        workers.spawn(async move {
            loop {
                let claimed = stream.claim(1 + worker % 3, Duration::ZERO).await?;
                if claimed.is_empty() {
                    return anyhow::Ok(());
                }
                for delivery in &claimed {
                    let fresh = held.lock().unwrap().insert(delivery.lease.id.clone());
                    ensure!(fresh, "{} has two holders", delivery.key);
                    ensure!(delivery.attempt == 1);
                }
                for delivery in claimed {
                    if delivery.lease.token % 2 == 0 {
                        stream.extend(&delivery.lease).await?;
                    }
                    held.lock().unwrap().remove(&delivery.lease.id);
                    stream.ack(&delivery.lease).await?;
                    done.lock().unwrap().push(delivery.key);
                }
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let done = std::mem::take(&mut *done.lock().unwrap());
    ensure!(done.len() == ENTRIES && done.iter().collect::<BTreeSet<_>>().len() == ENTRIES);
    ensure!(stream.backlog().await?.total() == 0);
    Ok(())
}

/// An expired lease goes to somebody else with the next attempt, and the old holder is refused.
pub async fn expiry(kind: Kind) -> Check {
    let rules = Rules {
        lease: SHORT,
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let (a, b) = (peer.stream("a").await?, peer.stream("b").await?);
    a.append(entries(&["x"])).await?;
    let before = peer.clock.elapsed();
    let first = one(&a).await?;
    let second = one(&b).await?;
    let after = peer.clock.elapsed() - before;
    ensure!(
        after >= SHORT - Duration::from_millis(2),
        "taken away after {after:?}"
    );
    ensure!(second.attempt == 2 && second.lease.token > first.lease.token);
    ensure!(second.lease.id == first.lease.id && second.payload == first.payload);
    ensure!(second.appended_at == first.appended_at);
    all_lost(&a, &first).await?;
    b.ack(&second.lease).await?;
    lost(b.ack(&second.lease).await)?;
    ensure!(a.backlog().await?.total() == 0);

    // Expired, but nobody took it: the holder may still finish, or go on.
    a.append(entries(&["y", "z"])).await?;
    let claimed = a.claim(2, PATIENCE).await?;
    let [y, z] = claimed.as_slice() else {
        anyhow::bail!("claimed {:?}", keys(&claimed));
    };
    peer.passed(peer.clock.elapsed(), SHORT * 2).await;
    a.ack(&y.lease).await?;
    a.extend(&z.lease).await?;
    a.ack(&z.lease).await?;
    nothing(&b).await
}

/// A lease that is extended stays.
pub async fn extension(kind: Kind) -> Check {
    let lease = kind
        .handful(Duration::from_millis(500))
        .max(Duration::from_millis(1500));
    let rules = Rules {
        lease,
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let (a, b) = (peer.stream("a").await?, peer.stream("b").await?);
    a.append(entries(&["x"])).await?;
    let held = one(&a).await?;
    let start = peer.clock.elapsed();
    while peer.clock.elapsed() < start + lease * 2 {
        a.extend(&held.lease).await?;
        nothing(&b).await?;
        peer.clock.sleep(Duration::from_millis(50)).await;
    }
    let taken = one(&b).await?;
    ensure!(taken.attempt == 2);
    all_lost(&a, &held).await
}

/// Too many deliveries without an answer end in the dead letters.
pub async fn exhaustion(kind: Kind) -> Check {
    let rules = Rules {
        lease: Duration::from_millis(100),
        attempts_max: 2,
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    stream.append(entries(&["silent", "told"])).await?;
    let told = cause("E-TOLD-001");
    let mut seen = Vec::new();
    let mut tries = 0;
    peer.eventually("both are dead", async || {
        for delivery in stream.claim(16, Duration::ZERO).await.unwrap() {
            if delivery.key == "told" && delivery.attempt == 1 {
                stream
                    .retry_later(&delivery.lease, Duration::ZERO, &told)
                    .await
                    .unwrap();
            }
            seen.push((delivery.key, delivery.attempt));
        }
        tries += 1;
        stream.backlog().await.unwrap().dead == 2
    })
    .await;
    seen.sort();
    let expect = [("silent", 1), ("silent", 2), ("told", 1), ("told", 2)];
    ensure!(
        seen.iter().map(|(key, n)| (key.as_str(), *n)).eq(expect),
        "{seen:?}"
    );
    let mut dead = stream.dead(None, 16).await?;
    dead.sort_by(|a, b| a.key.cmp(&b.key));
    let [silent, told_letter] = dead.as_slice() else {
        anyhow::bail!("{dead:?}");
    };
    ensure!(silent.attempts == 2 && silent.first.is_none());
    ensure!(silent.last == Cause::unanswered(2), "{:?}", silent.last);
    ensure!(told_letter.first.as_ref() == Some(&told) && told_letter.last == told);
    nothing(&stream).await?;
    ensure!(stream.backlog().await?.total() == 0);
    Ok(())
}

/// Putting back too often ends in the dead letters, with the first and the last cause.
pub async fn causes(kind: Kind) -> Check {
    let rules = Rules {
        attempts_max: 3,
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    stream.append(entries(&["x", "y"])).await?;
    let mut claimed = stream.claim(2, Duration::ZERO).await?;
    ensure!(claimed.len() == 2);
    let bury = claimed.pop().context("y")?;
    let mut held = claimed.pop().context("x")?;
    for n in 1..=3 {
        ensure!(held.attempt == n);
        let code = format!("E-TRY-00{n}");
        stream
            .retry_later(&held.lease, Duration::ZERO, &cause(&code))
            .await?;
        lost(stream.ack(&held.lease).await)?;
        if n < 3 {
            held = one(&stream).await?;
        }
    }
    stream.bury(&bury.lease, &cause("E-BURY-001")).await?;
    lost(stream.ack(&bury.lease).await)?;
    nothing(&stream).await?;
    let backlog = stream.backlog().await?;
    ensure!(backlog.dead == 2 && backlog.total() == 0 && backlog.oldest_age.is_none());
    let dead = stream.dead(None, 16).await?;
    ensure!(stream.dead(None, 1).await? == dead[..1] && stream.dead(None, 0).await?.is_empty());
    let [x, y] = dead.as_slice() else {
        anyhow::bail!("{dead:?}");
    };
    ensure!(x.key == "x" && x.id == held.lease.id && x.stream == STREAM && x.attempts == 3);
    ensure!(x.payload == held.payload && x.appended_at == held.appended_at);
    ensure!(x.first == Some(cause("E-TRY-001")) && x.last == cause("E-TRY-003"));
    ensure!(y.key == "y" && y.attempts == 1);
    ensure!(y.first.is_none() && y.last == cause("E-BURY-001"));
    let age = y.buried_at.duration_since(y.appended_at).as_secs();
    ensure!(
        (-5..60).contains(&age),
        "buried {age} s after it was appended"
    );
    ensure!(stream.append(entries(&["x"])).await? == [Appended::Duplicate]);
    Ok(())
}

/// A put-back entry comes back after its delay, not before.
pub async fn delay(kind: Kind) -> Check {
    let delay = Duration::from_millis(400);
    let peer = Peer::start(kind, Rules::default()).await?;
    let stream = peer.stream("a").await?;
    stream.append(entries(&["x"])).await?;
    let held = one(&stream).await?;
    let before = peer.clock.elapsed();
    stream
        .retry_later(&held.lease, delay, &cause("E-X"))
        .await?;
    let backlog = stream.backlog().await?;
    ensure!(backlog.waiting == 1 && backlog.claimed == 0, "{backlog:?}");
    let again = one(&stream).await?;
    let after = peer.clock.elapsed() - before;
    ensure!(
        after >= delay - Duration::from_millis(2),
        "back after {after:?}"
    );
    ensure!(again.attempt == 2 && again.lease.token > held.lease.token);
    stream.ack(&again.lease).await?;
    Ok(())
}

/// How much there is to do.
pub async fn backlog(kind: Kind) -> Check {
    let peer = Peer::start(kind, Rules::default()).await?;
    let stream = peer.stream("a").await?;
    ensure!(stream.backlog().await? == incident::ports::Backlog::default());
    let before = peer.clock.elapsed();
    stream.append(entries(&["1", "2", "3", "4", "5"])).await?;
    let appended = peer.clock.elapsed();
    let claimed = stream.claim(3, Duration::ZERO).await?;
    let check = async |waiting, claimed, dead| {
        let backlog = stream.backlog().await?;
        let found = (backlog.waiting, backlog.claimed, backlog.dead);
        ensure!(found == (waiting, claimed, dead), "{backlog:?}");
        ensure!(backlog.total() == waiting + claimed);
        anyhow::Ok(backlog.oldest_age)
    };
    check(2, 3, 0).await?;
    stream
        .retry_later(&claimed[2].lease, PATIENCE, &cause("E-X"))
        .await?;
    check(3, 2, 0).await?;
    stream.bury(&claimed[1].lease, &cause("E-X")).await?;
    check(3, 1, 1).await?;
    peer.passed(appended, Duration::from_millis(150)).await;
    let age = check(3, 1, 1).await?.context("an age")?;
    let most = peer.clock.elapsed() - before + Duration::from_millis(5);
    ensure!(age >= Duration::from_millis(145) && age <= most, "{age:?}");
    stream.ack(&claimed[0].lease).await?;
    check(3, 0, 1).await?;
    for delivery in stream.claim(2, Duration::ZERO).await? {
        stream.ack(&delivery.lease).await?;
    }
    // Only what was put back is left.
    ensure!(check(1, 0, 1).await?.is_some());
    // Entries acknowledged out of order are not counted after some housekeeping either.
    peer.passed(peer.clock.elapsed(), Duration::from_millis(500))
        .await;
    check(1, 0, 1).await?;
    stream.append(entries(&["6", "7"])).await?;
    check(3, 0, 1).await?;
    Ok(())
}

/// A waiting claim hears of new work, and gives up in time.
pub async fn waiting(kind: Kind) -> Check {
    let peer = Peer::start(kind, Rules::default()).await?;
    let (a, b) = (peer.stream("a").await?, peer.stream("b").await?);
    let wait = Duration::from_millis(200);
    let before = peer.clock.elapsed();
    ensure!(a.claim(1, wait).await?.is_empty());
    ensure!(peer.clock.elapsed() - before >= wait);
    for key in ["x", "y", "z"] {
        // The claim is polled first, so it waits when the entry arrives.
        let before = peer.clock.elapsed();
        let (claimed, appended) = tokio::join!(a.claim(1, PATIENCE), async {
            b.append(entries(&[key])).await
        });
        appended?;
        let claimed = claimed?;
        ensure!(keys(&claimed) == [key]);
        let after = peer.clock.elapsed() - before;
        ensure!(after < PATIENCE / 2, "woke after {after:?}");
        a.ack(&claimed[0].lease).await?;
    }
    Ok(())
}

/// A claim that is given up strands nothing.
pub async fn dropped_claims(kind: Kind) -> Check {
    let rules = Rules {
        lease: SHORT,
        attempts_max: 100,
        ..Rules::default()
    };
    let peer = Peer::start(kind, rules).await?;
    let (a, b) = (peer.stream("a").await?, peer.stream("b").await?);
    for n in 0..10_u64 {
        let key = format!("k{n}");
        let cut = peer.clock.sleep(Duration::from_millis(n));
        let claim = a.claim(1, PATIENCE);
        tokio::select! {
            biased;
            () = cut => {}
            _ = async { tokio::join!(claim, b.append(entries(&[&key]))) } => {}
        }
        b.append(entries(&[&key])).await?;
    }
    let mut left: BTreeSet<String> = (0..10).map(|n| format!("k{n}")).collect();
    peer.eventually("all are handled", async || {
        for delivery in b.claim(16, Duration::ZERO).await.unwrap() {
            if b.ack(&delivery.lease).await.is_ok() {
                left.remove(&delivery.key);
            }
        }
        left.is_empty()
    })
    .await;
    Ok(())
}

/// A restart keeps everything: what waits, what is put back, what is dead, which keys are known.
pub async fn reopening(kind: Kind) -> Check {
    let rules = Rules {
        lease: SHORT,
        ..Rules::default()
    };
    let delay = Duration::from_secs(2);
    let mut peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    stream
        .append(entries(&["dead", "done", "held", "later", "waiting"]))
        .await?;
    let claimed = stream.claim(4, Duration::ZERO).await?;
    stream.bury(&claimed[0].lease, &cause("E-X")).await?;
    stream.ack(&claimed[1].lease).await?;
    let put_back = peer.clock.elapsed();
    stream
        .retry_later(&claimed[3].lease, delay, &cause("E-Y"))
        .await?;
    drop(stream);
    peer.reopen().await?;
    let stream = peer.stream("a").await?;
    let known = stream
        .append(entries(&["dead", "done", "held", "later", "waiting"]))
        .await?;
    ensure!(known == [Appended::Duplicate; 5], "{known:?}");
    let dead = stream.dead(None, 16).await?;
    ensure!(dead.len() == 1 && dead[0].key == "dead" && dead[0].last == cause("E-X"));
    let mut back = Vec::new();
    peer.eventually("all are back", async || {
        for delivery in stream.claim(1, Duration::ZERO).await.unwrap() {
            ensure_attempt(&delivery);
            if delivery.key == "later" {
                let after = peer.clock.elapsed() - put_back;
                assert!(
                    after >= delay - Duration::from_millis(5),
                    "later came after {after:?}"
                );
            }
            stream.ack(&delivery.lease).await.unwrap();
            back.push(delivery.key);
        }
        back.len() == 3
    })
    .await;
    back.sort();
    ensure!(back == ["held", "later", "waiting"], "{back:?}");
    let backlog = stream.backlog().await?;
    ensure!(backlog.total() == 0 && backlog.dead == 1);
    Ok(())
}

fn ensure_attempt(delivery: &Delivery) {
    let expect = if delivery.key == "waiting" { 1 } else { 2 };
    assert_eq!(delivery.attempt, expect, "{}", delivery.key);
    let payload = format!("payload of {}", delivery.key);
    assert_eq!(delivery.payload, payload.as_bytes());
}

/// Leases that never were are refused.
pub async fn nonsense(kind: Kind) -> Check {
    let peer = Peer::start(kind, Rules::default()).await?;
    let stream = peer.stream("a").await?;
    stream.append(entries(&["x"])).await?;
    let held = one(&stream).await?;
    for (id, token) in [("", 1), ("x", 1), ("999999-0", 1), ("999999", 1), ("-1", 0)] {
        let mut odd = held.clone();
        odd.lease = incident::ports::Lease {
            id: id.to_owned(),
            token,
        };
        all_lost(&stream, &odd).await?;
    }
    let mut odd = held.clone();
    for token in [0, held.lease.token + 1, u64::MAX] {
        odd.lease.token = token;
        all_lost(&stream, &odd).await?;
    }
    stream.ack(&held.lease).await?;
    Ok(())
}
