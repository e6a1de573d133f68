//! What can go wrong below the embedded log, and the state that remembers that it did.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::entry::Damaged;
use crate::log::AppendError;

/// The disk, or what lies on it, failed us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The storage engine reports an error.
    #[error("storage engine: {0}")]
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
}

/// Whether the log takes appends. Shared by everybody, written by the log's own threads.
#[derive(Default)]
pub(super) struct Condition {
    broken: OnceLock<String>,
    is_full: AtomicBool,
    num_unread_bytes: AtomicU64,
    disk_budget: u64,
}

impl Condition {
    /// A sound and empty log.
    pub(super) fn new(disk_budget: u64) -> Self {
        Self { disk_budget, ..Self::default() }
    }

    /// Refuses every append from now on. After a failed flush nobody knows what is on disk, and flushing again would
    /// say nothing about the pages that were lost: only a restart, which reads the disk, finds out.
    pub(super) fn break_down(&self, reason: impl std::fmt::Display) {
        if self.broken.set(reason.to_string()).is_ok() {
            tracing::error!(%reason, "the embedded log takes no more appends until it is restarted");
        }
    }

    /// Reports how much is unread. Full at the budget, taking appends again below 95 % of it: without the gap every
    /// commit would let a few appends in and refuse the next.
    pub(super) fn set_unread_bytes(&self, num_bytes: u64) {
        self.num_unread_bytes.store(num_bytes, Ordering::Relaxed);
        if num_bytes >= self.disk_budget {
            if !self.is_full.swap(true, Ordering::AcqRel) {
                tracing::warn!(num_bytes, budget = self.disk_budget, "the embedded log is full of unread records");
            }
        } else if num_bytes <= self.disk_budget / 100 * 95 && self.is_full.swap(false, Ordering::AcqRel) {
            tracing::info!(num_bytes, budget = self.disk_budget, "the embedded log takes appends again");
        }
    }

    /// Bytes that nobody has read yet.
    pub(super) fn num_unread_bytes(&self) -> u64 {
        self.num_unread_bytes.load(Ordering::Relaxed)
    }

    /// Why appends are refused for good, if they are.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }

    /// `Ok` while appends are taken.
    pub(super) fn check(&self) -> Result<(), AppendError> {
        if let Some(reason) = self.broken.get() {
            return Err(AppendError::Unavailable(reason.clone()));
        }
        if self.is_full.load(Ordering::Acquire) {
            let (unread, budget) = (self.num_unread_bytes(), self.disk_budget);
            return Err(AppendError::Full(format!(
                "{unread} bytes are not yet in the database, log.embedded.disk_budget is {budget}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_full_stays_until_it_has_drained_below_95_percent() {
        let condition = Condition::new(1_000);
        condition.set_unread_bytes(999);
        assert!(condition.check().is_ok());
        condition.set_unread_bytes(1_000);
        assert!(matches!(condition.check(), Err(AppendError::Full(_))));
        condition.set_unread_bytes(951);
        assert!(matches!(condition.check(), Err(AppendError::Full(_))));
        condition.set_unread_bytes(950);
        assert!(condition.check().is_ok());
    }

    #[test]
    fn test_broken_is_for_ever_and_keeps_the_first_reason() {
        let condition = Condition::new(1_000);
        condition.break_down("disk is gone");
        condition.break_down("later");
        assert!(matches!(condition.check(), Err(AppendError::Unavailable(reason)) if reason == "disk is gone"));
    }
}
