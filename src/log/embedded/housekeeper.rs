//! The thread that looks after the log on disk: it stores commits, counts what is unread, and removes what retention
//! lets go.
//!
//! It never removes a record that a consumer has not committed, nor the last entry of a partition (which carries the
//! offset on). Entries grow old by the log's own time ([`LogTime`]), which no change of the wall clock moves.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use fjall::AbstractTree;

use super::entry::Header;
use super::failure::{Failure, LogState};
use super::log_time::LogTime;
use super::partition::{Partition, decode_guard};
use super::topics::Topics;

/// How soon a commit is stored.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How often retention looks.
const RETENTION_INTERVAL: Duration = Duration::from_secs(1);
/// Retention acts when a partition is over its bound by this part of it: finding the cut reads the disk.
const RETENTION_SLACK: u64 = 64;
/// How long to wait after a removal that freed nothing, because the entries are still in a memtable or share a file
/// with newer ones.
const RETENTION_PAUSE: Duration = Duration::from_secs(5);
/// How often it says what retention has removed.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How often the log's time is stored, so that the next start sees how long the log stood still.
const TIME_INTERVAL: Duration = Duration::from_secs(60);
/// So much of the log's time may be lost with a stop: much less than what a start takes for granted.
const MAX_TIME_LOST_MS: u64 = 60_000;

/// What may stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    /// Entries older than this may go.
    pub age: Duration,
    /// Over all partitions, more than this may go.
    pub num_bytes: u64,
}

/// The housekeeper's state.
pub(super) struct Housekeeper {
    topics: Arc<Topics>,
    state: Arc<LogState>,
    time: Arc<LogTime>,
    retention: Retention,
    stored_commits: HashMap<usize, u64>,
    oldest: HashMap<usize, Oldest>,
    removed: Removed,
}

/// What retention has removed.
struct Removed {
    /// Records since the log was opened.
    num_records: Arc<AtomicU64>,
    /// Records of each topic that nobody was told of yet.
    untold: BTreeMap<Arc<str>, u64>,
    /// When it is told again at the earliest.
    tell_at: Instant,
}

/// The oldest entry of a partition.
struct Oldest {
    base_offset: u64,
    header: Header,
    /// When to try again after a removal in vain.
    retry_at: Instant,
}

// === impl Housekeeper ===

impl Housekeeper {
    /// A housekeeper that has not started; `num_removed` counts the records that retention removes.
    pub(super) fn new(
        topics: Arc<Topics>,
        state: Arc<LogState>,
        time: Arc<LogTime>,
        retention: Retention,
        num_removed: Arc<AtomicU64>,
    ) -> Self {
        let stored_commits = topics.partitions().iter().map(|p| (p.index, p.committed())).collect();
        let removed = Removed { num_records: num_removed, untold: BTreeMap::new(), tell_at: Instant::now() };
        Self { topics, state, time, retention, stored_commits, oldest: HashMap::new(), removed }
    }

    /// Works until `stop` is closed; all commits are stored by then.
    pub(super) fn run(mut self, stop: &mpsc::Receiver<()>) {
        let mut retention_at = Instant::now() + RETENTION_INTERVAL;
        let mut time_at = Instant::now() + TIME_INTERVAL;
        let mut is_stopping = false;
        while !is_stopping {
            is_stopping = stop.recv_timeout(COMMIT_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout);
            if let Err(failure) = self.store_commits() {
                self.state.break_down(format!("storing commits failed: {failure}"));
                return;
            }
            if is_stopping || Instant::now() >= time_at {
                time_at = Instant::now() + TIME_INTERVAL;
                if let Err(failure) = self.store_time() {
                    self.state.break_down(format!("storing the log's time failed: {failure}"));
                    return;
                }
            }
            self.removed.tell(Instant::now());
            if Instant::now() >= retention_at {
                retention_at = Instant::now() + RETENTION_INTERVAL;
                // Removing nothing for now does no harm: the disk budget still holds.
                if let Err(failure) = self.apply_retention() {
                    tracing::warn!(%failure, "could not remove old entries from the log");
                }
            }
        }
    }

    /// Stores the log's time, unless what was written to it lately tells that already.
    fn store_time(&self) -> Result<(), Failure> {
        let now_ms = self.time.now_ms(Instant::now());
        let is_told = self.topics.newest_ms()?.is_some_and(|newest_ms| newest_ms + MAX_TIME_LOST_MS > now_ms);
        if is_told { Ok(()) } else { self.topics.store_time(now_ms) }
    }

    fn store_commits(&mut self) -> Result<(), Failure> {
        let mut moved = Vec::new();
        for partition in self.topics.partitions() {
            let committed = partition.committed();
            // One that this process has not looked at yet may be stored already: once more does no harm.
            if self.stored_commits.insert(partition.index, committed).unwrap_or(0) < committed {
                moved.push((partition, committed));
            }
        }
        if !moved.is_empty() {
            self.topics.store_commits(&moved)?;
            for (partition, _) in &moved {
                partition.update_kept_position()?;
            }
            self.state.set_unread_bytes(self.topics.num_unread_bytes());
        }
        Ok(())
    }

    fn apply_retention(&mut self) -> Result<(), Failure> {
        let partitions = self.topics.partitions();
        let mut num_bytes = 0;
        for partition in &partitions {
            let Some(oldest) = self.oldest(partition)? else { continue };
            num_bytes += partition.end_position().saturating_sub(oldest.header.position);
        }
        for partition in &partitions {
            self.trim(partition, num_bytes)?;
        }
        Ok(())
    }

    /// The oldest entry of a partition, read from disk only after a removal.
    fn oldest(&mut self, partition: &Partition) -> Result<Option<&mut Oldest>, Failure> {
        match self.oldest.entry(partition.index) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(unknown) => {
                let Some((base_offset, bytes)) = partition.entries.first_key_value().map(decode_guard).transpose()?
                else {
                    return Ok(None);
                };
                let oldest = Oldest { base_offset, header: Header::decode(&bytes)?, retry_at: Instant::now() };
                Ok(Some(unknown.insert(oldest)))
            }
        }
    }

    /// Removes the oldest entries of a partition if it is over its bounds. Its share of the size bound is its share of
    /// the whole log.
    fn trim(&mut self, partition: &Partition, num_bytes_of_all: u64) -> Result<(), Failure> {
        let Retention { age, num_bytes } = self.retention;
        let now_ms = self.time.now_ms(Instant::now());
        let Some(oldest) = self.oldest(partition)? else { return Ok(()) };
        if Instant::now() < oldest.retry_at {
            return Ok(());
        }
        let age_ms = age.as_millis() as u64;
        let expired_before = now_ms.saturating_sub(age_ms);
        let size = partition.end_position().saturating_sub(oldest.header.position);
        let share = (u128::from(size) * u128::from(num_bytes) / u128::from(num_bytes_of_all.max(1))) as u64;
        let over_before = partition.end_position().saturating_sub(share);

        let is_expired = oldest.header.written_at_ms + age_ms / RETENTION_SLACK < expired_before;
        let is_over = oldest.header.position + share / RETENTION_SLACK < over_before;
        if !is_expired && !is_over {
            return Ok(());
        }
        let may_go = |header: &Header| header.written_at_ms < expired_before || header.position < over_before;
        let limit = if partition.is_consumed() { partition.committed() } else { partition.end() };
        let (before, first) = (oldest.header, oldest.base_offset);
        if let Some(cut) = first_kept(partition, limit, may_go)? {
            partition.entries.tree.drop_range(..cut.to_be_bytes()).map_err(fjall::Error::from)?;
        }
        self.oldest.remove(&partition.index);
        let Some(oldest) = self.oldest(partition)? else { unreachable!("the last entry is kept, whatever its age") };
        if oldest.header == before {
            oldest.retry_at = Instant::now() + RETENTION_PAUSE;
        }
        let num_removed = oldest.base_offset - first;
        self.removed.add(&partition.id.topic, num_removed);
        Ok(())
    }
}

// === impl Removed ===

impl Removed {
    fn add(&mut self, topic: &Arc<str>, num_records: u64) {
        if num_records > 0 {
            self.num_records.fetch_add(num_records, Ordering::Relaxed);
            *self.untold.entry(Arc::clone(topic)).or_default() += num_records;
        }
    }

    /// One line for each topic, at most once in a while.
    fn tell(&mut self, now: Instant) {
        if self.untold.is_empty() || now < self.tell_at {
            return;
        }
        self.tell_at = now + REPORT_INTERVAL;
        for (topic, records) in std::mem::take(&mut self.untold) {
            tracing::info!(%topic, records, "retention has removed old records from the log");
        }
    }
}

/// The base offset of the first entry that must stay: the first that may not go, at the latest the one that holds
/// `limit`, at the very latest the last one. Entries are ordered by time and position, so a binary search finds it.
fn first_kept(partition: &Partition, limit: u64, may_go: impl Fn(&Header) -> bool) -> Result<Option<u64>, Failure> {
    let Some((last, _)) = partition.entries.last_key_value().map(decode_guard).transpose()? else { return Ok(None) };
    let Some((mut low, _)) = partition.entries.first_key_value().map(decode_guard).transpose()? else {
        unreachable!("a partition with a last entry has a first one, and nobody else removes any")
    };
    let mut high = last.min(limit);
    while low < high {
        let middle = low + (high - low) / 2;
        match partition.entry_at(middle)? {
            Some((base_offset, bytes)) => {
                let header = Header::decode(&bytes)?;
                let next = base_offset + u64::from(header.num_records);
                if next <= high && may_go(&header) {
                    low = next.max(middle + 1);
                } else {
                    high = base_offset.min(middle);
                }
            }
            None => high = middle,
        }
    }
    Ok(Some(low.min(last)))
}
