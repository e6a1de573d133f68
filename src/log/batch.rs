//! Batches of records as they go into the log and as they come out of it: one buffer for all of a batch.

use bytes::Bytes;

use super::ReadLimit;
use super::headers::Headers;
use crate::flow::trace::Trace;

/// Records of one partition that are appended together: one buffer for all values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendBatch {
    /// The records' keys: device ids. A key also decides the partition, by murmur2.
    pub keys: Keys,
    /// The values, one after the other.
    pub values: Bytes,
    /// Where each value ends in `values`, in bytes, ascending.
    pub ends: Vec<u32>,
    /// The trace of the request that all of them came with. Kafka has it in the records' headers; the embedded log, which
    /// has no headers, does not keep it. Dead letters have it in themselves, too.
    pub trace: Option<Trace>,
}

/// The keys of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// All records have this one.
    Same(Bytes),
    /// Each has its own, one after the other.
    Each {
        /// The keys.
        text: Bytes,
        /// Where each key ends in `text`, in bytes, ascending; as many as there are values.
        ends: Vec<u32>,
    },
}

// === impl AppendBatch ===

impl AppendBatch {
    /// How many records there are.
    pub fn num_records(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of keys and values.
    pub fn num_bytes(&self) -> usize {
        let (Keys::Same(text) | Keys::Each { text, .. }) = &self.keys;
        text.len() + self.values.len()
    }

    /// Bytes of the key and the value of each record, as they are read back.
    pub fn num_record_bytes(&self) -> usize {
        match &self.keys {
            Keys::Same(key) => key.len() * self.num_records() + self.values.len(),
            Keys::Each { text, .. } => text.len() + self.values.len(),
        }
    }

    /// Key and value of every record, in order, as slices of the shared buffers.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let mut key_ends = match &self.keys {
            Keys::Same(_) => [].iter(),
            Keys::Each { ends, .. } => ends.iter(),
        };
        let (mut key_start, mut start) = (0, 0);
        self.ends.iter().map(move |end| {
            let key = match &self.keys {
                Keys::Same(key) => key,
                Keys::Each { text, .. } => {
                    let Some(key_end) = key_ends.next() else { unreachable!("each record has the end of its key") };
                    take_to(text, &mut key_start, *key_end)
                }
            };
            (key, take_to(&self.values, &mut start, *end))
        })
    }
}

fn take_to<'a>(buffer: &'a [u8], start: &mut usize, end: u32) -> &'a [u8] {
    let piece = &buffer[*start..end as usize];
    *start = end as usize;
    piece
}

/// Records read from one partition: one buffer for all of them, in offset order.
#[derive(Debug, Clone, Default)]
pub struct RecordBatch {
    /// Keys and values; records point into it.
    pub data: Bytes,
    /// The records, ascending by offset.
    pub records: Vec<RecordRef>,
    /// The offset that follows the last record. Equal to the last record's offset + 1 or more (logs may skip offsets).
    pub next_offset: u64,
    /// When the first record was written, by the log's own time ([`Log::now_ms`](super::Log::now_ms)), in milliseconds since
    /// the Unix epoch; `None` if that is not known.
    pub first_written_ms: Option<u64>,
    /// What the records say beside key and value: one for each, or none at all. Records of others' topics have it, and all
    /// that are read as a range of Kafka, with all headers. Those of our own topics otherwise have it only if one of the
    /// batch has a trace, or lacks key or value: then with the headers of the trace alone.
    pub meta: Vec<RecordMeta>,
}

// === impl RecordBatch ===

impl RecordBatch {
    /// Keeps the first records up to the limit, at least one, and returns the others. Both share the buffer.
    pub(super) fn split_beyond(&mut self, limit: ReadLimit) -> Option<Self> {
        let start = self.records.first()?.key_start;
        let is_within =
            |index: &usize| *index < limit.max_records && (self.end_of(*index) - start) as usize <= limit.max_bytes;
        let num_kept = (0..self.records.len()).take_while(is_within).count().max(1);
        let records = self.records.split_off(num_kept);
        let first = records.first()?.offset;
        let next_offset = std::mem::replace(&mut self.next_offset, first);
        let meta = self.meta.split_off(num_kept.min(self.meta.len()));
        Some(Self { data: self.data.clone(), records, next_offset, first_written_ms: None, meta })
    }

    /// The headers of a record, in their order; none if nothing is known of them.
    pub fn headers(&self, index: usize) -> Headers<'_> {
        let start = self.records[index].value_end;
        Headers::new(&self.data[start as usize..self.end_of(index) as usize])
    }

    /// One past the end of everything that a record has in the data.
    fn end_of(&self, index: usize) -> u32 {
        self.meta.get(index).map_or(self.records[index].value_end, |meta| meta.headers_end)
    }
}

/// Where one record lies in [`RecordBatch::data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef {
    /// The record's offset in its partition.
    pub offset: u64,
    /// Start of the key; it ends where the value starts.
    pub key_start: u32,
    /// Start of the value.
    pub value_start: u32,
    /// One past the end of the value.
    pub value_end: u32,
}

/// What a record says beside its key and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMeta {
    /// When it was written, or made, as its topic has it, in milliseconds since the Unix epoch; `None` if that is not known.
    pub timestamp_ms: Option<i64>,
    /// Whether it has a key; an empty one is one.
    pub has_key: bool,
    /// Whether it has a value. One without says that what has its key is deleted.
    pub has_value: bool,
    /// One past the end of its headers in [`RecordBatch::data`]; they begin where the value ends.
    pub headers_end: u32,
}

// === impl RecordMeta ===

impl RecordMeta {
    /// That of a record which says nothing beside its key and its value, both of which it has.
    pub fn bare(record: &RecordRef) -> Self {
        Self { timestamp_ms: None, has_key: true, has_value: true, headers_end: record.value_end }
    }
}

// === impl RecordRef ===

impl RecordRef {
    /// The record's key: the device id.
    pub fn key<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        &data[self.key_start as usize..self.value_start as usize]
    }

    /// The record's value.
    pub fn value<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        &data[self.value_start as usize..self.value_end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::write_header;

    /// Records with a key of one byte, a value of three, and a header for each of the numbers.
    fn batch(num_headers: &[usize]) -> RecordBatch {
        let (mut data, mut batch) = (Vec::new(), RecordBatch::default());
        for (offset, num_headers) in (5..).zip(num_headers) {
            let key_start = data.len() as u32;
            data.extend_from_slice(b"kval");
            let record = RecordRef { offset, key_start, value_start: key_start + 1, value_end: key_start + 4 };
            (0..*num_headers).for_each(|number| write_header(b"n", Some(&[number as u8]), &mut data));
            batch.records.push(record);
            batch.meta.push(RecordMeta { headers_end: data.len() as u32, ..RecordMeta::bare(&record) });
            batch.next_offset = offset + 1;
        }
        batch.data = data.into();
        batch
    }

    fn told(batch: &RecordBatch) -> Vec<(u64, Vec<u8>)> {
        assert!(batch.meta.is_empty() || batch.meta.len() == batch.records.len());
        let headers = |index| batch.headers(index).map(|(_, value)| value.unwrap()[0]).collect();
        batch.records.iter().enumerate().map(|(index, record)| (record.offset, headers(index))).collect()
    }

    #[test]
    fn test_headers_go_with_their_records_when_a_batch_is_split() {
        let whole = batch(&[0, 3, 1, 0, 2]);
        let all = told(&whole);
        for max_records in 1..=6 {
            let mut kept = whole.clone();
            let rest = kept.split_beyond(ReadLimit { max_records, max_bytes: usize::MAX });
            let mut found = told(&kept);
            assert_eq!(found.len(), max_records.min(5));
            found.extend(rest.iter().flat_map(told));
            assert_eq!(found, all);
        }
    }

    #[test]
    fn test_headers_count_where_bytes_are_limited() {
        // 4 bytes of key and value, and 10 of each header.
        let kept_of = |max_bytes| {
            let mut kept = batch(&[1, 0, 2]);
            kept.split_beyond(ReadLimit { max_records: 9, max_bytes });
            kept.records.len()
        };
        assert_eq!([1, 17, 18, 41, 42].map(kept_of), [1, 1, 2, 2, 3]);
    }
}
