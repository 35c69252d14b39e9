//! The streams' operations inside of a transaction.

pub(super) mod dead;

use std::collections::BTreeSet;
use std::time::Duration;

use incident::ports::{Appended, Backlog, Cause, Delivery, Entry, Lease, StreamError};
use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, Table};
use serde::{Deserialize, Serialize};

use super::millis;
use super::tables::{
    ENTRIES, EntryId, EntryRow, Error, KEY_AGES, KEYS, READY, STATES, STREAMS, StreamRow, Tx, boxed,
};
use crate::config::Config;

/// Exhausted entries that one claim moves to the dead letters besides what it hands out.
const BURIED_PER_CLAIM_MAX: usize = 64;

/// What the configuration says about streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) lease: u64,
    pub(super) attempts_max: u32,
    pub(super) restarts_forgiven: u32,
    pub(super) window: u64,
    pub(super) capacity: u64,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            lease: millis(config.lease.0),
            attempts_max: config.attempts_max,
            restarts_forgiven: config.restarts_forgiven,
            window: millis(config.dedup_window.0),
            capacity: config.capacity,
        }
    }
}

/// When an operation happens: log time, and what people read.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) log: u64,
    pub(super) wall: Timestamp,
}

/// What became of an entry so far.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    attempt: u32,
    /// Deliveries that a restart of the process cut short.
    restarts: u32,
    claimed: bool,
    /// Log time of its row in [`READY`].
    ready: u64,
    first: Option<Cause>,
    last: Option<Cause>,
}

impl State {
    fn is_exhausted(&self, rules: &Rules) -> bool {
        let forgiven = self.restarts.min(rules.restarts_forgiven);
        self.attempt.saturating_sub(forgiven) >= rules.attempts_max
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    next: u64,
    waiting: u64,
    claimed: u64,
    dead: u64,
}

fn counts(
    streams: &impl ReadableTable<&'static str, StreamRow>,
    stream: &str,
) -> Result<Counts, Error> {
    let row = streams.get(stream).map_err(boxed)?;
    Ok(row.map_or_else(Counts::default, |row| {
        let (next, waiting, claimed, dead) = row.value();
        Counts {
            next,
            waiting,
            claimed,
            dead,
        }
    }))
}

/// One stream's tables in a transaction.
struct Open<'t> {
    stream: &'t str,
    counts: Counts,
    streams: Table<'t, &'static str, StreamRow>,
    entries: Table<'t, EntryId, EntryRow>,
    states: Table<'t, EntryId, &'static [u8]>,
    ready: Table<'t, (&'static str, u64, u64), ()>,
}

impl<'t> Open<'t> {
    fn new(tx: &'t Tx, stream: &'t str) -> Result<Self, Error> {
        let streams = tx.table(STREAMS)?;
        Ok(Self {
            stream,
            counts: counts(&streams, stream)?,
            streams,
            entries: tx.table(ENTRIES)?,
            states: tx.table(STATES)?,
            ready: tx.table(READY)?,
        })
    }

    fn state(&self, id: u64) -> Result<Option<State>, Error> {
        let row = self.states.get((self.stream, id)).map_err(boxed)?;
        Ok(row.map(|row| {
            serde_json::from_slice(row.value()).unwrap_or_else(|error| {
                // Better delivered once more than never.
                tracing::error!(stream = self.stream, id, %error, "an entry's state is unreadable; it starts over");
                State::default()
            })
        }))
    }

    /// Writes `state` with a new `ready`; `was` is the time of its present row in [`READY`].
    fn save(&mut self, id: u64, state: &mut State, was: u64, ready: u64) -> Result<(), Error> {
        self.ready.remove((self.stream, was, id)).map_err(boxed)?;
        self.ready
            .insert((self.stream, ready, id), ())
            .map_err(boxed)?;
        state.ready = ready;
        self.put_state(id, state)
    }

    fn put_state(&mut self, id: u64, state: &State) -> Result<(), Error> {
        let bytes = serde_json::to_vec(state).map_err(|error| boxed(corrupt(&error)))?;
        self.states
            .insert((self.stream, id), bytes.as_slice())
            .map_err(boxed)?;
        Ok(())
    }

    /// Writes a new entry.
    fn add(&mut self, key: &str, payload: &[u8], now: When) -> Result<(), Error> {
        let id = self.counts.next;
        self.counts.next += 1;
        self.counts.waiting += 1;
        let row = (key, now.wall.as_microsecond(), now.log, payload);
        self.entries.insert((self.stream, id), row).map_err(boxed)?;
        self.save(id, &mut State::default(), now.log, now.log)
    }

    /// Removes every row of an entry; what was in it.
    fn remove(&mut self, id: u64, state: &State) -> Result<Held, Error> {
        self.ready
            .remove((self.stream, state.ready, id))
            .map_err(boxed)?;
        self.states.remove((self.stream, id)).map_err(boxed)?;
        let row = self.entries.remove((self.stream, id)).map_err(boxed)?;
        let counter = if state.claimed {
            &mut self.counts.claimed
        } else {
            &mut self.counts.waiting
        };
        *counter = counter.saturating_sub(1);
        Ok(row.map_or_else(Held::default, |row| Held::read(row.value())))
    }

    fn finish(mut self) -> Result<(), Error> {
        let Counts {
            next,
            waiting,
            claimed,
            dead,
        } = self.counts;
        let row = (next, waiting, claimed, dead);
        self.streams.insert(self.stream, row).map_err(boxed)?;
        Ok(())
    }
}

fn corrupt(error: &serde_json::Error) -> redb::Error {
    redb::Error::Corrupted(error.to_string())
}

/// What an entry's row holds.
#[derive(Debug, Default)]
struct Held {
    key: String,
    appended_at: Timestamp,
    payload: Vec<u8>,
}

impl Held {
    fn read((key, micros, _, payload): (&str, i64, u64, &[u8])) -> Self {
        Self {
            key: key.to_owned(),
            appended_at: Timestamp::from_microsecond(micros).unwrap_or_default(),
            payload: payload.to_vec(),
        }
    }
}

type Answer<T> = Result<Result<T, StreamError>, Error>;

pub(super) fn append(
    tx: &Tx,
    stream: &str,
    batch: &[Entry],
    now: When,
    rules: &Rules,
) -> Answer<Vec<Appended>> {
    let mut open = Open::new(tx, stream)?;
    let mut keys = tx.table(KEYS)?;
    let mut fresh = BTreeSet::new();
    for entry in batch {
        let stored = keys.get((stream, entry.key.as_str())).map_err(boxed)?;
        if stored.is_none_or(|row| row.value().saturating_add(rules.window) <= now.log) {
            fresh.insert(entry.key.as_str());
        }
    }
    let entries = open.counts.waiting + open.counts.claimed;
    if fresh.is_empty() {
        return Ok(Ok(vec![Appended::Duplicate; batch.len()]));
    }
    if entries + fresh.len() as u64 > rules.capacity {
        let limit = rules.capacity;
        return Ok(Err(StreamError::Full { entries, limit }));
    }
    tx.change();
    let mut ages = tx.table(KEY_AGES)?;
    let mut appended = Vec::with_capacity(batch.len());
    for entry in batch {
        let key = entry.key.as_str();
        if !fresh.remove(key) {
            appended.push(Appended::Duplicate);
            continue;
        }
        if let Some(old) = keys.insert((stream, key), now.log).map_err(boxed)? {
            ages.remove((old.value(), stream, key)).map_err(boxed)?;
        }
        ages.insert((now.log, stream, key), ()).map_err(boxed)?;
        open.add(key, &entry.payload, now)?;
        appended.push(Appended::Stored);
    }
    open.finish()?;
    Ok(Ok(appended))
}

/// Hands out what is ready, oldest first; and when the next entry will be.
pub(super) fn claim(
    tx: &Tx,
    stream: &str,
    max: usize,
    now: When,
    rules: &Rules,
) -> Result<(Vec<Delivery>, Option<Duration>), Error> {
    let mut open = Open::new(tx, stream)?;
    let mut due = Vec::new();
    {
        let range = (stream, 0, 0)..=(stream, now.log, u64::MAX);
        let rows = open.ready.range(range).map_err(boxed)?;
        for row in rows.take(max.saturating_add(BURIED_PER_CLAIM_MAX)) {
            let (key, ()) = (row.map_err(boxed)?.0, ());
            due.push((key.value().1, key.value().2));
        }
    }
    let mut deliveries = Vec::new();
    for (was, id) in due {
        if deliveries.len() == max {
            break;
        }
        tx.change();
        let Some(mut state) = open.state(id)? else {
            open.ready.remove((stream, was, id)).map_err(boxed)?;
            continue;
        };
        state.ready = was;
        if state.is_exhausted(rules) {
            let cause = state.last.clone();
            let cause = cause.unwrap_or_else(|| Cause::unanswered(state.attempt));
            open.bury(tx, id, &state, &cause, now)?;
            continue;
        }
        state.attempt += 1;
        if !state.claimed {
            state.claimed = true;
            open.counts.waiting = open.counts.waiting.saturating_sub(1);
            open.counts.claimed += 1;
        }
        open.save(id, &mut state, was, now.log.saturating_add(rules.lease))?;
        let row = open.entries.get((stream, id)).map_err(boxed)?;
        let held = row.map_or_else(Held::default, |row| Held::read(row.value()));
        deliveries.push(Delivery {
            lease: Lease {
                id: id.to_string(),
                token: u64::from(state.attempt),
            },
            key: held.key,
            payload: held.payload,
            attempt: state.attempt,
            appended_at: held.appended_at,
        });
    }
    let next = {
        let mut rows = open
            .ready
            .range((stream, 0, 0)..=(stream, u64::MAX, u64::MAX))
            .map_err(boxed)?;
        let first = rows.next().transpose().map_err(boxed)?;
        first.map(|(key, _)| Duration::from_millis(key.value().1.saturating_sub(now.log)))
    };
    open.finish()?;
    Ok((deliveries, next))
}

/// What the holder of a lease says.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Extend,
    Ack,
    Retry { delay: u64, cause: Cause },
    Bury { cause: Cause },
}

pub(super) fn settle(
    tx: &Tx,
    stream: &str,
    lease: &Lease,
    verdict: &Verdict,
    now: When,
    rules: &Rules,
) -> Answer<()> {
    let mut open = Open::new(tx, stream)?;
    let lost = || StreamError::LeaseLost {
        id: lease.id.clone(),
    };
    let Ok(id) = lease.id.parse() else {
        return Ok(Err(lost()));
    };
    let state = open.state(id)?;
    let held = |state: &State| state.claimed && u64::from(state.attempt) == lease.token;
    let Some(mut state) = state.filter(held) else {
        return Ok(Err(lost()));
    };
    tx.change();
    let was = state.ready;
    match verdict {
        Verdict::Extend => {
            open.save(id, &mut state, was, now.log.saturating_add(rules.lease))?;
        }
        Verdict::Ack => {
            open.remove(id, &state)?;
        }
        Verdict::Bury { cause } => open.bury(tx, id, &state, cause, now)?,
        Verdict::Retry { delay, cause } => {
            state.first.get_or_insert_with(|| cause.clone());
            state.last = Some(cause.clone());
            if state.is_exhausted(rules) {
                open.bury(tx, id, &state, cause, now)?;
            } else {
                state.claimed = false;
                open.counts.claimed = open.counts.claimed.saturating_sub(1);
                open.counts.waiting += 1;
                open.save(id, &mut state, was, now.log.saturating_add(*delay))?;
            }
        }
    }
    open.finish()?;
    Ok(Ok(()))
}

/// Ends every lease: their holders died with the process that had the file before.
pub(super) fn free_all(tx: &Tx, now: u64) -> Result<(), Error> {
    let mut names = Vec::new();
    for row in tx.table(STREAMS)?.iter().map_err(boxed)? {
        let (name, counts) = row.map_err(boxed)?;
        if counts.value().2 > 0 {
            names.push(name.value().to_owned());
        }
    }
    for name in names {
        let mut open = Open::new(tx, &name)?;
        let mut held = Vec::new();
        let rows = open
            .states
            .range((name.as_str(), 0)..=(name.as_str(), u64::MAX));
        for row in rows.map_err(boxed)? {
            let (key, bytes) = row.map_err(boxed)?;
            let state = serde_json::from_slice::<State>(bytes.value());
            if let Ok(state) = state
                && state.claimed
            {
                held.push((key.value().1, state));
            }
        }
        for (id, mut state) in held {
            let was = state.ready;
            if was > now {
                state.restarts += 1;
                open.save(id, &mut state, was, now)?;
            }
        }
        open.finish()?;
    }
    Ok(())
}

pub(super) fn backlog(txn: &ReadTransaction, stream: &str, now: u64) -> Result<Backlog, Error> {
    let counts = counts(&txn.open_table(STREAMS).map_err(boxed)?, stream)?;
    let entries = txn.open_table(ENTRIES).map_err(boxed)?;
    let mut rows = entries
        .range((stream, 0)..=(stream, u64::MAX))
        .map_err(boxed)?;
    let oldest = rows.next().transpose().map_err(boxed)?;
    Ok(Backlog {
        waiting: counts.waiting,
        claimed: counts.claimed,
        dead: counts.dead,
        oldest_age: oldest.map(|(_, row)| Duration::from_millis(now.saturating_sub(row.value().2))),
    })
}
