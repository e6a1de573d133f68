//! How large a record of a topic may be, known where messages come in: one number that the log keeps up to date and
//! others read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes that the key and the value of one record may have together. Clones share the number; it may change at
/// any moment, since operators change topics, so what fits now may be refused a moment later (never the other way
/// round for good: who sends again is measured again).
#[derive(Debug, Clone)]
pub struct RecordLimit(Arc<AtomicUsize>);

// === impl RecordLimit ===

impl RecordLimit {
    /// A limit that is this many bytes now.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(max_bytes)))
    }

    /// The limit as it is known now, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it for everybody.
    pub(super) fn set(&self, max_bytes: usize) {
        self.0.store(max_bytes, Ordering::Relaxed);
    }
}
