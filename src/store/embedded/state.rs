//! What the store's handle knows of its files, as the writing thread saw them last: whether they are still there, the size
//! of the write-ahead log, the room on the disk.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;
use parking_lot::Mutex;

use super::database::WAL_BYTES;
use super::readers::Readers;
use crate::disk::Space;
use crate::flow::health::{Condition, Gauge, Part};

/// A write-ahead log above this is held by somebody: by itself it is copied into the database at a quarter of it.
const LARGE_WAL_BYTES: u64 = 4 * WAL_BYTES as u64;

/// What is known of the store's files.
pub(super) struct StoreState {
    path: PathBuf,
    broken: OnceLock<String>,
    wal_bytes: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    space: Option<Space>,
    readers: Readers,
}

// === impl StoreState ===

impl StoreState {
    /// Of a database that has just been opened.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), broken: OnceLock::new(), wal_bytes: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// Nothing that is written from now on would be found again.
    pub(super) fn break_down(&self, reason: String) {
        // The first reason is the cause of those that follow.
        let _ = self.broken.set(reason);
    }

    /// Why nothing can be written any more, if that is so.
    pub(super) fn broken(&self) -> Option<&String> {
        self.broken.get()
    }

    /// Takes in the size of the write-ahead log; true if it is larger than it grows by itself.
    pub(super) fn set_wal_bytes(&self, num_bytes: u64) -> bool {
        self.wal_bytes.store(num_bytes, Ordering::Relaxed);
        num_bytes > LARGE_WAL_BYTES
    }

    /// Takes in the room on the disk, and who reads.
    pub(super) fn set_seen(&self, space: Option<Space>, readers: Readers) {
        *self.seen.lock() = Seen { space, readers };
    }

    /// Numbers about the files.
    pub(super) fn gauges(&self) -> Vec<Gauge> {
        let free = self.seen.lock().space.map(|space| Gauge { name: "store_disk_free_bytes", value: space.free });
        let wal = Gauge { name: "store_wal_bytes", value: self.wal_bytes.load(Ordering::Relaxed) };
        [Some(wal), free].into_iter().flatten().collect()
    }

    /// Everything that is wrong with the files.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let path = self.path.display().to_string();
        let mut conditions = Vec::new();
        if let Some(reason) = self.broken() {
            let gone = Condition::failing(Part::Disk, "store_file_gone", path.clone(), reason.clone());
            // The process is about to end by this.
            conditions.push(gone.refusing_intake());
        }
        let seen = self.seen.lock();
        let wal_bytes = self.wal_bytes.load(Ordering::Relaxed);
        if wal_bytes > LARGE_WAL_BYTES {
            let detail = format!(
                "the write-ahead log of {path} has grown to {} and grows with every write: it cannot be copied into the \
                 database while a reader keeps a transaction open{}; end long queries and transactions of whoever reads \
                 the file",
                ByteSize(wal_bytes),
                seen.readers,
            );
            conditions.push(Condition::degraded(Part::Store, "store_wal_large", path, detail));
        }
        // Named by the data directory, which the log shares.
        let place = self.path.parent().unwrap_or(&self.path);
        conditions.extend(seen.space.and_then(|space| space.shortage(place, None)));
        conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_large_write_ahead_log_is_told_of_until_it_has_shrunk() {
        let state = StoreState::new(Path::new("/data/store"));
        assert!(!state.set_wal_bytes(WAL_BYTES as u64 + 100_000));
        assert!(state.conditions().is_empty());
        assert!(state.set_wal_bytes(LARGE_WAL_BYTES + 1));
        let conditions = state.conditions();
        assert_eq!((conditions[0].code, conditions[0].refuses_intake), ("store_wal_large", false));
        assert!(conditions[0].detail.contains("has grown to 128.0 MiB"), "{}", conditions[0].detail);
        assert_eq!(state.gauges(), [Gauge { name: "store_wal_bytes", value: LARGE_WAL_BYTES + 1 }]);
        state.set_wal_bytes(0);
        assert!(state.conditions().is_empty());
    }

    #[test]
    fn test_the_first_reason_to_break_down_stays() {
        let state = StoreState::new(Path::new("/data/store"));
        state.break_down("gone".to_owned());
        state.break_down("later".to_owned());
        assert_eq!(state.broken(), Some(&"gone".to_owned()));
        assert!(state.conditions()[0].refuses_intake);
    }
}
