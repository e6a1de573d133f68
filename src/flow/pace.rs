//! How fast a frame has to arrive once it has begun: what tells a slow link from one who sends a byte now and then to
//! hold a connection and its memory.

use std::time::{Duration, Instant};

/// A frame may be behind `bytes_per_second` by `grace`, and never gets further ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a link may stand still.
    pub grace: Duration,
    /// The slowest rate in the long run, in bytes per second.
    pub bytes_per_second: u64,
}

/// A frame that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pace: Pace,
    late_at: Instant,
}

// === impl Pace ===

impl Pace {
    /// A frame has begun.
    pub fn begin(self, now: Instant) -> Arrival {
        Arrival { pace: self, late_at: now + self.grace }
    }
}

// === impl Arrival ===

impl Arrival {
    /// So many bytes more are there. They win the time that they take at the pace, but no more than has been lost: who
    /// sends much at first may not hold it for as long as that would have taken.
    pub fn on_bytes(&mut self, now: Instant, num_bytes: usize) {
        let micros = (num_bytes as u64).saturating_mul(1_000_000) / self.pace.bytes_per_second.max(1);
        let most = now + self.pace.grace;
        self.late_at =
            self.late_at.checked_add(Duration::from_micros(micros)).map_or(most, |late_at| late_at.min(most));
    }

    /// When it is late if nothing more arrives.
    pub fn late_at(&self) -> Instant {
        self.late_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { grace: Duration::from_secs(10), bytes_per_second: 1000 };
    const SECOND: Duration = Duration::from_secs(1);

    /// How long a frame lasts of which so many bytes come each second, after `first` at once; a minute at most.
    fn lasts_s(pace: Pace, first: usize, then: usize) -> u32 {
        let begun = Instant::now();
        let mut arrival = pace.begin(begun);
        arrival.on_bytes(begun, first);
        (1..60)
            .find(|second| {
                let now = begun + SECOND * *second;
                let is_late = arrival.late_at() < now;
                arrival.on_bytes(now, then);
                is_late
            })
            .unwrap_or(60)
    }

    #[test]
    fn test_a_byte_now_and_then_does_not_keep_a_frame_open() {
        assert_eq!(lasts_s(PACE, 1, 1), 11);
        assert_eq!(lasts_s(PACE, 300_000, 1), 11, "much at first wins nothing");
    }

    #[test]
    fn test_a_slow_link_has_the_time_that_its_bytes_take() {
        assert_eq!(lasts_s(PACE, 1, 1000), 60);
        assert_eq!(lasts_s(PACE, 1, 500), 20, "half as fast: half of the time is lost");
    }

    #[test]
    fn test_what_a_link_has_lost_it_wins_back() {
        let begun = Instant::now();
        let mut arrival = PACE.begin(begun);
        arrival.on_bytes(begun + 9 * SECOND, 20_000);
        assert_eq!(arrival.late_at(), begun + 19 * SECOND);
    }

    #[test]
    fn test_a_pace_without_sense_does_no_harm() {
        let begun = Instant::now();
        let mut arrival = Pace { bytes_per_second: 0, ..PACE }.begin(begun);
        arrival.on_bytes(begun, usize::MAX);
        assert_eq!(arrival.late_at(), begun + 10 * SECOND);
    }
}
