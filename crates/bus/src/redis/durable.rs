//! When a write counts as stored.
//!
//! Replication and the disk are behind what a server answers. So after the answer a marker is
//! written on the same connection and waited for: replicas apply writes in order, so whoever has the
//! marker has everything that the answer was made from. That includes what somebody else wrote
//! before, so a "duplicate" or a "conflict" is as certain as a "stored".
//!
//! One wait serves all whose answers came before it began.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value, cmd};
use tokio::sync::Mutex;

use super::link::Failure;
use super::reply;
use crate::config::Config;

/// What one server can do to make writes certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// Nothing is asked for.
    Nothing,
    /// WAIT: replicas have it in memory.
    Replicas,
    /// WAITAOF: the server and replicas have it on their disks.
    Disks,
    /// Flushing to the disk is asked for, and the server neither does it nor could say so.
    Lacking,
}

struct Round {
    generation: u64,
    /// Everybody up to this number was answered before the round began.
    covers: u64,
    outcome: Result<(), Failure>,
}

/// Waits for replicas and disks.
pub(super) struct Durable {
    replicas: u32,
    /// Replicas that could take the master's place; none of them may lack a write.
    heirs: AtomicU32,
    fsync: bool,
    wait: Duration,
    marker: String,
    /// Numbers what was answered.
    answered: AtomicU64,
    last: Mutex<Round>,
    /// The last number that may be lost although it can be seen.
    doubted: AtomicU64,
    /// The last number of which that is certain not to be so.
    certain: AtomicU64,
}

impl Durable {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            replicas: config.replicas(),
            heirs: AtomicU32::new(0),
            fsync: config.durability.fsync,
            wait: config.durability.wait.0,
            marker: format!("{}nightshift:marker", config.redis_prefix()),
            answered: AtomicU64::new(0),
            last: Mutex::new(Round {
                generation: 0,
                covers: 0,
                outcome: Ok(()),
            }),
            doubted: AtomicU64::new(0),
            certain: AtomicU64::new(0),
        }
    }

    /// From now on this many replicas could take the master's place.
    pub(super) fn set_heirs(&self, heirs: u32) {
        self.heirs.store(heirs, Ordering::SeqCst);
    }

    /// Replicas to wait for: those that are asked for, and all who could take the master's place.
    fn wanted(&self) -> u32 {
        if self.replicas == 0 {
            return 0;
        }
        self.replicas.max(self.heirs.load(Ordering::SeqCst))
    }

    /// Finds out what the server at the other end can do.
    pub(super) async fn probe(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Means, Failure> {
        // Another server: what it shows may not be certain.
        self.doubt();
        let without_disks = if self.replicas == 0 {
            Means::Nothing
        } else {
            Means::Replicas
        };
        if !self.fsync {
            return Ok(without_disks);
        }
        let known: Value = cmd("COMMAND")
            .arg("INFO")
            .arg("WAITAOF")
            .query_async(connection)
            .await?;
        if reply::list(known).is_ok_and(|known| matches!(known.first(), Some(Value::Array(_)))) {
            return Ok(Means::Disks);
        }
        let mut setting = async |name: &str| -> Result<String, Failure> {
            let answer: Value = cmd("CONFIG")
                .arg("GET")
                .arg(name)
                .query_async(connection)
                .await?;
            let value = reply::list(answer)
                .ok()
                .and_then(|pair| pair.into_iter().nth(1));
            Ok(value
                .and_then(|value| reply::text(value).ok())
                .unwrap_or_default())
        };
        let flushes =
            setting("appendonly").await? == "yes" && setting("appendfsync").await? == "always";
        // It flushes before it answers. Of its replicas nobody can say more than that they have it.
        Ok(if flushes {
            without_disks
        } else {
            Means::Lacking
        })
    }

    /// Whether a mere look has to be made certain as well: something that this process wrote, or
    /// that it found when it came, may still be lost.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubted.load(Ordering::SeqCst) > self.certain.load(Ordering::SeqCst)
    }

    /// From now on looks are made certain, until a wait that begins later succeeds.
    pub(super) fn doubt(&self) {
        let number = self.answered.fetch_add(1, Ordering::SeqCst) + 1;
        self.doubted.fetch_max(number, Ordering::SeqCst);
    }

    /// Waits until everything that was answered on this connection so far is certain.
    pub(super) async fn confirm(
        &self,
        means: Means,
        generation: u64,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Failure> {
        if means == Means::Nothing {
            return Ok(());
        }
        let mine = self.answered.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.generation == generation && last.covers >= mine {
            return last.outcome.clone();
        }
        let covers = self.answered.load(Ordering::SeqCst);
        let outcome = self.round(means, connection).await;
        if outcome.is_ok() {
            self.certain.fetch_max(covers, Ordering::SeqCst);
        }
        *last = Round {
            generation,
            covers,
            outcome: outcome.clone(),
        };
        outcome
    }

    async fn round(
        &self,
        means: Means,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Failure> {
        if means == Means::Lacking {
            return Err(Failure {
                // The next connection finds out whether that was changed.
                moved: true,
                ..Failure::new(
                    "bus.durability.fsync is asked for, but this server has neither WAITAOF nor \
                     appendfsync always",
                )
            });
        }
        let mut wanted = self.wanted();
        loop {
            let reached = self.reach(means, wanted, connection).await?;
            if !reached.own_disk || reached.replicas < wanted {
                let (replicas, wait) = (reached.replicas, self.wait);
                let own = if reached.own_disk {
                    ""
                } else {
                    ", not its own disk"
                };
                return Err(Failure {
                    // A master that was replaced loses its replicas first.
                    moved: true,
                    ..Failure::new(format!(
                        "the write reached {replicas} of {wanted} replicas{own} within {wait:?}; it \
                         does not count"
                    ))
                });
            }
            // One that came since it was last asked who could take over may take over as well.
            if self.replicas == 0 || reached.following <= wanted.max(reached.replicas) {
                return Ok(());
            }
            wanted = reached.following;
        }
    }

    /// Writes the marker and waits until `wanted` replicas have it.
    async fn reach(
        &self,
        means: Means,
        wanted: u32,
        connection: &mut MultiplexedConnection,
    ) -> Result<Reached, Failure> {
        let ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        let mut round = Pipeline::new();
        round.cmd("SET").arg(&self.marker).arg(1).ignore();
        match means {
            Means::Disks => round.cmd("WAITAOF").arg(1),
            _ => round.cmd("WAIT"),
        };
        round.arg(wanted).arg(ms);
        // After the wait, so that whoever came during it is counted.
        round.cmd("ROLE");
        let [answer, role]: [Value; 2] = round.query_async(connection).await?;
        let (local, replicas) = if means == Means::Disks {
            let [local, replicas] = reply::exactly(answer).map_err(Failure::new)?;
            (reply::count(&local).map_err(Failure::new)?, replicas)
        } else {
            (1, answer)
        };
        let replicas = reply::count(&replicas).map_err(Failure::new)?;
        Ok(Reached {
            own_disk: local == 1,
            replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
            following: followers(role),
        })
    }
}

/// What a wait came to.
struct Reached {
    own_disk: bool,
    /// Replicas that have the marker.
    replicas: u32,
    /// Replicas that follow the master, however far behind.
    following: u32,
}

/// How many replicas a master's ROLE names: those that are up to date enough to be sent every write.
fn followers(role: Value) -> u32 {
    let replicas = reply::list(role)
        .ok()
        .and_then(|role| role.into_iter().nth(2));
    let count = replicas.and_then(|replicas| reply::list(replicas).ok());
    count.map_or(0, |replicas| {
        u32::try_from(replicas.len()).unwrap_or(u32::MAX)
    })
}
