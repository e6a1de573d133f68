//! The log's own time, by which entries are stamped and grow old.
//!
//! It goes with the monotonic clock and never back, and looks at the wall clock at the start only: so that entries are as
//! old as they are by the order in which they were appended, whatever the wall clock is set to meanwhile. It may be
//! behind the wall clock (time that nobody can vouch for does not count), which keeps entries longer, never shorter.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// More than this between two looks is no time that the log has lived through: the machine slept, or its clocks were moved.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// This part of the retention may have passed between two runs without a doubt.
const TRUSTED_PART: u32 = 8;
/// So may this: a restart takes its time.
const TRUSTED_GAP: Duration = Duration::from_secs(600);

/// The time of a log, shared by its threads.
pub(super) struct LogTime(Mutex<State>);

struct State {
    now_ms: u64,
    looked: Instant,
}

/// What the wall clock shows at the start, beside the newest time that the log knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// There is nothing to compare with, or it goes together.
    Agreed,
    /// The wall clock is so far past it that the time between does not count.
    Past(Duration),
    /// The wall clock is before it.
    Before(Duration),
}

// === impl LogTime ===

impl LogTime {
    /// The time of a log that knows of `newest_ms`, opened while the wall clock shows `wall_ms`, both in milliseconds since
    /// the Unix epoch.
    pub(super) fn start(newest_ms: Option<u64>, wall_ms: u64, retention: Duration, now: Instant) -> (Self, Start) {
        let newest_ms = newest_ms.unwrap_or(wall_ms);
        let apart = Duration::from_millis(wall_ms.abs_diff(newest_ms));
        let start = if wall_ms < newest_ms {
            Start::Before(apart)
        } else if apart > (retention / TRUSTED_PART).max(TRUSTED_GAP) {
            Start::Past(apart)
        } else {
            Start::Agreed
        };
        let now_ms = if start == Start::Agreed { wall_ms } else { newest_ms };
        (Self(Mutex::new(State { now_ms, looked: now })), start)
    }

    /// Milliseconds since the Unix epoch by the log's own time.
    pub(super) fn now_ms(&self, now: Instant) -> u64 {
        let mut state = self.0.lock();
        let step = now.saturating_duration_since(state.looked);
        let whole_ms = step.as_millis() as u64;
        if whole_ms > 0 {
            state.now_ms += whole_ms.min(LONGEST_STEP.as_millis() as u64);
            // What is left of a millisecond counts the next time.
            state.looked += Duration::from_millis(whole_ms);
        }
        state.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: u64 = 86_400_000;
    const WALL_MS: u64 = 1_795_000_000_000;

    #[test]
    fn test_time_goes_with_the_monotonic_clock_and_loses_nothing_of_it() {
        let at = Instant::now();
        let (time, start) = LogTime::start(None, WALL_MS, DAY, at);
        assert_eq!((start, time.now_ms(at)), (Start::Agreed, WALL_MS));
        for step in 1..=1000u32 {
            time.now_ms(at + Duration::from_micros(1700) * step);
        }
        assert_eq!(time.now_ms(at + Duration::from_micros(1_700_000)), WALL_MS + 1700);
        assert_eq!(time.now_ms(at), WALL_MS + 1700, "never back");
    }

    #[test]
    fn test_a_short_stop_counts_and_a_long_one_does_not() {
        let at = Instant::now();
        for (newest_ms, expected, now_ms) in [
            (WALL_MS, Start::Agreed, WALL_MS),
            (WALL_MS - DAY_MS / 8, Start::Agreed, WALL_MS),
            (WALL_MS - DAY_MS / 4, Start::Past(DAY / 4), WALL_MS - DAY_MS / 4),
            // The clock is 26 h behind, or was as much ahead: the newest entry has just been written, by its own time.
            (WALL_MS + 26 * 3_600_000, Start::Before(Duration::from_secs(26 * 3600)), WALL_MS + 26 * 3_600_000),
        ] {
            let (time, start) = LogTime::start(Some(newest_ms), WALL_MS, DAY, at);
            assert_eq!((start, time.now_ms(at)), (expected, now_ms));
        }
    }

    #[test]
    fn test_starts_in_a_row_with_a_wrong_clock_make_nothing_older() {
        let (mut newest_ms, at) = (WALL_MS, Instant::now());
        for _ in 0..100 {
            let (time, _) = LogTime::start(Some(newest_ms), WALL_MS + 60 * DAY_MS, DAY, at);
            newest_ms = time.now_ms(at + Duration::from_secs(1));
        }
        assert_eq!(newest_ms, WALL_MS + 100_000);
    }

    #[test]
    fn test_time_that_was_slept_through_does_not_count() {
        let at = Instant::now();
        let (time, _) = LogTime::start(None, WALL_MS, DAY, at);
        assert_eq!(time.now_ms(at + DAY), WALL_MS + 60_000);
        assert_eq!(time.now_ms(at + DAY + Duration::from_secs(1)), WALL_MS + 61_000);
    }
}
