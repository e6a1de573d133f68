//! Latency histograms by interval.
//!
//! Every actor records into counts of its own, without a lock. Intervals are merged as HdrHistograms, which is exact,
//! never as averages of percentiles.

use std::sync::Arc;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use super::cells::Cells;

/// Two significant digits: at most 1 % off, a few kilobytes each.
const SIGNIFICANT_DIGITS: u8 = 2;

/// One measured stage of the data path.
#[derive(Debug)]
pub struct Stage {
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    recorders: Vec<Arc<Cells>>,
    since_start: Histogram<u64>,
    last_interval: Histogram<u64>,
}

/// One actor's own way to record into a stage.
#[derive(Debug, Clone)]
pub struct Recorder {
    cells: Arc<Cells>,
}

/// What is read from a histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// How many values were recorded.
    pub count: u64,
    /// Half of the values are at or below this.
    pub p50: u64,
    /// 90 % of the values are at or below this.
    pub p90: u64,
    /// 99 % of the values are at or below this.
    pub p99: u64,
    /// 99.9 % of the values are at or below this.
    #[serde(rename = "p99.9")]
    pub p999: u64,
    /// The largest value.
    pub max: u64,
}

/// A stage at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StageSnapshot {
    /// Everything since the process began, up to this moment.
    pub since_start: Quantiles,
    /// The last complete interval.
    pub last_interval: Quantiles,
}

// === impl Stage ===

impl Default for Stage {
    fn default() -> Self {
        let shared = Shared { recorders: Vec::new(), since_start: empty(), last_interval: empty() };
        Self { shared: Mutex::new(shared) }
    }
}

impl Stage {
    /// A recorder for one actor. Dropping it loses nothing.
    pub fn recorder(&self) -> Recorder {
        let recorder = Recorder::new();
        self.shared.lock().recorders.push(Arc::clone(&recorder.cells));
        recorder
    }

    /// Ends the current interval and begins the next.
    pub fn rotate(&self) {
        let mut shared = self.shared.lock();
        let mut interval = empty();
        shared.recorders.retain(|recorder| {
            // Asked first: what a dropped recorder has recorded is all there.
            let is_used = Arc::strong_count(recorder) > 1;
            recorder.take_into(&mut interval);
            is_used
        });
        add(&mut shared.since_start, &interval);
        shared.last_interval = interval;
    }

    /// The stage as it is now.
    pub fn snapshot(&self) -> StageSnapshot {
        let shared = self.shared.lock();
        StageSnapshot { since_start: quantiles(&shared.merged()), last_interval: quantiles(&shared.last_interval) }
    }

    /// How many values were recorded so far.
    pub fn num_recorded(&self) -> u64 {
        self.histogram().len()
    }

    /// Everything recorded so far, as one histogram. Each of its counts is at least what it was before.
    pub fn histogram(&self) -> Histogram<u64> {
        self.shared.lock().merged()
    }
}

impl Shared {
    fn merged(&self) -> Histogram<u64> {
        let mut merged = self.since_start.clone();
        for recorder in &self.recorders {
            recorder.add_to(&mut merged);
        }
        merged
    }
}

// === impl Recorder ===

impl Recorder {
    /// A recorder outside of any stage, for who takes its values himself.
    #[expect(clippy::new_without_default)] // there is no obvious one: most recorders belong to a stage
    pub fn new() -> Self {
        Self { cells: Arc::new(Cells::new()) }
    }

    /// What was recorded since this was last asked.
    pub fn take(&self) -> Histogram<u64> {
        let mut taken = empty();
        self.cells.take_into(&mut taken);
        taken
    }

    /// Records one value.
    pub fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records a value that stands for several, such as the latency of every row of one write.
    pub fn record_n(&self, value: u64, count: u32) {
        self.cells.record(value, count);
    }

    /// Records several values.
    pub fn record_all(&self, values: impl Iterator<Item = u64>) {
        values.for_each(|value| self.record(value));
    }
}

/// The quantiles of a histogram.
pub fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    Quantiles {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

/// A histogram that takes every value.
pub fn empty() -> Histogram<u64> {
    #[allow(clippy::expect_used)] // fails only for more than five digits
    Histogram::new(SIGNIFICANT_DIGITS).expect("two significant digits are allowed")
}

fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    // Fails only where `into` cannot resize, and all of these can.
    let _ = into.add(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_stage_merges_recorders_and_keeps_what_a_dropped_one_recorded() {
        let stage = Stage::default();
        let (first, second) = (stage.recorder(), stage.recorder());
        first.record(100);
        second.record_n(200, 3);
        drop(first);
        assert_eq!(stage.snapshot().since_start.count, 4);
        stage.rotate();
        stage.rotate();
        second.record(300);
        let snapshot = stage.snapshot();
        assert_eq!(snapshot.since_start.count, 5);
        assert_eq!(snapshot.last_interval.count, 0);
        stage.rotate();
        assert_eq!(stage.snapshot().last_interval.count, 1);
    }
}
