//! When refused rows are worth a line in the log: one for each reason and minute, with how many there were.

use std::collections::HashMap;
use std::time::Duration;

/// A reason is logged again after this long.
const INTERVAL: Duration = Duration::from_secs(60);

/// More different reasons than this are counted together.
const MAX_REASONS: usize = 16;

/// What was logged for one table.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    reasons: HashMap<String, Counted>,
}

#[derive(Debug)]
struct Counted {
    logged: Duration,
    num_since: u64,
}

// === impl RefusalLog ===

impl RefusalLog {
    /// Counts a row that was refused at `now`. `Some` if that is to be logged: the rows that were refused for this reason
    /// since it was logged last, this one included.
    pub(super) fn note(&mut self, reason: &str, now: Duration) -> Option<u64> {
        // Numbers in a reason are the row's: they would make each one different.
        let mut key: String = reason.chars().filter(|character| !character.is_ascii_digit()).collect();
        if !self.reasons.contains_key(&key) && self.reasons.len() >= MAX_REASONS {
            key.clear();
        }
        let Some(counted) = self.reasons.get_mut(&key) else {
            self.reasons.insert(key, Counted { logged: now, num_since: 0 });
            return Some(1);
        };
        counted.num_since += 1;
        if now.saturating_sub(counted.logged) < INTERVAL {
            return None;
        }
        counted.logged = now;
        Some(std::mem::take(&mut counted.num_since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_reason_is_logged_once_a_minute_with_the_count_of_all() {
        let (mut log, second) = (RefusalLog::default(), Duration::from_secs(1));
        assert_eq!(log.note("value of 17 bytes", second), Some(1));
        assert_eq!(log.note("value of 18 bytes", second * 2), None);
        assert_eq!(log.note("another reason", second * 2), Some(1));
        assert_eq!(log.note("value of 19 bytes", second * 61), Some(2));
        assert_eq!(log.note("value of 19 bytes", second * 62), None);
    }

    #[test]
    fn test_reasons_without_end_take_no_room_without_end() {
        let (mut log, now) = (RefusalLog::default(), Duration::ZERO);
        let lines = (1..=100).filter(|number| log.note(&"x".repeat(*number), now).is_some()).count();
        assert_eq!(lines, MAX_REASONS + 1);
        assert!(log.reasons.len() <= MAX_REASONS + 1);
    }
}
