//! The dead letters that the log keeps, as of the last look.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

/// Dead letters in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetainedLetters {
    /// How many records; a letter that is too large for one counts as several.
    pub records: u64,
    /// When the oldest was written, by the log's time, in milliseconds since the Unix epoch; `None` if there is none, or the
    /// log does not know.
    pub oldest_ms: Option<u64>,
}

/// What was found last.
#[derive(Debug)]
pub struct Retained {
    /// Their topic.
    pub topic: Arc<str>,
    found: RwLock<Option<RetainedLetters>>,
}

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
    /// Nothing is known of this topic yet.
    pub fn new(topic: Arc<str>) -> Self {
        Self { topic, found: RwLock::default() }
    }

    /// Says what was found; `None` if it could not be found out.
    pub fn set(&self, found: Option<RetainedLetters>) {
        *self.found.write() = found;
    }

    /// What was found last; `None` while that is not known.
    pub fn get(&self) -> Option<RetainedLetters> {
        *self.found.read()
    }
}
