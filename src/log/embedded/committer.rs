//! The one thread that writes records: it takes whatever appends are waiting, writes them as one group with one flush
//! to disk, and only then completes their receipts and shows them to readers.
//!
//! While a flush runs the next appends are collected, so that groups grow with load and no timer is needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, PersistMode};

use super::entry::EntryBuilder;
use super::failure::{Failure, LogState};
use super::log_time::LogTime;
use super::partition::Partition;
use super::place::LogPlace;
use super::topics::Topics;
use crate::log::{AppendBatch, AppendError, Completion};

/// A group is written at this size even if more is waiting: it bounds the memory of a group and the time of a flush.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// The disk is looked at this often, and sooner when much is written: free space, and whether all files are there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Every table is looked for this often: there may be hundreds.
const TABLES_INTERVAL: Duration = Duration::from_secs(5);

/// Something is written this often, so that a disk that fails is known before a record comes.
const PROBE_INTERVAL: Duration = Duration::from_secs(20);

/// What the committer is told.
pub(super) enum Order {
    /// Write these records.
    Append {
        /// Where to.
        partition: Arc<Partition>,
        /// What.
        batch: AppendBatch,
        /// Whom to tell.
        done: Completion,
    },
    /// Write what came before, then end.
    Stop,
}

/// The committer's state.
pub(super) struct Committer {
    database: Database,
    topics: Arc<Topics>,
    place: LogPlace,
    state: Arc<LogState>,
    time: Arc<LogTime>,
    num_groups: Arc<AtomicU64>,
    /// Memtables are sent to disk when they hold half of the write buffer: the other half is for those on their way.
    max_memtable_bytes: u64,
    num_memtable_bytes: u64,
    looked_at: Instant,
    looked_at_tables: Instant,
    wrote_at: Instant,
    num_bytes_since_look: u64,
    max_bytes_to_look: u64,
    group: Group,
}

/// The appends of one group commit.
#[derive(Default)]
struct Group {
    /// By partition index; `None` for partitions without records in this group.
    entries: Vec<Option<(Arc<Partition>, EntryBuilder)>>,
    receipts: Vec<Completion>,
    num_bytes: usize,
}

/// Breaks the log when the committer ends by a panic: its silence must not look like slowness.
struct BreakOnPanic(Arc<LogState>);

impl Drop for BreakOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.break_down("the committer thread panicked");
        }
    }
}

// === impl Committer ===

impl Committer {
    /// A committer that has not started.
    pub(super) fn new(
        database: Database,
        topics: Arc<Topics>,
        place: LogPlace,
        state: Arc<LogState>,
        time: Arc<LogTime>,
        num_groups: Arc<AtomicU64>,
        write_buffer: u64,
    ) -> Self {
        let num_memtable_bytes = database.write_buffer_size();
        let max_memtable_bytes = write_buffer / 2;
        Self {
            database,
            topics,
            place,
            state,
            time,
            num_groups,
            max_memtable_bytes,
            num_memtable_bytes,
            looked_at: Instant::now(),
            looked_at_tables: Instant::now(),
            wrote_at: Instant::now(),
            num_bytes_since_look: 0,
            max_bytes_to_look: 0,
            group: Group::default(),
        }
    }

    /// Works until told to stop, or until nobody can send orders any more.
    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>) {
        let _guard = BreakOnPanic(self.state.clone());
        self.look();
        loop {
            let order = match orders.recv_timeout(LOOK_INTERVAL) {
                Ok(order) => order,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let mut next = Some(order);
            let mut is_stopping = false;
            while let Some(order) = next {
                match order {
                    Order::Append { partition, batch, done } => self.group.push(partition, &batch, done),
                    Order::Stop => is_stopping = true,
                }
                let is_full = self.group.num_bytes >= MAX_GROUP_BYTES;
                next = if is_stopping || is_full { None } else { orders.try_recv().ok() };
            }
            self.commit_group();
            if is_stopping {
                break;
            }
            if self.num_bytes_since_look >= self.max_bytes_to_look || self.looked_at.elapsed() >= LOOK_INTERVAL {
                self.look();
            }
        }
    }

    /// Finds out about a disk that fails while nothing is written, or soon will.
    fn look(&mut self) {
        self.looked_at = Instant::now();
        self.num_bytes_since_look = 0;
        if self.state.broken().is_some() {
            return;
        }
        let partitions = self.topics.partitions();
        let tables = partitions.iter().map(|partition| partition.entries.path());
        if self.wrote_at.elapsed() >= PROBE_INTERVAL {
            self.wrote_at = Instant::now();
            self.state.begin_write();
            let probed = self.place.probe();
            self.state.end_write();
            if let Err(failure) = probed {
                return self.state.break_down_by(&failure, "writing to the disk of the log");
            }
        }
        // Nothing is written by this; it says whether a write in the background, of records to tables, has failed.
        if let Err(error) = self.database.persist(PersistMode::Buffer) {
            return self.state.break_down_by(&error.into(), "writing to the log");
        }
        if self.looked_at_tables.elapsed() >= TABLES_INTERVAL {
            self.looked_at_tables = Instant::now();
            if let Err(failure) = LogPlace::look_at_tables(&self.topics.keyspaces()) {
                return self.state.break_down_by(&failure, "looking after the log");
            }
        }
        let looked = self.place.look().and_then(|()| self.place.look_at(tables)).and_then(|()| self.place.space());
        match looked {
            Ok(space) => {
                self.state.set_space(space);
                self.max_bytes_to_look = self.state.bytes_to_next_look();
            }
            Err(failure) => self.state.break_down_by(&failure, "looking after the log"),
        }
    }

    fn commit_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        // A full log still takes what was already on its way: the bound on that is the caller's.
        if let Err(error @ AppendError::Unavailable(_)) = self.state.check() {
            return group.fail(&error);
        }
        self.num_bytes_since_look += group.num_bytes as u64;
        self.wrote_at = Instant::now();
        self.state.begin_write();
        let written = self.write(&group_parts(group.entries, self.time.now_ms(self.wrote_at)));
        self.state.end_write();
        match written {
            Ok(()) => group.receipts.into_iter().for_each(|done| done.complete(Ok(()))),
            Err(failure) => {
                self.state.break_down_by(&failure, "writing to the log");
                let error = AppendError::unavailable(failure);
                group.receipts.into_iter().for_each(|done| done.complete(Err(error.clone())));
            }
        }
    }

    fn write(&mut self, parts: &[Part]) -> Result<(), Failure> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for part in parts {
            // The value is shared with the memtable, not copied.
            batch.insert(&part.partition.entries, part.partition.end().to_be_bytes(), part.bytes.clone());
        }
        fail::fail_point!("flush", |_| Err(fjall::Error::from(std::io::Error::other("fail point")).into()));
        batch.commit()?;
        // What is on disk under no name is gone with this process: nobody is told that it is durable.
        self.place.verify()?;
        self.num_groups.fetch_add(1, Ordering::Relaxed);
        for part in parts {
            self.num_memtable_bytes += part.bytes.len() as u64;
            part.partition.publish(part.num_records, part.bytes.clone());
        }
        self.state.set_unread_bytes(self.topics.num_unread_bytes());
        if self.num_memtable_bytes >= self.max_memtable_bytes {
            self.num_memtable_bytes = 0;
            for partition in self.topics.partitions() {
                partition.entries.rotate_memtable()?;
            }
        }
        Ok(())
    }
}

/// A finished entry of the group.
struct Part {
    partition: Arc<Partition>,
    num_records: u32,
    bytes: Bytes,
}

fn group_parts(entries: Vec<Option<(Arc<Partition>, EntryBuilder)>>, now_ms: u64) -> Vec<Part> {
    let parts = entries.into_iter().flatten().map(|(partition, builder)| {
        let num_records = builder.num_records();
        let bytes = builder.finish(partition.end_position(), now_ms).into();
        Part { partition, num_records, bytes }
    });
    parts.collect()
}

// === impl Group ===

impl Group {
    fn push(&mut self, partition: Arc<Partition>, batch: &AppendBatch, done: Completion) {
        if self.entries.len() <= partition.index {
            self.entries.resize_with(partition.index + 1, || None);
        }
        if let Some(slot) = self.entries.get_mut(partition.index) {
            let (_, builder) = slot.get_or_insert_with(|| (partition, EntryBuilder::new()));
            let before = builder.len();
            builder.push(batch);
            self.num_bytes += builder.len() - before;
        }
        self.receipts.push(done);
    }

    fn fail(self, error: &AppendError) {
        self.receipts.into_iter().for_each(|done| done.complete(Err(error.clone())));
    }
}
