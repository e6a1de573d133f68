//! The offset watermark: which offset may be committed.
//!
//! Batches of one partition are read in order and finish in any order. An offset may be committed only when every
//! record up to it is settled (in the store or the dead-letter topic), so the watermark moves over a contiguous run of
//! settled batches and never over a gap.

use std::collections::VecDeque;

/// Names a tracked batch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// Tracks the batches of one partition, from read to settled.
#[derive(Debug, Default)]
pub struct Watermark {
    open: VecDeque<Tracked>,
    /// The id of the batch at the front of `open`.
    front_id: u64,
}

#[derive(Debug)]
struct Tracked {
    next_offset: u64,
    settled: bool,
}

impl Watermark {
    /// Starts with nothing in flight.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tracks a batch that was just read; batches must come in the order of their offsets. `next_offset` is the offset
    /// that follows its last record.
    pub fn track(&mut self, next_offset: u64) -> BatchId {
        let id = BatchId(self.front_id + self.open.len() as u64);
        self.open.push_back(Tracked { next_offset, settled: false });
        id
    }

    /// Marks a batch as settled and returns the offset that may now be committed, if that moved. A batch that is not
    /// tracked (any more) changes nothing: results may come twice, or late.
    pub fn settle(&mut self, id: BatchId) -> Option<u64> {
        let index = id.0.checked_sub(self.front_id)?;
        self.open.get_mut(index as usize)?.settled = true;
        let mut commit = None;
        while self.open.front().is_some_and(|batch| batch.settled) {
            commit = self.open.pop_front().map(|batch| batch.next_offset);
            self.front_id += 1;
        }
        commit
    }

    /// How many batches are tracked: those in flight, and those settled behind one in flight.
    pub fn num_open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_watermark_waits_for_the_oldest_batch() {
        let mut watermark = Watermark::new();
        let first = watermark.track(10);
        let second = watermark.track(25);
        let third = watermark.track(30);
        assert_eq!(watermark.settle(second), None);
        assert_eq!(watermark.settle(first), Some(25));
        assert_eq!(watermark.settle(third), Some(30));
        assert_eq!(watermark.num_open(), 0);
    }

    #[test]
    fn test_watermark_ignores_late_and_double_results() {
        let mut watermark = Watermark::new();
        let first = watermark.track(10);
        assert_eq!(watermark.settle(first), Some(10));
        assert_eq!(watermark.settle(first), None);
        let second = watermark.track(20);
        assert_eq!(watermark.settle(first), None);
        assert_eq!(watermark.settle(second), Some(20));
    }

    proptest! {
        /// Whatever the order of results: never beyond the first unsettled batch, never backwards, all in the end.
        #[test]
        fn test_watermark_never_commits_a_gap(sizes in prop::collection::vec(1u64..50, 1..60), seed in any::<u64>()) {
            let mut watermark = Watermark::new();
            let mut next_offset = 0;
            let mut batches = Vec::new();
            for size in sizes {
                next_offset += size;
                batches.push((watermark.track(next_offset), next_offset, false));
            }
            let mut order: Vec<usize> = (0..batches.len()).collect();
            let mut state = seed | 1;
            for i in (1..order.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(i, (state >> 33) as usize % (i + 1));
            }
            let mut committed = 0;
            for index in order {
                batches[index].2 = true;
                let expected = batches.iter().take_while(|batch| batch.2).last().map_or(0, |batch| batch.1);
                if let Some(offset) = watermark.settle(batches[index].0) {
                    prop_assert!(offset > committed);
                    committed = offset;
                }
                prop_assert_eq!(committed, expected);
            }
            prop_assert_eq!(committed, next_offset);
        }
    }
}
