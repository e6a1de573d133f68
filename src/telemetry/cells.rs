//! A histogram that any number of threads record into without a lock.
//!
//! The buckets are those of an HdrHistogram with a lowest value of 1 and two significant digits (Gil Tene,
//! <http://hdrhistogram.org>), so that moving the counts into a real one loses nothing. The crate's own concurrent
//! recorder makes the reader wait for every writer's next value; here nobody waits.

use std::sync::atomic::{AtomicU32, Ordering};

use hdrhistogram::Histogram;

/// Values below this have a bucket of their own.
const NUM_EXACT: u64 = 256;
/// Each doubling above has this many buckets.
const NUM_PER_DOUBLING: usize = 128;
/// Larger values count as this: 19 hours in microseconds.
const MAX_VALUE: u64 = (1 << 36) - 1;
const NUM_CELLS: usize = index_of(MAX_VALUE) + 1;

/// Counts by value since they were last taken. 15 kB.
#[derive(Debug)]
pub(super) struct Cells(Box<[AtomicU32]>);

// === impl Cells ===

impl Cells {
    pub(super) fn new() -> Self {
        Self((0..NUM_CELLS).map(|_| AtomicU32::new(0)).collect())
    }

    /// Counts a value.
    pub(super) fn record(&self, value: u64, count: u32) {
        // In bounds by construction: the largest value has the last index.
        if let Some(cell) = self.0.get(index_of(value.min(MAX_VALUE))) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Moves all counts into a histogram.
    pub(super) fn take_into(&self, histogram: &mut Histogram<u64>) {
        self.visit(histogram, |cell| cell.swap(0, Ordering::Relaxed));
    }

    /// Adds all counts to a histogram and keeps them.
    pub(super) fn add_to(&self, histogram: &mut Histogram<u64>) {
        self.visit(histogram, |cell| cell.load(Ordering::Relaxed));
    }

    fn visit(&self, histogram: &mut Histogram<u64>, read: impl Fn(&AtomicU32) -> u32) {
        for (index, cell) in self.0.iter().enumerate() {
            // Most are empty; writing to those would only move cache lines about.
            if cell.load(Ordering::Relaxed) > 0 {
                // Fails only where the histogram cannot resize, and all of ours can.
                let _ = histogram.record_n(lowest_value(index), u64::from(read(cell)));
            }
        }
    }
}

const fn index_of(value: u64) -> usize {
    let doublings = (64 - (value | (NUM_EXACT - 1)).leading_zeros() - NUM_EXACT.trailing_zeros()) as usize;
    doublings * NUM_PER_DOUBLING + (value >> doublings) as usize
}

/// The lowest value of a bucket.
const fn lowest_value(index: usize) -> u64 {
    if index < NUM_EXACT as usize {
        return index as u64;
    }
    let doublings = index / NUM_PER_DOUBLING - 1;
    ((index - doublings * NUM_PER_DOUBLING) as u64) << doublings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn test_a_value_lands_in_the_bucket_that_hdr_histogram_gives_it(value in 0..=MAX_VALUE, count in 1u32..100) {
            let cells = Cells::new();
            cells.record(value, count);
            let (mut moved, mut direct) = (Histogram::<u64>::new(2).unwrap(), Histogram::<u64>::new(2).unwrap());
            cells.add_to(&mut moved);
            direct.record_n(value, u64::from(count)).unwrap();
            prop_assert!(moved == direct, "{value}: {} and {}", moved.max(), direct.max());
            let mut taken = Histogram::<u64>::new(2).unwrap();
            cells.take_into(&mut taken);
            prop_assert!(taken == direct);
            cells.take_into(&mut taken);
            prop_assert!(taken == direct, "what was taken is gone");
        }
    }

    #[test]
    fn test_the_largest_value_has_the_last_cell() {
        let cells = Cells::new();
        cells.record(u64::MAX, 1);
        assert_eq!(cells.0.last().unwrap().load(Ordering::Relaxed), 1);
    }
}
