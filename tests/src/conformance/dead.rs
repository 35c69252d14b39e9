//! The contract of the Stream port, its dead letters. See `incident::ports::Stream`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use incident::ports::{Appended, Stream, StreamError};

use super::stream::{Check, cause, entries, keys, nothing, one};
use super::{Kind, PATIENCE, Peer, Rules, SHORT};

/// Buries `names`, in this order.
async fn bury(stream: &Arc<dyn Stream>, names: &[&str]) -> Check {
    for name in names {
        stream.append(entries(&[name])).await?;
        let held = one(stream).await?;
        ensure!(held.key == *name);
        stream.bury(&held.lease, &cause("E-BURY-001")).await?;
    }
    Ok(())
}

/// The keys of all dead letters, read in pages of `page`.
async fn graveyard(stream: &Arc<dyn Stream>, page: usize) -> anyhow::Result<Vec<String>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let letters = stream.dead(after.as_deref(), page).await?;
        ensure!(letters.len() <= page && found.len() <= 1000);
        let Some(last) = letters.last() else {
            return Ok(found);
        };
        after = Some(last.id.clone());
        found.extend(letters.into_iter().map(|letter| letter.key));
    }
}

/// Dead letters in pages: in the order of burial, each once; discarded ones are gone for good; no
/// limit of the stream and no housekeeping ever takes one away.
pub async fn graves(kind: Kind) -> Check {
    let rules = Rules {
        capacity: 2,
        window: SHORT,
        ..Rules::default()
    };
    let mut peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    let names: Vec<String> = (0..9).map(|n| format!("k{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bury(&stream, &names).await?;
    for page in [1, 2, 9, 100] {
        let found = graveyard(&stream, page).await?;
        ensure!(found == names, "{found:?} in pages of {page}");
    }
    // The page after a letter that is gone begins anew.
    for odd in ["", "no such letter", "-1", "999999-0"] {
        ensure!(stream.dead(Some(odd), 1).await?[0].key == "k0", "{odd}");
        ensure!(!stream.discard(odd).await? && !stream.redrive(odd).await?);
    }
    let letters = stream.dead(None, 9).await?;
    for at in [8, 0, 4] {
        let id = &letters[at].id;
        let (first, second) = tokio::join!(stream.discard(id), stream.discard(id));
        ensure!(first? != second?, "discarded twice or never");
        ensure!(!stream.discard(id).await? && !stream.redrive(id).await?);
    }
    // What is buried after a newer letter went does not take an older one's place.
    bury(&stream, &["k9"]).await?;
    let left = ["k1", "k2", "k3", "k5", "k6", "k7", "k9"];
    ensure!(graveyard(&stream, 2).await? == left);
    ensure!(stream.backlog().await?.dead == 7);
    // Two sweeps of everything that is old.
    peer.passed(peer.clock.elapsed(), SHORT + Duration::from_millis(500))
        .await;
    drop(stream);
    peer.reopen().await?;
    let stream = peer.stream("a").await?;
    ensure!(graveyard(&stream, 3).await? == left);
    let found = stream.dead(Some(&letters[3].id), 1).await?;
    ensure!(found[0] == letters[5], "{found:?}");
    ensure!(stream.discard(&letters[5].id).await?);
    nothing(&stream).await?;
    ensure!(stream.backlog().await?.dead == 6);
    Ok(())
}

/// A redriven letter is an entry like a new one, once, however many ask for it.
pub async fn redrive(kind: Kind) -> Check {
    let rules = Rules {
        capacity: 2,
        attempts_max: 2,
        ..Rules::default()
    };
    let mut peer = Peer::start(kind, rules).await?;
    let stream = peer.stream("a").await?;
    bury(&stream, &["x", "y"]).await?;
    stream.append(entries(&["1", "2"])).await?;
    let dead = stream.dead(None, 9).await?;
    let [x, y] = dead.as_slice() else {
        anyhow::bail!("{dead:?}");
    };
    let full = stream.redrive(&x.id).await;
    let refused = matches!(
        full,
        Err(StreamError::Full {
            entries: 2,
            limit: 2
        })
    );
    ensure!(refused, "{full:?}");
    ensure!(stream.dead(None, 9).await? == dead, "the letter stays");
    let held = one(&stream).await?;
    stream.ack(&held.lease).await?;

    let mut tries = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (stream, id) = (peer.stream(&format!("c{caller}")).await?, x.id.clone());
        tries.spawn(async move { stream.redrive(&id).await });
    }
    let mut done = 0;
    while let Some(redriven) = tries.join_next().await {
        done += u32::from(redriven??);
    }
    ensure!(done == 1, "redriven {done} times");
    ensure!(!stream.redrive(&x.id).await? && !stream.discard(&x.id).await?);
    let backlog = stream.backlog().await?;
    ensure!(backlog.total() == 2 && backlog.dead == 1, "{backlog:?}");
    ensure!(stream.append(entries(&["x"])).await? == [Appended::Duplicate]);

    drop(stream);
    peer.reopen().await?;
    let stream = peer.stream("a").await?;
    let two = stream.claim(9, PATIENCE).await?;
    ensure!(keys(&two) == ["2", "x"], "at the end: {:?}", keys(&two));
    ensure!(two[1].attempt == 1 && two[1].payload == x.payload && two[1].lease.id != x.id);
    ensure!(two[1].appended_at >= x.appended_at);
    stream.ack(&two[0].lease).await?;
    // Attempts and causes start anew, and it may die again.
    let mut held = two[1].clone();
    for attempt in 1..=2 {
        ensure!(held.attempt == attempt);
        let code = format!("E-AGAIN-00{attempt}");
        stream
            .retry_later(&held.lease, Duration::ZERO, &cause(&code))
            .await?;
        if attempt == 1 {
            held = one(&stream).await?;
        }
    }
    let dead = stream.dead(Some(&y.id), 9).await?;
    ensure!(dead.len() == 1 && dead[0].key == "x" && dead[0].id == two[1].lease.id);
    ensure!(dead[0].attempts == 2 && dead[0].first == Some(cause("E-AGAIN-001")));
    // A waiting claim hears of it.
    let (claimed, redriven) = tokio::join!(stream.claim(1, PATIENCE), stream.redrive(&y.id));
    ensure!(redriven? && keys(&claimed?) == ["y"]);
    Ok(())
}
