//! One partition of the embedded log: where it ends, what is committed, and its recent entries in memory.
//!
//! The committer alone moves the end; readers follow it. Nothing is visible here before it is on disk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fjall::Keyspace;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::entry::{self, Header};
use super::failure::Failure;
use crate::log::{ReadLimit, RecordBatch, TopicPartition};

/// A partition and its place on disk.
pub(super) struct Partition {
    /// Its name.
    pub id: TopicPartition,
    /// A small number of its own, for tables indexed by partition.
    pub index: usize,
    /// Its entries: key = offset of the first record, big-endian; value = see [`entry`].
    pub entries: Keyspace,
    /// The offset after the last durable record. Readers wait on it.
    end: watch::Sender<u64>,
    /// Bytes of entries ever taken; the [`Header::position`] of the next entry.
    end_position: AtomicU64,
    /// Position of the oldest entry that may not be removed yet; the disk budget counts from here.
    kept_position: AtomicU64,
    /// Everything below is done, says the consumer.
    committed: AtomicU64,
    /// Whether somebody reads this topic: then unread records are never removed.
    is_consumed: AtomicBool,
    tail: Mutex<Tail>,
}

/// The newest entries, so that a reader that keeps up never touches the disk.
struct Tail {
    entries: VecDeque<TailEntry>,
    num_bytes: usize,
    max_bytes: usize,
}

/// An entry as the committer wrote it. Its bytes are shared with the memtable: keeping it costs little.
#[derive(Clone)]
struct TailEntry {
    base_offset: u64,
    bytes: Bytes,
}

// === impl Partition ===

impl Partition {
    /// Takes up a partition where its entries say it ends.
    pub(super) fn recover(
        id: TopicPartition,
        index: usize,
        entries: Keyspace,
        committed: Option<u64>,
        max_tail_bytes: usize,
    ) -> Result<Self, Failure> {
        let last = entries.last_key_value().map(decode_guard).transpose()?;
        let (end, end_position) = match &last {
            Some((base_offset, bytes)) => {
                let header = Header::decode(bytes)?;
                (base_offset + u64::from(header.num_records), header.position + bytes.len() as u64)
            }
            None => (0, 0),
        };
        // If a damaged disk lost entries that were already committed, new records must not hide below the commit.
        let end = end.max(committed.unwrap_or(0));
        let partition = Self {
            id,
            index,
            entries,
            end: watch::Sender::new(end),
            end_position: AtomicU64::new(end_position),
            kept_position: AtomicU64::new(end_position),
            committed: AtomicU64::new(committed.unwrap_or(0)),
            is_consumed: AtomicBool::new(committed.is_some()),
            tail: Mutex::new(Tail { entries: VecDeque::new(), num_bytes: 0, max_bytes: max_tail_bytes }),
        };
        partition.update_kept_position()?;
        Ok(partition)
    }

    /// The offset after the last durable record.
    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// To wait for the end to move.
    pub(super) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// The position of the next entry.
    pub(super) fn end_position(&self) -> u64 {
        self.end_position.load(Ordering::Relaxed)
    }

    /// Makes an entry visible that has just become durable. Only the committer calls it, in offset order.
    pub(super) fn publish(&self, num_records: u32, bytes: Bytes) {
        let base_offset = self.end();
        self.end_position.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.tail.lock().push(TailEntry { base_offset, bytes });
        self.end.send_replace(base_offset + u64::from(num_records));
    }

    /// Everything below is done.
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Moves the committed offset forward, never back and never past the end.
    pub(super) fn note_commit(&self, next_offset: u64) {
        self.committed.fetch_max(next_offset.min(self.end()), Ordering::AcqRel);
    }

    /// Whether somebody reads this topic.
    pub(super) fn is_consumed(&self) -> bool {
        self.is_consumed.load(Ordering::Acquire)
    }

    /// Says that somebody reads this topic from now on.
    pub(super) fn set_consumed(&self) {
        self.is_consumed.store(true, Ordering::Release);
    }

    /// Bytes that must be kept because nobody has read them yet.
    pub(super) fn num_unread_bytes(&self) -> u64 {
        // Records of a topic that nobody reads are kept by retention alone: they never fill the disk budget.
        if !self.is_consumed() {
            return 0;
        }
        self.end_position().saturating_sub(self.kept_position.load(Ordering::Relaxed))
    }

    /// Bytes of the newest entries in memory.
    pub(super) fn num_tail_bytes(&self) -> u64 {
        self.tail.lock().num_bytes as u64
    }

    /// Looks up how much of the partition is unread, after the committed offset has moved.
    pub(super) fn update_kept_position(&self) -> Result<(), Failure> {
        // Read before the end, so that records that arrive meanwhile count as unread and not as gone.
        let end_position = self.end_position();
        let committed = self.committed();
        let first_unread = if committed < self.end() { self.entry_at(committed)? } else { None };
        let kept = match first_unread {
            Some((_, bytes)) => Header::decode(&bytes)?.position,
            None => end_position,
        };
        self.kept_position.store(kept, Ordering::Relaxed);
        Ok(())
    }

    /// The entry that holds `offset`, or the next one after a gap.
    pub(super) fn entry_at(&self, offset: u64) -> Result<Option<(u64, Bytes)>, Failure> {
        let before = self.entries.range(..=offset.to_be_bytes()).next_back().map(decode_guard).transpose()?;
        if let Some((base_offset, bytes)) = before
            && base_offset + u64::from(Header::decode(&bytes)?.num_records) > offset
        {
            return Ok(Some((base_offset, bytes)));
        }
        self.entries.range(offset.to_be_bytes()..).next().map(decode_guard).transpose()
    }

    /// Everything durable from `from` on, up to the limit, from memory; `None` when it is no longer there.
    pub(super) fn read_tail(&self, from: u64, limit: ReadLimit) -> Result<Option<RecordBatch>, Failure> {
        let entries = self.tail.lock().entries_from(from, limit.max_bytes);
        if entries.is_empty() {
            return Ok(None);
        }
        decode_entries(entries.into_iter().map(|entry| Ok((entry.base_offset, entry.bytes))), from, limit).map(Some)
    }

    /// The same from disk. Blocks on I/O.
    pub(super) fn read_disk(&self, from: u64, limit: ReadLimit) -> Result<RecordBatch, Failure> {
        let Some((first, _)) = self.entry_at(from)? else {
            return Ok(RecordBatch { next_offset: self.end().max(from), ..RecordBatch::default() });
        };
        // fjall shows an entry only after its flush to disk, so that whatever the range finds is durable.
        decode_entries(self.entries.range(first.to_be_bytes()..).map(decode_guard), from, limit)
    }
}

fn decode_entries(
    entries: impl Iterator<Item = Result<(u64, Bytes), Failure>>,
    from: u64,
    limit: ReadLimit,
) -> Result<RecordBatch, Failure> {
    let mut data = Vec::new();
    let mut out = RecordBatch { next_offset: from, ..RecordBatch::default() };
    for entry in entries {
        let (base_offset, bytes) = entry?;
        if data.is_empty() {
            data.reserve((bytes.len() * 2).min(limit.max_bytes));
        }
        if out.first_written_ms.is_none() {
            out.first_written_ms = Some(Header::decode(&bytes)?.written_at_ms);
        }
        if !entry::decode_into(&bytes, base_offset, from, limit.max_records, limit.max_bytes, &mut data, &mut out)? {
            break;
        }
    }
    out.data = data.into();
    Ok(out)
}

/// The base offset and the bytes of an entry.
pub(super) fn decode_guard(guard: fjall::Guard) -> Result<(u64, Bytes), Failure> {
    let (key, value) = guard.into_inner()?;
    let base_offset = key.first_chunk::<8>().ok_or(entry::Damaged)?;
    Ok((u64::from_be_bytes(*base_offset), value.into()))
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, entry: TailEntry) {
        self.num_bytes += entry.bytes.len();
        self.entries.push_back(entry);
        while self.num_bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else { unreachable!("no entries have no bytes") };
            self.num_bytes -= oldest.bytes.len();
        }
    }

    /// The entries that hold `from` and what follows, about `max_bytes` of them; none if `from` is older than all.
    fn entries_from(&self, from: u64, max_bytes: usize) -> Vec<TailEntry> {
        let first = self.entries.partition_point(|entry| entry.base_offset <= from);
        let Some(first) = first.checked_sub(1) else { return Vec::new() };
        let mut num_bytes = 0;
        self.entries
            .iter()
            .skip(first)
            .take_while(|entry| {
                let is_wanted = num_bytes < max_bytes;
                num_bytes += entry.bytes.len();
                is_wanted
            })
            .cloned()
            .collect()
    }
}
