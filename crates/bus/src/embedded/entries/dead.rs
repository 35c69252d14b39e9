//! Dead letters. They stay until somebody takes them out.

use incident::ports::{Cause, DeadLetter, StreamError};
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};

use super::super::tables::{DEAD, Error, GRAVES, Tx, boxed};
use super::{Answer, Open, Rules, State, When, corrupt};

impl Open<'_> {
    /// Moves an entry to the dead letters.
    pub(super) fn bury(
        &mut self,
        tx: &Tx,
        id: u64,
        state: &State,
        last: &Cause,
        now: When,
    ) -> Result<(), Error> {
        let held = self.remove(id, state)?;
        let letter = DeadLetter {
            id: id.to_string(),
            stream: self.stream.to_owned(),
            key: held.key,
            payload: Vec::new(),
            attempts: state.attempt,
            first: state.first.clone(),
            last: last.clone(),
            appended_at: held.appended_at,
            buried_at: now.wall,
        };
        let letter = serde_json::to_vec(&letter).map_err(|error| boxed(corrupt(&error)))?;
        let mut dead = tx.table(DEAD)?;
        // Numbered in the order in which they died.
        let number = {
            let mut rows = dead
                .range((self.stream, 0)..=(self.stream, u64::MAX))
                .map_err(boxed)?;
            let newest = rows.next_back().transpose().map_err(boxed)?;
            newest.map_or(0, |(row, _)| row.value().1 + 1)
        };
        dead.insert(
            (self.stream, number),
            (letter.as_slice(), held.payload.as_slice()),
        )
        .map_err(boxed)?;
        tx.table(GRAVES)?
            .insert((self.stream, id), number)
            .map_err(boxed)?;
        self.counts.dead += 1;
        Ok(())
    }
}

pub(in super::super) fn list(
    txn: &ReadTransaction,
    stream: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<DeadLetter>, Error> {
    let graves = txn.open_table(GRAVES).map_err(boxed)?;
    let from = match after.and_then(|id| id.parse::<u64>().ok()) {
        Some(id) => graves.get((stream, id)).map_err(boxed)?,
        None => None,
    };
    let from = from.map_or(0, |number| number.value() + 1);
    let table = txn.open_table(DEAD).map_err(boxed)?;
    let rows = table
        .range((stream, from)..=(stream, u64::MAX))
        .map_err(boxed)?;
    rows.take(limit)
        .map(|row| {
            let (_, row) = row.map_err(boxed)?;
            let (letter, payload) = row.value();
            Ok(DeadLetter {
                payload: payload.to_vec(),
                ..read(letter)?
            })
        })
        .collect()
}

fn read(letter: &[u8]) -> Result<DeadLetter, Error> {
    serde_json::from_slice(letter).map_err(|error| boxed(corrupt(&error)))
}

pub(in super::super) fn redrive(
    tx: &Tx,
    stream: &str,
    id: &str,
    now: When,
    rules: &Rules,
) -> Answer<bool> {
    let mut open = Open::new(tx, stream)?;
    let Some((id, number)) = grave(tx, stream, id)? else {
        return Ok(Ok(false));
    };
    let entries = open.counts.waiting + open.counts.claimed;
    if entries >= rules.capacity {
        let limit = rules.capacity;
        return Ok(Err(StreamError::Full { entries, limit }));
    }
    if let Some((letter, payload)) = take(tx, &mut open, id, number)? {
        open.add(&letter.key, &payload, now)?;
    }
    open.finish()?;
    Ok(Ok(true))
}

pub(in super::super) fn discard(tx: &Tx, stream: &str, id: &str) -> Answer<bool> {
    let Some((id, number)) = grave(tx, stream, id)? else {
        return Ok(Ok(false));
    };
    let mut open = Open::new(tx, stream)?;
    take(tx, &mut open, id, number)?;
    open.finish()?;
    Ok(Ok(true))
}

/// The entry's id as a number, and the number of its letter.
fn grave(tx: &Tx, stream: &str, id: &str) -> Result<Option<(u64, u64)>, Error> {
    // Only as it was written: "+7" is no id.
    let Some(id) = id.parse::<u64>().ok().filter(|n| n.to_string() == id) else {
        return Ok(None);
    };
    let graves = tx.table(GRAVES)?;
    let row = graves.get((stream, id)).map_err(boxed)?;
    Ok(row.map(|row| (id, row.value())))
}

/// Takes a letter out; it and its bytes.
fn take(
    tx: &Tx,
    open: &mut Open<'_>,
    id: u64,
    number: u64,
) -> Result<Option<(DeadLetter, Vec<u8>)>, Error> {
    tx.change();
    tx.table(GRAVES)?.remove((open.stream, id)).map_err(boxed)?;
    let mut dead = tx.table(DEAD)?;
    let Some(row) = dead.remove((open.stream, number)).map_err(boxed)? else {
        return Ok(None);
    };
    open.counts.dead = open.counts.dead.saturating_sub(1);
    let (letter, payload) = row.value();
    Ok(Some((read(letter)?, payload.to_vec())))
}

/// Finds every letter by its id again: files from before [`GRAVES`] have none.
pub(in super::super) fn index(tx: &Tx) -> Result<(), Error> {
    let dead = tx.table(DEAD)?;
    let mut graves = tx.table(GRAVES)?;
    if graves.len().map_err(boxed)? == dead.len().map_err(boxed)? {
        return Ok(());
    }
    for row in dead.iter().map_err(boxed)? {
        let (key, row) = row.map_err(boxed)?;
        let (stream, number) = key.value();
        if let Ok(id) = read(row.value().0)?.id.parse::<u64>() {
            graves.insert((stream, id), number).map_err(boxed)?;
        }
    }
    Ok(())
}
