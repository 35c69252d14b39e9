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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use incident::ports::{Entry, Expect, Put};
    use redb::{Database, ReadableTableMetadata as _, backends::InMemoryBackend};

    use super::super::entries::{self, Rules, When};
    use super::super::{tables, values};
    use super::*;

    /// Runs `work` in a transaction of its own.
    fn with<T>(database: &Database, work: impl FnOnce(&Tx) -> T) -> T {
        let tx = Tx::new(database.begin_write().unwrap());
        let done = work(&tx);
        tx.commit(0).unwrap();
        done
    }

    /// Rows of everything that time removes.
    fn rows(database: &Database) -> [u64; 4] {
        with(database, |tx| {
            [
                tx.table(KEYS).unwrap().len().unwrap(),
                tx.table(KEY_AGES).unwrap().len().unwrap(),
                tx.table(VALUES).unwrap().len().unwrap(),
                tx.table(EXPIRIES).unwrap().len().unwrap(),
            ]
        })
    }

    #[test]
    fn what_has_expired_leaves_no_row_behind_and_the_rest_stays() {
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let txn = database.begin_write().unwrap();
        tables::create(&txn).unwrap();
        txn.commit().unwrap();
        let rules = Rules::new(&crate::Config::default());
        let append = |key: &str, log: u64| {
            let batch = [Entry {
                key: key.to_owned(),
                payload: Vec::new(),
            }];
            let wall = jiff::Timestamp::UNIX_EPOCH;
            with(&database, |tx| {
                entries::append(tx, "s", &batch, When { log, wall }, &rules)
            })
            .unwrap()
            .unwrap();
        };
        for n in 0..5 {
            append(&format!("old{n}"), 10);
        }
        append("young", 900);
        let put = |key: &str, ttl: Option<u64>| {
            let mut put = Put::new(key, "v", Expect::Any);
            put.ttl = ttl.map(Duration::from_millis);
            with(&database, |tx| values::put_all(tx, &[put], 0))
                .unwrap()
                .unwrap();
        };
        put("kept", None);
        put("short", Some(50));
        put("renewed", Some(50));
        put("renewed", Some(5000));
        put("freed", Some(50));
        put("freed", None);
        assert_eq!(rows(&database), [6, 6, 4, 2]);
        // The window of the keys is 500, the step removes four rows at most.
        let step = |now| with(&database, |tx| step(tx, now, 500, 4)).unwrap();
        assert_eq!(step(40), 0);
        assert_eq!(step(1000), 4);
        assert_eq!(step(1000), 2, "the last old key and the short value");
        assert_eq!(step(1000), 0);
        assert_eq!(rows(&database), [1, 1, 3, 1]);
    }
}
