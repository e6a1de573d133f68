//! The database file: one writer by lock, any number of readers, settings of SQLite.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::failed;
use crate::store::StoreError;

/// Rows arrive device by device, so a transaction touches many pages and writes each of them whole, twice (log and
/// database): small pages write less. Smaller ones than this would move rows above 500 bytes out to overflow pages.
const PAGE_BYTES: i64 = 4096;

/// The write-ahead log is copied into the database when it has grown to this size, and its file is cut back to it.
/// Larger means fewer copies of pages that change often; smaller means less disk and a quicker first read.
pub(super) const WAL_BYTES: i64 = 32 << 20;

/// How long the writer waits for whoever has the database locked.
const WRITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a reader waits for the instants in which SQLite allows none.
const READ_BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many prepared statements stay cached: a few per table.
const NUM_CACHED_STATEMENTS: usize = 256;

/// The lock that makes this process the only writer. It goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

// === impl WriterLock ===

impl WriterLock {
    /// Takes the lock of a database, or says that another process has it.
    ///
    /// The lock is on a file of its own: SQLite's locks on the database stay free for readers.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let context = || format!("locking {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed(context(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: database.display().to_string() }),
            Err(TryLockError::Error(error)) => Err(failed(context(), error)),
        }
    }
}

/// Opens the database for writing, and creates it if need be. The caller holds the [`WriterLock`].
pub(super) fn open_writer(path: &Path, page_cache_bytes: u64) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(WRITE_BUSY_TIMEOUT)?;
        // Only a new database takes a page size.
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: a commit returns only when the log is flushed to disk. The offset of a record is committed right
        // after its row, and then nobody writes the row again, so the row must survive a power cut by itself.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Negative: in KiB instead of pages.
        connection.pragma_update(None, "cache_size", -i64::try_from(page_cache_bytes / 1024).unwrap_or(i64::MAX))?;
        let page_bytes: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_BYTES / page_bytes.max(512))?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
        connection.set_prepared_statement_cache_capacity(NUM_CACHED_STATEMENTS);
        Ok(connection)
    };
    open().map_err(|error| failed(format!("opening {}", path.display()), error))
}

/// Copies the whole write-ahead log into the database and empties its file. Fails at once while somebody reads from it.
pub(super) fn cut_wal_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let cut = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(WRITE_BUSY_TIMEOUT)?;
    cut
}

/// Opens the database for reading, while a writer may be at work.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(READ_BUSY_TIMEOUT)?;
    // Also for what SQLite would still write beside a read-only file, such as attached databases.
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}
