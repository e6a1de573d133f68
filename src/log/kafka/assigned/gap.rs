//! Records of a partition of others that were removed before they were read: what the config wants done about it.
//!
//! With `earliest` reading goes on at the first record that is there, as it does in topics of ours. Otherwise nothing more is
//! read with the assignment. Once everything that was read is settled, it ends, and the next one begins as it is decided in
//! [`super::super::group`]. What was read and is not settled would not be there to be read again.

use std::sync::atomic::Ordering;

use super::{Assigned, Gone};
use crate::log::{OnGap, Others};

/// Why a partition is not read until somebody has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log::kafka) enum Held {
    /// These records are gone.
    Removed(Gone),
    /// Its offsets began anew: the topic was deleted and made again, or its log was cut off.
    Anew,
}

// === impl Assigned ===

impl Assigned {
    /// How its topic is read, if it is one of others.
    pub(in crate::log::kafka) fn others(&self) -> Option<&Others> {
        self.others.as_deref()
    }

    /// What happens when records were removed before they were read.
    pub(in crate::log::kafka) fn on_gap(&self) -> OnGap {
        self.others().map_or(OnGap::Earliest, |others| others.on_gap)
    }

    /// Reading does not go on by itself behind what is gone.
    pub(super) fn stops_at_gaps(&self) -> bool {
        self.on_gap() != OnGap::Earliest
    }

    /// Nothing is read until somebody has decided.
    pub(in crate::log::kafka) fn hold(&self, held: Held) {
        if let Held::Removed(gone) = held {
            self.note_loss(Some(gone));
        }
        // Health tells of it once for all partitions of the topic.
        tracing::debug!(partition = %self.id, ?held, "reading stands: what was to be read next is gone");
        self.state.lock().held = Some(held);
        self.is_held.store(true, Ordering::Release);
    }

    /// Whether nothing is read until somebody has decided.
    pub(in crate::log::kafka) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// The next record is gone: nothing more is read with this assignment.
    pub(super) fn end_at_gap(&self) {
        self.is_at_gap.store(true, Ordering::Release);
    }

    /// Whether nothing is read, because the next record is gone.
    pub(in crate::log::kafka) fn is_standing(&self) -> bool {
        self.is_at_gap.load(Ordering::Acquire) || self.is_held()
    }

    /// Whether the next record is gone, and everything before it is settled.
    pub(in crate::log::kafka) fn is_done_at_gap(&self) -> bool {
        self.is_at_gap.load(Ordering::Acquire) && self.state.lock().progress.is_settled()
    }

    /// Reading begins here without a commit of this offset, which the group is told. What was to be read instead is lost.
    pub(in crate::log::kafka) fn begin_anywhere(&self, offset: u64, lost: Option<Gone>) {
        self.note_loss(lost);
        let mut state = self.state.lock();
        state.progress.begin(offset);
        // The group is told where, so that a restart does not decide anew.
        state.progress.on_commit_failed();
    }
}
