//! The samples of one metric at one moment.

use crate::telemetry::Stage;

/// Upper bounds of the buckets of times, in microseconds: 0.5 ms to a minute.
const TIMES_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// Upper bounds of the buckets of counts.
const COUNTS: [u64; 9] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

/// Samples, filled by the metric and read by the encoder. Kept from metric to metric, so that a scrape allocates little.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// All values of labels, one after the other.
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    values: Vec<Value>,
}

/// What a sample says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    Buckets {
        /// Upper bound, the last one infinite, and the values above the bound before and up to this one.
        buckets: Vec<(f64, u64)>,
        sum: f64,
        count: u64,
    },
}

// === impl Samples ===

impl Samples {
    /// Adds a sample, with the values of the metric's labels in the order in which it declares them.
    pub(super) fn put(&mut self, labels: &[&str], value: impl Into<Value>) {
        for label in labels {
            self.text.push_str(label);
            self.ends.push(self.text.len());
        }
        self.values.push(value.into());
    }

    /// Adds a sample for each of `all`, with its name as the last label: 1 for what holds and 0 for the others, so that no
    /// series is missing.
    pub(super) fn one_of(&mut self, labels: &[&str], all: &[&str], holds: &str) {
        for name in all {
            self.put(&[labels, &[name]].concat(), *name == holds);
        }
    }

    /// Adds the times that a stage has recorded since the start, in seconds.
    pub(super) fn times(&mut self, stage: &Stage) {
        self.put(&[], buckets(stage, &TIMES_US, 1e6));
    }

    /// Adds the counts that a stage has recorded since the start.
    pub(super) fn counts(&mut self, stage: &Stage) {
        self.put(&[], buckets(stage, &COUNTS, 1.0));
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.values.clear();
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Each sample with the values of its labels, of which each sample has `num_labels`.
    pub(super) fn iter(&self, num_labels: usize) -> impl Iterator<Item = (impl Iterator<Item = &str> + Clone, &Value)> {
        assert_eq!(self.ends.len(), self.values.len() * num_labels, "each sample has a value for each label: {self:?}");
        self.values.iter().enumerate().map(move |(index, value)| {
            let labels = (index * num_labels..(index + 1) * num_labels).map(|at| {
                let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
                &self.text[start..self.ends[at]]
            });
            (labels, value)
        })
    }
}

// === impl Value ===

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    /// What is not known is not a number.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Real(f64::NAN), Into::into)
    }
}

/// Everything that a stage has recorded, by fixed bounds. A value counts as the lowest of its own bucket in the stage, which
/// is less than 1 % wide: up to so much above a bound counts as below it. Each of these numbers only grows, since each of
/// the stage's counts does.
fn buckets(stage: &Stage, bounds: &[u64], unit: f64) -> Value {
    let recorded = stage.histogram();
    let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound as f64 / unit, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut at) = (0_u128, 0);
    for value in recorded.iter_recorded() {
        let (value, count) = (value.value_iterated_to(), value.count_at_value());
        let lowest = recorded.lowest_equivalent(value);
        sum += u128::from(recorded.median_equivalent(value)) * u128::from(count);
        at += bounds[at..].iter().take_while(|bound| **bound < lowest).count();
        buckets[at].1 += count;
    }
    Value::Buckets { buckets, sum: sum as f64 / unit, count: recorded.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stage: &Stage) -> (Vec<(f64, u64)>, f64, u64) {
        let mut samples = Samples::default();
        samples.times(stage);
        let Value::Buckets { buckets, sum, count } = samples.values.remove(0) else {
            panic!("a histogram has buckets")
        };
        (buckets, sum, count)
    }

    #[test]
    fn test_times_are_counted_by_bound_and_summed_in_seconds() {
        let stage = Stage::default();
        let recorder = stage.recorder();
        for us in [0, 100, 500, 501, 900, 1_000, 60_000_000, 61_000_000, u64::MAX] {
            recorder.record(us);
        }
        let (buckets, _, count) = shown(&stage);
        // Two significant digits: 501 counts as 500.
        assert_eq!(buckets[..3], [(0.0005, 4), (0.001, 2), (0.0025, 0)]);
        assert_eq!(buckets[buckets.len() - 2..], [(60.0, 1), (f64::INFINITY, 2)]);
        assert_eq!((count, buckets.iter().map(|(_, count)| count).sum()), (9, 9));
        let stage = Stage::default();
        stage.recorder().record_n(2_000_000, 3);
        assert!((shown(&stage).1 - 6.0).abs() < 0.06, "{}", shown(&stage).1);
    }

    #[test]
    fn test_no_number_of_a_histogram_goes_down_when_intervals_end_and_recorders_go() {
        let stage = Stage::default();
        let (mut before, mut recorder) = (shown(&stage), stage.recorder());
        for step in 0..60_u64 {
            recorder.record_n(1 << (step % 40), 3);
            match step % 3 {
                0 => stage.rotate(),
                1 => recorder = stage.recorder(),
                _ => {}
            }
            let now = shown(&stage);
            let buckets_grow = now.0.iter().zip(&before.0).all(|(now, before)| now.1 >= before.1);
            assert!(buckets_grow && now.1 >= before.1 && now.2 == before.2 + 3, "{step}: {before:?} {now:?}");
            before = now;
        }
    }

    #[test]
    fn test_each_sample_has_its_own_labels() {
        let mut samples = Samples::default();
        samples.put(&["a", ""], 1_u64);
        samples.put(&["", "bc"], None::<u64>);
        let shown = |samples: &Samples| -> Vec<Vec<String>> {
            samples.iter(2).map(|(labels, _)| labels.map(str::to_owned).collect()).collect()
        };
        assert_eq!(shown(&samples), [["a", ""], ["", "bc"]]);
        assert!(matches!(samples.values[1], Value::Real(value) if value.is_nan()));
        samples.clear();
        samples.one_of(&["x"], &["open", "paused"], "paused");
        assert_eq!(shown(&samples), [["x", "open"], ["x", "paused"]]);
        assert_eq!(samples.values, [Value::Whole(0), Value::Whole(1)]);
    }

    #[test]
    #[should_panic(expected = "a value for each label")]
    fn test_a_sample_without_a_label_that_is_declared_is_no_sample() {
        let mut samples = Samples::default();
        samples.put(&["a"], 1_u64);
        let _ = samples.iter(2).count();
    }
}
