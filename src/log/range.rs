//! Reading a range of one partition, beside the group's subscription: for commands, checks, and work that goes over
//! records again.
//!
//! A range is read in batches as consumers get them, from an offset or a time to an offset, a time, or the end as it is when
//! the reading begins: so that it ends, however much is appended meanwhile. It touches no commit and no assignment.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{ReadLimit, RecordBatch, TopicPartition};

/// Where a range begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeStart {
    /// At the first record that is there.
    Earliest,
    /// At this offset. If it was removed from the log, that is [`RangeError::Gone`].
    Offset(u64),
    /// At the first record of this time or a later one, in milliseconds since the Unix epoch, by the log's own time: Kafka's
    /// timestamps, or the embedded log's clock (which may be behind the wall clock, never before it). At the end if there is
    /// none; records that were removed are older than all that are there, and are not asked for.
    TimeMs(u64),
}

/// Where a range ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeEnd {
    /// At the end of the log when the reading begins.
    Now,
    /// Before this offset, or at the end of the log if that is lower.
    Offset(u64),
    /// Before the first record of this time or a later one, as in [`RangeStart::TimeMs`], or at the end of the log.
    TimeMs(u64),
}

/// Why a range cannot be read, or not further.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RangeError {
    /// The log has no such partition.
    #[error("there is no partition {0}")]
    NoSuchPartition(TopicPartition),
    /// The next records of the range were removed from the log, before the reading began or while it went on.
    #[error("{partition} has no records from offset {from} on any more: they are there from offset {first} on")]
    Gone {
        /// Which partition.
        partition: TopicPartition,
        /// The offset that was to be read.
        from: u64,
        /// The first one that is there: everything between is lost.
        first: u64,
    },
    /// The range begins behind the end of the log.
    #[error("{partition} ends at offset {end}: there is nothing at offset {from} yet")]
    Beyond {
        /// Which partition.
        partition: TopicPartition,
        /// Where the range was to begin.
        from: u64,
        /// The offset after the last record.
        end: u64,
    },
    /// The log could not be reached, or reading from its disk failed. To try again from the same offset is right.
    #[error("cannot read {partition}: {source}")]
    Unavailable {
        /// Which partition.
        partition: TopicPartition,
        /// What the log said.
        source: Arc<dyn Error + Send + Sync>,
    },
}

/// Reads ranges of partitions.
pub trait Ranges: Send + Sync {
    /// Looks up where the range begins and ends, and starts reading it. A range of which the end is not behind the start is
    /// empty.
    fn read_range(
        &self,
        partition: &TopicPartition,
        from: RangeStart,
        to: RangeEnd,
    ) -> BoxFuture<'_, Result<Box<dyn RangeReader>, RangeError>>;
}

/// A range that is being read, in offset order.
pub trait RangeReader: Send {
    /// Which offsets the range has. Not each of them needs to hold a record: markers of transactions, aborted and compacted
    /// records count as read.
    fn offsets(&self) -> Range<u64>;

    /// The next records, at least one, up to the limit; `None` when all of the range is read, and from then on. Holds no more
    /// in memory than the limit and the log's own buffers. Cancel-safe: dropping the future loses no record.
    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<Option<RecordBatch>, RangeError>>;
}

// === impl RangeError ===

impl RangeError {
    /// The log failed, for this reason.
    pub(super) fn unavailable(partition: &TopicPartition, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { partition: partition.clone(), source: Arc::from(source.into()) }
    }
}

/// Takes away what lies at or behind `end`.
pub(super) fn cut_at(batch: &mut RecordBatch, end: u64) {
    batch.records.truncate(batch.records.partition_point(|record| record.offset < end));
    batch.next_offset = batch.next_offset.min(end);
}
