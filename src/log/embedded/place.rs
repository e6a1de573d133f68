//! Whether the log's files are still where a restart will look for them.
//!
//! A file that was opened can be written for as long as it is open, whatever happens to its name: after an `rm -r`, a
//! mount over the directory, or another directory put in its place, every flush succeeds and nothing of it is left after a
//! restart. So the committer looks before it confirms a group.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fjall::{AbstractTree, Keyspace};

use super::failure::Failure;
use super::journal;
use crate::disk::{FileIdentity, Space};

/// Where the log lies, with the identities of the files that tell it from another.
pub(super) struct LogPlace {
    directory: PathBuf,
    /// The storage engine's own lock file, which lives as long as the log.
    lock: (PathBuf, FileIdentity),
    /// The newest journal, as far as is known: what is confirmed is in there or in one that came after it.
    newest: (PathBuf, FileIdentity),
    /// The numbers of the journals as of the last look, ascending.
    journals: Vec<u64>,
    newest_number: u64,
    /// Open, so that its number on the disk is not given to another file.
    lock_file: File,
}

// === impl LogPlace ===

impl LogPlace {
    /// Remembers the files of a log that has just been opened.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let identified = |path: PathBuf| FileIdentity::of(&path).map(|identity| (path, identity));
        let journals = journal::journals(directory)?;
        let (newest_number, newest) = journals.last().cloned().ok_or(ErrorKind::NotFound)?;
        let lock = directory.join(journal::LOCK_FILE);
        Ok(Self {
            directory: directory.to_owned(),
            lock_file: OpenOptions::new().write(true).open(&lock)?,
            lock: identified(lock)?,
            newest: identified(newest)?,
            newest_number,
            journals: journals.into_iter().map(|(number, _)| number).collect(),
        })
    }

    /// After a flush and before it is confirmed: that the journal still has its name. One system call, unless the storage
    /// engine has moved on to another journal.
    pub(super) fn verify(&mut self) -> Result<(), Failure> {
        let (path, identity) = &self.newest;
        match FileIdentity::of(path) {
            Ok(found) if found == *identity => Ok(()),
            // The storage engine removes journals, too, but only when there are newer ones.
            _ => self.look(),
        }
    }

    /// Looks at everything: the directory, and that no journal is missing but the oldest, which the storage engine
    /// removes when tables have their records.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        expect(&self.lock.0, self.lock.1)?;
        // Without opening anything, so that it works when no file can be opened.
        let known = self.newest_number;
        while let Ok(identity) = FileIdentity::of(&self.journal(self.newest_number + 1)) {
            self.newest_number += 1;
            self.newest = (self.journal(self.newest_number), identity);
        }
        if self.newest_number == known {
            expect(&self.newest.0, self.newest.1)?;
        }
        // Twice before it is believed: the storage engine may be at work while the directory is read.
        for is_last in [false, true] {
            // Out of descriptors, perhaps. That the newest journal is there has been seen.
            let Ok(found) = journal::journals(&self.directory) else { return Ok(()) };
            match missing(&self.journals, &found) {
                None => {
                    self.journals = found.into_iter().map(|(number, _)| number).collect();
                    break;
                }
                Some(missing) if is_last => return gone(&self.journal(missing), "is missing"),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn journal(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.jnl"))
    }

    /// Writes, without changing anything that matters: a disk that fails does not say so before somebody does.
    pub(super) fn probe(&self) -> Result<(), Failure> {
        match self.lock_file.set_modified(SystemTime::now()).and_then(|()| self.lock_file.sync_all()) {
            // A full disk is no broken one; appends end at the reserve.
            Err(reason) if !matches!(reason.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(Failure::Disk { directory: self.directory.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Looks whether the directories of the tables are there.
    pub(super) fn look_at<'a>(&self, mut directories: impl Iterator<Item = &'a Path>) -> Result<(), Failure> {
        match directories.find(|directory| !directory.exists()) {
            Some(missing) => gone(missing, "cannot be found any more"),
            None => Ok(()),
        }
    }

    /// Looks whether every table is there. Open tables can be read without their names, and the next start fails.
    pub(super) fn look_at_tables(keyspaces: &[Keyspace]) -> Result<(), Failure> {
        for keyspace in keyspaces {
            // As long as this is held, the storage engine removes none of its tables.
            let version = keyspace.tree.current_version();
            if let Some(table) = version.iter_tables().find(|table| !table.path.exists()) {
                return Err(Failure::Gone(format!(
                    "{} cannot be found any more: a table of the log was removed under the running engine, and its records are in \
                     no other file; put it back before the next start, which fails without it",
                    table.path.display()
                )));
            }
        }
        Ok(())
    }

    /// The room of the disk; an error if nothing can be written to it.
    pub(super) fn space(&self) -> Result<Space, Failure> {
        fail::fail_point!("disk", |_| Err(Failure::ReadOnly(self.directory.clone())));
        match Space::of(&self.directory) {
            Ok(space) if space.is_read_only => Err(Failure::ReadOnly(self.directory.clone())),
            Ok(space) => Ok(space),
            Err(reason) => Err(Failure::Disk { directory: self.directory.clone(), reason }),
        }
    }
}

/// That a path still leads to the file that it led to.
fn expect(path: &Path, identity: FileIdentity) -> Result<(), Failure> {
    match FileIdentity::of(path) {
        Ok(found) if found == identity => Ok(()),
        Ok(_) => gone(path, "is another file than the one that was opened"),
        Err(error) => gone(path, &format!("cannot be found any more ({error})")),
    }
}

fn gone<T>(what: &Path, how: &str) -> Result<T, Failure> {
    Err(Failure::Gone(format!(
        "{} {how}: the files of the log were removed or exchanged under the running engine, so that nothing it writes would \
         be found again; put them back before the next start, or it begins without them",
        what.display()
    )))
}

/// A journal that was there and is not, although an older one is, or no newer one.
fn missing(known: &[u64], found: &[(u64, PathBuf)]) -> Option<u64> {
    let is_there = |number: &u64| found.iter().any(|(found, _)| found == number);
    // If there is none, each that was there is missing.
    let oldest = found.first().map_or(0, |(number, _)| *number);
    let newest = found.last().map_or(0, |(number, _)| *number);
    known.iter().copied().find(|number| !is_there(number) && (*number > oldest || *number > newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path, names: &[&str]) {
        std::fs::create_dir_all(directory).unwrap();
        names.iter().for_each(|name| std::fs::write(directory.join(name), "").unwrap());
    }

    fn told(place: &mut LogPlace) -> String {
        let failure = place.verify().unwrap_err();
        assert!(matches!(failure, Failure::Gone(_)), "{failure}");
        failure.to_string()
    }

    #[test]
    fn test_a_journal_without_its_name_is_seen_at_once() {
        let directory = tempfile::tempdir().unwrap();
        files(directory.path(), &["lock", "0.jnl", "1.jnl"]);
        let mut place = LogPlace::of(directory.path()).unwrap();
        place.verify().unwrap();
        // Open as the storage engine has it: its number on the disk is not given to another file meanwhile.
        let _open = std::fs::File::open(directory.path().join("1.jnl")).unwrap();
        std::fs::remove_file(directory.path().join("1.jnl")).unwrap();
        assert!(told(&mut place).contains("1.jnl cannot be found any more"));
        files(directory.path(), &["1.jnl"]);
        assert!(told(&mut place).contains("1.jnl is another file"), "a new file under the old name is none of ours");
    }

    #[test]
    fn test_a_directory_that_is_gone_or_another_is_seen_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let (directory, elsewhere) = (parent.path().join("log"), parent.path().join("old"));
        files(&directory, &["lock", "0.jnl"]);
        let mut place = LogPlace::of(&directory).unwrap();
        std::fs::rename(&directory, &elsewhere).unwrap();
        assert!(told(&mut place).contains("lock cannot be found any more"));
        files(&directory, &["lock", "0.jnl"]);
        assert!(told(&mut place).contains("lock is another file"));
        std::fs::remove_dir_all(&directory).unwrap();
        std::fs::rename(&elsewhere, &directory).unwrap();
        place.verify().unwrap();
    }

    #[test]
    fn test_the_storage_engine_may_go_on_to_new_journals_and_remove_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let remove = |name: &str| std::fs::remove_file(directory.path().join(name)).unwrap();
        files(directory.path(), &["lock", "9.jnl"]);
        let mut place = LogPlace::of(directory.path()).unwrap();
        files(directory.path(), &["10.jnl", "11.jnl", "12.jnl"]);
        remove("9.jnl");
        place.verify().unwrap();
        remove("10.jnl");
        place.look().unwrap();
        files(directory.path(), &["13.jnl"]);
        place.look().unwrap();
        remove("12.jnl");
        let failure = place.look().unwrap_err().to_string();
        assert!(failure.contains("12.jnl is missing"), "an older one is still there: {failure}");
    }
}
