//! A bounded pool of bytes for buffers that grow: each holder says how much it has now, and hears whether it may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that buffers may take together. Clones share the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: AtomicU64,
    held: AtomicU64,
}

/// What one buffer holds of the pool; given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    pool: Pool,
    bytes: u64,
}

// === impl Pool ===

impl Pool {
    /// A pool of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { shared: Arc::new(Shared { limit: AtomicU64::new(limit), held: AtomicU64::new(0) }) }
    }

    /// Has another size from now on. What is held beyond it stays until it is given back.
    pub fn set_limit(&self, limit: u64) {
        self.shared.limit.store(limit, Ordering::Release);
    }

    /// A place in the pool that holds nothing yet.
    pub fn place(&self) -> Held {
        Held { pool: self.clone(), bytes: 0 }
    }

    /// Bytes held by all.
    pub fn held_bytes(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }
}

// === impl Held ===

impl Held {
    /// Holds this many bytes from now on, or what it held before if that is too much.
    #[must_use]
    pub fn hold(&mut self, bytes: u64) -> bool {
        let Shared { limit, held } = &*self.pool.shared;
        if bytes == self.bytes {
            return true;
        }
        if bytes < self.bytes {
            held.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
        } else {
            let (more, limit) = (bytes - self.bytes, limit.load(Ordering::Acquire));
            let fits = |held: u64| held.checked_add(more).filter(|held| *held <= limit);
            if held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
                return false;
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Less always fits.
        let _ = self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_pool_is_shared_and_given_back() {
        let pool = Pool::new(100);
        let (mut one, mut other) = (pool.place(), pool.place());
        assert!(one.hold(60));
        assert!(other.hold(40));
        assert!(!other.hold(41), "no room");
        assert_eq!(pool.held_bytes(), 100);
        assert!(one.hold(10));
        assert!(other.hold(90));
        drop(one);
        assert_eq!(pool.held_bytes(), 90);
        drop(other);
        assert_eq!(pool.held_bytes(), 0);
    }
}
