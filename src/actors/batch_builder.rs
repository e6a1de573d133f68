//! Batch builder: makes one batch of what came in several reads. When that is time is the rule's to say
//! ([`crate::flow::consumption`]).
//!
//! What a batch takes of the memory budget, and the slot of a large one, are in the builder and then in the batch: whoever
//! has the batch has them, and they are given back with it.

use bytes::Bytes;
use parking_lot::Mutex;

use super::batch_slots::BatchSlot;
use crate::flow::consumption::Size;
use crate::flow::memory::{MemoryBudget, Reserved};
use crate::log::{RecordBatch, RecordMeta, RecordRef};

/// What a record takes on its way into the store beside its bytes, about: its place in the batch, and in a group. Rows are
/// made of it only while its write is in flight, of which there are few.
const RECORD_BYTES: usize = size_of::<RecordRef>() + 3 * size_of::<u32>();

/// Records on their way into the store, with what they take.
#[derive(Debug)]
pub struct Batch {
    /// The records.
    pub records: RecordBatch,
    /// A batch that is sent again may still have it.
    slot: Mutex<Option<BatchSlot>>,
    _memory: Reserved,
}

/// What was read since the last batch, in offset order.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    reads: Reads,
    slot: Option<BatchSlot>,
    memory: Reserved,
    budget: MemoryBudget,
}

#[derive(Debug, Default)]
struct Reads {
    /// All of it, while it came in one read.
    only: Option<RecordBatch>,
    /// All of it, once it came in several.
    data: Vec<u8>,
    records: Vec<RecordRef>,
    /// One for each record, or none at all.
    meta: Vec<RecordMeta>,
    next_offset: u64,
}

// === impl Batch ===

impl Batch {
    /// Gives the slot back, if there is one: every record is on its way into the store.
    pub fn release_slot(&self) {
        // Dropped outside of the lock.
        let slot = self.slot.lock().take();
        drop(slot);
    }
}

// === impl BatchBuilder ===

impl BatchBuilder {
    /// Nothing yet; what is added counts against `budget`.
    pub(super) fn new(budget: MemoryBudget) -> Self {
        Self { reads: Reads::default(), slot: None, memory: budget.take(0), budget }
    }

    /// Adds what was read; `target` is how much there may be in the end.
    pub(super) fn push(&mut self, read: RecordBatch, target: Size) {
        self.reads.push(read, target);
        self.memory.resize(self.reads.num_bytes() as u64);
    }

    /// The batch that is being built may be a large one.
    pub(super) fn hold(&mut self, slot: BatchSlot) {
        self.slot = Some(slot);
    }

    /// Gives the slot back; the batch stays as large as it is.
    pub(super) fn release_slot(&mut self) {
        self.slot = None;
    }

    /// All of it as one batch, and begins anew. What came in one read is not copied.
    pub(super) fn build(&mut self) -> Batch {
        let Self { reads, slot, memory, .. } = std::mem::replace(self, Self::new(self.budget.clone()));
        Batch { records: reads.join(), slot: Mutex::new(slot), _memory: memory }
    }

    /// Forgets what was read, gives everything back, and begins anew.
    pub(super) fn discard(&mut self) {
        *self = Self::new(self.budget.clone());
    }
}

// === impl Reads ===

impl Reads {
    fn size(&self) -> Size {
        match &self.only {
            Some(only) => Size { records: only.records.len(), bytes: only.data.len() },
            None => Size { records: self.records.len(), bytes: self.data.len() },
        }
    }

    /// What they take of memory, about.
    fn num_bytes(&self) -> usize {
        let Size { records, bytes } = self.size();
        let num_meta = self.only.as_ref().map_or(self.meta.len(), |only| only.meta.len());
        bytes + records * RECORD_BYTES + num_meta * size_of::<RecordMeta>()
    }

    fn push(&mut self, read: RecordBatch, target: Size) {
        self.next_offset = read.next_offset;
        if self.size() == Size::default() {
            self.only = Some(read);
            return;
        }
        self.reserve(&read, target);
        if let Some(only) = self.only.take() {
            self.append(&only);
        }
        self.append(&read);
    }

    /// Makes room for as many records of this size as there may be in the end. Pages that stay empty cost nothing; growing
    /// by and by would copy what is there, and leave holes in the heap.
    fn reserve(&mut self, next: &RecordBatch, target: Size) {
        let Size { records, bytes } = self.size();
        let (num_records, num_bytes) = (records + next.records.len(), bytes + next.data.len());
        if self.records.capacity() < num_records {
            let expected_bytes = (num_bytes / num_records.max(1) + 1).saturating_mul(target.records);
            self.records.reserve_exact(target.records.saturating_sub(self.records.len()));
            self.data.reserve_exact(expected_bytes.min(target.bytes).saturating_sub(self.data.len()));
        }
    }

    fn append(&mut self, read: &RecordBatch) {
        let base = self.data.len() as u32;
        if !self.meta.is_empty() || !read.meta.is_empty() {
            self.append_meta(read, base);
        }
        self.records.extend(read.records.iter().map(|record| moved(record, base)));
        self.data.extend_from_slice(&read.data);
    }

    /// Before the records themselves are added: those of whom nothing is known have nothing to say.
    fn append_meta(&mut self, read: &RecordBatch, base: u32) {
        let num_known = self.meta.len();
        self.meta.extend(self.records.iter().skip(num_known).map(RecordMeta::bare));
        let bare = read.records.iter().skip(read.meta.len()).map(RecordMeta::bare);
        let moved = |meta: RecordMeta| RecordMeta { headers_end: meta.headers_end + base, ..meta };
        self.meta.extend(read.meta.iter().copied().chain(bare).map(moved));
    }

    fn join(self) -> RecordBatch {
        let Self { only, data, records, meta, next_offset } = self;
        let joined = || RecordBatch { data: Bytes::from(data), records, next_offset, first_written_ms: None, meta };
        only.unwrap_or_else(joined)
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
    use proptest::prelude::*;

    use super::*;
    use crate::actors::batch_slots::BatchSlots;
    use crate::log::write_header;

    const TARGET: Size = Size { records: 9, bytes: 1000 };

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

    fn builder() -> (BatchBuilder, MemoryBudget) {
        let budget = MemoryBudget::new(1 << 20);
        (BatchBuilder::new(budget.clone()), budget)
    }

    #[test]
    fn test_what_was_read_in_pieces_is_one_batch() {
        let (mut builder, _) = builder();
        for offsets in [0..3, 3..4, 4..9] {
            builder.push(read(offsets), TARGET);
        }
        let batch = builder.build().records;
        assert_eq!(batch.next_offset, 9);
        let values = batch.records.iter().map(|record| record.value(&batch.data).to_vec());
        assert!(values.eq((0..9u64).map(|offset| offset.to_be_bytes().to_vec())));
        assert!(batch.records.iter().all(|record| record.key(&batch.data) == b"key"));
        assert_eq!(builder.reads.size(), Size::default());
    }

    #[test]
    fn test_one_read_is_not_copied() {
        let (mut builder, _) = builder();
        let only = read(0..5);
        let address = only.data.as_ptr();
        builder.push(only, TARGET);
        assert_eq!(builder.build().records.data.as_ptr(), address);
    }

    /// What records say: offset, key, value, headers, and the rest.
    type Told = (u64, Vec<u8>, Vec<u8>, Vec<(Vec<u8>, Option<Vec<u8>>)>, (Option<i64>, bool, bool));

    fn told(batch: &RecordBatch) -> Vec<Told> {
        assert!(batch.meta.is_empty() || batch.meta.len() == batch.records.len());
        let rest = |meta: &RecordMeta| (meta.timestamp_ms, meta.has_key, meta.has_value);
        let one = |(index, record): (usize, &RecordRef)| {
            let headers = batch.headers(index).map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
            let bare = RecordMeta::bare(record);
            let (key, value) = (record.key(&batch.data).to_vec(), record.value(&batch.data).to_vec());
            (record.offset, key, value, headers.collect(), rest(batch.meta.get(index).unwrap_or(&bare)))
        };
        batch.records.iter().enumerate().map(one).collect()
    }

    prop_compose! {
        /// A record without its offset; what it says beside key and value only if the read has that.
        fn record()(
            key in prop::collection::vec(any::<u8>(), 0..4),
            value in prop::collection::vec(any::<u8>(), 0..9),
            headers in prop::collection::vec((".{0,3}", prop::option::of(prop::collection::vec(any::<u8>(), 0..5))), 0..4),
            timestamp_ms in any::<Option<i64>>(),
            has_key in any::<bool>(),
            has_value in any::<bool>(),
        ) -> Told {
            let headers = headers.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            (0, key, value, headers, (timestamp_ms, has_key, has_value))
        }
    }

    fn read_of(records: &mut [Told], has_meta: bool, next_offset: &mut u64) -> RecordBatch {
        let (mut data, mut batch) = (Vec::new(), RecordBatch::default());
        for (offset, key, value, headers, rest) in records {
            *offset = *next_offset;
            let key_start = data.len() as u32;
            data.extend_from_slice(key);
            let value_start = data.len() as u32;
            data.extend_from_slice(value);
            batch.records.push(RecordRef { offset: *offset, key_start, value_start, value_end: data.len() as u32 });
            if has_meta {
                headers.iter().for_each(|(name, value)| write_header(name, value.as_deref(), &mut data));
                let (timestamp_ms, has_key, has_value) = *rest;
                batch.meta.push(RecordMeta { timestamp_ms, has_key, has_value, headers_end: data.len() as u32 });
            } else {
                (*headers, *rest) = (Vec::new(), (None, true, true));
            }
            *next_offset += 1;
        }
        (batch.data, batch.next_offset) = (data.into(), *next_offset);
        batch
    }

    proptest! {
        #[test]
        fn test_what_records_say_is_the_same_in_one_batch(
            reads in prop::collection::vec((prop::collection::vec(record(), 1..4), any::<bool>()), 1..6),
        ) {
            let (mut builder, budget) = builder();
            let (mut next_offset, mut expected, mut any_meta) = (7, Vec::new(), false);
            for (mut records, has_meta) in reads {
                builder.push(read_of(&mut records, has_meta, &mut next_offset), TARGET);
                any_meta |= has_meta;
                expected.extend(records);
            }
            let batch = builder.build();
            prop_assert_eq!(told(&batch.records), expected);
            prop_assert_eq!(batch.records.meta.is_empty(), !any_meta);
            let per_record = RECORD_BYTES + if any_meta { size_of::<RecordMeta>() } else { 0 };
            let held = batch.records.data.len() + batch.records.records.len() * per_record;
            prop_assert_eq!(budget.snapshot().batches_bytes, held as u64);
        }
    }

    #[test]
    fn test_memory_counts_from_the_read_to_the_end_of_the_batch() {
        let (mut builder, budget) = builder();
        let held = |num_records: u64| num_records * (11 + RECORD_BYTES as u64);
        builder.push(read(0..3), TARGET);
        builder.push(read(3..5), TARGET);
        assert_eq!(budget.snapshot().batches_bytes, held(5));
        let batch = builder.build();
        builder.push(read(5..6), TARGET);
        assert_eq!(budget.snapshot().batches_bytes, held(6));
        drop(batch);
        assert_eq!(budget.snapshot().batches_bytes, held(1));
        builder.discard();
        assert_eq!(budget.snapshot().batches_bytes, 0);
        assert_eq!(builder.reads.size(), Size::default());
    }

    #[tokio::test]
    async fn test_the_slot_goes_with_the_batch() {
        let (mut builder, _) = builder();
        let slots = BatchSlots::new(1);
        let is_free = async || {
            let taken = tokio::time::timeout(std::time::Duration::ZERO, slots.clone().take()).await;
            taken.is_ok()
        };
        builder.hold(slots.clone().take().await);
        builder.push(read(0..3), TARGET);
        let batch = builder.build();
        builder.discard();
        assert!(!is_free().await, "the batch has it");
        batch.release_slot();
        assert!(is_free().await);
        builder.hold(slots.clone().take().await);
        drop(builder.build());
        assert!(is_free().await, "it is given back with its batch");
        builder.hold(slots.clone().take().await);
        builder.discard();
        assert!(is_free().await);
    }
}
