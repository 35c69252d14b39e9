//! A process that fills an embedded log and says what was stored, so that tests can kill it or take
//! the disk away from it. `bus-appender <folder> append <run>` goes on until it is killed;
//! `bus-appender <folder> fill <run>` goes on until the disk refused once and then took it again.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use incident::ports::{Clock as _, Entry, Expect, Put, Stream, StreamError};
use runtime::SystemClock;
use tests::conformance::{Open, Rules, STREAM, embedded};

const APPENDERS: usize = 8;
/// Tries after the disk was full before giving up.
const TRIES_MAX: u32 = 1000;

/// One line for the test, written at once: what it names is on the disk.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn entry(key: &str, size: usize) -> Entry {
    Entry {
        key: key.to_owned(),
        payload: vec![b'x'; size],
    }
}

async fn append(stream: Arc<dyn Stream>, run: String, task: usize) -> anyhow::Result<()> {
    for n in 0_u64.. {
        let keys = [format!("{run}-{task}-{n}-a"), format!("{run}-{task}-{n}-b")];
        stream
            .append(keys.iter().map(|key| entry(key, 200)).collect())
            .await?;
        for key in keys {
            say(&format!("stored {key}"))?;
        }
    }
    Ok(())
}

async fn acknowledge(stream: Arc<dyn Stream>) -> anyhow::Result<()> {
    loop {
        for delivery in stream.claim(1, Duration::from_secs(1)).await? {
            stream.ack(&delivery.lease).await?;
            say(&format!("acked {}", delivery.key))?;
        }
    }
}

async fn count(open: Arc<Open>, run: String) -> anyhow::Result<()> {
    for n in 0_u64.. {
        let key = format!("count/{run}");
        open.bus
            .store()
            .put(Put::new(key, n.to_string(), Expect::Any))
            .await?;
        say(&format!("count {run} {n}"))?;
    }
    Ok(())
}

async fn fill(stream: Arc<dyn Stream>, run: String) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let mut refused = false;
    let mut tries = 0;
    for n in 0_u64..10_000 {
        let key = format!("{run}-{n}");
        loop {
            match stream.append(vec![entry(&key, 16 * 1024)]).await {
                Ok(_) => break,
                Err(StreamError::Unavailable(why)) if !refused => {
                    refused = true;
                    say(&format!("unavailable {why}"))?;
                }
                Err(StreamError::Unavailable(why)) => {
                    tries += 1;
                    ensure!(tries < TRIES_MAX, "it did not recover: {why}");
                    clock.sleep(Duration::from_millis(20)).await;
                }
                Err(other) => return Err(other.into()),
            }
        }
        say(&format!("stored {key}"))?;
        if refused {
            return say("recovered");
        }
    }
    bail!("the disk was never full")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::telemetry::init_logs("info", runtime::telemetry::LogFormat::Text);
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().context("a folder")?;
    let mode = arguments.next().context("append or fill")?;
    let run = arguments.next().context("a run")?;
    let rules = Rules {
        capacity: 1_000_000,
        ..Rules::default()
    };
    let open = Arc::new(Open::new(&embedded(dir, rules)).await?);
    let stream = open.bus.stream(STREAM, "appender").await?;
    if mode == "fill" {
        fill(stream, run).await?;
        open.close().await;
        return Ok(());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..APPENDERS {
        tasks.spawn(append(stream.clone(), run.clone(), task));
    }
    tasks.spawn(acknowledge(stream));
    tasks.spawn(count(open, run));
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}
