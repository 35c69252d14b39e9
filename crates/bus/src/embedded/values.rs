//! The store's operations inside of a transaction.

use incident::ports::{Expect, Fence, Put, StoreError, Versioned};
use redb::{ReadTransaction, ReadableTable, Table};

use super::tables::{EXPIRIES, Error, FENCES, Tx, VALUES, ValueRow, boxed};

/// An end that never comes.
const NEVER: u64 = u64::MAX;

type Values<'t> = Table<'t, &'static str, ValueRow>;

fn live(
    values: &impl ReadableTable<&'static str, ValueRow>,
    key: &str,
    now: u64,
) -> Result<Option<Versioned>, Error> {
    let row = values.get(key).map_err(boxed)?;
    Ok(row.and_then(|row| {
        let (version, end, bytes) = row.value();
        (now < end).then(|| Versioned {
            value: bytes.to_vec(),
            version,
        })
    }))
}

/// Version and end of what is at `key`, expired or not.
fn stored(values: &Values<'_>, key: &str) -> Result<Option<(u64, u64)>, Error> {
    let row = values.get(key).map_err(boxed)?;
    Ok(row.map(|row| {
        let (version, end, _) = row.value();
        (version, end)
    }))
}

pub(super) fn get(txn: &ReadTransaction, key: &str, now: u64) -> Result<Option<Versioned>, Error> {
    live(&txn.open_table(VALUES).map_err(boxed)?, key, now)
}

pub(super) fn list(
    txn: &ReadTransaction,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    now: u64,
) -> Result<Vec<(String, Versioned)>, Error> {
    use std::ops::Bound;
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let values = txn.open_table(VALUES).map_err(boxed)?;
    let mut found = Vec::new();
    for row in values
        .range::<&str>((from, Bound::Unbounded))
        .map_err(boxed)?
    {
        let (key, row) = row.map_err(boxed)?;
        if found.len() == limit || !key.value().starts_with(prefix) {
            break;
        }
        let (version, end, bytes) = row.value();
        if now < end {
            let value = bytes.to_vec();
            found.push((key.value().to_owned(), Versioned { value, version }));
        }
    }
    Ok(found)
}

/// Checks every put against the ones before it, then writes all of them or none.
pub(super) fn put_all(
    tx: &Tx,
    puts: &[Put],
    now: u64,
) -> Result<Result<Vec<u64>, StoreError>, Error> {
    let mut values = tx.table(VALUES)?;
    let fences = tx.table(FENCES)?;
    let mut versions: Vec<u64> = Vec::with_capacity(puts.len());
    for (at, put) in puts.iter().enumerate() {
        if let Some(fence) = &put.fence {
            let newest = fences.get(fence.name.as_str()).map_err(boxed)?;
            let newest = newest.map_or(0, |row| row.value());
            if fence.token != newest {
                let (name, token) = (fence.name.clone(), fence.token);
                return Ok(Err(StoreError::Stale {
                    name,
                    token,
                    newest,
                }));
            }
        }
        let mut earlier = puts.iter().zip(&versions).take(at).rev();
        let earlier = earlier.find(|(before, _)| before.key == put.key);
        let found = match earlier {
            Some((_, version)) => Some(*version),
            None => stored(&values, &put.key)?
                .filter(|(_, end)| now < *end)
                .map(|(version, _)| version),
        };
        if let Err(refusal) = put.expect.check(&put.key, found) {
            return Ok(Err(refusal));
        }
        versions.push(found.unwrap_or(0) + 1);
    }
    if puts.is_empty() {
        return Ok(Ok(versions));
    }
    tx.change();
    let mut expiries = tx.table(EXPIRIES)?;
    for (put, version) in puts.iter().zip(&versions) {
        let key = put.key.as_str();
        if let Some((_, end)) = stored(&values, key)?
            && end != NEVER
        {
            expiries.remove((end, key)).map_err(boxed)?;
        }
        let end = put
            .ttl
            .map_or(NEVER, |ttl| now.saturating_add(super::millis(ttl).max(1)));
        if end != NEVER {
            expiries.insert((end, key), ()).map_err(boxed)?;
        }
        values
            .insert(key, (*version, end, put.value.as_slice()))
            .map_err(boxed)?;
    }
    Ok(Ok(versions))
}

pub(super) fn delete(
    tx: &Tx,
    key: &str,
    expect: Expect,
    now: u64,
) -> Result<Result<bool, StoreError>, Error> {
    let mut values = tx.table(VALUES)?;
    let found = stored(&values, key)?.filter(|(_, end)| now < *end);
    if let Err(refusal) = expect.check(key, found.map(|(version, _)| version)) {
        return Ok(Err(refusal));
    }
    let Some((_, end)) = found else {
        return Ok(Ok(false));
    };
    tx.change();
    values.remove(key).map_err(boxed)?;
    if end != NEVER {
        tx.table(EXPIRIES)?.remove((end, key)).map_err(boxed)?;
    }
    Ok(Ok(true))
}

pub(super) fn fence(tx: &Tx, name: &str) -> Result<Fence, Error> {
    tx.change();
    let mut fences = tx.table(FENCES)?;
    let newest = fences
        .get(name)
        .map_err(boxed)?
        .map_or(0, |row| row.value());
    let token = newest + 1;
    fences.insert(name, token).map_err(boxed)?;
    Ok(Fence {
        name: name.to_owned(),
        token,
    })
}
