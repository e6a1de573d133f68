//! What the limiter is told about one window of writes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Confirmed writes by size, because bigger batches take longer without any congestion. Class c holds writes of
/// 2^c .. 2^(c+1)-1 rows, the last class everything above.
pub const NUM_SIZE_CLASSES: usize = 10;

/// The size class of a write with this many rows; a write without rows counts as one of a single row.
pub fn size_class(num_rows: u32) -> usize {
    (num_rows.max(1).ilog2() as usize).min(NUM_SIZE_CLASSES - 1)
}

/// The confirmed writes of one size class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassSample {
    /// How many writes the store confirmed.
    pub num_writes: u64,
    /// The sum of their latencies, in microseconds.
    pub latency_us: u64,
}

/// One window of writes to one store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How long the window was.
    pub length: Duration,
    /// Confirmed writes by size class.
    pub classes: [ClassSample; NUM_SIZE_CLASSES],
    /// Timeouts, overload answers and unavailables: never a latency sample.
    pub num_dropped: u64,
    /// The most writes in flight at once: all that held a permit.
    pub max_in_flight: u32,
    /// Writes that waited for a permit at the end of the window.
    pub num_waiting: u32,
    /// How long the longest-running write had been in flight at the end of the window; zero if none was.
    pub oldest_in_flight: Duration,
    /// The 99th percentile of confirmed write latency, in microseconds; 0 if nothing was confirmed.
    pub p99_us: u64,
}

// === impl ClassSample ===

impl ClassSample {
    /// The mean latency in microseconds, if anything was confirmed.
    pub fn mean_us(&self) -> Option<f64> {
        (self.num_writes > 0).then(|| self.latency_us as f64 / self.num_writes as f64)
    }

    fn add(&mut self, other: &Self) {
        self.num_writes += other.num_writes;
        self.latency_us += other.latency_us;
    }
}

// === impl Sample ===

impl Sample {
    /// How many writes were confirmed.
    pub fn num_writes(&self) -> u64 {
        self.classes.iter().map(|class| class.num_writes).sum()
    }

    /// The mean latency over all classes in microseconds, if anything was confirmed.
    pub fn mean_us(&self) -> Option<f64> {
        let latency_us: u64 = self.classes.iter().map(|class| class.latency_us).sum();
        ClassSample { num_writes: self.num_writes(), latency_us }.mean_us()
    }

    /// Notes a confirmed write.
    pub fn confirm(&mut self, num_rows: u32, latency: Duration) {
        self.classes[size_class(num_rows)].add(&ClassSample { num_writes: 1, latency_us: latency.as_micros() as u64 });
    }

    /// Adds what another pod saw in the same window. Writes in flight add up even where the two peaks were not at the
    /// same moment, so the sum may be a little high. Percentiles cannot be merged: the worse one stands.
    pub fn merge(&mut self, other: &Self) {
        self.add_writes(other);
        self.length = self.length.max(other.length);
        self.max_in_flight = self.max_in_flight.saturating_add(other.max_in_flight);
        self.num_waiting = self.num_waiting.saturating_add(other.num_waiting);
        self.oldest_in_flight = self.oldest_in_flight.max(other.oldest_in_flight);
    }

    /// Adds the window that follows this one, of the same pod.
    pub fn append(&mut self, next: &Self) {
        self.add_writes(next);
        self.length += next.length;
        self.max_in_flight = self.max_in_flight.max(next.max_in_flight);
        self.num_waiting = next.num_waiting;
        self.oldest_in_flight = next.oldest_in_flight;
    }

    fn add_writes(&mut self, other: &Self) {
        for (class, more) in self.classes.iter_mut().zip(&other.classes) {
            class.add(more);
        }
        self.num_dropped += other.num_dropped;
        self.p99_us = self.p99_us.max(other.p99_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_size_classes_are_powers_of_two_with_an_open_end() {
        let classes = [0, 1, 2, 3, 4, 7, 8, 511, 512, 1023, 1024, u32::MAX].map(size_class);
        assert_eq!(classes, [0, 0, 1, 1, 2, 2, 3, 8, 9, 9, 9, 9]);
    }

    #[test]
    fn test_merge_sums_what_adds_up_and_keeps_the_worst_of_the_rest() {
        let mut one = Sample { max_in_flight: 3, num_dropped: 1, p99_us: 900, ..Sample::default() };
        one.confirm(1, Duration::from_micros(500));
        let mut other = Sample { max_in_flight: 4, num_waiting: 2, p99_us: 400, ..Sample::default() };
        other.oldest_in_flight = Duration::from_secs(1);
        other.confirm(1, Duration::from_micros(700));
        other.confirm(8, Duration::from_micros(300));
        one.merge(&other);
        assert_eq!((one.num_writes(), one.mean_us()), (3, Some(500.0)));
        assert_eq!((one.max_in_flight, one.num_waiting, one.num_dropped, one.p99_us), (7, 2, 1, 900));
        assert_eq!(one.oldest_in_flight, Duration::from_secs(1));
    }
}
