//! Delays between attempts: doubling up to a limit, with full jitter.
//!
//! Pure: randomness comes in from outside.

use std::time::Duration;

/// Delays between attempts. Each is random between zero and a ceiling that starts at `min` and doubles up to `max`,
/// so that a crowd that was cut off at the same moment does not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), ceiling: min }
    }

    /// The next delay. `random` lies between 0 and 1; anything else counts as the nearer of the two.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let share = if random.is_nan() { 1.0 } else { random.clamp(0.0, 1.0) };
        // Rounding may lift a share of the longest durations past what a `Duration` holds.
        let delay = Duration::try_from_secs_f64(self.ceiling.as_secs_f64() * share).unwrap_or(self.ceiling);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        delay
    }

    /// Begins again at `min`: an attempt succeeded.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);

    #[test]
    fn test_backoff_doubles_up_to_the_limit_and_begins_again() {
        let mut backoff = Backoff::new(MIN, MIN * 5);
        let ceilings: Vec<_> = (0..5).map(|_| backoff.next_delay(1.0)).collect();
        assert_eq!(ceilings, [MIN, MIN * 2, MIN * 4, MIN * 5, MIN * 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay(1.0), MIN);
    }

    #[test]
    fn test_backoff_jitter_is_full() {
        assert_eq!(Backoff::new(MIN, MIN).next_delay(0.0), Duration::ZERO);
        assert_eq!(Backoff::new(MIN, MIN).next_delay(0.5), MIN / 2);
    }

    #[test]
    fn test_backoff_stays_in_range_for_any_numbers() {
        let mut backoff = Backoff::new(MIN, Duration::ZERO);
        for random in [-1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert!(backoff.next_delay(random) <= MIN);
        }
        let mut huge = Backoff::new(Duration::MAX / 2, Duration::MAX);
        for _ in 0..3 {
            huge.next_delay(1.0);
        }
    }
}
