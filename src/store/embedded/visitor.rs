//! Opens the database for a query, also for a user who may only read the file.
//!
//! Whoever reads a database with a write-ahead log also writes: its index, beside the database. Without the right to do so
//! SQLite gives up with "attempt to write a readonly database". While no engine has the file open there is no such log, and
//! the file can be read as one that nobody changes; whether that held is looked at afterwards.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::database::open_reader;
use super::place::beside;
use super::query::QueryError;
use crate::disk::FileIdentity;

/// A connection for one query.
pub(super) struct Visitor {
    pub(super) connection: Connection,
    /// How the file was when it was opened as one that nobody changes.
    frozen: Option<Stamp>,
}

type Stamp = (FileIdentity, u64, Option<SystemTime>);

// === impl Visitor ===

impl Visitor {
    /// Opens the database at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, QueryError> {
        let unreadable = |reason: String| QueryError::Unreadable { path: path.display().to_string(), reason };
        let error = match open_reader(path).and_then(|connection| touch(&connection).map(|()| connection)) {
            Ok(connection) => return Ok(Self { connection, frozen: None }),
            Err(error) => error,
        };
        let may_lack_rights = matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen));
        // What is in the log is not in the database yet: without the log the answer would be an old one.
        let has_log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
        if may_lack_rights && std::fs::File::open(path).is_ok() {
            if has_log {
                return Err(unreadable(format!(
                    "{error}: it has a write-ahead log, for whose index SQLite has to write {}, and user {} may not; ask \
                     as the user who runs the engine, or give this one the right to write into the directory",
                    beside(path, "-shm").display(),
                    rustix::process::geteuid().as_raw(),
                )));
            }
            let frozen = stamp(path).map_err(|error| unreadable(error.to_string()))?;
            let connection = open_frozen(path).map_err(|error| unreadable(error.to_string()))?;
            return Ok(Self { connection, frozen: Some(frozen) });
        }
        Err(unreadable(error.to_string()))
    }

    /// After the last row: whether what was read can be relied on.
    pub(super) fn finish(&self, path: &Path) -> Result<(), QueryError> {
        match self.frozen {
            Some(before) if stamp(path).ok() != Some(before) => Err(QueryError::Changed),
            _ => Ok(()),
        }
    }
}

/// Opening reads nothing yet; this does.
fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((FileIdentity::from(&metadata), metadata.len(), metadata.modified().ok()))
}

fn open_frozen(path: &Path) -> rusqlite::Result<Connection> {
    // Characters that would end the path within a URI.
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_file_that_changes_while_it_is_read_as_one_that_does_not_is_no_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a%b?c#d");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
        let visitor = Visitor { connection: open_frozen(&path).unwrap(), frozen: Some(stamp(&path).unwrap()) };
        let value: i64 = visitor.connection.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(value, 7);
        visitor.finish(&path).unwrap();
        writer.execute_batch("CREATE TABLE u (a)").unwrap();
        assert!(matches!(visitor.finish(&path), Err(QueryError::Changed)));
        let usual = Visitor::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE v (a)").unwrap();
        usual.finish(&path).unwrap();
    }
}
