//! Removing what has expired, a bounded step at a time.

use redb::ReadableTable as _;

use super::tables::{EXPIRIES, Error, KEY_AGES, KEYS, Tx, VALUES, boxed};

/// Removes up to `rows` keys that are older than `window` and values that have expired; how many.
pub(super) fn step(tx: &Tx, now: u64, window: u64, rows: usize) -> Result<usize, Error> {
    let forgotten = keys(tx, now.saturating_sub(window), rows)?;
    let expired = values(tx, now, rows - forgotten)?;
    Ok(forgotten + expired)
}

fn keys(tx: &Tx, until: u64, rows: usize) -> Result<usize, Error> {
    let mut ages = tx.table(KEY_AGES)?;
    let mut old = Vec::new();
    for row in ages
        .range(..(until.saturating_add(1), "", ""))
        .map_err(boxed)?
        .take(rows)
    {
        let (key, _) = row.map_err(boxed)?;
        let (stored, stream, key) = key.value();
        old.push((stored, stream.to_owned(), key.to_owned()));
    }
    if old.is_empty() {
        return Ok(0);
    }
    tx.change();
    let mut keys = tx.table(KEYS)?;
    for (stored, stream, key) in &old {
        ages.remove((*stored, stream.as_str(), key.as_str()))
            .map_err(boxed)?;
        keys.remove((stream.as_str(), key.as_str()))
            .map_err(boxed)?;
    }
    Ok(old.len())
}

fn values(tx: &Tx, now: u64, rows: usize) -> Result<usize, Error> {
    let mut expiries = tx.table(EXPIRIES)?;
    let mut old = Vec::new();
    for row in expiries
        .range(..(now.saturating_add(1), ""))
        .map_err(boxed)?
        .take(rows)
    {
        let (key, _) = row.map_err(boxed)?;
        let (end, key) = key.value();
        old.push((end, key.to_owned()));
    }
    if old.is_empty() {
        return Ok(0);
    }
    tx.change();
    let mut values = tx.table(VALUES)?;
    for (end, key) in &old {
        expiries.remove((*end, key.as_str())).map_err(boxed)?;
        values.remove(key.as_str()).map_err(boxed)?;
    }
    Ok(old.len())
}
