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
