//! Counters of what has been confirmed, never of what was attempted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages confirmed as durable in the log.
    pub accepted: AtomicU64,
    /// Messages found twice in one package, events found twice in one request.
    pub duplicates: AtomicU64,
    /// Messages refused for good, after the dead-letter topic confirmed them, and events whose sender was told why.
    pub rejected: AtomicU64,
    /// Messages whose device was told to send them again. A package that was not unpacked counts as one.
    pub retry_later: AtomicU64,
    /// Packages answered with a receipt; chunks of requests too.
    pub packages: AtomicU64,
    /// Rows confirmed by the store (a row written again counts again).
    pub rows: AtomicU64,
    /// Records confirmed by the dead-letter topic, from the edge and from the writers.
    pub dead_letters: AtomicU64,
    /// Records that are dead letters because the store refused their rows for what they hold.
    pub refused_rows: AtomicU64,
    /// Writes that the store did not confirm and that were tried again.
    pub write_retries: AtomicU64,
    /// Writer schemas that were missing in the log and are there again.
    pub schemas_restored: AtomicU64,
    /// Acknowledged records that the log removed before they were read, as it tells.
    pub lost_records: AtomicU64,
    /// Rows that the embedded store has deleted because they were past `store.ttl`.
    pub rows_expired: AtomicU64,
    /// Records that retention has removed from the embedded log.
    pub log_removed: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the fields are those of `Counters`
pub struct CountersSnapshot {
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub retry_later: u64,
    pub packages: u64,
    pub rows: u64,
    pub dead_letters: u64,
    pub refused_rows: u64,
    pub write_retries: u64,
    pub schemas_restored: u64,
    pub lost_records: u64,
    pub rows_expired: u64,
    pub log_removed: u64,
}

impl Counters {
    /// The counts as they are now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CountersSnapshot {
            accepted: get(&self.accepted),
            duplicates: get(&self.duplicates),
            rejected: get(&self.rejected),
            retry_later: get(&self.retry_later),
            packages: get(&self.packages),
            rows: get(&self.rows),
            dead_letters: get(&self.dead_letters),
            refused_rows: get(&self.refused_rows),
            write_retries: get(&self.write_retries),
            schemas_restored: get(&self.schemas_restored),
            lost_records: get(&self.lost_records),
            rows_expired: get(&self.rows_expired),
            log_removed: get(&self.log_removed),
        }
    }
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
