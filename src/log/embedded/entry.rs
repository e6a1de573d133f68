//! How one group commit of one partition lies on disk: a header, then the batches one after the other.
//!
//! Pure encoding and decoding; no I/O. There is no entry per record: a record costs its value and one or two bytes of
//! length, a run of records with the same key (a batch on disk) costs the key and four small numbers.
//!
//! ```text
//! header  = position u64 | written_at u64 | num_records u32          (little-endian)
//! batch   = key_len | num_values | lengths_len | values_len          (varints)
//!           lengths (one varint per value) | key | values
//! ```

use crate::log::{AppendBatch, RecordBatch, RecordRef};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 20;

/// What is known of an entry without reading its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of entries that the partition had ever taken before this one. Sizes between any two entries are
    /// differences of positions, so that no index of sizes is needed.
    pub position: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub written_at_ms: u64,
    /// How many records it holds: offsets run from the entry's key without a gap.
    pub num_records: u32,
}

/// The bytes are not what [`EntryBuilder`] wrote.
#[derive(Debug, thiserror::Error)]
#[error("damaged log entry")]
pub(super) struct Damaged;

/// Collects the batches of one partition for the next group commit.
pub(super) struct EntryBuilder {
    bytes: Vec<u8>,
    num_records: u32,
}

/// Walks the records of an encoded entry.
struct Batches<'a>(&'a [u8]);

/// One batch inside an entry.
struct EncodedBatch<'a> {
    num_values: u32,
    lengths: &'a [u8],
    key: &'a [u8],
    values: &'a [u8],
}

// === impl Header ===

impl Header {
    /// Reads the header at the start of an entry.
    pub(super) fn decode(entry: &[u8]) -> Result<Self, Damaged> {
        let (position, rest) = entry.split_first_chunk::<8>().ok_or(Damaged)?;
        let (written_at, rest) = rest.split_first_chunk::<8>().ok_or(Damaged)?;
        let (num_records, _) = rest.split_first_chunk::<4>().ok_or(Damaged)?;
        Ok(Self {
            position: u64::from_le_bytes(*position),
            written_at_ms: u64::from_le_bytes(*written_at),
            num_records: u32::from_le_bytes(*num_records),
        })
    }
}

// === impl EntryBuilder ===

impl EntryBuilder {
    /// An empty entry.
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], num_records: 0 }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub(super) fn num_records(&self) -> u32 {
        self.num_records
    }

    /// Adds records behind the others: one batch for each run of records with the same key.
    pub(super) fn push(&mut self, batch: &AppendBatch) {
        let mut rest = batch.iter();
        let mut values = batch.values.as_ref();
        while let Some((key, _)) = rest.clone().next() {
            let run = rest.clone().take_while(|(other, _)| *other == key).map(|(_, value)| value.len());
            let num_values = run.clone().count();
            let values_len = run.clone().sum();
            let Some(run_values) = values.split_off(..values_len) else {
                unreachable!("the values of a batch hold those of its records")
            };
            self.push_run(key, run.map(|length| length as u32), num_values, run_values);
            // Not `skip`: the iterator has to keep its type.
            rest.by_ref().take(num_values).for_each(drop);
        }
    }

    fn push_run(&mut self, key: &[u8], lengths: impl Iterator<Item = u32> + Clone, num_values: usize, values: &[u8]) {
        let lengths_len: usize = lengths.clone().map(varint_len).sum();
        self.bytes.reserve(20 + lengths_len + key.len() + values.len());
        for number in [key.len(), num_values, lengths_len, values.len()] {
            put_varint(&mut self.bytes, number as u32);
        }
        for length in lengths {
            put_varint(&mut self.bytes, length);
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(values);
        self.num_records += num_values as u32;
    }

    /// The finished entry.
    pub(super) fn finish(mut self, position: u64, written_at_ms: u64) -> Vec<u8> {
        let num_records = self.num_records;
        let fields =
            position.to_le_bytes().into_iter().chain(written_at_ms.to_le_bytes()).chain(num_records.to_le_bytes());
        for (slot, byte) in self.bytes.iter_mut().zip(fields) {
            *slot = byte;
        }
        self.bytes
    }
}

// === decoding ===

/// Copies the records of an entry at and after offset `from` into `out`, until `out` holds `max_records` records or
/// `max_bytes` bytes (but at least one record). Returns whether there is room for more.
pub(super) fn decode_into(
    entry: &[u8],
    base_offset: u64,
    from: u64,
    max_records: usize,
    max_bytes: usize,
    data: &mut Vec<u8>,
    out: &mut RecordBatch,
) -> Result<bool, Damaged> {
    let mut batches = Batches(entry.get(HEADER_BYTES..).ok_or(Damaged)?);
    let mut offset = base_offset;
    while let Some(mut batch) = batches.next()? {
        if offset + u64::from(batch.num_values) <= from {
            offset += u64::from(batch.num_values);
            continue;
        }
        for _ in 0..batch.num_values {
            let value_len = take_varint(&mut batch.lengths)? as usize;
            let value = batch.values.split_off(..value_len).ok_or(Damaged)?;
            if offset >= from {
                let is_full = out.records.len() >= max_records
                    || data.len() + batch.key.len() + value_len > max_bytes.min(u32::MAX as usize);
                if is_full && !out.records.is_empty() {
                    return Ok(false);
                }
                let key_start = data.len() as u32;
                data.extend_from_slice(batch.key);
                let value_start = data.len() as u32;
                data.extend_from_slice(value);
                out.records.push(RecordRef { offset, key_start, value_start, value_end: data.len() as u32 });
                out.next_offset = offset + 1;
            }
            offset += 1;
        }
    }
    Ok(out.records.len() < max_records && data.len() < max_bytes)
}

impl<'a> Batches<'a> {
    fn next(&mut self) -> Result<Option<EncodedBatch<'a>>, Damaged> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key_len = take_varint(&mut self.0)? as usize;
        let num_values = take_varint(&mut self.0)?;
        let lengths_len = take_varint(&mut self.0)? as usize;
        let values_len = take_varint(&mut self.0)? as usize;
        Ok(Some(EncodedBatch {
            num_values,
            lengths: self.0.split_off(..lengths_len).ok_or(Damaged)?,
            key: self.0.split_off(..key_len).ok_or(Damaged)?,
            values: self.0.split_off(..values_len).ok_or(Damaged)?,
        }))
    }
}

fn varint_len(number: u32) -> usize {
    (38 - (number | 1).leading_zeros() as usize) / 7
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u32, Damaged> {
    let mut number = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.split_off_first().ok_or(Damaged)?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Damaged)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::log::Keys;

    fn ends<T: AsRef<[u8]>>(pieces: &[T]) -> Vec<u32> {
        let ends = pieces.iter().scan(0, |end, piece| {
            *end += piece.as_ref().len() as u32;
            Some(*end)
        });
        ends.collect()
    }

    fn batch(key: &str, values: &[Vec<u8>]) -> AppendBatch {
        let keys = Keys::Same(Bytes::copy_from_slice(key.as_bytes()));
        AppendBatch { keys, ends: ends(values), values: values.concat().into(), trace: None }
    }

    /// One batch of records of several keys.
    fn mixed(records: &[(String, Vec<u8>)]) -> AppendBatch {
        let (keys, values): (Vec<_>, Vec<_>) = records.iter().cloned().unzip();
        let key_ends = ends(&keys);
        let keys = Keys::Each { text: keys.concat().into(), ends: key_ends };
        AppendBatch { keys, ends: ends(&values), values: values.concat().into(), trace: None }
    }

    #[test]
    fn test_varint_length_is_what_is_written() {
        for number in (0..32).flat_map(|bit| [(1u32 << bit) - 1, 1 << bit]).chain([u32::MAX]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
            assert_eq!(take_varint(&mut bytes.as_slice()).unwrap(), number);
        }
    }

    proptest! {
        #[test]
        fn test_any_entry_reads_back_from_any_offset(
            batches in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)), 1..6),
            others in prop::collection::vec(("[ab]", prop::collection::vec(any::<u8>(), 0..9)), 1..20),
            skip in 0u64..40,
            max_records in 1usize..60,
        ) {
            let mut builder = EntryBuilder::new();
            let mut expected = Vec::new();
            for (key, values) in &batches {
                builder.push(&batch(key, values));
                expected.extend(values.iter().map(|value| (key.clone(), value.clone())));
            }
            builder.push(&mixed(&others));
            expected.extend(others);
            prop_assert_eq!(builder.num_records() as usize, expected.len());
            let entry = builder.finish(7, 9);
            let header = Header::decode(&entry).unwrap();
            prop_assert_eq!(header, Header { position: 7, written_at_ms: 9, num_records: expected.len() as u32 });

            let (mut data, mut out) = (Vec::new(), RecordBatch::default());
            decode_into(&entry, 1_000, 1_000 + skip, max_records, usize::MAX, &mut data, &mut out).unwrap();
            let got: Vec<_> = out.records.iter()
                .map(|r| (r.offset, String::from_utf8(r.key(&data).to_vec()).unwrap(), r.value(&data).to_vec()))
                .collect();
            let want: Vec<_> = expected.into_iter().enumerate().skip(skip as usize).take(max_records)
                .map(|(index, (key, value))| (1_000 + index as u64, key, value))
                .collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn test_damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut data, mut out) = (Vec::new(), RecordBatch::default());
            let _ = decode_into(&bytes, 0, 0, 100, 10_000, &mut data, &mut out);
        }
    }

    #[test]
    fn test_byte_limit_still_returns_one_record() {
        let mut builder = EntryBuilder::new();
        builder.push(&batch("device", &[vec![1; 100], vec![2; 100]]));
        let entry = builder.finish(0, 0);
        let (mut data, mut out) = (Vec::new(), RecordBatch::default());
        let has_room = decode_into(&entry, 0, 0, 10, 10, &mut data, &mut out).unwrap();
        assert!(!has_room);
        assert_eq!((out.records.len(), out.next_offset), (1, 1));
    }
}
