//! How old the oldest record of a partition is that is not settled, from what is known without asking the log.
//!
//! Of records that were read it is known when they were written. Of those that were not, only between which moments: not
//! before the newest that was read, and not before the last moment at which there were none. The earlier end counts, so that
//! the age of a backlog that nobody reads is never told too low, and grows until it is read.
//!
//! Times are by the clock of the log, in milliseconds.

use std::collections::VecDeque;
use std::time::Duration;

/// Reads whose first records are not further apart than this share a mark: a trickle would else have one for each record.
const TOGETHER_MS: u64 = 250;
/// The most marks, whatever order the times of records are in.
const MAX_MARKS: usize = 4096;

/// The records of one partition that are not settled.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// Where reads began that are not settled, by offset.
    marks: VecDeque<Mark>,
    /// The offset after the last record that was read.
    read_to: Option<u64>,
    /// When the first record of the last read was written.
    last_ms: Option<u64>,
    /// When nothing was left to read the last time that this was looked at.
    empty_ms: Option<u64>,
}

/// A read.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: u64,
    written_ms: Option<u64>,
}

// === impl Unsettled ===

impl Unsettled {
    /// Records with offsets from `first` to below `next` were read, the first of which was written then. After going back
    /// they may have been read before.
    pub fn on_read(&mut self, first: u64, next: u64, written_ms: Option<u64>) {
        let num_kept = self.marks.partition_point(|mark| mark.offset < first);
        self.marks.truncate(num_kept);
        (self.read_to, self.last_ms) = (Some(next), written_ms);
        match self.marks.back_mut() {
            Some(last) if last.covers(written_ms) => {}
            Some(last) if num_kept >= MAX_MARKS => last.written_ms = last.written_ms.min(written_ms),
            _ => self.marks.push_back(Mark { offset: first, written_ms }),
        }
    }

    /// Every record below `next` is settled.
    pub fn on_commit(&mut self, next: u64) {
        if self.read_to.is_some_and(|read_to| read_to <= next) {
            self.marks.clear();
        }
        while self.marks.get(1).is_some_and(|second| second.offset <= next) {
            self.marks.pop_front();
        }
    }

    /// The log ended at `end` at this time, as far as is known. To be told about once a second.
    pub fn on_look(&mut self, end: Option<u64>, lag: Option<u64>, now_ms: u64) {
        let all_read = self.read_to.zip(end).is_some_and(|(read_to, end)| end <= read_to);
        if all_read || (self.marks.is_empty() && lag == Some(0)) {
            self.empty_ms = Some(now_ms);
        }
    }

    /// The age of the oldest record that is not settled, with so many records between the commit and the end of the log.
    /// `None` while it is not known.
    pub fn age(&self, lag: Option<u64>, now_ms: u64) -> Option<Duration> {
        let since_ms = match (self.marks.front(), lag?) {
            (Some(oldest), _) => oldest.written_ms?,
            (None, 0) => return Some(Duration::ZERO),
            (None, _) => self.last_ms.max(self.empty_ms)?,
        };
        Some(Duration::from_millis(now_ms.saturating_sub(since_ms)))
    }
}

// === impl Mark ===

impl Mark {
    /// Whether a read whose first record was written then is told well enough by this one.
    fn covers(&self, written_ms: Option<u64>) -> bool {
        match (self.written_ms, written_ms) {
            (Some(own), Some(other)) => other >= own && other - own < TOGETHER_MS,
            (None, None) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(age: Option<Duration>) -> Option<u64> {
        age.map(|age| age.as_secs())
    }

    #[test]
    fn test_unknown_is_not_zero() {
        let mut unsettled = Unsettled::default();
        assert_eq!(unsettled.age(None, 9000), None);
        assert_eq!(unsettled.age(Some(5), 9000), None, "a backlog from before, of which nothing was read");
        assert_eq!(unsettled.age(Some(0), 9000), Some(Duration::ZERO));
        unsettled.on_read(0, 1, None);
        assert_eq!(unsettled.age(Some(5), 9000), None, "a record without a time");
        unsettled.on_commit(1);
        assert_eq!(unsettled.age(None, 9000), None);
    }

    #[test]
    fn test_the_oldest_record_that_is_read_and_not_settled_counts() {
        let mut unsettled = Unsettled::default();
        unsettled.on_read(0, 10, Some(1000));
        unsettled.on_read(10, 20, Some(5000));
        assert_eq!(seconds(unsettled.age(Some(30), 11_000)), Some(10));
        unsettled.on_commit(5);
        assert_eq!(seconds(unsettled.age(Some(25), 11_000)), Some(10));
        unsettled.on_commit(10);
        assert_eq!(seconds(unsettled.age(Some(20), 11_000)), Some(6));
        // Read again after going back.
        unsettled.on_read(10, 15, Some(5000));
        assert_eq!(seconds(unsettled.age(Some(20), 11_000)), Some(6));
        unsettled.on_commit(15);
        assert_eq!(
            seconds(unsettled.age(Some(15), 12_000)),
            Some(7),
            "what follows is no older than what was read last"
        );
    }

    #[test]
    fn test_a_backlog_that_is_not_read_grows_old_from_when_it_was_not_there() {
        let mut unsettled = Unsettled::default();
        unsettled.on_look(Some(0), Some(0), 1000);
        unsettled.on_look(Some(3), Some(3), 2000);
        assert_eq!(seconds(unsettled.age(Some(3), 61_000)), Some(60));
        unsettled.on_read(0, 3, Some(1500));
        unsettled.on_commit(3);
        unsettled.on_look(Some(3), Some(0), 100_000);
        assert_eq!(unsettled.age(Some(0), 100_000), Some(Duration::ZERO));
        unsettled.on_look(Some(4), Some(1), 101_000);
        assert_eq!(seconds(unsettled.age(Some(1), 160_000)), Some(60), "not since the record before it");
    }

    #[test]
    fn test_marks_stay_few() {
        let mut unsettled = Unsettled::default();
        (0..10_000).for_each(|offset| unsettled.on_read(offset, offset + 1, Some(offset)));
        assert_eq!(unsettled.marks.len(), 40);
        // Times that go up and down, as from clocks that differ.
        (10_000..20_000).for_each(|offset| unsettled.on_read(offset, offset + 1, Some(offset % 2 * 1000)));
        assert_eq!(unsettled.marks.len(), MAX_MARKS);
    }

    proptest! {
        /// Whatever is read and settled: the age is that of the oldest record that is not settled, or a little more.
        #[test]
        fn test_the_age_is_never_too_low(
            steps in prop::collection::vec((1u64..9, 0u64..600, prop::bool::ANY), 1..80),
        ) {
            let mut unsettled = Unsettled::default();
            // When each record was written; what was read, and what is settled.
            let (mut written, mut now_ms, mut read, mut settled) = (Vec::new(), 0, 0, 0);
            for (count, pause_ms, reads) in steps {
                now_ms += pause_ms;
                unsettled.on_look(Some(written.len() as u64), Some(written.len() as u64 - settled), now_ms);
                written.extend((0..count).map(|_| now_ms));
                if reads {
                    let next = (read + count).min(written.len() as u64);
                    unsettled.on_read(read, next, Some(written[read as usize]));
                    read = next;
                } else {
                    settled = (settled + count).min(read);
                    unsettled.on_commit(settled);
                }
                let lag = written.len() as u64 - settled;
                if let Some(age) = unsettled.age(Some(lag), now_ms) {
                    let oldest = written.get(settled as usize).map_or(0, |written_ms| now_ms - written_ms);
                    prop_assert!(age.as_millis() as u64 >= oldest, "{age:?} {oldest}");
                    if let (Some(written_ms), true) = (written.get(settled as usize), settled < read) {
                        prop_assert!(age.as_millis() as u64 <= now_ms - written_ms + 80 * 600);
                    }
                }
            }
        }
    }
}
