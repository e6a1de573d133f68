//! Row keys on their way from a store's own threads to the caller of `scan`.
//!
//! The caller's `visit` borrows from the caller, so it cannot move to the thread or task that reads the rows. Keys
//! come over in chunks through a short channel, so that a slow visitor slows the reading down.

use tokio::sync::mpsc;

use super::{RowKey, StoreError};

/// Keys in one chunk.
pub(super) const NUM_KEYS_PER_CHUNK: usize = 1024;

/// Chunks that may wait for the visitor.
const NUM_WAITING_CHUNKS: usize = 8;

/// What the reading side sends: chunks of keys, or the error that ended it.
pub(super) type Chunk = Result<Vec<RowKey>, StoreError>;

/// The two ends between reader and visitor.
pub(super) fn channel() -> (mpsc::Sender<Chunk>, mpsc::Receiver<Chunk>) {
    mpsc::channel(NUM_WAITING_CHUNKS)
}

/// Visits all keys until the reading side hangs up; the first error ends the scan. Returns how many there were.
pub(super) async fn visit_all(
    mut chunks: mpsc::Receiver<Chunk>,
    visit: &mut (dyn FnMut(RowKey) + Send),
) -> Result<u64, StoreError> {
    let mut num_keys = 0;
    while let Some(chunk) = chunks.recv().await {
        for key in chunk? {
            visit(key);
            num_keys += 1;
        }
    }
    Ok(num_keys)
}
