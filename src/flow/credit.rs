//! Credits: the true bound of every queue.
//!
//! A credit is taken before a message is sent, rides inside it, and returns when the message's work is done or the
//! message is dropped, so the bound covers what is queued *and* what is in flight. An actor's own mailbox capacity
//! bounds neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of credits for one edge. Clones share the same credits.
#[derive(Debug, Clone)]
pub struct Credits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    semaphore: Arc<Semaphore>,
    bound: u32,
    num_waits: AtomicU64,
    waited_us: AtomicU64,
}

/// Leave to have one unit of work queued or in flight; it ends when this is dropped.
#[derive(Debug)]
pub struct Credit {
    _permit: OwnedSemaphorePermit,
}

/// What an edge looks like at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct EdgeSnapshot {
    /// Credits in use: work queued or in flight.
    pub depth: u32,
    /// Credits in all.
    pub bound: u32,
    /// How often a sender found no credit left.
    pub num_waits: u64,
    /// How long senders have waited for credits in all, in microseconds.
    pub waited_us: u64,
}

// === impl Credits ===

impl Credits {
    /// Makes an edge with this many credits (at least one).
    pub fn new(bound: u32) -> Self {
        let bound = bound.max(1);
        Self {
            shared: Arc::new(Shared {
                semaphore: Arc::new(Semaphore::new(bound as usize)),
                bound,
                num_waits: AtomicU64::new(0),
                waited_us: AtomicU64::new(0),
            }),
        }
    }

    /// Takes a credit if one is free.
    pub fn try_take(&self) -> Option<Credit> {
        let permit = Arc::clone(&self.shared.semaphore).try_acquire_owned().ok()?;
        Some(Credit { _permit: permit })
    }

    /// Takes a credit, waiting in line for one; the clock starts only when none is free.
    pub async fn take(&self) -> Credit {
        if let Some(credit) = self.try_take() {
            return credit;
        }
        let _waiting = Waiting { shared: &self.shared, since: Instant::now() };
        match Arc::clone(&self.shared.semaphore).acquire_owned().await {
            Ok(permit) => Credit { _permit: permit },
            // Nobody ever closes the semaphore; if that changed, waiting for ever is the only safe answer.
            Err(_) => std::future::pending().await,
        }
    }

    /// Like [`Credits::take`], but gives up after `max_wait`.
    pub async fn take_within(&self, max_wait: Duration) -> Option<Credit> {
        tokio::time::timeout(max_wait, self.take()).await.ok()
    }

    /// Waits until every credit is back: nothing is queued or in flight at that moment.
    pub async fn all_returned(&self) {
        // Never closed, see `take`.
        let _ = self.shared.semaphore.acquire_many(self.shared.bound).await;
    }

    /// The edge as it is now.
    pub fn snapshot(&self) -> EdgeSnapshot {
        let free = self.shared.semaphore.available_permits() as u32;
        EdgeSnapshot {
            depth: self.shared.bound.saturating_sub(free),
            bound: self.shared.bound,
            num_waits: self.shared.num_waits.load(Ordering::Relaxed),
            waited_us: self.shared.waited_us.load(Ordering::Relaxed),
        }
    }
}

/// Adds the time spent waiting, also when the waiter gives up.
struct Waiting<'a> {
    shared: &'a Shared,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.num_waits.fetch_add(1, Ordering::Relaxed);
        self.shared.waited_us.fetch_add(self.since.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_credits_stop_at_the_bound_and_return_on_drop() {
        let credits = Credits::new(2);
        let first = credits.try_take().unwrap();
        let _second = credits.try_take().unwrap();
        assert!(credits.try_take().is_none());
        assert_eq!(credits.snapshot().depth, 2);
        drop(first);
        assert_eq!(credits.snapshot().depth, 1);
        assert!(credits.try_take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn test_credits_waiting_is_counted_only_when_none_is_free() {
        let credits = Credits::new(1);
        let held = credits.take().await;
        assert_eq!(credits.snapshot().num_waits, 0);
        assert!(credits.take_within(Duration::from_millis(50)).await.is_none());
        assert_eq!(credits.snapshot().num_waits, 1);
        drop(held);
        assert!(credits.take_within(Duration::from_millis(50)).await.is_some());
        assert_eq!(credits.snapshot().num_waits, 1);
    }
}
