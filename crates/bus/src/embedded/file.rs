//! The file: who may have it, how it is made, opened, checked and opened again after an error.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError};

use super::entries;
use super::tables::{self, FORMAT, FORMAT_NOW, META, NEWEST};
use crate::config::Config;
use crate::error::OpenError;

const PAGE_BYTES: u64 = 4096;

/// The file and the right to it.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    cache: usize,
    /// None while it cannot be opened after an error, and once it is closed.
    pub(super) database: RwLock<Option<Database>>,
    /// Held as long as the file may be touched.
    lock: Mutex<Option<File>>,
    /// Something failed: redb refuses to go on until it is opened anew.
    doubtful: AtomicBool,
    closed: AtomicBool,
}

impl LogFile {
    /// Opens or makes the log. What was handed out before is free again, because its
    /// holders died with the process that had the file. Returns the newest log time as well.
    pub(super) fn open(config: &Config, wall: u64) -> Result<(Self, u64), OpenError> {
        let (dir, cache) = (config.data_dir.as_path(), config.cache.get());
        let path = dir.join("bus.redb");
        let refuse = |why: String| OpenError::Folder {
            path: path.clone(),
            why,
        };
        fs::create_dir_all(dir).map_err(|error| refuse(error.to_string()))?;
        let lock = lock(dir, &path)?;
        remove_unfinished(&path).map_err(|error| refuse(error.to_string()))?;
        let mut database = open(&path, cache).map_err(|error| explain(&path, &error))?;
        // The folder's entry for the file must last as well as the file.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| refuse(error.to_string()))?;
        let newest = prepare(&path, &database, wall)?;
        compact(&path, &mut database, config.compact_min.0);
        let file = Self {
            path,
            cache,
            database: RwLock::new(Some(database)),
            lock: Mutex::new(Some(lock)),
            doubtful: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Ok((file, newest))
    }

    /// Remembers that the file must be opened anew before it is written again.
    pub(super) fn doubt(&self) {
        self.doubtful.store(true, Ordering::SeqCst);
    }

    /// Opens the file anew if something failed before.
    pub(super) fn recover(&self) -> Result<(), String> {
        if !self.doubtful.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // The old one must be gone first: it holds redb's lock on the file.
        drop(database.take());
        let opened = open(&self.path, self.cache).map_err(|error| error.to_string())?;
        *database = Some(opened);
        self.doubtful.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Why there is no database.
    pub(super) fn absent(&self) -> String {
        if self.closed.load(Ordering::SeqCst) {
            return String::from(super::CLOSED);
        }
        self.doubt();
        format!("{} could not be opened again yet", self.path.display())
    }

    /// Lets go of the file.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(lock.take());
    }
}

/// Takes the folder for this process. The operating system gives it back however the process ends.
fn lock(dir: &Path, path: &Path) -> Result<File, OpenError> {
    let refuse = |error: std::io::Error| OpenError::Folder {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("bus.lock"))
        .map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = (&mut file).take(20).read_to_string(&mut holder).is_ok();
            let holder = holder.trim();
            let number = known && !holder.is_empty() && holder.bytes().all(|b| b.is_ascii_digit());
            return Err(OpenError::Locked {
                path: path.to_owned(),
                holder: if number { holder } else { "(unknown)" }.to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(refuse(error)),
    }
    // The id is only for the other side's message, so a full disk must not keep us from starting.
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "the lock file does not name this process");
    }
    Ok(file)
}

/// redb writes its mark last when it makes a file; one without it was cut short and holds nothing,
/// but redb would refuse it.
fn remove_unfinished(path: &Path) -> std::io::Result<()> {
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(16).read_to_end(&mut start)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if start.iter().take(9).all(|byte| *byte == 0) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn open(path: &Path, cache: usize) -> Result<Database, DatabaseError> {
    let shown = path.to_owned();
    let asked = AtomicBool::new(false);
    Database::builder()
        .set_cache_size(cache)
        .set_repair_callback(move |_| {
            if !asked.swap(true, Ordering::Relaxed) {
                tracing::info!(path = %shown.display(), "the embedded log was not closed in order; checking it");
            }
        })
        .create(path)
}

fn explain(path: &Path, error: &DatabaseError) -> OpenError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked {
            path,
            holder: String::from("(unknown)"),
        },
        DatabaseError::Storage(StorageError::Io(io))
            if io.kind() != std::io::ErrorKind::InvalidData =>
        {
            OpenError::Folder { path, why }
        }
        _ => OpenError::Unreadable { path, why },
    }
}

/// Makes missing tables, checks the version, frees what dead holders held. The newest log time.
fn prepare(path: &Path, database: &Database, wall: u64) -> Result<u64, OpenError> {
    let unreadable = |why: String| OpenError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let work = || -> Result<Result<u64, u64>, tables::Error> {
        let txn = database.begin_write().map_err(tables::boxed)?;
        tables::create(&txn).map_err(tables::boxed)?;
        let newest = {
            let mut meta = txn.open_table(META).map_err(tables::boxed)?;
            let format = meta.get(FORMAT).map_err(tables::boxed)?;
            let format = format.map_or(FORMAT_NOW, |row| row.value());
            if format != FORMAT_NOW {
                return Ok(Err(format));
            }
            meta.insert(FORMAT, FORMAT_NOW).map_err(tables::boxed)?;
            let newest = meta.get(NEWEST).map_err(tables::boxed)?;
            newest.map_or(0, |row| row.value()).max(wall)
        };
        let tx = tables::Tx::new(txn);
        tx.change();
        entries::free_all(&tx, newest)?;
        entries::dead::index(&tx)?;
        tx.commit(newest)?;
        Ok(Ok(newest))
    };
    match work() {
        Ok(Ok(newest)) => Ok(newest),
        Ok(Err(format)) => Err(unreadable(format!(
            "its format is {format}, this version reads {FORMAT_NOW}"
        ))),
        Err(error) => Err(match *error {
            redb::Error::Io(_) => OpenError::Folder {
                path: path.to_owned(),
                why: error.to_string(),
            },
            _ => unreadable(error.to_string()),
        }),
    }
}

/// Gives unused space back to the disk. The file only ever shrinks here.
fn compact(path: &Path, database: &mut Database, length_min: u64) {
    let length = fs::metadata(path).map_or(0, |meta| meta.len());
    if length < length_min {
        return;
    }
    let used = database
        .begin_read()
        .map_err(tables::boxed)
        .and_then(|txn| {
            let mut pages = 0;
            for (name, count) in [
                ("entries", pages_of(&txn, tables::ENTRIES)?),
                ("values", pages_of(&txn, tables::VALUES)?),
                ("dead", pages_of(&txn, tables::DEAD)?),
            ] {
                tracing::trace!(table = name, pages = count, "size");
                pages += count;
            }
            Ok(pages * PAGE_BYTES)
        });
    match used {
        Ok(used) if used < length / 2 => {}
        _ => return,
    }
    match database.compact() {
        Ok(_) => {
            let now = fs::metadata(path).map_or(0, |meta| meta.len());
            tracing::info!(
                before_bytes = length,
                after_bytes = now,
                "the embedded log was compacted"
            );
        }
        Err(error) => tracing::warn!(%error, "the embedded log was not compacted"),
    }
}

fn pages_of<K: redb::Key + 'static, V: redb::Value + 'static>(
    txn: &redb::ReadTransaction,
    table: redb::TableDefinition<'_, K, V>,
) -> Result<u64, tables::Error> {
    use redb::ReadableTableMetadata as _;
    let table = txn.open_table(table).map_err(tables::boxed)?;
    let stats = table.stats().map_err(tables::boxed)?;
    let bytes = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
    Ok(bytes.div_ceil(PAGE_BYTES))
}
