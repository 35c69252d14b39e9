//! What is in the file.

use std::cell::Cell;

use redb::{ReadableTable as _, Table, TableDefinition, WriteTransaction};

/// Whatever redb can say. Boxed because it is large and rare.
pub(super) type Error = Box<redb::Error>;

/// Stream and id.
pub(super) type EntryId = (&'static str, u64);
/// Key, microseconds of wall-clock time and log time of the append, bytes.
pub(super) type EntryRow = (&'static str, i64, u64, &'static [u8]);
/// JSON without the bytes, and the bytes.
pub(super) type DeadRow = (&'static [u8], &'static [u8]);
/// Next id, waiting, claimed, dead.
pub(super) type StreamRow = (u64, u64, u64, u64);
/// Version, end, bytes.
pub(super) type ValueRow = (u64, u64, &'static [u8]);

/// A stream's next id and how many entries are waiting, claimed and dead.
pub(super) const STREAMS: TableDefinition<&str, StreamRow> = TableDefinition::new("streams");
/// Stream and id; the entry's key, when it was appended (microseconds of wall-clock time, log
/// time) and its bytes. Written once.
pub(super) const ENTRIES: TableDefinition<EntryId, EntryRow> = TableDefinition::new("entries");
/// Stream and id; what became of the entry so far, as JSON. Apart from the bytes because it changes
/// with every delivery.
pub(super) const STATES: TableDefinition<EntryId, &[u8]> = TableDefinition::new("states");
/// Stream, log time from which an entry can be handed out, id.
pub(super) const READY: TableDefinition<(&str, u64, u64), ()> = TableDefinition::new("ready");
/// Stream and key; log time at which the key was stored.
pub(super) const KEYS: TableDefinition<(&str, &str), u64> = TableDefinition::new("keys");
/// The same by age.
pub(super) const KEY_AGES: TableDefinition<(u64, &str, &str), ()> =
    TableDefinition::new("key_ages");
/// Stream and number in the order of burial; a dead letter without its bytes, as JSON, and its
/// bytes.
pub(super) const DEAD: TableDefinition<EntryId, DeadRow> = TableDefinition::new("dead");
/// Stream and the entry's id; the number of its row in [`DEAD`].
pub(super) const GRAVES: TableDefinition<EntryId, u64> = TableDefinition::new("graves");
/// The store: version, log time at which the value expires, bytes.
pub(super) const VALUES: TableDefinition<&str, ValueRow> = TableDefinition::new("values");
/// The same by end; only values that have one.
pub(super) const EXPIRIES: TableDefinition<(u64, &str), ()> = TableDefinition::new("expiries");
/// Newest fencing token by name.
pub(super) const FENCES: TableDefinition<&str, u64> = TableDefinition::new("fences");
/// About the file itself.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Row of [`META`]: the version of this layout.
pub(super) const FORMAT: &str = "format";
/// Row of [`META`]: newest log time that was written.
pub(super) const NEWEST: &str = "newest";
/// Row of [`META`]: written by readiness checks.
const PROBE: &str = "probe";

/// The layout of this file.
pub(super) const FORMAT_NOW: u64 = 1;

/// Makes every table, so that reading never meets a missing one.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(STREAMS)?;
    txn.open_table(ENTRIES)?;
    txn.open_table(STATES)?;
    txn.open_table(READY)?;
    txn.open_table(KEYS)?;
    txn.open_table(KEY_AGES)?;
    txn.open_table(DEAD)?;
    txn.open_table(GRAVES)?;
    txn.open_table(VALUES)?;
    txn.open_table(EXPIRIES)?;
    txn.open_table(FENCES)?;
    txn.open_table(META)?;
    Ok(())
}

/// One write transaction, shared by the operations of a group.
pub(super) struct Tx {
    txn: WriteTransaction,
    changed: Cell<bool>,
}

impl Tx {
    pub(super) fn new(txn: WriteTransaction) -> Self {
        Self {
            txn,
            changed: Cell::new(false),
        }
    }

    /// Opens a table to read, or to write after [`Tx::change`].
    pub(super) fn table<K, V>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Table<'_, K, V>, Error>
    where
        K: redb::Key + 'static,
        V: redb::Value + 'static,
    {
        self.txn.open_table(definition).map_err(boxed)
    }

    /// Says that something was written. A group that wrote nothing is not flushed.
    pub(super) fn change(&self) {
        self.changed.set(true);
    }

    /// Writes a row that means nothing.
    pub(super) fn probe(&self, now: u64) -> Result<(), Error> {
        self.change();
        self.table(META)?.insert(PROBE, now).map_err(boxed)?;
        Ok(())
    }

    /// Makes everything durable. `newest` is the newest log time among the group.
    pub(super) fn commit(self, newest: u64) -> Result<(), Error> {
        if !self.changed.get() {
            return self.txn.abort().map_err(boxed);
        }
        {
            let mut meta = self.txn.open_table(META).map_err(boxed)?;
            let known = meta
                .get(NEWEST)
                .map_err(boxed)?
                .map_or(0, |row| row.value());
            meta.insert(NEWEST, newest.max(known)).map_err(boxed)?;
        }
        self.txn.commit().map_err(boxed)
    }
}

/// Any of redb's errors as [`Error`].
pub(super) fn boxed(error: impl Into<redb::Error>) -> Error {
    Box::new(error.into())
}
