//! By which time rows are swept: the wall clock's, once it is certain that nobody has just set it wrong.
//!
//! A clock that is far past the time at which the store was last swept, or that has moved beside the monotonic one, is
//! not believed until it has stood for a while: rows cannot be brought back, and a day more does them no harm.

use std::time::{Duration, Instant};

/// This part of the time to live may have passed between two looks without a doubt.
const TRUSTED_PART: u32 = 8;
/// Whatever the time to live is, so much may, and more than the other may not.
const TRUSTED_MIN: Duration = Duration::from_secs(60);
const TRUSTED_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A clock that has stood this long is believed, or one time to live long if that is shorter.
const LONGEST_HOLD: Duration = Duration::from_secs(86_400);

/// Decides whether rows may be swept.
#[derive(Debug)]
pub(super) struct SweepTime {
    ttl: Duration,
    /// What the wall clock showed when it was believed last, in milliseconds since the Unix epoch.
    known: Known,
    held: Option<Hold>,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    /// By an earlier run, or by the newest row; how long ago is not known.
    Before(Option<u64>),
    /// By this run.
    At(u64, Instant),
}

/// Nothing is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    /// Since when.
    since: Instant,
    /// What the clock should have shown, and what it shows, in milliseconds since the Unix epoch.
    pub(super) expected_ms: u64,
    pub(super) shown_ms: u64,
}

// === impl SweepTime ===

impl SweepTime {
    /// For rows that live so long, in a store of which `known_ms` is the newest time that is known.
    pub(super) fn new(ttl: Duration, known_ms: Option<u64>) -> Self {
        Self { ttl, known: Known::Before(known_ms), held: None }
    }

    /// The time to sweep by, in milliseconds since the Unix epoch, while the wall clock shows `wall_ms`; or why nothing is
    /// swept now.
    pub(super) fn look(&mut self, wall_ms: u64, now: Instant) -> Result<u64, Hold> {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let trusted_ms = ms((self.ttl / TRUSTED_PART).clamp(TRUSTED_MIN, TRUSTED_MAX));
        let (expected_ms, is_as_expected) = match self.known {
            Known::Before(None) => (wall_ms, true),
            // What was known then may lie ahead of now: a device's clock, or ours. Sweeping by less deletes nothing.
            Known::Before(Some(known_ms)) => (known_ms, wall_ms <= known_ms.saturating_add(trusted_ms)),
            Known::At(known_ms, at) => {
                let expected_ms = known_ms.saturating_add(ms(now.saturating_duration_since(at)));
                (expected_ms, wall_ms.abs_diff(expected_ms) <= trusted_ms)
            }
        };
        if !is_as_expected {
            let longest = self.hold();
            let hold = self.held.get_or_insert(Hold { since: now, expected_ms, shown_ms: wall_ms });
            // A clock that is set again while it is not believed begins anew.
            let stood_ms = ms(now.saturating_duration_since(hold.since));
            if wall_ms.abs_diff(hold.shown_ms.saturating_add(stood_ms)) > trusted_ms {
                *hold = Hold { since: now, expected_ms, shown_ms: wall_ms };
            }
            if now.saturating_duration_since(hold.since) < longest {
                return Err(*hold);
            }
        }
        self.held = None;
        self.known = Known::At(wall_ms, now);
        Ok(wall_ms)
    }

    /// Whether nothing was swept at the last look.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// How long a clock has to stand until it is believed.
    pub(super) fn hold(&self) -> Duration {
        self.ttl.min(LONGEST_HOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: u64 = 86_400_000;
    const NOW_MS: u64 = 1_795_000_000_000;

    #[test]
    fn test_a_start_far_past_the_newest_time_sweeps_nothing_for_a_day() {
        let (mut time, at) = (SweepTime::new(30 * DAY, Some(NOW_MS)), Instant::now());
        let wrong_ms = NOW_MS + 60 * DAY_MS;
        for hour in 0..24u32 {
            let shown_ms = wrong_ms + u64::from(hour) * 3_600_000;
            let hold = time.look(shown_ms, at + Duration::from_secs(3600) * hour).unwrap_err();
            assert_eq!((hold.expected_ms, hold.shown_ms), (NOW_MS, wrong_ms));
        }
        assert_eq!(time.look(wrong_ms + DAY_MS, at + DAY), Ok(wrong_ms + DAY_MS), "then it was no mistake");
    }

    #[test]
    fn test_a_clock_that_is_set_right_again_is_believed_at_once() {
        let (mut time, at) = (SweepTime::new(30 * DAY, Some(NOW_MS)), Instant::now());
        time.look(NOW_MS + 60 * DAY_MS, at).unwrap_err();
        assert_eq!(time.look(NOW_MS + 1000, at + Duration::from_secs(1)), Ok(NOW_MS + 1000));
    }

    #[test]
    fn test_a_store_that_is_new_or_was_away_for_a_weekend_is_swept_at_once() {
        let at = Instant::now();
        for known_ms in [None, Some(NOW_MS - 3 * DAY_MS), Some(NOW_MS + DAY_MS), Some(u64::MAX)] {
            assert_eq!(SweepTime::new(30 * DAY, known_ms).look(NOW_MS, at), Ok(NOW_MS), "{known_ms:?}");
        }
    }

    #[test]
    fn test_a_clock_that_jumps_while_running_is_not_believed_in_either_direction() {
        for jumped_ms in [NOW_MS + 60 * DAY_MS, NOW_MS - 60 * DAY_MS] {
            let (mut time, at) = (SweepTime::new(30 * DAY, None), Instant::now());
            time.look(NOW_MS, at).unwrap();
            let hold = time.look(jumped_ms, at + Duration::from_secs(10)).unwrap_err();
            assert_eq!(hold.expected_ms, NOW_MS + 10_000);
            // Back again: what followed the jump back would otherwise look like another jump.
            assert!(time.look(NOW_MS + 20_000, at + Duration::from_secs(20)).is_ok());
        }
    }

    #[test]
    fn test_a_clock_that_is_set_again_and_again_is_not_believed_for_having_been_wrong_long_enough() {
        let (mut time, at) = (SweepTime::new(30 * DAY, Some(NOW_MS)), Instant::now());
        time.look(NOW_MS + 60 * DAY_MS, at).unwrap_err();
        time.look(NOW_MS + 600 * DAY_MS, at + DAY).unwrap_err();
        time.look(NOW_MS + 600 * DAY_MS + DAY_MS, at + 2 * DAY).unwrap();
    }

    #[test]
    fn test_short_times_to_live_are_held_for_no_longer_than_themselves() {
        let (mut time, at) = (SweepTime::new(Duration::from_secs(120), Some(NOW_MS)), Instant::now());
        time.look(NOW_MS + 600_000, at).unwrap_err();
        assert!(time.look(NOW_MS + 720_000, at + Duration::from_secs(120)).is_ok());
    }
}
