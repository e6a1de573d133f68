//! How fast a frame has to arrive once it has begun: what tells a slow link from one who sends a byte now and then to
//! hold a connection and its memory.

use std::time::{Duration, Instant};

/// A frame may take `grace`, and as long as its bytes take at `bytes_per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For links that stand still for a while.
    pub grace: Duration,
    /// The slowest rate in the long run, in bytes per second.
    pub bytes_per_second: u64,
}

// === impl Pace ===

impl Pace {
    /// Until when more of a frame has to arrive, of which so many bytes are there.
    pub fn deadline(&self, begun: Instant, num_bytes: usize) -> Instant {
        let micros = (num_bytes as u64).saturating_mul(1_000_000) / self.bytes_per_second.max(1);
        let allowed = self.grace.saturating_add(Duration::from_micros(micros));
        // Beyond the clock's range the grace alone has to do.
        begun.checked_add(allowed).unwrap_or(begun + self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { grace: Duration::from_secs(10), bytes_per_second: 1000 };

    #[test]
    fn test_a_byte_now_and_then_does_not_keep_a_frame_open() {
        let begun = Instant::now();
        // A byte every second: after ten seconds and a hundredth the eleventh is late.
        assert_eq!(PACE.deadline(begun, 1), begun + Duration::from_millis(10_001));
        assert_eq!(PACE.deadline(begun, 10), begun + Duration::from_millis(10_010));
    }

    #[test]
    fn test_a_slow_link_has_the_time_that_its_bytes_take() {
        let begun = Instant::now();
        assert_eq!(PACE.deadline(begun, 60_000), begun + Duration::from_secs(70));
        assert_eq!(Pace { bytes_per_second: 0, ..PACE }.deadline(begun, 3), begun + Duration::from_secs(13));
    }
}
