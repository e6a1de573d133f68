//! A partition's reader, kept beside the actor that reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::warn;

use crate::log::{PartitionReader, ReadError, ReadLimit, RecordBatch, TopicPartition};

/// Where a partition's reader is kept, so that it outlives the actor that reads; empty once the partition is given up.
pub type ReaderSlot = Arc<Mutex<Option<Box<dyn PartitionReader>>>>;

/// Waits for records and returns them.
pub(super) async fn read(
    slot: ReaderSlot,
    partition: TopicPartition,
    limit: ReadLimit,
) -> Result<RecordBatch, ReadError> {
    match slot.lock().await.as_mut() {
        Some(reader) => reader.read(limit).await,
        None => Err(ReadError::Revoked(partition)),
    }
}

pub(super) async fn set_paused(slot: &ReaderSlot, is_paused: bool) {
    if let Some(reader) = slot.lock().await.as_mut() {
        if is_paused { reader.pause() } else { reader.resume() }
    }
}

/// Back to the committed offset: a consumer that died has left batches behind that nobody will settle.
pub(super) async fn rewind(slot: &ReaderSlot, retry_delay: Duration) {
    loop {
        let outcome = match slot.lock().await.as_mut() {
            Some(reader) => reader.rewind().await,
            None => return,
        };
        match outcome {
            Ok(()) | Err(ReadError::Revoked(_)) => return,
            Err(error) => warn!(%error, "going back to the committed offset again soon"),
        }
        tokio::time::sleep(retry_delay).await;
    }
}
