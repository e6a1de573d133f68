//! Turns of the partitions that are behind.
//!
//! The rows of one device travel in one write when they are in one batch, so what a database has to do for each row depends
//! on how large batches are: 8,192 records of a partition with 2,500 devices hold three of each. Were every partition to
//! gather large ones at once, memory would be partitions times that. They are only wanted while the store is
//! slower than the log, and then a few of them keep it busy: so partitions take turns, in the order in which they asked.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Leave for large batches, for the partitions of one pod together.
#[derive(Debug, Clone)]
pub struct Turns {
    free: Arc<Semaphore>,
}

/// Leave to gather a large batch and to bring it into the store. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

// === impl Turns ===

impl Turns {
    /// `count` turns at a time.
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)) }
    }

    /// Waits for a turn; who asks first has it first.
    pub async fn take(self) -> Turn {
        // The semaphore is never closed, so that there always is a permit.
        Turn { _permit: self.free.acquire_owned().await.ok() }
    }
}
