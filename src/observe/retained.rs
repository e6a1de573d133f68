//! The dead letters that the log keeps, as of the last look.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

/// Dead letters in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedLetters {
    /// Their topic.
    pub topic: Arc<str>,
    /// How many records; a letter that is too large for one counts as several.
    pub records: u64,
    /// When the oldest was written, by the log's time, in milliseconds since the Unix epoch; `None` if there is none, or the
    /// log does not know.
    pub oldest_ms: Option<u64>,
}

/// What was found last.
#[derive(Debug, Default)]
pub struct Retained(RwLock<Option<RetainedLetters>>);

// === impl RetainedLetters ===

impl RetainedLetters {
    /// The age of the oldest at this time by the log's clock; zero if there is none.
    pub fn age(&self, now_ms: u64) -> Option<Duration> {
        if self.records == 0 {
            return Some(Duration::ZERO);
        }
        self.oldest_ms.map(|oldest_ms| Duration::from_millis(now_ms.saturating_sub(oldest_ms)))
    }
}

// === impl Retained ===

impl Retained {
    /// Says what was found; `None` if it could not be found out.
    pub fn set(&self, found: Option<RetainedLetters>) {
        *self.0.write() = found;
    }

    /// What was found last; `None` while that is not known.
    pub fn get(&self) -> Option<RetainedLetters> {
        self.0.read().clone()
    }
}
