//! The thread that looks after the log on disk: it stores commits, counts what is unread, and removes what retention
//! lets go.
//!
//! It never removes a record that a consumer has not committed, nor the last entry of a partition (which carries the
//! offset on).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use fjall::AbstractTree;

use super::committer::now_ms;
use super::entry::Header;
use super::failure::{Failure, LogState};
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
    retention: Retention,
    stored_commits: HashMap<usize, u64>,
    oldest: HashMap<usize, Oldest>,
}

/// The oldest entry of a partition.
struct Oldest {
    header: Header,
    /// When to try again after a removal in vain.
    retry_at: Instant,
}

// === impl Housekeeper ===

impl Housekeeper {
    /// A housekeeper that has not started.
    pub(super) fn new(topics: Arc<Topics>, state: Arc<LogState>, retention: Retention) -> Self {
        let stored_commits = topics.partitions().iter().map(|p| (p.index, p.committed())).collect();
        Self { topics, state, retention, stored_commits, oldest: HashMap::new() }
    }

    /// Works until `stop` is closed; all commits are stored by then.
    pub(super) fn run(mut self, stop: &mpsc::Receiver<()>) {
        let mut retention_at = Instant::now() + RETENTION_INTERVAL;
        let mut is_stopping = false;
        while !is_stopping {
            is_stopping = stop.recv_timeout(COMMIT_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout);
            if let Err(failure) = self.store_commits() {
                self.state.break_down(format!("storing commits failed: {failure}"));
                return;
            }
            if Instant::now() >= retention_at {
                retention_at = Instant::now() + RETENTION_INTERVAL;
                // Removing nothing for now does no harm: the disk budget still holds.
                if let Err(failure) = self.apply_retention() {
                    tracing::warn!(%failure, "could not remove old entries from the log");
                }
            }
        }
    }

    fn store_commits(&mut self) -> Result<(), Failure> {
        let mut moved = Vec::new();
        for partition in self.topics.partitions() {
            let committed = partition.committed();
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
                let Some((_, bytes)) = partition.entries.first_key_value().map(decode_guard).transpose()? else {
                    return Ok(None);
                };
                let oldest = Oldest { header: Header::decode(&bytes)?, retry_at: Instant::now() };
                Ok(Some(unknown.insert(oldest)))
            }
        }
    }

    /// Removes the oldest entries of a partition if it is over its bounds. Its share of the size bound is its share of
    /// the whole log.
    fn trim(&mut self, partition: &Partition, num_bytes_of_all: u64) -> Result<(), Failure> {
        let Retention { age, num_bytes } = self.retention;
        let Some(oldest) = self.oldest(partition)? else { return Ok(()) };
        if Instant::now() < oldest.retry_at {
            return Ok(());
        }
        let age_ms = age.as_millis() as u64;
        let expired_before = now_ms().saturating_sub(age_ms);
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
        let before = oldest.header;
        if let Some(cut) = first_kept(partition, limit, may_go)? {
            partition.entries.tree.drop_range(..cut.to_be_bytes()).map_err(fjall::Error::from)?;
        }
        self.oldest.remove(&partition.index);
        if let Some(oldest) = self.oldest(partition)?.filter(|oldest| oldest.header == before) {
            oldest.retry_at = Instant::now() + RETENTION_PAUSE;
        }
        Ok(())
    }
}

/// The base offset of the first entry that must stay: the first that may not go, at the latest the one that holds
/// `limit`, at the very latest the last one. Entries are ordered by time and position, so a binary search finds it.
fn first_kept(partition: &Partition, limit: u64, may_go: impl Fn(&Header) -> bool) -> Result<Option<u64>, Failure> {
    let Some((last, _)) = partition.entries.last_key_value().map(decode_guard).transpose()? else { return Ok(None) };
    let Some((mut low, _)) = partition.entries.first_key_value().map(decode_guard).transpose()? else {
        return Ok(None);
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
