//! Counters of what has been confirmed, never of what was attempted.
//!
//! Where a count has a label, the total is the sum of the labelled ones: nothing is counted twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::family::{Family, Volume};
use super::requests::Requests;

/// A partition: its topic's name and its number.
pub type PartitionKey = (Arc<str>, u32);

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
    pub packages: PackageCounts,
    /// Bytes of packages and bodies that were taken in.
    pub received: ReceivedBytes,
    /// Answers of HTTP ingest.
    pub requests: Requests,
    /// What the log has confirmed, by topic.
    pub appended: Family<Arc<str>, Volume>,
    /// What was read from the log to be written, by partition (a record read again counts again).
    pub read: Family<PartitionKey, Volume>,
    /// Rows by table.
    pub tables: Family<Arc<str>, TableCounts>,
    /// What routes made of records, by the route's name.
    pub routes: Family<Arc<str>, RouteCounts>,
    /// Records of topics of others that were settled without a route that takes them, by topic.
    pub unrouted: Family<Arc<str>>,
    /// Records confirmed by the dead-letter topic, from the edge and from the writers, by reason.
    pub dead_letters: Family<&'static str>,
    /// Writes that the store did not confirm and that were tried again, by reason.
    pub write_retries: Family<&'static str>,
    /// Requests to the schema registry, by outcome.
    pub registry_requests: Family<&'static str>,
    /// Writer schemas that were missing in the log and are there again.
    pub schemas_restored: AtomicU64,
    /// Acknowledged records, and records of topics of others, that were removed before they were read, as it tells.
    pub lost_records: AtomicU64,
    /// Rows that the embedded store has deleted because they were past `store.ttl`.
    pub rows_expired: AtomicU64,
    /// Records that retention has removed from the embedded log.
    pub log_removed: AtomicU64,
}

/// Packages by outcome: of the outcomes of its messages the one counts that asks most of the sender.
#[derive(Debug, Default)]
pub struct PackageCounts {
    /// No message was rejected, or is to be sent again.
    pub accepted: AtomicU64,
    /// A message was rejected, or the whole package, and none is to be sent again.
    pub rejected: AtomicU64,
    /// A message is to be sent again, or the whole package.
    pub retry_later: AtomicU64,
}

/// Bytes by source, as they came: packages without their frames, bodies of requests before decompression.
#[derive(Debug, Default)]
pub struct ReceivedBytes {
    /// Of packages on the device port, once intake has taken them.
    pub devices: AtomicU64,
    /// Of bodies of requests that were let in.
    pub http: AtomicU64,
}

/// Rows of one table.
#[derive(Debug, Default)]
pub struct TableCounts {
    /// Rows confirmed by the store (a row written again counts again).
    pub rows: AtomicU64,
    /// Records that are dead letters because the store refused their rows for what they hold.
    pub refused: AtomicU64,
}

/// What one route made of records.
#[derive(Debug, Default)]
pub struct RouteCounts {
    /// Records that the route passed over, once they were settled, by reason.
    pub skipped: Family<&'static str>,
    /// Rows confirmed by the store (a row written again counts again).
    pub rows: AtomicU64,
    /// Rows of which the store has confirmed that they are deleted.
    pub deleted: AtomicU64,
    /// Records of which the route made no row that the store took, once the dead-letter topic confirmed them, by reason.
    pub rejected: Family<&'static str>,
}

/// The totals of [`Counters`] at one moment.
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
            packages: self.packages.read().into_iter().map(|(_, count)| count).sum(),
            rows: self.tables.sum(|table| get(&table.rows)),
            dead_letters: self.dead_letters.total(),
            refused_rows: self.tables.sum(|table| get(&table.refused)),
            write_retries: self.write_retries.total(),
            schemas_restored: get(&self.schemas_restored),
            lost_records: get(&self.lost_records),
            rows_expired: get(&self.rows_expired),
            log_removed: get(&self.log_removed),
        }
    }
}

// === impl PackageCounts ===

impl PackageCounts {
    /// Every outcome and its count.
    pub fn read(&self) -> [(&'static str, u64); 3] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("accepted", get(&self.accepted)), ("rejected", get(&self.rejected)), ("retry_later", get(&self.retry_later))]
    }
}

// === impl ReceivedBytes ===

impl ReceivedBytes {
    /// Every source and its bytes.
    pub fn read(&self) -> [(&'static str, u64); 2] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("devices", get(&self.devices)), ("http", get(&self.http))]
    }
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
