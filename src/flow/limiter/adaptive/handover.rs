//! What a limiter has learnt, on its way to another process.

use serde::{Deserialize, Deserializer};

use super::{Adaptive, AdaptiveSettings};

impl Adaptive {
    /// The same within other bounds.
    pub(in crate::flow::limiter) fn within(self, settings: AdaptiveSettings) -> Self {
        let limit = self.limit.clamp(1.0, f64::from(settings.max.max(1)));
        Self { settings, limit, ..self }
    }
}

/// JSON has no infinity and writes null.
pub(super) fn or_infinite<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::flow::limiter::{AdaptiveSettings, Limiter, LimiterSettings, Sample};

    fn window(in_flight: u32) -> Sample {
        let mut sample = Sample {
            length: Duration::from_millis(200),
            max_in_flight: in_flight,
            num_waiting: 5,
            num_dropped: u64::from(in_flight > 600),
            ..Sample::default()
        };
        let latency = Duration::from_micros(2_000 * u64::from(in_flight.max(100)) / 100);
        (0..200).for_each(|_| sample.confirm(1, latency));
        sample
    }

    #[test]
    fn test_handed_on_at_any_moment_it_decides_as_if_it_had_stayed() {
        let settings = LimiterSettings::Adaptive(AdaptiveSettings { initial: 16, max: 1024 });
        let mut stayed = Limiter::new(&settings);
        let mut moved = stayed.clone();
        for _ in 0..300 {
            let sample = window(stayed.decision().limit);
            let decision = stayed.on_window(&sample);
            let json = serde_json::to_string(&moved).unwrap();
            moved = Limiter::resume(&settings, serde_json::from_str(&json).unwrap());
            assert_eq!(moved.on_window(&sample), decision);
        }
        assert!(stayed.decision().limit > 50);
        let lower = LimiterSettings::Adaptive(AdaptiveSettings { initial: 16, max: 40 });
        assert_eq!(Limiter::resume(&lower, moved).decision().limit, 40);
    }
}
