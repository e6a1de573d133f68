//! Capped exponential backoff with full jitter, as a plain type.
//!
//! The scheme is "full jitter" of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015): a delay drawn
//! evenly between nothing and the doubled, capped step, so that many who failed together do not come back together.
//! A quarter of the step is kept as a floor: a restart at once is what the delay is there to prevent.

use std::time::Duration;

/// How long to wait before the next try.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    num_failures: u32,
}

impl Backoff {
    /// Starts with steps of `min` and doubles up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), num_failures: 0 }
    }

    /// The delay after one more failure. `random` is an even draw from 0.0 up to 1.0.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let step = self.min.saturating_mul(1u32 << self.num_failures.min(20)).min(self.max);
        self.num_failures = self.num_failures.saturating_add(1);
        step.mul_f64(0.25 + 0.75 * random.clamp(0.0, 1.0))
    }

    /// Says that it worked: the next failure starts from `min` again.
    pub fn reset(&mut self) {
        self.num_failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_backoff_doubles_to_its_cap_and_starts_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let full: Vec<u128> = (0..4).map(|_| backoff.next_delay(1.0).as_millis()).collect();
        assert_eq!(full, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.next_delay(1.0).as_millis(), 100);
    }

    #[test]
    fn test_backoff_jitter_never_falls_below_a_quarter_of_the_step() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(backoff.next_delay(0.0).as_millis(), 25);
        assert_eq!(backoff.next_delay(0.5).as_millis(), 125);
    }
}
