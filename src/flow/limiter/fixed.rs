//! The fixed limiter: the published rule of thumb, with its flaws mended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Decision, Explanation, Sample, Strain};

/// The four numbers of the published rule.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedSettings {
    /// The most writes in flight, at least 1.
    pub max_writes: u32,
    /// The mean latency above which partitions are held back.
    pub max_latency: Duration,
    /// How long partitions are held back before the next look.
    pub look_again: Duration,
    /// The share of `max_writes` and of `max_latency` below which partitions go on, above 0 and at most 1.
    pub resume_below: f64,
}

/// Holds writes in flight at a number and holds partitions back above a latency.
///
/// The published rule pauses a partition above 500 writes in flight or 100 ms, looks again after 1 s, and resumes it
/// below 80 % of both. It looks again only once, and a partition that is still too slow then is never asked again. Here
/// the number in flight cannot be exceeded in the first place, the look is repeated until the partitions go on, and a
/// store that has nothing in flight counts as one that can take something. The thresholds are still guesses, which is
/// what [`super::Adaptive`] is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fixed {
    #[serde(skip)]
    settings: FixedSettings,
    cap: u32,
    held_for: Option<Duration>,
    latency_us: Option<f64>,
}

// === impl FixedSettings ===

impl Default for FixedSettings {
    fn default() -> Self {
        Self {
            max_writes: 500,
            max_latency: Duration::from_millis(100),
            look_again: Duration::from_secs(1),
            resume_below: 0.8,
        }
    }
}

// === impl Fixed ===

impl Fixed {
    pub(super) fn new(settings: FixedSettings) -> Self {
        Self { settings, cap: u32::MAX, held_for: None, latency_us: None }
    }

    /// The same with other numbers.
    pub(super) fn within(self, settings: FixedSettings) -> Self {
        Self { settings, ..self }
    }

    pub(super) fn on_window(&mut self, sample: &Sample) {
        // Where nothing completes, the oldest write says how slow the store is at least.
        let oldest_us = sample.oldest_in_flight.as_micros() as f64;
        let latency_us = sample.mean_us().unwrap_or(oldest_us);
        self.latency_us = (latency_us > 0.0).then_some(latency_us);
        let max_us = self.settings.max_latency.as_micros() as f64;
        self.held_for = match self.held_for {
            None => (latency_us > max_us).then_some(Duration::ZERO),
            Some(held_for) if held_for + sample.length < self.settings.look_again => Some(held_for + sample.length),
            Some(_) => {
                let resume_below = self.settings.resume_below;
                let in_flight_ok = f64::from(sample.max_in_flight) < f64::from(self.limit()) * resume_below;
                let nothing_in_flight = sample.oldest_in_flight.is_zero();
                let resumes = nothing_in_flight || (latency_us < max_us * resume_below && in_flight_ok);
                (!resumes).then_some(Duration::ZERO)
            }
        };
    }

    pub(super) fn decision(&self) -> Decision {
        Decision { limit: self.limit(), hold_back: self.held_for.is_some() }
    }

    pub(super) fn cap(&mut self, max: u32) {
        self.cap = max;
    }

    /// Above the threshold of latency the store is too slow; below, the number of writes is all that limits.
    pub(super) fn strain(&self) -> Strain {
        if self.held_for.is_some() { Strain::Overloaded } else { Strain::None }
    }

    fn limit(&self) -> u32 {
        self.settings.max_writes.min(self.cap).max(1)
    }

    pub(super) fn explain(&self) -> Explanation {
        let threshold_us = self.settings.max_latency.as_micros() as f64;
        let (phase, reason) = match self.held_for {
            Some(_) => ("held back", "latency was above the threshold when last looked at"),
            None => ("open", "latency is below the threshold"),
        };
        Explanation {
            limiter: "fixed",
            limit: self.limit(),
            cap: (self.cap < u32::MAX).then_some(self.cap),
            baseline_us: Some(threshold_us),
            latency_us: self.latency_us,
            ratio: self.latency_us.map(|latency_us| latency_us / threshold_us),
            target_ratio: Some(1.0),
            last_good: None,
            phase,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(latency_ms: u64, in_flight: u32) -> Sample {
        let oldest_in_flight = Duration::from_millis(latency_ms);
        let length = Duration::from_millis(200);
        let mut sample = Sample { length, max_in_flight: in_flight, oldest_in_flight, ..Sample::default() };
        if in_flight > 0 {
            sample.confirm(1, oldest_in_flight);
        }
        sample
    }

    #[test]
    fn test_fixed_looks_again_until_the_store_is_better() {
        let mut fixed = Fixed::new(FixedSettings::default());
        fixed.on_window(&window(101, 500));
        assert_eq!(fixed.decision(), Decision { limit: 500, hold_back: true });
        // Better at once, but not looked at before the second is over; worse at the first look, better at the second.
        for (latency_ms, num_windows, held) in [(10, 4, true), (150, 1, true), (10, 4, true), (10, 1, false)] {
            for _ in 0..num_windows {
                fixed.on_window(&window(latency_ms, 20));
            }
            assert_eq!(fixed.decision().hold_back, held);
        }
    }

    #[test]
    fn test_the_store_is_strained_above_the_threshold_only() {
        let mut fixed = Fixed::new(FixedSettings::default());
        fixed.on_window(&window(99, 500));
        assert_eq!(fixed.strain(), Strain::None);
        fixed.on_window(&window(101, 20));
        assert_eq!(fixed.strain(), Strain::Overloaded);
    }

    #[test]
    fn test_fixed_resumes_when_nothing_is_in_flight() {
        let mut fixed = Fixed::new(FixedSettings::default());
        fixed.on_window(&window(500, 500));
        for _ in 0..5 {
            fixed.on_window(&window(0, 0));
        }
        assert!(!fixed.decision().hold_back);
    }

    #[test]
    fn test_fixed_holds_back_when_nothing_completes() {
        let mut fixed = Fixed::new(FixedSettings::default());
        let oldest_in_flight = Duration::from_millis(400);
        fixed.on_window(&Sample { max_in_flight: 9, oldest_in_flight, ..Sample::default() });
        assert!(fixed.decision().hold_back);
    }
}
