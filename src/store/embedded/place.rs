//! Whether the database's files are still where a restart, and every reader, will look for them.
//!
//! SQLite goes on with files that have lost their names: rows written to them are confirmed and gone. So the writing
//! thread looks before it confirms a transaction, and once a second at everything.

use std::path::{Path, PathBuf};

use crate::disk::FileIdentity;

/// A file with the identity that it had when it was first seen.
struct Known {
    path: PathBuf,
    identity: FileIdentity,
}

/// The files of an open database. Its write-ahead log and that one's index come with the first transaction, and stay as
/// long as the connection.
pub(super) struct StorePlace {
    database: Known,
    wal: PathBuf,
    index: PathBuf,
    /// In this order, as far as they have been seen.
    beside: [Option<Known>; 2],
}

// === impl StorePlace ===

impl StorePlace {
    /// Remembers the file of a database that has just been opened.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let database = Known { path: path.to_owned(), identity: FileIdentity::of(path)? };
        Ok(Self { database, wal: beside(path, "-wal"), index: beside(path, "-shm"), beside: [None, None] })
    }

    /// After a transaction and before it is confirmed: that what it was written to still has its name. Two system calls.
    pub(super) fn verify(&mut self) -> Result<(), String> {
        self.database.verify()?;
        verify_once_seen(&mut self.beside[0], &self.wal)
    }

    /// Looks at the index, too: readers with another one do not see each other's locks, which damages the database.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.verify()?;
        verify_once_seen(&mut self.beside[1], &self.index)
    }

    /// Bytes of the write-ahead log.
    pub(super) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |metadata| metadata.len())
    }
}

// === impl Known ===

impl Known {
    fn verify(&self) -> Result<(), String> {
        let how = match FileIdentity::of(&self.path) {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "is another file than the one that was opened".to_owned(),
            Err(error) => format!("cannot be found any more ({error})"),
        };
        Err(format!(
            "{} {how}: the files of the store were removed or exchanged under the running engine, so that no row it \
             writes would be found again; put them back, or let a new start begin with what is there now",
            self.path.display()
        ))
    }
}

fn verify_once_seen(known: &mut Option<Known>, path: &Path) -> Result<(), String> {
    match known {
        Some(known) => known.verify(),
        None => {
            *known = FileIdentity::of(path).ok().map(|identity| Known { path: path.to_owned(), identity });
            Ok(())
        }
    }
}

/// A file that SQLite keeps beside the database.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_that_lost_their_names_or_have_others_under_them_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let write = |suffix: &str| std::fs::write(beside(&path, suffix), "").unwrap();
        write("");
        let mut place = StorePlace::of(&path).unwrap();
        place.look().unwrap();
        write("-wal");
        write("-shm");
        place.look().unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let (file, hidden) = (beside(&path, suffix), directory.path().join("hidden"));
            std::fs::rename(&file, &hidden).unwrap();
            assert!(place.look().unwrap_err().contains("cannot be found any more"), "{suffix}");
            write(suffix);
            assert!(place.look().unwrap_err().contains("is another file"), "{suffix}");
            std::fs::rename(&hidden, &file).unwrap();
            place.look().unwrap();
        }
    }
}
