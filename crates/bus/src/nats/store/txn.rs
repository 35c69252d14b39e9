//! Several writes that happen together or not at all.
//!
//! A transaction is a record of its own. It is made first, as pending. Then every key gets its new
//! value with the mark that it counts only if that record says "committed"; the value before it is
//! still there. Then the record is changed from pending to committed: that one write decides. After it
//! the marks are removed and the record goes.
//!
//! Whoever meets a mark looks at the record. Committed: the new value counts, and anybody may remove
//! the mark. Aborted or gone: the old one counts, and anybody may write it back. Pending: readers take
//! the old one; writers wait if the transaction is older than they are and not overdue, and abort it
//! otherwise, by changing the record first. So a writer that dies at any point leaves nothing that
//! others cannot tidy up, and two that meet always know who goes first.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use incident::ports::{Put, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use super::super::AT_ONCE;
use super::super::link::{Failure, Stored, Write};
use super::super::time::{Micros, Now};
use super::cell::{Cell, Meta};
use super::fence::{Guard, Intent};
use super::{NatsStore, Stop};

/// What share of the time that an operation may take a transaction may take before others abort it: who
/// waits for a dead one must have time left.
const DEADLINE_SHARE: u32 = 3;
/// Between two looks at a transaction that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Pending,
    Committed,
    Aborted,
}

/// What decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Txn {
    phase: Phase,
    /// When its writer began, over all its tries: the older goes first.
    age: Micros,
    /// From then on anybody may abort it.
    deadline: Micros,
    /// Keys and subjects it writes.
    cells: Vec<(String, String)>,
}

impl Txn {
    /// The message that writes this over the revision `expect`.
    fn write(&self, subject: &str, expect: u64) -> Result<Write, Failure> {
        let body = serde_json::to_vec(self);
        let body = body.map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(Write {
            subject: subject.to_owned(),
            expect: Some(expect),
            body: Bytes::from(body),
            ..Write::default()
        })
    }
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Fate {
    Pending { rev: u64, txn: Txn },
    Committed,
    Aborted,
}

/// One key of a plan.
#[derive(Debug)]
struct Step {
    key: String,
    subject: String,
    found: Cell,
    next: Cell,
}

impl NatsStore {
    fn txn_subject(&self, id: &str) -> String {
        self.bucket.subject(&format!("t.{id}"))
    }

    async fn txn(&self, subject: &str) -> Result<Option<(u64, Txn)>, Stop> {
        let found = self.server.link.last(&self.bucket.stream, subject).await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let txn = serde_json::from_slice(&found.body).map_err(|error| StoreError::Corrupt {
            key: subject.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Some((found.seq, txn)))
    }

    pub(super) async fn fate(&self, id: &str) -> Result<Fate, Stop> {
        Ok(match self.txn(&self.txn_subject(id)).await? {
            Some((rev, txn)) => match txn.phase {
                Phase::Pending => Fate::Pending { rev, txn },
                Phase::Committed => Fate::Committed,
                Phase::Aborted => Fate::Aborted,
            },
            None => Fate::Aborted,
        })
    }

    /// Decides that the transaction at `subject`, pending at `rev`, does not happen.
    pub(super) async fn abort(&self, subject: &str, rev: u64) -> Result<(), Failure> {
        let found = self.server.link.at(&self.bucket.stream, rev).await?;
        let txn = found.and_then(|found| serde_json::from_slice::<Txn>(&found.body).ok());
        let aborted = Txn {
            phase: Phase::Aborted,
            ..txn.ok_or(Failure::Conflict)?
        };
        let write = aborted.write(subject, rev)?;
        self.server.link.write(write).await.map(|_| ())
    }

    /// What stands at `subject`, freed from any lock, for a writer that began at `age`.
    pub(super) async fn clean(&self, key: &str, subject: &str, age: Micros) -> Result<Cell, Stop> {
        loop {
            let cell = self.read(key, subject).await?;
            let Some(lock) = &cell.meta.lock else {
                return Ok(cell);
            };
            let free = match self.fate(lock).await? {
                Fate::Committed => cell.unlocked(cell.rev),
                Fate::Pending { rev, txn } => {
                    let is_overdue = self.server.now().await?.is_past(txn.deadline);
                    if age < txn.age || is_overdue {
                        match self.abort(&self.txn_subject(lock), rev).await {
                            Ok(()) | Err(Failure::Conflict) => {}
                            Err(failure) => return Err(failure.into()),
                        }
                    } else {
                        self.server.clock.sleep(LOOK_EVERY).await;
                    }
                    continue;
                }
                // If the record is gone because it was committed, the cell has changed since, and
                // writing over its revision fails.
                Fate::Aborted => match self.before(key, subject, &cell).await? {
                    Some(old) => old.unlocked(cell.rev),
                    None => continue,
                },
            };
            match self.write(subject, &free).await {
                Ok(rev) => return Ok(Cell { rev, ..free }),
                Err(Failure::Conflict) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Checks every put against what is there and the ones before it, and writes all or none. A
    /// conflict means that somebody else wrote meanwhile.
    pub(super) async fn try_puts(&self, puts: &[Put], age: Micros) -> Result<Vec<u64>, Stop> {
        let (mut guards, mut steps) =
            future::try_join(self.guards(puts), self.steps(puts, age)).await?;
        let now = self.server.now().await?;
        let versions = plan(puts, &guards, &mut steps, now)?;
        let mut steps: Vec<Step> = steps.into_values().collect();
        for guard in guards.values_mut() {
            self.prune(guard).await?;
        }
        let mut guards: Vec<Guard> = guards.into_values().collect();
        match (steps.as_mut_slice(), guards.as_mut_slice()) {
            ([step], []) => self.write(&step.subject, &step.next).await.map(|_| ())?,
            ([step], [guard]) => {
                guard.tokens.intents.push(Intent {
                    subject: step.subject.clone(),
                    rev: step.next.rev,
                });
                self.server.link.write(guard.write()?).await?;
                self.write(&step.subject, &step.next).await.map(|_| ())?;
            }
            _ => self.transact(&steps, &mut guards, (age, now)).await?,
        }
        Ok(versions)
    }

    async fn guards(&self, puts: &[Put]) -> Result<BTreeMap<String, Guard>, Stop> {
        let mut names: Vec<&str> = puts
            .iter()
            .filter_map(|put| Some(put.fence.as_ref()?.name.as_str()))
            .collect();
        names.sort_unstable();
        names.dedup();
        let reading: Vec<_> = names
            .into_iter()
            .map(|name| async move { Ok::<_, Stop>((name.to_owned(), self.guard(name).await?)) })
            .collect();
        stream::iter(reading).buffered(AT_ONCE).try_collect().await
    }

    async fn steps(&self, puts: &[Put], age: Micros) -> Result<BTreeMap<String, Step>, Stop> {
        let mut keys: Vec<&str> = puts.iter().map(|put| put.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        let reading: Vec<_> = keys
            .into_iter()
            .map(|key| async move {
                let subject = self.subject(key);
                let found = self.clean(key, &subject, age).await?;
                let step = Step {
                    key: key.to_owned(),
                    subject,
                    next: found.clone(),
                    found,
                };
                Ok::<_, Stop>((key.to_owned(), step))
            })
            .collect();
        stream::iter(reading).buffered(AT_ONCE).try_collect().await
    }

    async fn transact(
        &self,
        steps: &[Step],
        guards: &mut [Guard],
        (age, now): (Micros, Now),
    ) -> Result<(), Failure> {
        let link = &self.server.link;
        let inbox = link.client().new_inbox();
        let id = inbox.rsplit('.').next().unwrap_or_default();
        let subject = self.txn_subject(id);
        let cells = steps.iter().map(|s| (s.key.clone(), s.subject.clone()));
        let mut txn = Txn {
            phase: Phase::Pending,
            age,
            deadline: now.end(link.timeout() / DEADLINE_SHARE),
            cells: cells.collect(),
        };
        let pending = link.write(txn.write(&subject, 0)?).await?.seq;
        let mut writes = Vec::with_capacity(guards.len() + steps.len());
        for guard in guards.iter_mut() {
            guard.tokens.intents.push(Intent {
                subject: subject.clone(),
                rev: pending,
            });
            writes.push(guard.write()?);
        }
        for step in steps {
            let mut locked = step.next.clone();
            locked.meta.lock = Some(id.to_owned());
            locked.meta.old = step.found.rev;
            writes.push(locked.write(&step.subject));
        }
        let mut written = link.write_all(writes).await;
        let locks = written.split_off(guards.len());
        let failure = written.iter().chain(&locks).find_map(|w| w.clone().err());
        if let Some(failure) = failure {
            self.undo(&subject, pending, steps, &locks).await?;
            return Err(failure);
        }
        txn.phase = Phase::Committed;
        let committed = link.write(txn.write(&subject, pending)?).await?.seq;
        self.release((pending, committed), steps, &locks).await;
        Ok(())
    }

    /// Aborts a transaction of which not every lock was got, and puts back what was there.
    async fn undo(
        &self,
        subject: &str,
        pending: u64,
        steps: &[Step],
        locks: &[Result<Stored, Failure>],
    ) -> Result<(), Failure> {
        match self.abort(subject, pending).await {
            Ok(()) | Err(Failure::Conflict) => {}
            Err(failure) => return Err(failure),
        }
        let restored = steps.iter().zip(locks).filter_map(|(step, lock)| {
            let lock = lock.as_ref().ok()?;
            Some(step.found.unlocked(lock.seq).write(&step.subject))
        });
        // The sweep removes the record: somebody may have put down a lock without our knowing.
        for restored in self.server.link.write_all(restored.collect()).await {
            if let Err(failure) = restored {
                tracing::debug!(%failure, "a value is put back by whoever meets it");
            }
        }
        Ok(())
    }

    /// Removes the locks of a committed transaction, then its record.
    async fn release(
        &self,
        (pending, committed): (u64, u64),
        steps: &[Step],
        locks: &[Result<Stored, Failure>],
    ) {
        let link = &self.server.link;
        let freed = steps.iter().zip(locks).filter_map(|(step, lock)| {
            let lock = lock.as_ref().ok()?;
            self.server.store.spend(&step.subject, step.found.rev);
            Some(step.next.unlocked(lock.seq).write(&step.subject))
        });
        for freed in link.write_all(freed.collect()).await {
            match freed {
                // Somebody else freed it, and may have written it already.
                Ok(_) | Err(Failure::Conflict) => {}
                Err(failure) => {
                    tracing::debug!(%failure, "a value is freed by whoever meets it");
                    return;
                }
            }
        }
        // The older first: alone it would say that nothing is decided.
        for seq in [pending, committed] {
            if let Err(failure) = link.erase(&self.bucket.stream, seq).await {
                tracing::debug!(%failure, "the sweep removes the record");
                return;
            }
        }
    }

    /// Finishes a transaction whose writer is gone and removes its record; false if it is not time yet.
    pub(super) async fn tidy(&self, subject: &str) -> Result<bool, Stop> {
        let Some((rev, txn)) = self.txn(subject).await? else {
            return Ok(true);
        };
        if txn.phase == Phase::Pending {
            if !self.server.now().await?.is_past(txn.deadline) {
                return Ok(false);
            }
            // Whatever comes of it, the next look sees it.
            match self.abort(subject, rev).await {
                Ok(()) | Err(Failure::Conflict) => return Ok(false),
                Err(failure) => return Err(failure.into()),
            }
        }
        for (key, cell) in &txn.cells {
            self.clean(key, cell, Micros::MAX).await?;
        }
        self.server
            .link
            .purge(&self.bucket.stream, subject, rev)
            .await?;
        Ok(true)
    }
}

/// What each key is to become; the versions in the order of the puts.
fn plan(
    puts: &[Put],
    guards: &BTreeMap<String, Guard>,
    steps: &mut BTreeMap<String, Step>,
    now: Now,
) -> Result<Vec<u64>, StoreError> {
    let mut versions: Vec<u64> = Vec::with_capacity(puts.len());
    let mut planned = BTreeMap::new();
    for put in puts {
        if let Some(fence) = &put.fence {
            let newest = guards.get(&fence.name).map_or(0, |g| g.tokens.newest);
            if fence.token != newest {
                let (name, token) = (fence.name.clone(), fence.token);
                return Err(StoreError::Stale {
                    name,
                    token,
                    newest,
                });
            }
        }
        let Some(step) = steps.get_mut(&put.key) else {
            continue;
        };
        let found = planned
            .get(&put.key)
            .copied()
            .or_else(|| step.found.live(now).map(|live| live.version));
        put.expect.check(&put.key, found)?;
        let version = found.unwrap_or(0) + 1;
        planned.insert(put.key.clone(), version);
        versions.push(version);
        step.next = Cell {
            rev: step.found.rev,
            meta: Meta {
                version,
                end: put.ttl.map(|ttl| now.end(ttl)),
                ..Meta::default()
            },
            body: Bytes::from(put.value.clone()),
        };
    }
    Ok(versions)
}
