//! Records one after the other in one buffer, each within what its topic takes.

use thiserror::Error;

use crate::log::RecordLimit;

/// Records of one topic or partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The records, one after the other.
    pub values: Vec<u8>,
    /// Where each record ends.
    pub ends: Vec<u32>,
}

/// A record that alone is larger than its topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a record of {num_bytes} bytes, its topic takes {max_bytes}")]
pub struct RecordTooLarge {
    num_bytes: usize,
    max_bytes: usize,
}

// === impl Records ===

impl Records {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Ends the record that was appended to the values from `start` on, unless it is too large: then it is removed.
    #[inline]
    pub fn end_record(&mut self, start: usize, key: &str, limit: &RecordLimit) -> Result<(), RecordTooLarge> {
        let (num_bytes, max_bytes) = (self.values.len() - start + key.len(), limit.max_bytes());
        if num_bytes > max_bytes {
            self.values.truncate(start);
            return Err(RecordTooLarge { num_bytes, max_bytes });
        }
        self.ends.push(self.values.len() as u32);
        Ok(())
    }
}
