//! What only the embedded log has: a file that can be held, killed, full, damaged, too large.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use incident::error::Classify as _;
use incident::ports::{Cause, Entry, Expect, Put, StoreError, StreamError};
use runtime::config::ByteSize;
use tests::conformance::{Open, Rules, STREAM, embedded};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

type Check = anyhow::Result<()>;

fn entry(key: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        payload: key.as_bytes().to_vec(),
    }
}

/// The refusal to open `config`: its code and its text.
async fn refusal(config: &bus::Config) -> anyhow::Result<(String, String)> {
    let Err(error) = Open::new(config).await else {
        anyhow::bail!("it was opened");
    };
    let error: bus::OpenError = error.downcast()?;
    Ok((error.code().to_string(), error.to_string()))
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() -> Check {
    let dir = tempfile::tempdir()?;
    let config = embedded(dir.path(), Rules::default());
    let first = Open::new(&config).await?;
    let (code, text) = refusal(&config).await?;
    ensure!(code == "E-BUS-001");
    let place = dir.path().display().to_string();
    let text = text
        .replace(&place, "DIR")
        .replace(&std::process::id().to_string(), "PID");
    insta::assert_snapshot!(text, @"DIR/bus.redb is in use by process PID; the embedded log belongs to one process: talk to that one, stop it, or set bus.kind to redis to share the work");
    first.close().await;
    Open::new(&config).await?.close().await;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() -> Check {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("plain"), "x")?;
    let below = embedded(dir.path().join("plain/data"), Rules::default());
    ensure!(refusal(&below).await?.0 == "E-BUS-002");
    std::fs::write(
        dir.path().join("bus.redb"),
        "not ours, and longer than a mark",
    )?;
    let config = embedded(dir.path(), Rules::default());
    ensure!(refusal(&config).await?.0 == "E-BUS-003");
    // Cut short while it was made: nothing was ever in it.
    for start in [vec![], vec![0; 100]] {
        std::fs::write(dir.path().join("bus.redb"), start)?;
        Open::new(&config).await?.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_closed_log_is_unavailable() -> Check {
    let dir = tempfile::tempdir()?;
    let open = Open::new(&embedded(dir.path(), Rules::default())).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    open.bus.check().await?;
    open.close().await;
    let down = stream.append(vec![entry("x")]).await;
    ensure!(matches!(down, Err(StreamError::Unavailable(_))), "{down:?}");
    let down = stream.backlog().await;
    ensure!(matches!(down, Err(StreamError::Unavailable(_))), "{down:?}");
    let down = open.bus.store().get("k").await;
    ensure!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    let down = open.bus.check().await;
    ensure!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    Ok(())
}

#[tokio::test]
async fn a_restart_frees_leases_and_forgives_them_up_to_a_bound() -> Check {
    let dir = tempfile::tempdir()?;
    let config = bus::Config {
        attempts_max: 2,
        restarts_forgiven: 3,
        ..embedded(dir.path(), Rules::default())
    };
    let open = Open::new(&config).await?;
    open.bus
        .stream(STREAM, "a")
        .await?
        .append(vec![entry("x")])
        .await?;
    open.close().await;
    // Two attempts and three that were cut short; the lease of a minute never ends by itself.
    for attempt in 1..=5 {
        let open = Open::new(&config).await?;
        let claimed = open
            .bus
            .stream(STREAM, "a")
            .await?
            .claim(4, Duration::ZERO)
            .await?;
        let attempts: Vec<u32> = claimed.iter().map(|delivery| delivery.attempt).collect();
        ensure!(attempts == [attempt], "{attempts:?} instead of {attempt}");
        open.close().await;
    }
    let open = Open::new(&config).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    ensure!(stream.claim(4, Duration::ZERO).await?.is_empty());
    let dead = stream.dead(None, 4).await?;
    ensure!(
        dead.len() == 1 && dead[0].last == Cause::unanswered(5),
        "{dead:?}"
    );
    open.close().await;
    Ok(())
}

#[tokio::test]
async fn space_is_given_back_at_the_start() -> Check {
    let dir = tempfile::tempdir()?;
    let config = bus::Config {
        compact_min: ByteSize::mib(8),
        ..embedded(dir.path(), Rules::default())
    };
    let length = || anyhow::Ok(std::fs::metadata(dir.path().join("bus.redb"))?.len());
    let open = Open::new(&config).await?;
    let store = open.bus.store();
    for n in 0..4 {
        let value = vec![n; 4 << 20];
        store
            .put(Put::new(format!("large/{n}"), value, Expect::Any))
            .await?;
    }
    store.put(Put::new("kept", "v", Expect::Any)).await?;
    for n in 0..4 {
        store.delete(&format!("large/{n}"), Expect::Any).await?;
    }
    open.close().await;
    let before = length()?;
    ensure!(before >= 16 << 20, "{before}");
    let open = Open::new(&config).await?;
    let after = length()?;
    ensure!(after < before / 4, "{before} bytes became {after}");
    ensure!(open.bus.store().get("kept").await?.is_some());
    open.close().await;
    Ok(())
}

/// The helper process and what it says.
struct Appender {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Appender {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().context("its output")?;
        Ok(Self {
            child,
            lines: BufReader::new(out).lines(),
        })
    }
}

/// What the helper said.
#[derive(Debug, Default)]
struct Said {
    stored: BTreeSet<String>,
    acked: BTreeSet<String>,
    counts: BTreeMap<String, u64>,
}

impl Said {
    fn hear(&mut self, line: &str) -> anyhow::Result<()> {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let key = words.next().context("a key")?.to_owned();
        match word {
            "stored" => self.stored.insert(key),
            "acked" => self.acked.insert(key),
            "count" => {
                let count = words.next().context("a count")?.parse()?;
                self.counts.insert(key, count).is_none()
            }
            other => anyhow::bail!("it said {other}"),
        };
        Ok(())
    }

    /// Everything it was told is stored is there, once, and what it acknowledged is not.
    async fn holds(&self, dir: &Path, runs: usize) -> Check {
        let rules = Rules {
            capacity: 1_000_000,
            ..Rules::default()
        };
        let open = Open::new(&embedded(dir, rules)).await?;
        let stream = open.bus.stream(STREAM, "checker").await?;
        let mut found = BTreeSet::new();
        loop {
            let claimed = stream.claim(256, Duration::ZERO).await?;
            if claimed.is_empty() {
                break;
            }
            for delivery in claimed {
                ensure!(
                    !self.acked.contains(&delivery.key),
                    "{} is back",
                    delivery.key
                );
                ensure!(
                    found.insert(delivery.key.clone()),
                    "{} is there twice",
                    delivery.key
                );
            }
        }
        let missing: Vec<_> = self
            .stored
            .iter()
            .filter(|key| !self.acked.contains(*key) && !found.contains(*key))
            .collect();
        // One acknowledgement of each run may be durable although nobody could be told any more.
        ensure!(
            missing.len() <= runs,
            "{} are lost: {missing:?}",
            missing.len()
        );
        ensure!(stream.dead(None, 1).await?.is_empty());
        for (run, count) in &self.counts {
            let value = open
                .bus
                .store()
                .get(&format!("count/{run}"))
                .await?
                .context("a count")?;
            let kept: u64 = String::from_utf8(value.value)?.parse()?;
            ensure!(
                kept == *count || kept == count + 1,
                "{kept} instead of {count}"
            );
        }
        open.close().await;
        Ok(())
    }
}

#[tokio::test]
async fn kill_loses_nothing_that_was_stored() -> Check {
    let dir = tempfile::tempdir()?;
    let mut said = Said::default();
    for run in 0..6_usize {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bus-appender"));
        command.arg(dir.path()).args(["append", &run.to_string()]);
        let mut appender = Appender::start(command)?;
        // Another moment in every run: in the first lines, between two flushes, in full flight.
        for _ in 0..=(run * 97) {
            let line = appender.lines.next_line().await?.context("it ended")?;
            said.hear(&line)?;
        }
        appender.child.kill().await?;
        while let Some(line) = appender.lines.next_line().await? {
            if line.split(' ').count() >= 2 {
                said.hear(&line)?;
            }
        }
        said.holds(dir.path(), run + 1).await?;
    }
    ensure!(said.stored.len() > 400 && said.acked.len() > 5 && !said.counts.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_unavailable_until_there_is_space() -> Check {
    let dir = tempfile::tempdir()?;
    // A limit on the size of files refuses writes like a full disk does, without rights or mounts.
    let script = "trap '' XFSZ; ulimit -S -f 8192; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_bus-appender")]);
    command.arg(dir.path()).args(["fill", "0"]);
    let mut appender = Appender::start(command)?;
    let id = appender.child.id().context("it runs")?.to_string();
    let mut said = Said::default();
    let (mut refused, mut recovered) = (None, false);
    while let Some(line) = appender.lines.next_line().await? {
        if let Some(why) = line.strip_prefix("unavailable ") {
            refused = Some(why.to_owned());
            let raised = Command::new("prlimit")
                .args(["--pid", &id, "--fsize=unlimited"])
                .status()
                .await?;
            ensure!(raised.success(), "prlimit ended with {raised}");
        } else if line == "recovered" {
            recovered = true;
        } else {
            said.hear(&line)?;
        }
    }
    let status = appender.child.wait().await?;
    ensure!(status.success(), "it ended with {status}");
    ensure!(refused.is_some_and(|why| why.contains("File too large")) && recovered);
    ensure!(said.stored.len() > 10);
    said.holds(dir.path(), 0).await
}
