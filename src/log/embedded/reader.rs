//! Reads one partition of the embedded log: from memory while it keeps up, from disk otherwise.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::partition::Partition;
use crate::log::{Cause, PartitionOffsets, PartitionReader, ReadError, ReadLimit, RecordBatch, TopicPartition};

/// The reader of one partition.
pub(super) struct EmbeddedReader {
    partition: Arc<Partition>,
    end: watch::Receiver<u64>,
    /// The next offset to read. Moves only when a batch is handed out, so that a dropped future loses nothing.
    next_offset: u64,
}

// === impl EmbeddedReader ===

impl EmbeddedReader {
    /// Starts at the committed offset.
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self { end: partition.watch_end(), next_offset: partition.committed(), partition }
    }

    async fn read_next(&mut self, limit: ReadLimit) -> Result<RecordBatch, ReadError> {
        loop {
            let from = self.next_offset;
            // The partition holds the sender, so waiting ends only when there is something to read.
            if self.end.wait_for(|end| *end > from).await.is_err() {
                return Err(self.unavailable("the log is closed"));
            }
            let batch = match self.partition.read_tail(from, limit).map_err(|failure| self.unavailable(failure))? {
                Some(batch) => batch,
                None => {
                    let partition = self.partition.clone();
                    let reading = tokio::task::spawn_blocking(move || partition.read_disk(from, limit));
                    let result = reading.await.map_err(|error| self.unavailable(error))?;
                    result.map_err(|failure| self.unavailable(failure))?
                }
            };
            self.next_offset = batch.next_offset;
            if !batch.records.is_empty() {
                return Ok(batch);
            }
        }
    }

    fn unavailable(&self, source: impl Into<Cause>) -> ReadError {
        ReadError::unavailable(&self.partition.id, source)
    }
}

impl PartitionReader for EmbeddedReader {
    fn partition(&self) -> &TopicPartition {
        &self.partition.id
    }

    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<RecordBatch, ReadError>> {
        self.read_next(limit).boxed()
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        self.next_offset = self.partition.committed();
        futures_util::future::ready(Ok(())).boxed()
    }

    fn offsets(&self) -> Arc<dyn PartitionOffsets> {
        Arc::clone(&self.partition) as Arc<dyn PartitionOffsets>
    }
}

impl PartitionOffsets for Partition {
    fn commit(&self, next_offset: u64) {
        self.note_commit(next_offset);
    }

    fn lag(&self) -> Option<u64> {
        Some(self.end().saturating_sub(self.committed()))
    }

    fn committed(&self) -> Option<u64> {
        Some(self.committed())
    }

    fn end(&self) -> Option<u64> {
        Some(self.end())
    }
}
