//! Reads a range of one partition outside of the group, from a queue of its own: for commands, and for the writer schemas.
//!
//! The end is the last stable offset when the reading begins. Markers of transactions, aborted and compacted records are
//! passed over: the range is read when a record at or behind its end comes, or the end of the log. A reader that finds its next
//! offset removed is told so by the broker and does not go on elsewhere.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::quiet::Quiet;
use super::settings::KafkaLogSettings;
use super::taken::Taken;
use super::watermarks;
use crate::log::{RangeEnd, RangeError, RangeReader, RangeStart, ReadLimit, RecordBatch, TopicPartition};

/// How long brokers have to answer, and how long a read may come to nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A queue wakes its reader when it stops being empty, but that signal can be lost: look again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

type RangeConsumer = BaseConsumer<Quiet>;

/// The reader of one range.
pub(super) struct KafkaRange {
    id: TopicPartition,
    offsets: Range<u64>,
    /// The offset after the last record that was handed out.
    next_offset: u64,
    /// Everything up to the end was read, or passed over.
    is_done: bool,
    wake: Arc<Notify>,
    // Declared before the consumer: librdkafka wants its queues gone first.
    queue: PartitionQueue<Quiet>,
    consumer: Arc<RangeConsumer>,
}

/// What came out of the queue last.
enum Drained {
    /// Nothing more is there at present.
    Nothing,
    /// The next offset of the range is no longer there, or not any more.
    OutOfRange,
    /// The client complains; it goes on by itself.
    Failed(KafkaError),
}

// === impl KafkaRange ===

impl KafkaRange {
    /// Looks up where the range lies, and starts to fetch it. Blocks for up to three times the timeout.
    pub(super) fn open(
        settings: &KafkaLogSettings,
        id: TopicPartition,
        from: RangeStart,
        to: RangeEnd,
    ) -> Result<Self, RangeError> {
        let failed = |error: KafkaError| RangeError::unavailable(&id, error);
        let consumer = RangeConsumer::from_config_and_context(&settings.range_reader(), Quiet).map_err(failed)?;
        let consumer = Arc::new(consumer);
        let offsets = resolve(&consumer, &id, from, to)?;
        // Before fetching starts, or the first records go elsewhere.
        let queue = consumer.split_partition_queue(&id.topic, id.partition as i32);
        let mut queue = queue.ok_or_else(|| RangeError::NoSuchPartition(id.clone()))?;
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        queue.set_nonempty_callback(move || waker.notify_one());
        let is_done = offsets.is_empty();
        if !is_done {
            let mut assignment = TopicPartitionList::new();
            let start = Offset::Offset(offsets.start as i64);
            assignment.add_partition_offset(&id.topic, id.partition as i32, start).map_err(failed)?;
            consumer.assign(&assignment).map_err(failed)?;
        }
        Ok(Self { next_offset: offsets.start, id, offsets, is_done, wake, queue, consumer })
    }

    async fn read_next(&mut self, limit: ReadLimit) -> Result<Option<RecordBatch>, RangeError> {
        let (begun, mut reason) = (Instant::now(), None);
        loop {
            // Errors that are of no partition, such as brokers that cannot be reached.
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                reason = Some(error);
            }
            let (batch, drained) = self.drain(limit);
            if !batch.records.is_empty() {
                return Ok(Some(batch));
            }
            if self.is_done {
                return self.check_end().map(|()| None);
            }
            match drained {
                Drained::Nothing => {}
                Drained::OutOfRange => return Err(self.out_of_range().await),
                Drained::Failed(error) => reason = Some(error),
            }
            if begun.elapsed() > TIMEOUT {
                let waited = format!("nothing came for {} s", TIMEOUT.as_secs());
                return Err(match reason {
                    Some(error) => self.unavailable(error),
                    None => self.unavailable(waited),
                });
            }
            // Running out only means that it is time to look again.
            let _ = tokio::time::timeout(LOOK_AGAIN, self.wake.notified()).await;
        }
    }

    /// Takes what is at hand. Never waits, so that no record is between two owners when the caller's future is dropped.
    fn drain(&mut self, limit: ReadLimit) -> (RecordBatch, Drained) {
        // Whose topic it is, is not known here. This is on nobody's hot path.
        let mut taken = Taken::new(true);
        let mut drained = Drained::Nothing;
        let has_room = |Taken { batch, .. }: &Taken<'_>, num_bytes: usize| {
            batch.records.is_empty() || (batch.records.len() < limit.max_records && num_bytes < limit.max_bytes)
        };
        while !self.is_done && has_room(&taken, taken.num_bytes()) {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let offset = message.offset() as u64;
                    assert!(offset >= self.next_offset, "{}: offset {offset} after {}", self.id, self.next_offset);
                    if offset >= self.offsets.end {
                        self.is_done = true;
                        break;
                    }
                    // A record without a key or a value is one whose key or value is empty, unless the caller looks at the
                    // rest.
                    taken.push(message);
                    self.next_offset = taken.batch.next_offset;
                    self.is_done = self.next_offset >= self.offsets.end;
                }
                // What lies between the last record and the end holds none.
                Some(Err(KafkaError::PartitionEOF(_))) => self.is_done = true,
                Some(Err(error)) => {
                    drained = match error.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                            Drained::OutOfRange
                        }
                        _ => Drained::Failed(error),
                    };
                    break;
                }
            }
        }
        let (mut batch, _) = taken.finish();
        batch.next_offset = self.next_offset;
        (batch, drained)
    }

    /// The end of the log ends the range, unless the log is shorter now than it was.
    fn check_end(&self) -> Result<(), RangeError> {
        match watermarks::known(self.consumer.client(), &self.id) {
            Some(known) if known.high < self.offsets.end && self.next_offset < self.offsets.end => {
                Err(RangeError::Beyond { partition: self.id.clone(), from: self.next_offset, end: known.high })
            }
            _ => Ok(()),
        }
    }

    async fn out_of_range(&self) -> RangeError {
        let (consumer, id, from) = (Arc::clone(&self.consumer), self.id.clone(), self.next_offset);
        match tokio::task::spawn_blocking(move || ends(&consumer, &id)).await {
            Ok(Ok(Range { start: first, .. })) if from < first => {
                RangeError::Gone { partition: self.id.clone(), from, first }
            }
            Ok(Ok(Range { end, .. })) => RangeError::Beyond { partition: self.id.clone(), from, end },
            Ok(Err(error)) => error,
            Err(error) => self.unavailable(error),
        }
    }

    fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RangeError {
        RangeError::unavailable(&self.id, source)
    }
}

impl RangeReader for KafkaRange {
    fn offsets(&self) -> Range<u64> {
        self.offsets.clone()
    }

    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<Option<RecordBatch>, RangeError>> {
        self.read_next(limit).boxed()
    }
}

fn resolve(
    consumer: &RangeConsumer,
    id: &TopicPartition,
    from: RangeStart,
    to: RangeEnd,
) -> Result<Range<u64>, RangeError> {
    let Range { start: first, end } = ends(consumer, id)?;
    let start = match from {
        RangeStart::Earliest => first,
        RangeStart::Offset(from) if from < first => {
            return Err(RangeError::Gone { partition: id.clone(), from, first });
        }
        RangeStart::Offset(from) if from > end => {
            return Err(RangeError::Beyond { partition: id.clone(), from, end });
        }
        RangeStart::Offset(from) => from,
        RangeStart::TimeMs(at_ms) => at_time(consumer, id, at_ms)?.map_or(end, |offset| offset.clamp(first, end)),
    };
    let end = match to {
        RangeEnd::Now => end,
        RangeEnd::Offset(to) => to.min(end),
        RangeEnd::TimeMs(at_ms) => at_time(consumer, id, at_ms)?.map_or(end, |offset| offset.min(end)),
    };
    Ok(start..end.max(start))
}

/// Where the partition's log begins and ends, by its leader's word. Blocks.
fn ends(consumer: &RangeConsumer, id: &TopicPartition) -> Result<Range<u64>, RangeError> {
    let asked = consumer.fetch_watermarks(&id.topic, id.partition as i32, TIMEOUT);
    let (low, high) = asked.map_err(|error| told(id, error))?;
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(low), Ok(high)) => Ok(low..high),
        _ => Err(RangeError::unavailable(id, format!("kafka says that it has offsets {low} to {high}"))),
    }
}

/// The first offset of this time or a later one, if there is any. Blocks.
fn at_time(consumer: &RangeConsumer, id: &TopicPartition, at_ms: u64) -> Result<Option<u64>, RangeError> {
    let failed = |error| told(id, error);
    let partition = id.partition as i32;
    // No record is later than what does not fit.
    let Ok(at_ms) = i64::try_from(at_ms) else { return Ok(None) };
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(&id.topic, partition, Offset::Offset(at_ms)).map_err(failed)?;
    let answer = consumer.offsets_for_times(times, TIMEOUT).map_err(failed)?;
    let found = answer.find_partition(&id.topic, partition);
    let found = found.ok_or_else(|| RangeError::unavailable(id, "kafka did not answer for this partition"))?;
    found.error().map_err(failed)?;
    match found.offset() {
        Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
        _ => Ok(None),
    }
}

fn told(id: &TopicPartition, error: KafkaError) -> RangeError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition,
        ) => RangeError::NoSuchPartition(id.clone()),
        _ => RangeError::unavailable(id, error),
    }
}
