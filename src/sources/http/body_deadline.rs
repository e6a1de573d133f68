//! How long a body may keep the engine waiting: what tells a slow link from a client that sends a byte now and then to
//! hold a request and its memory. Time in which the engine itself does not read is nobody's fault.

use std::time::Duration;

/// What is left of the time for one body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyDeadline {
    grace: Duration,
    bytes_per_second: u64,
    waited: Duration,
    num_bytes: u64,
}

// === impl BodyDeadline ===

impl BodyDeadline {
    /// A body may keep the engine waiting for `grace`, and for the time that its bytes take at `bytes_per_second`.
    pub(super) fn new(grace: Duration, bytes_per_second: u64) -> Self {
        Self { grace, bytes_per_second: bytes_per_second.max(1), waited: Duration::ZERO, num_bytes: 0 }
    }

    /// How long the next bytes may take.
    pub(super) fn left(&self) -> Duration {
        let micros = self.num_bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        self.grace.saturating_add(Duration::from_micros(micros)).saturating_sub(self.waited)
    }

    /// So many bytes came after so long.
    pub(super) fn on_bytes(&mut self, num_bytes: usize, after: Duration) {
        self.num_bytes += num_bytes as u64;
        self.waited += after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn test_a_byte_now_and_then_does_not_keep_a_request_open() {
        let mut deadline = BodyDeadline::new(SECOND * 10, 1000);
        for _ in 0..10 {
            assert!(deadline.left() > SECOND / 2);
            deadline.on_bytes(1, SECOND);
        }
        assert_eq!(deadline.left(), Duration::from_millis(10));
    }

    #[test]
    fn test_a_slow_link_has_the_time_that_its_bytes_take() {
        let mut deadline = BodyDeadline::new(SECOND * 10, 1000);
        for _ in 0..1000 {
            deadline.on_bytes(1100, SECOND);
            assert!(deadline.left() > SECOND * 10);
        }
    }
}
