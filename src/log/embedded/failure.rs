//! What can go wrong below the embedded log, and the state that remembers that it did.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use parking_lot::Mutex;

use super::entry::Damaged;
use crate::disk::{Space, explain};
use crate::flow::health::{Condition, Part};
use crate::log::AppendError;

/// Appends end with this much of the disk free, or with a twentieth of a small one, but with no less than the write buffer
/// takes on its way to tables: what is acknowledged can then still be read, committed and moved there.
const RESERVE_BYTES: u64 = 64 << 20;
const RESERVE_PART: u64 = 20;
/// On the smallest disks the write buffer must not take everything.
const MOST_RESERVE_PART: u64 = 4;

/// A write that takes longer than this is told of: a disk that hangs says nothing by itself.
const LONG_WRITE: Duration = Duration::from_secs(5);

/// The disk, or what lies on it, failed us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The storage engine reports an error.
    #[error("storage engine: {}", told(.0))]
    Engine(#[from] fjall::Error),
    /// A journal is damaged where records lie that were receipted.
    #[error(
        "the journal {path} is damaged at byte {position}, below records that were acknowledged: restore the disk from a copy, \
         or accept the loss of everything behind that byte by cutting the file off there"
    )]
    Journal {
        /// Which file.
        path: String,
        /// Where the damaged batch begins.
        position: usize,
    },
    /// An entry cannot be decoded.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The log's files are not where they were opened any more.
    #[error("{0}")]
    Gone(String),
    /// The file system was turned over to reading.
    #[error(
        "the file system of {} is mounted read-only: mount it for writing, or, if it went read-only by itself, look for \
         errors of the disk in the kernel's log",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// The file system does not answer as it should.
    #[error("the file system of {}: {}", directory.display(), explain(reason))]
    Disk {
        /// Where the log lies.
        directory: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

impl Failure {
    /// What `/health` calls a log that has broken down by this.
    fn code(&self) -> &'static str {
        match self {
            Self::Gone(_) => "data_dir_gone",
            Self::ReadOnly(_) => "disk_read_only",
            _ => "log_broken",
        }
    }
}

/// What to do about files that cannot be made good.
const REMEDY: &str = "put them back, or restore the whole directory from a copy; without one, move the directory away: the next \
                      start begins with an empty log, and acknowledged records that have no row yet are lost";

/// The engine's errors are made for developers; what the system said is in there.
fn told(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => explain(error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => explain(error),
        fjall::Error::Poisoned => "an earlier write in the background failed".to_owned(),
        fjall::Error::Storage(fjall::LsmError::Unrecoverable) | fjall::Error::Unrecoverable => {
            format!("files of its tables (below keyspaces in that directory) are missing; {REMEDY}")
        }
        fjall::Error::Storage(error) => {
            format!("a table (below keyspaces in that directory) is damaged: {error:?}; {REMEDY}")
        }
        fjall::Error::KeyspaceDeleted | fjall::Error::Locked => error.to_string(),
        error => format!("a file in that directory is damaged: {error:?}; {REMEDY}"),
    }
}

/// Whether the log takes appends. Shared by everybody, written by the log's own threads.
pub(super) struct LogState {
    directory: PathBuf,
    disk_budget: u64,
    write_buffer: u64,
    broken: OnceLock<Breakdown>,
    is_full: AtomicBool,
    num_unread_bytes: AtomicU64,
    /// As of the last look; `None` before the first.
    space: Mutex<Option<Space>>,
    is_out_of_space: AtomicBool,
    opened: Instant,
    /// When the write under way began, in milliseconds since `opened`, plus one; 0 while there is none.
    writing_since: AtomicU64,
}

/// Why the log takes no more appends.
struct Breakdown {
    code: &'static str,
    reason: String,
}

impl LogState {
    /// A sound and empty log.
    pub(super) fn new(directory: &Path, disk_budget: u64, write_buffer: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            disk_budget,
            write_buffer,
            broken: OnceLock::new(),
            is_full: AtomicBool::new(false),
            num_unread_bytes: AtomicU64::new(0),
            space: Mutex::new(None),
            is_out_of_space: AtomicBool::new(false),
            opened: Instant::now(),
            writing_since: AtomicU64::new(0),
        }
    }

    /// Refuses every append from now on. After a failed flush nobody knows what is on disk, and flushing again would
    /// say nothing about the pages that were lost: only a restart, which reads the disk, finds out.
    pub(super) fn break_down(&self, reason: impl std::fmt::Display) {
        // The first reason is the cause of those that follow.
        let _ = self.broken.set(Breakdown { code: "log_broken", reason: reason.to_string() });
    }

    /// [`LogState::break_down`] by a failure, with what was being done.
    pub(super) fn break_down_by(&self, failure: &Failure, doing: &str) {
        // The storage engine keeps to itself what made it give up; the file system may know.
        let hint = match (failure, Space::of(&self.directory)) {
            (Failure::Engine(fjall::Error::Poisoned), Ok(space)) if space.is_read_only => {
                "; its file system is mounted read-only"
            }
            (Failure::Engine(fjall::Error::Poisoned), Ok(space)) if space.free < self.reserve(&space) => {
                "; its disk is full"
            }
            _ => "",
        };
        let _ = self.broken.set(Breakdown { code: failure.code(), reason: format!("{doing} failed: {failure}{hint}") });
    }

    /// Reports how much is unread. Full at the budget, taking appends again below 95 % of it: without the gap every
    /// commit would let a few appends in and refuse the next.
    pub(super) fn set_unread_bytes(&self, num_bytes: u64) {
        self.num_unread_bytes.store(num_bytes, Ordering::Relaxed);
        if num_bytes >= self.disk_budget {
            self.is_full.store(true, Ordering::Release);
        } else if num_bytes <= self.disk_budget / 100 * 95 {
            self.is_full.store(false, Ordering::Release);
        }
    }

    /// Reports how much room the disk has. Out of space at the reserve, taking appends again at one and a half times it.
    pub(super) fn set_space(&self, space: Space) {
        *self.space.lock() = Some(space);
        let reserve = self.reserve(&space);
        if space.free < reserve {
            self.is_out_of_space.store(true, Ordering::Release);
        } else if space.free >= reserve + reserve / 2 {
            self.is_out_of_space.store(false, Ordering::Release);
        }
    }

    /// A write to the disk begins.
    pub(super) fn begin_write(&self) {
        let since_ms = self.opened.elapsed().as_millis() as u64 + 1;
        self.writing_since.store(since_ms, Ordering::Relaxed);
    }

    /// The write has ended, well or not.
    pub(super) fn end_write(&self) {
        self.writing_since.store(0, Ordering::Relaxed);
    }

    /// Bytes that nobody has read yet.
    pub(super) fn num_unread_bytes(&self) -> u64 {
        self.num_unread_bytes.load(Ordering::Relaxed)
    }

    /// Free bytes of the disk, as of the last look.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.space.lock().map(|space| space.free)
    }

    /// Why appends are refused for good, if they are.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.get().map(|breakdown| breakdown.reason.clone())
    }

    /// `Ok` while appends are taken.
    pub(super) fn check(&self) -> Result<(), AppendError> {
        if let Some(reason) = self.broken() {
            return Err(AppendError::unavailable(reason));
        }
        if self.is_full.load(Ordering::Acquire) {
            return Err(AppendError::Full(self.full_detail()));
        }
        if self.is_out_of_space.load(Ordering::Acquire) {
            return Err(AppendError::Full(self.out_of_space_detail()));
        }
        Ok(())
    }

    /// Everything that is wrong, from memory.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let place = self.directory.display().to_string();
        let mut conditions = Vec::new();
        if let Some(Breakdown { code, reason }) = self.broken.get() {
            let detail = format!("{reason}; the log takes no more appends until a new start finds out what is durable");
            conditions.push(Condition::failing(Part::Disk, code, place.clone(), detail).refusing_intake());
        }
        if self.is_full.load(Ordering::Acquire) {
            let detail = format!("log full: {}; it takes appends again when rows were written", self.full_detail());
            conditions.push(Condition::failing(Part::Log, "log_full", "", detail).refusing_intake());
        }
        if self.is_out_of_space.load(Ordering::Acquire) {
            let detail = self.out_of_space_detail();
            conditions.push(Condition::failing(Part::Disk, "disk_full", place.clone(), detail).refusing_intake());
        } else if let Some(space) = *self.space.lock() {
            let budget_left = self.disk_budget.saturating_sub(self.num_unread_bytes());
            // Named by the data directory, which the store shares.
            let named = self.directory.parent().unwrap_or(&self.directory);
            conditions.extend(space.shortage(named, Some(budget_left)));
        }
        let writing_since = self.writing_since.load(Ordering::Relaxed);
        if writing_since > 0 {
            let writing = self.opened.elapsed().saturating_sub(Duration::from_millis(writing_since - 1));
            if writing >= LONG_WRITE {
                let detail = format!(
                    "a write to {place} has been under way for {} s: the disk does not answer; nothing is acknowledged \
                     until it does",
                    writing.as_secs(),
                );
                conditions.push(Condition::failing(Part::Disk, "disk_hangs", place, detail).refusing_intake());
            }
        }
        conditions
    }

    /// Bytes that appends leave free.
    fn reserve(&self, space: &Space) -> u64 {
        let usual = RESERVE_BYTES.min(space.size / RESERVE_PART);
        usual.max(self.write_buffer.min(space.size / MOST_RESERVE_PART))
    }

    /// After how many bytes the room is to be looked at again, so that the reserve is not passed unseen.
    pub(super) fn bytes_to_next_look(&self) -> u64 {
        let space = *self.space.lock();
        space.map_or(0, |space| self.reserve(&space) / 4)
    }

    fn full_detail(&self) -> String {
        let (unread, budget) = (self.num_unread_bytes(), self.disk_budget);
        format!("{unread} bytes are not yet in the database, log.embedded.disk_budget is {budget}")
    }

    fn out_of_space_detail(&self) -> String {
        let space = self.space.lock().unwrap_or(Space { size: 0, free: 0, is_read_only: false });
        format!(
            "{} of {} are free on the disk of {}, and the log leaves {} free; free space, enlarge the disk, or lower \
             log.embedded.retention_size",
            ByteSize(space.free),
            ByteSize(space.size),
            self.directory.display(),
            ByteSize(self.reserve(&space)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> LogState {
        LogState::new(Path::new("/data/log"), 1_000, 2 << 20)
    }

    #[test]
    fn test_full_stays_until_it_has_drained_below_95_percent() {
        let state = state();
        state.set_unread_bytes(999);
        assert!(state.check().is_ok());
        state.set_unread_bytes(1_000);
        assert!(matches!(state.check(), Err(AppendError::Full(_))));
        state.set_unread_bytes(951);
        assert!(matches!(state.check(), Err(AppendError::Full(_))));
        state.set_unread_bytes(950);
        assert!(state.check().is_ok());
    }

    #[test]
    fn test_broken_is_for_ever_and_keeps_the_first_reason() {
        let state = state();
        state.break_down("disk is gone");
        state.break_down("later");
        assert!(matches!(state.check(), Err(AppendError::Unavailable(reason)) if reason.to_string() == "disk is gone"));
        let conditions = state.conditions();
        assert_eq!((conditions.len(), conditions[0].code), (1, "log_broken"));
        assert!(conditions[0].refuses_intake);
    }

    #[test]
    fn test_appends_end_before_the_disk_does_and_begin_again_with_room() {
        let state = state();
        let space = |free: u64| Space { size: 100 << 30, free, is_read_only: false };
        let codes = || state.conditions().iter().map(|condition| condition.code).collect::<Vec<_>>();
        state.set_space(space(RESERVE_BYTES));
        assert!(state.check().is_ok());
        assert!(codes().is_empty(), "all that may still come fits");
        state.set_space(space(RESERVE_BYTES - 1));
        assert!(matches!(state.check(), Err(AppendError::Full(_))));
        assert_eq!(codes(), ["disk_full"]);
        state.set_space(space(RESERVE_BYTES / 2 * 3 - 1));
        assert!(state.check().is_err(), "a gap, so that it does not come and go");
        state.set_space(space(RESERVE_BYTES / 2 * 3));
        assert!(state.check().is_ok());
        let small = Space { size: 96 << 20, free: 6 << 20, is_read_only: false };
        state.set_space(small);
        assert!(state.check().is_ok(), "a small disk has a small reserve");
    }

    #[test]
    fn test_a_write_that_does_not_end_is_told_of() {
        let state = state();
        state.begin_write();
        assert!(state.conditions().is_empty());
        state.writing_since.store(1, Ordering::Relaxed);
        let state = LogState { opened: Instant::now() - LONG_WRITE, ..state };
        assert_eq!(state.conditions()[0].code, "disk_hangs");
        state.end_write();
        assert!(state.conditions().is_empty());
    }
}
