//! Records that were read and are in no batch yet.
//!
//! Nagle's rule (RFC 896) for a partition: with nothing under way, what was read goes out at once; while a batch is under
//! way, what comes gathers until that one is settled or there is enough for a full one. A partition that keeps up waits for
//! nothing, and one that is behind writes large batches, in which the rows of a device travel together.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::log::{ReadLimit, RecordBatch, RecordRef};

/// How long records gather at most: one write that is tried again and again must not hold up the rows of others.
pub(super) const MAX_AGE: Duration = Duration::from_secs(1);

/// What was read since the last batch, in offset order.
#[derive(Debug, Default)]
pub(super) struct Gather {
    reads: Vec<RecordBatch>,
    num_records: usize,
    num_bytes: usize,
    since: Option<Instant>,
}

// === impl Gather ===

impl Gather {
    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// How many records there are.
    pub(super) fn num_records(&self) -> usize {
        self.num_records
    }

    /// Bytes of keys and values.
    pub(super) fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    /// How much fits until there are `limit` of them; `None` if nothing does.
    pub(super) fn room(&self, limit: ReadLimit) -> Option<ReadLimit> {
        let max_records = limit.max_records.saturating_sub(self.num_records);
        let max_bytes = limit.max_bytes.saturating_sub(self.num_bytes);
        (max_records > 0 && max_bytes > 0).then_some(ReadLimit { max_records, max_bytes })
    }

    /// How long the first of them waits.
    pub(super) fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn push(&mut self, read: RecordBatch) {
        self.num_records += read.records.len();
        self.num_bytes += read.data.len();
        self.since.get_or_insert_with(Instant::now);
        self.reads.push(read);
    }

    /// All of them as one batch, and begins anew. What came in one read is not copied.
    pub(super) fn take(&mut self) -> RecordBatch {
        let Self { mut reads, num_records, num_bytes, .. } = std::mem::take(self);
        if reads.len() <= 1 {
            return reads.pop().unwrap_or_default();
        }
        let next_offset = reads.last().map_or(0, |read| read.next_offset);
        let mut data = Vec::with_capacity(num_bytes);
        let mut records = Vec::with_capacity(num_records);
        for read in reads {
            let base = data.len() as u32;
            records.extend(read.records.iter().map(|record| moved(record, base)));
            data.extend_from_slice(&read.data);
        }
        RecordBatch { data: Bytes::from(data), records, next_offset }
    }
}

fn moved(record: &RecordRef, base: u32) -> RecordRef {
    RecordRef {
        offset: record.offset,
        key_start: record.key_start + base,
        value_start: record.value_start + base,
        value_end: record.value_end + base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offsets: std::ops::Range<u64>) -> RecordBatch {
        let mut data = Vec::new();
        let mut batch = RecordBatch::default();
        for offset in offsets {
            let key_start = data.len() as u32;
            data.extend_from_slice(b"key");
            let value_start = data.len() as u32;
            data.extend_from_slice(&offset.to_be_bytes());
            batch.records.push(RecordRef { offset, key_start, value_start, value_end: data.len() as u32 });
            batch.next_offset = offset + 1;
        }
        batch.data = data.into();
        batch
    }

    #[test]
    fn test_what_was_read_in_pieces_is_one_batch() {
        let mut gather = Gather::default();
        for offsets in [0..3, 3..4, 4..9] {
            gather.push(read(offsets));
        }
        let batch = gather.take();
        assert_eq!(batch.next_offset, 9);
        let values = batch.records.iter().map(|record| record.value(&batch.data).to_vec());
        assert!(values.eq((0..9u64).map(|offset| offset.to_be_bytes().to_vec())));
        assert!(batch.records.iter().all(|record| record.key(&batch.data) == b"key"));
        assert!(gather.is_empty());
        assert_eq!(gather.num_bytes(), 0);
    }

    #[test]
    fn test_one_read_is_not_copied() {
        let mut gather = Gather::default();
        let only = read(0..5);
        let address = only.data.as_ptr();
        gather.push(only);
        assert_eq!(gather.take().data.as_ptr(), address);
    }

    #[test]
    fn test_room_is_what_is_left_of_both_limits() {
        let limit = ReadLimit { max_records: 5, max_bytes: 100 };
        let mut gather = Gather::default();
        gather.push(read(0..3));
        let room = gather.room(limit).unwrap();
        assert_eq!((room.max_records, room.max_bytes), (2, 100 - 33));
        gather.push(read(3..5));
        assert!(gather.room(limit).is_none());
        assert!(gather.room(ReadLimit { max_records: 50, max_bytes: 55 }).is_none());
    }
}
