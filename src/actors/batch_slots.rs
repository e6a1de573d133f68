//! Batch slots: leave for large batches, of which there are few.
//!
//! The rows of one device travel in one write when they are in one batch, so what a database has to do for each row depends
//! on how large batches are: 8,192 records of a partition with 2,500 devices hold three of each. Were every partition to
//! collect large ones at once, memory would be partitions times that. They are only wanted while the store is
//! slower than the log, and then a few of them keep it busy: so partitions wait for a slot, in the order in which they asked.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of one pod, for all its partitions together.
#[derive(Debug, Clone)]
pub struct BatchSlots {
    free: Arc<Semaphore>,
}

/// Leave to collect a large batch and to bring it into the store. It is given back when this is dropped.
#[derive(Debug)]
pub struct BatchSlot {
    _permit: OwnedSemaphorePermit,
}

// === impl BatchSlots ===

impl BatchSlots {
    /// `count` slots.
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)) }
    }

    /// Waits for a slot; who asks first has it first.
    pub async fn take(self) -> BatchSlot {
        match self.free.acquire_owned().await {
            Ok(permit) => BatchSlot { _permit: permit },
            Err(closed) => unreachable!("the slots are never closed: {closed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn test_a_slot_goes_to_who_asked_first_when_it_is_given_back() {
        let slots = BatchSlots::new(1);
        let held = slots.clone().take().await;
        let mut first = Box::pin(slots.clone().take());
        let mut second = Box::pin(slots.clone().take());
        // Each asks when it is polled first.
        assert!(timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());
        drop(held);
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());
        let slot = first.await;
        drop(slot);
        second.await;
    }
}
