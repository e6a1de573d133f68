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
use crate::log::{RecordBatch, RecordRef};

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
        let Size { records, bytes } = self.reads.size();
        self.memory.resize((bytes + records * RECORD_BYTES) as u64);
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
        self.records.extend(read.records.iter().map(|record| moved(record, base)));
        self.data.extend_from_slice(&read.data);
    }

    fn join(self) -> RecordBatch {
        let Self { only, data, records, next_offset } = self;
        only.unwrap_or_else(|| RecordBatch {
            data: Bytes::from(data),
            records,
            next_offset,
            first_written_ms: None,
            meta: Vec::new(),
        })
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
    use crate::actors::batch_slots::BatchSlots;

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
