//! Reads a range of one partition of the embedded log. Always from disk: what is read here is seldom new, and readers that
//! follow the end keep their memory for themselves.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::entry::{Damaged, Header};
use super::failure::Failure;
use super::partition::Partition;
use crate::log::range::cut_at;
use crate::log::{RangeEnd, RangeError, RangeReader, RangeStart, ReadLimit, RecordBatch};

/// The reader of one range.
pub(super) struct EmbeddedRange {
    partition: Arc<Partition>,
    offsets: Range<u64>,
    /// Moves only when a batch is handed out, so that a dropped future loses nothing.
    next_offset: u64,
}

// === impl EmbeddedRange ===

impl EmbeddedRange {
    /// Looks up where the range lies. Blocks on I/O.
    pub(super) fn open(partition: Arc<Partition>, from: RangeStart, to: RangeEnd) -> Result<Self, RangeError> {
        let offsets = resolve(&partition, from, to)?;
        Ok(Self { partition, next_offset: offsets.start, offsets })
    }

    async fn read_next(&mut self, limit: ReadLimit) -> Result<Option<RecordBatch>, RangeError> {
        if self.next_offset >= self.offsets.end {
            return Ok(None);
        }
        let (partition, from, end) = (Arc::clone(&self.partition), self.next_offset, self.offsets.end);
        let reading = tokio::task::spawn_blocking(move || read_blocking(&partition, from, end, limit));
        let joined = reading.await.map_err(|error| RangeError::unavailable(&self.partition.id, error))?;
        let batch = joined?;
        self.next_offset = batch.next_offset;
        Ok(Some(batch))
    }
}

impl RangeReader for EmbeddedRange {
    fn offsets(&self) -> Range<u64> {
        self.offsets.clone()
    }

    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<Option<RecordBatch>, RangeError>> {
        self.read_next(limit).boxed()
    }
}

/// Records from exactly `from` on: offsets of this log have no gaps but what was removed.
fn read_blocking(partition: &Partition, from: u64, end: u64, limit: ReadLimit) -> Result<RecordBatch, RangeError> {
    let failed = |failure: Failure| RangeError::unavailable(&partition.id, failure);
    let mut batch = partition.read_disk(from, limit).map_err(failed)?;
    match batch.records.first() {
        Some(record) if record.offset == from => {
            cut_at(&mut batch, end);
            Ok(batch)
        }
        // Retention has been here meanwhile, or a damaged disk has lost what was there.
        Some(record) => Err(gone(partition, from, record.offset)),
        None => Err(gone(partition, from, partition.end())),
    }
}

fn resolve(partition: &Partition, from: RangeStart, to: RangeEnd) -> Result<Range<u64>, RangeError> {
    let failed = |failure: Failure| RangeError::unavailable(&partition.id, failure);
    // The end before the rest: what is appended meanwhile is not part of the range.
    let end = partition.end();
    let first = first_offset(partition).map_err(failed)?.min(end);
    let start = match from {
        RangeStart::Earliest => first,
        RangeStart::Offset(from) if from < first => return Err(gone(partition, from, first)),
        RangeStart::Offset(from) if from > end => {
            return Err(RangeError::Beyond { partition: partition.id.clone(), from, end });
        }
        RangeStart::Offset(from) => from,
        RangeStart::TimeMs(at_ms) => at_time(partition, first..end, at_ms).map_err(failed)?,
    };
    let end = match to {
        RangeEnd::Now => end,
        RangeEnd::Offset(to) => to.min(end),
        RangeEnd::TimeMs(at_ms) => at_time(partition, first..end, at_ms).map_err(failed)?,
    };
    Ok(start..end.max(start))
}

fn gone(partition: &Partition, from: u64, first: u64) -> RangeError {
    RangeError::Gone { partition: partition.id.clone(), from, first }
}

/// The offset of the first record that is there; the end if there is none.
fn first_offset(partition: &Partition) -> Result<u64, Failure> {
    Ok(partition.entry_at(0)?.map_or_else(|| partition.end(), |(base_offset, _)| base_offset))
}

/// The first offset within the range that was written at this time or later, or its end. The log's time never goes back, so
/// that halving the range finds it.
fn at_time(partition: &Partition, offsets: Range<u64>, at_ms: u64) -> Result<u64, Failure> {
    let Range { start: mut low, end: mut high } = offsets.clone();
    while low < high {
        // An entry was written at one time: either all of it is before, or none.
        match partition.entry_at(low + (high - low) / 2)? {
            Some((base_offset, bytes)) if base_offset < high => {
                let (next_offset, written_at_ms) = header_of(base_offset, &bytes)?;
                if written_at_ms < at_ms { low = next_offset } else { high = base_offset.max(low) }
            }
            // What lay there was removed or lost: what is left lies before.
            _ => high = low + (high - low) / 2,
        }
    }
    Ok(low.min(offsets.end))
}

/// The offset behind an entry, and when it was written.
fn header_of(base_offset: u64, bytes: &Bytes) -> Result<(u64, u64), Damaged> {
    let header = Header::decode(bytes)?;
    Ok((base_offset + u64::from(header.num_records), header.written_at_ms))
}
