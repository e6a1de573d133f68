//! Reads one assigned partition from its own librdkafka queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Message, TopicPartitionList};

use super::assigned::Assigned;
use super::group::GroupContext;
use super::taken::Taken;
use super::watermarks::{self, Watermarks};
use crate::log::{Cause, PartitionOffsets, PartitionReader, ReadError, ReadLimit, RecordBatch, TopicPartition};

/// A queue wakes its reader when it stops being empty, but that signal can be lost: look again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a seek may take.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// The reader of one assignment of one partition.
pub(super) struct KafkaReader {
    assigned: Arc<Assigned>,
    /// Whether all that records say is kept ([`RecordBatch::meta`]), as topics of others need it.
    has_meta: bool,
    /// It was said that headers are left out.
    was_told: AtomicBool,
    // Declared before the consumer: librdkafka wants its queues gone first.
    queue: PartitionQueue<GroupContext>,
    consumer: Arc<BaseConsumer<GroupContext>>,
}

// === impl KafkaReader ===

impl KafkaReader {
    /// Splits the partition's queue off. Has to happen before fetching starts, or the first records go elsewhere. With
    /// `has_meta`, everything that records say beside key and value is kept.
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<GroupContext>>,
        assigned: Arc<Assigned>,
        has_meta: bool,
    ) -> Option<Self> {
        let mut queue = consumer.split_partition_queue(&assigned.id.topic, assigned.id.partition as i32)?;
        let waker = assigned.clone();
        queue.set_nonempty_callback(move || waker.wake.notify_one());
        Some(Self { assigned, has_meta, was_told: AtomicBool::new(false), queue, consumer: consumer.clone() })
    }

    async fn read_next(&mut self, limit: ReadLimit) -> Result<RecordBatch, ReadError> {
        loop {
            if self.assigned.is_revoked() {
                return Err(ReadError::Revoked(self.assigned.id.clone()));
            }
            if self.assigned.is_standing() {
                // Until the assignment ends.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.assigned.wake.notified()).await;
                continue;
            }
            let batch = self.drain(limit)?;
            if !batch.records.is_empty() {
                return Ok(batch);
            }
            // Running out only means that it is time to look again.
            self.assigned.on_nothing(Instant::now());
            let _ = tokio::time::timeout(LOOK_AGAIN, self.assigned.wake.notified()).await;
        }
    }

    /// Takes what is at hand. Never waits, so that no record is between two owners when the caller's future is dropped.
    fn drain(&self, limit: ReadLimit) -> Result<RecordBatch, ReadError> {
        let mut taken = Taken::new(self.has_meta);
        // What was taken and is not noted yet, and what comes next if no offset is left out.
        let mut from = None;
        let mut expected = self.assigned.position();
        // What the client knew when the end of the log was taken from the queue, unless something came behind it.
        let mut at_end = None;
        while taken.batch.records.len() < limit.max_records
            && (taken.batch.records.is_empty() || taken.num_bytes() < limit.max_bytes)
        {
            match self.queue.poll(Duration::ZERO) {
                None => {
                    if let Some((passed, known)) = at_end {
                        self.assigned.on_end(passed, known);
                    }
                    break;
                }
                Some(Ok(message)) => {
                    at_end = None;
                    let offset = message.offset() as u64;
                    if expected != Some(offset) {
                        self.note(&mut from, taken.batch.next_offset);
                        let known = || watermarks::known(self.consumer.client(), &self.assigned.id);
                        if !self.assigned.on_jump(offset, known) {
                            break;
                        }
                    }
                    from.get_or_insert(offset);
                    taken.push(message);
                    expected = Some(taken.batch.next_offset);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.note(&mut from, taken.batch.next_offset);
                    at_end = self.end();
                }
                // What has been read is handed out first. The client says an error that lasts once, or over and over: it is
                // kept for the health.
                Some(Err(error)) => {
                    let is_news = self.assigned.on_error(&error.to_string());
                    if taken.batch.records.is_empty() && is_news {
                        return Err(self.unavailable(error));
                    }
                    tracing::debug!(partition = %self.assigned.id, %error, "reading was interrupted");
                    break;
                }
            }
        }
        self.note(&mut from, taken.batch.next_offset);
        let (batch, num_unreadable) = taken.finish();
        if num_unreadable > 0 && !self.was_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(partition = %self.assigned.id, "headers whose names are not UTF-8 are left out");
        }
        Ok(batch)
    }

    fn note(&self, from: &mut Option<u64>, next_offset: u64) {
        if let Some(first) = from.take() {
            self.assigned.on_records(first, next_offset);
        }
    }

    /// The queue has come to the end of the log. Where the last record is not the last offset, the client tells how far
    /// it has read: it counts what holds no record for us, and is asked only then.
    fn end(&self) -> Option<(Option<u64>, Watermarks)> {
        let known = watermarks::known(self.consumer.client(), &self.assigned.id)?;
        (self.assigned.position() != Some(known.high)).then(|| (self.passed(), known))
    }

    /// The offset after the last one that was taken from the queue, be it a record or the marker of a transaction.
    fn passed(&self) -> Option<u64> {
        let positions = self.consumer.position().ok()?;
        let own = positions.find_partition(&self.assigned.id.topic, self.assigned.id.partition as i32)?;
        own.offset().to_raw().and_then(|offset| u64::try_from(offset).ok())
    }

    fn unavailable(&self, source: impl Into<Cause>) -> ReadError {
        ReadError::unavailable(&self.assigned.id, source)
    }

    fn set_paused(
        &self,
        what: &str,
        set: impl FnOnce(&BaseConsumer<GroupContext>, &TopicPartitionList) -> KafkaResult<()>,
    ) {
        let id = &self.assigned.id;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(&id.topic, id.partition as i32);
        // It fails for a partition that is no longer ours, which is then neither fetched nor paused.
        if let Err(error) = set(&self.consumer, &partitions) {
            tracing::debug!(partition = %id, %error, "{what} a partition failed");
        }
    }

    async fn seek_back(&mut self) -> Result<(), ReadError> {
        if self.assigned.is_revoked() {
            return Err(ReadError::Revoked(self.assigned.id.clone()));
        }
        let Some(offset) = self.assigned.rewind() else { return Ok(()) };
        let (consumer, id) = (self.consumer.clone(), self.assigned.id.clone());
        let seeking =
            move || consumer.seek(&id.topic, id.partition as i32, rdkafka::Offset::Offset(offset), SEEK_TIMEOUT);
        match tokio::task::spawn_blocking(seeking).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable(error)),
            Err(error) => Err(self.unavailable(error)),
        }
    }
}

impl PartitionReader for KafkaReader {
    fn partition(&self) -> &TopicPartition {
        &self.assigned.id
    }

    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<RecordBatch, ReadError>> {
        self.read_next(limit).boxed()
    }

    fn pause(&mut self) {
        self.assigned.set_paused(true);
        self.set_paused("pausing", BaseConsumer::pause);
    }

    fn resume(&mut self) {
        self.assigned.set_paused(false);
        self.set_paused("resuming", BaseConsumer::resume);
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        self.seek_back().boxed()
    }

    fn offsets(&self) -> Arc<dyn PartitionOffsets> {
        Arc::clone(&self.assigned) as Arc<dyn PartitionOffsets>
    }
}

impl PartitionOffsets for Assigned {
    fn commit(&self, next_offset: u64) {
        self.note_commit(next_offset);
    }

    fn lag(&self) -> Option<u64> {
        self.num_behind()
    }

    fn committed(&self) -> Option<u64> {
        self.settled()
    }

    fn end(&self) -> Option<u64> {
        self.known_end()
    }
}
