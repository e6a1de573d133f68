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

/// What every partition may gather at any time. A partition that has more at hand is behind, and gathers the rest in its
/// [turn](super::turns).
pub(super) const SMALL: ReadLimit = ReadLimit { max_records: 1024, max_bytes: 256 << 10 };

/// Most that one read brings for a large batch: what it brings is there twice for a moment.
const PIECE: ReadLimit = ReadLimit { max_records: 8192, max_bytes: 1 << 20 };

/// What was read since the last batch, in offset order.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// All of it, while it came in one read.
    only: Option<RecordBatch>,
    /// All of it, once it came in several.
    data: Vec<u8>,
    records: Vec<RecordRef>,
    next_offset: u64,
    since: Option<Instant>,
}

// === impl Gather ===

impl Gather {
    pub(super) fn is_empty(&self) -> bool {
        self.num_records() == 0
    }

    /// How many records there are.
    pub(super) fn num_records(&self) -> usize {
        self.only.as_ref().map_or(self.records.len(), |only| only.records.len())
    }

    /// Bytes of keys and values.
    pub(super) fn num_bytes(&self) -> usize {
        self.only.as_ref().map_or(self.data.len(), |only| only.data.len())
    }

    /// The offset after the last of them.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// How much to read next, so that there are `limit` of them in the end; `None` if nothing more fits.
    pub(super) fn room(&self, limit: ReadLimit) -> Option<ReadLimit> {
        let max_records = limit.max_records.saturating_sub(self.num_records());
        let max_bytes = limit.max_bytes.saturating_sub(self.num_bytes());
        let next =
            ReadLimit { max_records: max_records.min(PIECE.max_records), max_bytes: max_bytes.min(PIECE.max_bytes) };
        (max_records > 0 && max_bytes > 0).then_some(next)
    }

    /// How long the first of them waits.
    pub(super) fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Adds what was read; `limit` is how much there may be in the end.
    pub(super) fn push(&mut self, read: RecordBatch, limit: ReadLimit) {
        self.since.get_or_insert_with(Instant::now);
        self.next_offset = read.next_offset;
        if self.is_empty() {
            self.only = Some(read);
            return;
        }
        self.reserve(&read, limit);
        if let Some(only) = self.only.take() {
            self.append(&only);
        }
        self.append(&read);
    }

    /// Makes room for as many records of this size as there may be in the end. Pages that stay empty cost nothing; growing
    /// by and by would copy what is there, and leave holes in the heap.
    fn reserve(&mut self, next: &RecordBatch, limit: ReadLimit) {
        let num_records = self.num_records() + next.records.len();
        if self.records.capacity() < num_records {
            let num_bytes = self.num_bytes() + next.data.len();
            let expected_bytes = (num_bytes / num_records.max(1) + 1).saturating_mul(limit.max_records);
            self.records.reserve_exact(limit.max_records.saturating_sub(self.records.len()));
            self.data.reserve_exact(expected_bytes.min(limit.max_bytes).saturating_sub(self.data.len()));
        }
    }

    fn append(&mut self, read: &RecordBatch) {
        let base = self.data.len() as u32;
        self.records.extend(read.records.iter().map(|record| moved(record, base)));
        self.data.extend_from_slice(&read.data);
    }

    /// All of them as one batch, and begins anew. What came in one read is not copied.
    pub(super) fn take(&mut self) -> RecordBatch {
        let Self { only, data, records, next_offset, .. } = std::mem::take(self);
        only.unwrap_or_else(|| RecordBatch { data: Bytes::from(data), records, next_offset })
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

    const LIMIT: ReadLimit = ReadLimit { max_records: 9, max_bytes: 1000 };

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
            gather.push(read(offsets), LIMIT);
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
        gather.push(only, LIMIT);
        assert_eq!(gather.take().data.as_ptr(), address);
    }

    #[test]
    fn test_room_is_what_is_left_of_both_limits() {
        let limit = ReadLimit { max_records: 5, max_bytes: 100 };
        let mut gather = Gather::default();
        gather.push(read(0..3), limit);
        let room = gather.room(limit).unwrap();
        assert_eq!((room.max_records, room.max_bytes), (2, 100 - 33));
        gather.push(read(3..5), limit);
        assert!(gather.room(limit).is_none());
        assert!(gather.room(ReadLimit { max_records: 50, max_bytes: 55 }).is_none());
    }
}
