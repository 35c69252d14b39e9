//! One Redis server.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use incident::ports::Clock;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use tests::redis::RedisServer;

use crate::fault::{Fault, Scenario};
use crate::schedule::Stroke;
use crate::settings::{BUS_TIMEOUT, LEASE};

/// The product's database.
const DATABASE: u32 = 4;
/// How long a killed server stays away at most.
const AWAY_MAX: Duration = Duration::from_millis(600);
/// A server that flushes once a second loses up to this much.
const TAIL_MAX: Duration = Duration::from_secs(1);
/// How often the size of its log is noted.
const NOTED_EVERY: Duration = Duration::from_millis(20);
/// A key that only a torn transaction would set.
const TORN_KEY: &str = "torn-tail";

/// A server and the log it keeps.
#[derive(Debug)]
pub(crate) struct Redis {
    server: RedisServer,
    folder: PathBuf,
    everysec: bool,
    /// Whether the product is told to promise nothing that is not on the disk.
    flushed: bool,
    sizes: Sizes,
}

impl Redis {
    pub(crate) async fn start(folder: &Path, scenario: &Scenario) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let place = folder.to_string_lossy();
        // One log that only grows, so that its tail is where the last writes are.
        let mut arguments = vec!["--dir", &place, "--auto-aof-rewrite-percentage", "0"];
        let everysec = scenario.has(Fault::LostTail);
        if everysec {
            arguments.extend(["--appendfsync", "everysec"]);
        }
        Ok(Self {
            server: RedisServer::start_with(&arguments).await?,
            folder: folder.to_owned(),
            everysec,
            flushed: !scenario.outside,
            sizes: Sizes::watch(folder.to_owned()),
        })
    }

    pub(crate) fn toml(&self) -> String {
        format!(
            "[bus]\nkind = \"redis\"\nurl = \"{}\"\ndurability.fsync = {}\n",
            self.server.url(),
            self.flushed
        )
    }

    pub(crate) fn version(&self) -> Result<String> {
        let info = self.server.cli(0, &["INFO", "server"])?;
        let version = info
            .lines()
            .find_map(|line| line.trim().strip_prefix("redis_version:"));
        let version = version.context("INFO names no version")?;
        let fsync = if self.everysec { "everysec" } else { "always" };
        let asked = if self.flushed {
            "asked for"
        } else {
            "not asked for"
        };
        Ok(format!(
            "Redis {version}, appendfsync {fsync}, flushing {asked}"
        ))
    }

    fn serves(&self) -> bool {
        let pong = self.server.cli(0, &["PING"]);
        pong.is_ok_and(|pong| pong == "PONG")
    }

    pub(crate) async fn revive(&mut self) -> Result<()> {
        if self.serves() {
            return Ok(());
        }
        self.server.kill().ok();
        self.server.restart().await
    }

    pub(crate) async fn strike(&mut self, stroke: &Stroke) -> Result<()> {
        let clock = SystemClock::new();
        match stroke.fault {
            Fault::ServerKill => {
                self.server.kill()?;
                clock.sleep(AWAY_MAX.mul_f64(stroke.draw)).await;
                self.server.restart().await
            }
            Fault::ServerFreeze => {
                self.server.freeze()?;
                let longer = Duration::from_secs(1).mul_f64(stroke.draw);
                clock.sleep(LEASE + BUS_TIMEOUT + longer).await;
                self.server.thaw()
            }
            Fault::TornTail => {
                self.server.kill()?;
                let (path, _) = log(&self.folder)?;
                let mut file = OpenOptions::new().append(true).open(path)?;
                file.write_all(torn(stroke.draw).as_bytes())?;
                file.sync_all()?;
                self.server.restart().await?;
                let found = self.server.cli(DATABASE, &["EXISTS", TORN_KEY])?;
                ensure!(found == "0", "the server applied half a transaction");
                Ok(())
            }
            Fault::LostTail => {
                self.server.kill()?;
                let (path, size) = log(&self.folder)?;
                let kept = self.sizes.before(TAIL_MAX.mul_f64(stroke.draw));
                let kept = kept.context("the log was not watched")?.min(size);
                let file = File::options().write(true).open(path)?;
                file.set_len(kept)?;
                file.sync_all()?;
                self.server.restart().await
            }
            other => bail!("{} is nothing to do to a Redis server", other.name()),
        }
    }
}

/// A write that was cut short, of which nothing may take effect: half a command, or a transaction
/// without its end.
///
/// Never a cut inside of a command inside of a transaction: Redis 7.0 then keeps the transaction's
/// beginning, and applies it together with the next one when it is started once more. After a power
/// loss `redis-check-aof --fix` takes it out.
fn torn(draw: f64) -> String {
    let length = TORN_KEY.len();
    let set = format!("*3\r\n$3\r\nSET\r\n${length}\r\n{TORN_KEY}\r\n$1\r\n1");
    if draw < 0.5 {
        set
    } else {
        format!("*1\r\n$5\r\nMULTI\r\n{set}\r\n")
    }
}

/// The log that is being written, and its size.
fn log(folder: &Path) -> Result<(PathBuf, u64)> {
    let folder = folder.join("appendonlydir");
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".incr.aof") {
            logs.push((entry.path(), entry.metadata()?.len()));
        }
    }
    logs.into_iter()
        .max()
        .with_context(|| format!("{} has no log", folder.display()))
}

/// How large the log was a moment ago.
#[derive(Debug)]
struct Sizes {
    noted: Arc<Mutex<VecDeque<(Duration, u64)>>>,
    clock: Arc<SystemClock>,
    shutdown: Shutdown,
}

impl Sizes {
    fn watch(folder: PathBuf) -> Self {
        let noted: Arc<Mutex<VecDeque<(Duration, u64)>>> = Arc::default();
        let (clock, shutdown) = (SystemClock::new(), Shutdown::new());
        let (to, watch) = (noted.clone(), clock.clone());
        let supervisor = Supervisor::new(shutdown.clone(), clock.clone());
        supervisor.spawn(TaskKind::Work, "log sizes", async move {
            loop {
                if let Ok((_, size)) = log(&folder) {
                    let mut noted = to.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push_back((watch.elapsed(), size));
                    if noted.len() > 2 * (TAIL_MAX.as_millis() / NOTED_EVERY.as_millis()) as usize {
                        noted.pop_front();
                    }
                }
                watch.sleep(NOTED_EVERY).await;
            }
        });
        Self {
            noted,
            clock,
            shutdown,
        }
    }

    /// The size so long ago; the smallest noted since, in case the log was cut in between.
    fn before(&self, ago: Duration) -> Option<u64> {
        let since = self.clock.elapsed().saturating_sub(ago);
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = noted.iter().rev().find(|(at, _)| *at <= since);
        let later = noted.iter().filter(|(at, _)| *at > since);
        last.into_iter().chain(later).map(|(_, size)| *size).min()
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        self.shutdown.abort.cancel();
    }
}
