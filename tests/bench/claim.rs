//! How many entries one consumer claims and acknowledges, by the size of a claim, beside what the
//! same Redis does with its own commands, and beside a bare flush of the disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bus::Bus;
use futures_util::future::try_join_all;
use incident::ports::{Clock, Entry};
use redis::Value;
use runtime::{Shutdown, Supervisor, SystemClock};

use crate::Bench;
use crate::backend::{ALL, Backend, Running};
use crate::figure::Figure;
use crate::peer::connect;
use crate::sample::median;

const NAME: &str = "claim";
/// Entries of one claim.
const BATCHES: [(usize, &str); 3] = [(1, "1"), (16, "16"), (64, "64")];
/// How long one measurement takes.
const SPAN: Duration = Duration::from_millis(1_500);
/// Entries that are there before it begins; when they are used up, it ends.
const ENTRIES: usize = 20_000;
/// Entries stored at once.
const STORED_AT_ONCE: usize = 500;
/// About what an alert event has.
const PAYLOAD: [u8; 1_500] = [b'x'; 1_500];

/// The stream that is used without us; in a cluster it lies where ours lies.
const PLAIN: &str = "{nightshift}:plain";

/// How many measurements one round takes.
pub(crate) fn steps() -> usize {
    ALL.len() * BATCHES.len()
}

/// Measures all of them in turn.
pub(crate) async fn run(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for backend in ALL {
        for (size, text) in BATCHES {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            let name = format!("{}, claims of {text}", backend.name());
            for round in 0..bench.rounds {
                bench.step(&format!("{NAME}: {name}, round {}", round + 1));
                let running = backend.start().await?;
                let folder = tempfile::tempdir()?;
                ours.push(product(&running, folder.path(), size).await?);
                theirs.push(match running.url()? {
                    Some(url) => plain(url, size).await?,
                    None => fdatasync(folder.path())?,
                });
            }
            let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs));
            let peer = match backend {
                Backend::Embedded | Backend::Nats => "bare fdatasync of 2 KiB",
                _ => "XREADGROUP + XACK",
            };
            let figure = Figure::new(NAME, name, "claimed and acknowledged", (median(ours), "/s"));
            figures.push(figure.beside(peer, median(theirs), ratio));
        }
    }
    Ok(figures)
}

async fn product(running: &Running, folder: &Path, size: usize) -> Result<f64> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let supervisor = Supervisor::new(Shutdown::new(), clock.clone());
    let config = running.config(folder);
    let bus = Bus::open(&config, clock, &supervisor).await?;
    let stream = bus.stream("incident:events", "bench").await?;
    for first in (0..ENTRIES).step_by(STORED_AT_ONCE) {
        let entries = (first..first + STORED_AT_ONCE).map(|number| Entry {
            key: format!("{number:064}"),
            payload: PAYLOAD.to_vec(),
        });
        stream.append(entries.collect()).await?;
    }
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        let claimed = stream.claim(size, Duration::ZERO).await?;
        if claimed.is_empty() {
            break;
        }
        try_join_all(claimed.iter().map(|delivery| stream.ack(&delivery.lease))).await?;
        done += claimed.len();
    }
    let rate = per_second(done, started.elapsed());
    supervisor.drain(Duration::from_secs(1)).await;
    bus.close().await;
    Ok(rate)
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_second(done: usize, took: Duration) -> f64 {
    done as f64 / took.as_secs_f64()
}

/// The same with Redis's own commands, which lease nothing and fence nothing.
async fn plain(url: String, size: usize) -> Result<f64> {
    let mut redis = connect(url).await?;
    for _ in (0..ENTRIES).step_by(STORED_AT_ONCE) {
        let mut adding = redis::pipe();
        for _ in 0..STORED_AT_ONCE {
            adding.cmd("XADD").arg(PLAIN).arg("*");
            adding.arg("payload").arg(&PAYLOAD).ignore();
        }
        adding.exec_async(&mut redis).await?;
    }
    redis::cmd("XGROUP")
        .arg(&["CREATE", PLAIN, "group", "0"])
        .exec_async(&mut redis)
        .await?;
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        let read: Value = redis::cmd("XREADGROUP")
            .arg(&["GROUP", "group", "bench", "COUNT"])
            .arg(size)
            .arg(&["STREAMS", PLAIN, ">"])
            .query_async(&mut redis)
            .await?;
        let ids = ids(read);
        if ids.is_empty() {
            break;
        }
        redis::cmd("XACK")
            .arg(&[PLAIN, "group"])
            .arg(&ids)
            .exec_async(&mut redis)
            .await?;
        done += ids.len();
    }
    Ok(per_second(done, started.elapsed()))
}

/// The ids in the answer to a read of one stream.
fn ids(read: Value) -> Vec<Vec<u8>> {
    let parts = |value: Value| match value {
        Value::Array(parts) => parts,
        _ => Vec::new(),
    };
    let stream = parts(read)
        .into_iter()
        .next()
        .map(parts)
        .unwrap_or_default();
    let entries = stream.into_iter().nth(1).map(parts).unwrap_or_default();
    let ids = entries
        .into_iter()
        .filter_map(|entry| parts(entry).into_iter().next());
    ids.filter_map(|id| match id {
        Value::BulkString(id) => Some(id),
        _ => None,
    })
    .collect()
}

/// What the disk does: 2 KiB appended and flushed, again and again.
fn fdatasync(folder: &Path) -> Result<f64> {
    let mut file = File::create(folder.join("fdatasync")).context("a file")?;
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        file.write_all(&[7; 2048])?;
        file.sync_data()?;
        done += 1;
    }
    Ok(per_second(done, started.elapsed()))
}
