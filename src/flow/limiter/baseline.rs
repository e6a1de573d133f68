//! The latency of the unloaded store, by size class.

use serde::{Deserialize, Serialize};

use super::{NUM_SIZE_CLASSES, Sample};

/// So many writes weigh as much as everything learnt before: with the usual spread of store latencies, a factor of
/// 1.4 either way, their mean is known to about 5 %.
const CONFIDENT_WRITES: f64 = 30.0;

/// What a write takes in each size class when nothing queues.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Baseline {
    class_us: [Option<f64>; NUM_SIZE_CLASSES],
}

/// In which directions a sample may move a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learn {
    /// The sample may hold queueing: only what is faster than the baseline counts.
    Faster,
    /// The sample is known to hold none: the baseline follows it.
    Both,
    /// The sample is known to hold none, and the baseline to be wrong: the sample replaces it.
    Replace,
}

impl Baseline {
    /// The count-weighted mean over classes of latency over baseline; none before the first write. A class that is
    /// first seen now is taken to be as congested as the others are.
    pub(super) fn ratio(&mut self, sample: &Sample) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0.0);
        for (class, base_us) in sample.classes.iter().zip(&self.class_us) {
            if let (Some(mean_us), Some(base_us)) = (class.mean_us(), base_us) {
                sum += class.num_writes as f64 * mean_us / base_us;
                count += class.num_writes as f64;
            }
        }
        let known = (count > 0.0).then(|| sum / count);
        let ratio = known.or_else(|| sample.mean_us().map(|_| 1.0))?;
        for (class, base_us) in sample.classes.iter().zip(&mut self.class_us) {
            if let (Some(mean_us), None) = (class.mean_us(), &base_us) {
                *base_us = Some((mean_us / ratio).max(1.0));
            }
        }
        Some(ratio)
    }

    /// Learns from a sample whose ratio has been taken.
    pub(super) fn learn(&mut self, sample: &Sample, ratio: f64, how: Learn) {
        for (class, base_us) in sample.classes.iter().zip(&mut self.class_us) {
            let Some(base_us) = base_us else { continue };
            match (class.mean_us(), how) {
                // What moved the classes that were seen has moved this one too.
                (None, Learn::Replace) => *base_us *= ratio,
                (Some(mean_us), _) if how != Learn::Faster || mean_us < *base_us => {
                    let confidence = match how {
                        Learn::Faster => CONFIDENT_WRITES,
                        Learn::Replace => 2.0 * CONFIDENT_WRITES,
                        // Slowly upwards: each step up makes the next sample queue a little longer.
                        Learn::Both if mean_us > *base_us => 4.0 * CONFIDENT_WRITES,
                        Learn::Both => CONFIDENT_WRITES,
                    };
                    let num_writes = class.num_writes as f64;
                    let from_us = if how == Learn::Replace { *base_us * ratio } else { *base_us };
                    *base_us = from_us + (mean_us - from_us) * num_writes / (num_writes + confidence);
                }
                _ => {}
            }
            *base_us = base_us.max(1.0);
        }
    }

    /// What the mix of sizes in this sample would take on the unloaded store, in microseconds.
    pub(super) fn mean_us(&self, sample: &Sample) -> Option<f64> {
        let known = sample.classes.iter().zip(&self.class_us);
        let sum: f64 = known.map(|(class, base_us)| class.num_writes as f64 * base_us.unwrap_or(0.0)).sum();
        (sum > 0.0).then(|| sum / sample.num_writes() as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(classes: &[(u32, u64, u64)]) -> Sample {
        let mut sample = Sample::default();
        for &(num_rows, num_writes, latency_us) in classes {
            (0..num_writes).for_each(|_| sample.confirm(num_rows, Duration::from_micros(latency_us)));
        }
        sample
    }

    #[test]
    fn test_bigger_writes_do_not_read_as_congestion() {
        let mut baseline = Baseline::default();
        assert_eq!(baseline.ratio(&sample(&[(1, 50, 1000), (64, 50, 5000)])), Some(1.0));
        assert_eq!(baseline.ratio(&sample(&[(64, 100, 5000)])), Some(1.0));
        assert_eq!(baseline.ratio(&sample(&[(1, 25, 3000), (64, 75, 5000)])), Some(1.5));
    }

    #[test]
    fn test_a_class_first_seen_under_congestion_is_divided_by_the_ratio_of_the_others() {
        let mut baseline = Baseline::default();
        baseline.ratio(&sample(&[(1, 10, 1000)]));
        assert_eq!(baseline.ratio(&sample(&[(1, 10, 2000), (64, 10, 8000)])), Some(2.0));
        assert_eq!(baseline.ratio(&sample(&[(64, 10, 4000)])), Some(1.0));
    }

    #[test]
    fn test_baseline_falls_with_evidence_and_rises_only_when_told() {
        let mut baseline = Baseline::default();
        baseline.ratio(&sample(&[(1, 1, 1000), (64, 1, 4000)]));
        baseline.learn(&sample(&[(1, 30, 500)]), 0.5, Learn::Faster);
        assert_eq!(baseline.class_us[0], Some(750.0));
        baseline.learn(&sample(&[(1, 30, 1500)]), 2.0, Learn::Faster);
        assert_eq!(baseline.class_us[0], Some(750.0));
        baseline.learn(&sample(&[(1, 30, 1500)]), 2.0, Learn::Replace);
        assert_eq!((baseline.class_us[0], baseline.class_us[6]), (Some(1500.0), Some(8000.0)));
    }
}
