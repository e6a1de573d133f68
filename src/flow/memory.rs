//! One budget of memory for everything that waits: packages on their way into the log, batches on their way into the
//! store, and what the log's own client keeps.
//!
//! Credits bound how many messages wait, and this bounds how many bytes they are. Three kinds of holders share it, and none
//! of them may starve the others:
//! - packages are reserved before they are worked on, and refused when there is no room;
//! - batches are taken without asking, since what has been read has to be held; a consumer asks before it reads another
//!   one ([`MemoryBudget::may_read_on`]), so that batches get about half: reads that were under way and the rows of writes
//!   in flight come on top;
//! - what is outside of our hands is reported, and counts as it is.
//!
//! However much the latter two hold, half stays for packages: a store that stands still fills batches and the
//! client's queues, and devices have to be acknowledged all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// The part of the budget that is left to packages whatever the others hold: 1 / this.
pub const PACKAGES_PART: u64 = 2;
/// The part of the budget up to which consumers read on: 1 / this.
const BATCHES_PART: u64 = 2;
/// There is room again when this part of what packages may have is free: 1 / this.
const ROOM_PART: u64 = 8;

/// How many times the base a delay is at most.
const MAX_TIMES: f64 = 8.0;
/// Delays are spread by this part to both sides.
const SPREAD: f64 = 0.5;

/// The budget. Clones share the same one.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: AtomicU64,
    packages: AtomicU64,
    batches: AtomicU64,
    outside: AtomicU64,
    num_refused: AtomicU64,
    /// Bytes refused lately: who was sent away comes back.
    refused: AtomicU64,
}

/// Bytes in use; they are given back when this is dropped.
#[derive(Debug)]
pub struct Reserved {
    shared: Arc<Shared>,
    holder: Holder,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum Holder {
    Packages,
    Batches,
}

/// The budget at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemorySnapshot {
    /// What may be in use.
    pub budget_bytes: u64,
    /// What is in use: the sum of the following three.
    pub in_use_bytes: u64,
    /// Packages that are queued or worked on and have no receipt yet.
    pub packages_bytes: u64,
    /// Batches that were read and are not settled.
    pub batches_bytes: u64,
    /// What the log's client and its buffers hold, by their own report.
    pub outside_bytes: u64,
    /// Packages that found no room; their devices were told to send them again.
    pub refused_packages: u64,
}

/// Tells when the budget becomes full and when there is room again, once for each turn.
#[derive(Debug, Default)]
pub struct FullWatch {
    num_refused: u64,
    is_full: bool,
}

/// What [`FullWatch`] has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Packages are refused.
    Full,
    /// They are no longer, and some memory is free.
    Room,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let zero = AtomicU64::default;
        let shared = Shared {
            limit: AtomicU64::new(limit.max(1)),
            packages: zero(),
            batches: zero(),
            outside: zero(),
            num_refused: zero(),
            refused: zero(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Allows another number of bytes from now on. What is in use beyond it stays until it is given back.
    pub fn set_limit(&self, limit: u64) {
        self.shared.limit.store(limit.max(1), Ordering::Release);
    }

    /// Reserves memory for a package, unless that would lead over the limit.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reserved> {
        let shared = &self.shared;
        let (limit, others) = (shared.limit(), shared.held_by_others());
        let reserved = shared.packages.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            held.checked_add(bytes).filter(|held| held.saturating_add(others) <= limit)
        });
        if reserved.is_err() {
            shared.num_refused.fetch_add(1, Ordering::Relaxed);
            shared.refused.fetch_add(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Reserved { shared: Arc::clone(shared), holder: Holder::Packages, bytes })
    }

    /// Counts a batch that was read: it is there, whatever the limit says.
    pub fn take(&self, bytes: u64) -> Reserved {
        self.shared.batches.fetch_add(bytes, Ordering::AcqRel);
        Reserved { shared: Arc::clone(&self.shared), holder: Holder::Batches, bytes }
    }

    /// Whether a consumer that has a batch already may read another one.
    pub fn may_read_on(&self) -> bool {
        let batches = self.shared.batches.load(Ordering::Acquire);
        let limit = self.shared.limit();
        batches < limit / BATCHES_PART && self.in_use() < limit
    }

    /// Takes in what others hold, by their report.
    pub fn set_outside(&self, bytes: u64) {
        self.shared.outside.store(bytes, Ordering::Release);
    }

    /// Bytes in use, by whomever.
    pub fn in_use(&self) -> u64 {
        self.snapshot().in_use_bytes
    }

    /// What is in use and what was refused lately, as a part of the budget: above 1 there is more than fits.
    pub fn pressure(&self) -> f64 {
        let refused = self.shared.refused.load(Ordering::Relaxed);
        self.in_use().saturating_add(refused) as f64 / self.shared.limit() as f64
    }

    /// Forgets half of what was refused. To be called about once a second, so that pressure follows demand.
    pub fn relax(&self) {
        let halve = |refused: u64| Some(refused / 2);
        // The closure never declines.
        let _ = self.shared.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve);
    }

    /// The budget as it is now.
    pub fn snapshot(&self) -> MemorySnapshot {
        let shared = &self.shared;
        let packages_bytes = shared.packages.load(Ordering::Acquire);
        let batches_bytes = shared.batches.load(Ordering::Acquire);
        let outside_bytes = shared.outside.load(Ordering::Acquire);
        MemorySnapshot {
            budget_bytes: shared.limit(),
            in_use_bytes: packages_bytes.saturating_add(batches_bytes).saturating_add(outside_bytes),
            packages_bytes,
            batches_bytes,
            outside_bytes,
            refused_packages: shared.num_refused.load(Ordering::Relaxed),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// What packages have to leave to the others.
    fn held_by_others(&self) -> u64 {
        let held = self.batches.load(Ordering::Acquire).saturating_add(self.outside.load(Ordering::Acquire));
        let limit = self.limit();
        held.min(limit - limit / PACKAGES_PART)
    }
}

// === impl Reserved ===

impl Reserved {
    /// Counts what this turned out to take beside what was reserved for it, `bytes` in all: it is there, whatever the limit
    /// says. `None` if there was enough.
    pub fn outgrown_by(&self, bytes: u64) -> Option<Self> {
        let more = bytes.checked_sub(self.bytes).filter(|more| *more > 0)?;
        self.held().fetch_add(more, Ordering::AcqRel);
        Some(Self { shared: Arc::clone(&self.shared), holder: self.holder, bytes: more })
    }

    /// Counts `bytes` from now on, in one step: other holders never see what was counted before and this both.
    pub fn resize(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.held().fetch_add(more, Ordering::AcqRel),
            None => self.held().fetch_sub(self.bytes - bytes, Ordering::AcqRel),
        };
        self.bytes = bytes;
    }

    fn held(&self) -> &AtomicU64 {
        match self.holder {
            Holder::Packages => &self.shared.packages,
            Holder::Batches => &self.shared.batches,
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.held().fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

// === impl FullWatch ===

impl FullWatch {
    /// Looks at the budget, about once a second; says so if it has become full, or has room again.
    pub fn on_look(&mut self, seen: &MemorySnapshot) -> Option<Turn> {
        let has_refused = seen.refused_packages > std::mem::replace(&mut self.num_refused, seen.refused_packages);
        let MemorySnapshot { budget_bytes: limit, packages_bytes, .. } = *seen;
        let others = seen.in_use_bytes.saturating_sub(packages_bytes).min(limit - limit / PACKAGES_PART);
        let has_room = (limit - others).saturating_sub(packages_bytes) > (limit - others) / ROOM_PART;
        let is_full = has_refused || self.is_full && !has_room;
        let has_turned = is_full != std::mem::replace(&mut self.is_full, is_full);
        has_turned.then_some(if is_full { Turn::Full } else { Turn::Room })
    }
}

/// How long a device is asked to wait when its package found no room: longer with more pressure, and spread by `draw`, an
/// even draw from 0.0 up to 1.0, so that those who were sent away together do not come back together.
pub fn retry_delay(base: Duration, pressure: f64, draw: f64) -> Duration {
    // Capped before it is spread: many delays at the very cap would come back together.
    let times = pressure.clamp(1.0, MAX_TIMES / (1.0 + SPREAD));
    base.mul_f64(times * (1.0 - SPREAD + 2.0 * SPREAD * draw.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests;
