//! Where partitions end, as far as appends of this process were confirmed: the consumer asks for it when a topic was made
//! again, since nobody else can tell any more what the old one had.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::log::TopicPartition;

/// The ends of all partitions that this process appends to.
#[derive(Debug, Default)]
pub(super) struct Acked {
    ends: Mutex<HashMap<TopicPartition, End>>,
}

/// The end of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct End {
    /// The offset after the last record, before offsets went back.
    pub offset: u64,
    /// A record was confirmed at a lower offset later: it is in another log.
    pub has_gone_back: bool,
    /// The offset after the record that was confirmed last.
    latest: u64,
}

// === impl Acked ===

impl Acked {
    /// Records up to below `end` are confirmed.
    pub(super) fn note(&self, partition: &TopicPartition, end: u64) {
        let mut ends = self.ends.lock();
        match ends.get_mut(partition) {
            Some(known) => known.note(end),
            None => drop(ends.insert(partition.clone(), End { offset: end, has_gone_back: false, latest: end })),
        }
    }

    /// From now on somebody here asks whether the log is still the same. What was before this one is over.
    pub(super) fn begin(&self, partition: &TopicPartition) {
        if let Some(known) = self.ends.lock().get_mut(partition).filter(|known| known.has_gone_back) {
            (known.offset, known.has_gone_back) = (known.latest, false);
        }
    }

    /// The log certainly has an end at `end` or beyond it.
    pub(super) fn confirm(&self, partition: &TopicPartition, end: u64) {
        if let Some(known) = self.ends.lock().get_mut(partition).filter(|known| !known.has_gone_back) {
            known.offset = known.offset.max(end);
        }
    }

    /// The end of a log that is not there any more. What is confirmed from now on is in the one after it.
    pub(super) fn take(&self, partition: &TopicPartition) -> Option<End> {
        self.ends.lock().remove(partition)
    }
}

// === impl End ===

impl End {
    fn note(&mut self, end: u64) {
        self.latest = end;
        if end < self.offset {
            self.has_gone_back = true;
        } else if !self.has_gone_back {
            self.offset = end;
        }
    }

    /// Where the old log ended, if that can be told: the new one ends at `new_end`, as asked after this end was taken. A
    /// record that was confirmed beyond that is none of the new one's.
    pub(super) fn of_old(self, new_end: Option<u64>) -> Option<u64> {
        let is_of_old = self.has_gone_back || new_end.is_some_and(|new_end| new_end < self.offset);
        is_of_old.then_some(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::assignment::id_of;

    #[test]
    fn test_the_end_of_the_old_log_is_told_from_that_of_the_new_one() {
        let (acked, id) = (Acked::default(), id_of("t", 0));
        assert_eq!(acked.take(&id), None);
        [10, 20].into_iter().for_each(|end| acked.note(&id, end));
        assert_eq!(acked.take(&id).unwrap().of_old(Some(3)), Some(20));
        // The new log has as many records: these may be its own.
        [10, 20].into_iter().for_each(|end| acked.note(&id, end));
        assert_eq!(acked.take(&id).unwrap().of_old(Some(20)), None);
        // Offsets went back, so what was before them was of the old one, whatever the new one has by now.
        [10, 20, 5, 30].into_iter().for_each(|end| acked.note(&id, end));
        assert_eq!(acked.take(&id).unwrap().of_old(Some(30)), Some(20));
    }

    #[test]
    fn test_records_of_others_move_the_end_that_offsets_go_back_from() {
        let (acked, id) = (Acked::default(), id_of("t", 0));
        acked.note(&id, 2);
        acked.confirm(&id, 100);
        acked.note(&id, 3);
        assert_eq!(acked.take(&id), Some(End { offset: 100, has_gone_back: true, latest: 3 }));
        // One that went back while others read the partition is of no concern to who reads it later.
        [20, 5].into_iter().for_each(|end| acked.note(&id, end));
        acked.begin(&id);
        acked.note(&id, 8);
        assert_eq!(acked.take(&id), Some(End { offset: 8, has_gone_back: false, latest: 8 }));
    }
}
