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

/// What the reading side sends.
pub(super) enum Chunk {
    /// Some keys.
    Keys(Vec<RowKey>),
    /// The reading is over. Without this word it has broken off, and the count would be too small.
    End(Result<(), StoreError>),
}

/// The two ends between reader and visitor.
pub(super) fn channel() -> (mpsc::Sender<Chunk>, mpsc::Receiver<Chunk>) {
    mpsc::channel(NUM_WAITING_CHUNKS)
}

/// Visits all keys that the reading side sends; its first error ends the scan. Returns how many there were.
pub(super) async fn visit_all(
    mut chunks: mpsc::Receiver<Chunk>,
    visit: &mut (dyn FnMut(RowKey) + Send),
) -> Result<u64, StoreError> {
    let mut num_keys = 0;
    while let Some(chunk) = chunks.recv().await {
        match chunk {
            Chunk::Keys(keys) => {
                num_keys += keys.len() as u64;
                keys.into_iter().for_each(&mut *visit);
            }
            Chunk::End(outcome) => return outcome.map(|()| num_keys),
        }
    }
    Err(StoreError::failed("reading keys", "the reader has broken off"))
}
