//! The partitions that this process consumes, as they are seen from outside: how far each is behind, in records and in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::flow::unsettled::Unsettled;
use crate::log::{PartitionOffsets, RecordBatch, TopicPartition, TopicSpec};
use crate::telemetry::family::Volume;
use crate::telemetry::{Telemetry, now_us};

/// The partitions consumed right now, readable from outside.
#[derive(Clone, Default)]
pub struct Lags(Arc<RwLock<LagState>>);

#[derive(Default)]
struct LagState {
    consumed: HashMap<TopicPartition, Arc<ConsumedPartition>>,
    /// What there is to consume, and what the log knows of it.
    wanted: Vec<TopicPartition>,
    log: Option<Box<dyn LagSource>>,
}

/// What lags need to know of a log.
pub trait LagSource: Send + Sync {
    /// Whether it is right that this process consumes nothing: others have all partitions.
    fn is_spare(&self) -> bool;

    /// The time by which records are stamped, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// How far a partition is behind. What is not known is `None`, never 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLag {
    /// Which partition.
    pub partition: TopicPartition,
    /// Records between what is settled and the end of the log.
    pub records: Option<u64>,
    /// The age of the oldest record that is not settled; zero if all are.
    pub age: Option<Duration>,
    /// Everything below is settled, and the log told within a second.
    pub committed: Option<u64>,
    /// The offset after the last record.
    pub end: Option<u64>,
    /// When records were last settled, or consumption began; in milliseconds since the Unix epoch, by this machine's clock.
    pub progressed_ms: Option<u64>,
}

/// One partition that is consumed here, across restarts of its consumer.
pub struct ConsumedPartition {
    offsets: Arc<dyn PartitionOffsets>,
    read: Arc<Volume>,
    unsettled: Mutex<Unsettled>,
    progressed_ms: AtomicU64,
    max_batches: usize,
    num_batches: AtomicUsize,
}

// === impl Lags ===

impl Lags {
    /// From now on partitions of these topics of this log are to be consumed.
    pub fn expect(&self, topics: &[TopicSpec], log: impl LagSource + 'static) {
        let partitions = |topic: &TopicSpec| {
            let name = topic.name.clone();
            (0..topic.num_partitions).map(move |partition| TopicPartition { topic: name.clone(), partition })
        };
        let mut state = self.0.write();
        state.wanted = topics.iter().flat_map(partitions).collect();
        state.log = Some(Box::new(log));
    }

    /// Every partition that is consumed, by name. A process that consumes nothing, though it should, knows the lag of no
    /// partition.
    pub fn read(&self) -> Vec<PartitionLag> {
        let state = self.0.read();
        if state.consumed.is_empty() && !state.log.as_ref().is_some_and(|log| log.is_spare()) {
            return state.wanted.iter().map(PartitionLag::unknown).collect();
        }
        let now_ms = state.now_ms();
        let mut lags: Vec<_> =
            state.consumed.iter().map(|(partition, consumed)| consumed.lag(partition, now_ms)).collect();
        lags.sort_by(|one, other| one.partition.cmp(&other.partition));
        lags
    }

    /// The time by which records are stamped, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.0.read().now_ms()
    }

    /// Looks where the logs end. To be called about once a second: the age of what is not read is told by it.
    pub fn look(&self) {
        let state = self.0.read();
        let now_ms = state.now_ms();
        state.consumed.values().for_each(|consumed| consumed.look(now_ms));
    }

    /// Whether a partition has as many batches in flight as it may have.
    pub fn has_all_batches(&self) -> bool {
        let state = self.0.read();
        state.consumed.values().any(|consumed| consumed.num_batches.load(Ordering::Relaxed) >= consumed.max_batches)
    }

    /// A partition is consumed from now on, with at most so many batches in flight.
    pub(super) fn begin(
        &self,
        partition: &TopicPartition,
        offsets: Arc<dyn PartitionOffsets>,
        max_batches: usize,
        telemetry: &Telemetry,
    ) -> Arc<ConsumedPartition> {
        let consumed = Arc::new(ConsumedPartition::new(partition, offsets, max_batches, telemetry));
        let mut state = self.0.write();
        consumed.look(state.now_ms());
        state.consumed.insert(partition.clone(), Arc::clone(&consumed));
        consumed
    }

    /// A partition is not consumed any more.
    pub(super) fn end(&self, partition: &TopicPartition) {
        self.0.write().consumed.remove(partition);
    }
}

impl LagState {
    fn now_ms(&self) -> u64 {
        self.log.as_ref().map_or_else(|| now_us() / 1000, |log| log.now_ms())
    }
}

// === impl PartitionLag ===

impl PartitionLag {
    fn unknown(partition: &TopicPartition) -> Self {
        let partition = partition.clone();
        Self { partition, records: None, age: None, committed: None, end: None, progressed_ms: None }
    }
}

// === impl ConsumedPartition ===

impl ConsumedPartition {
    fn new(
        partition: &TopicPartition,
        offsets: Arc<dyn PartitionOffsets>,
        max_batches: usize,
        telemetry: &Telemetry,
    ) -> Self {
        Self {
            offsets,
            read: telemetry.counters.read.of(&(Arc::clone(&partition.topic), partition.partition)),
            unsettled: Mutex::default(),
            progressed_ms: AtomicU64::new(now_us() / 1000),
            max_batches,
            num_batches: AtomicUsize::new(0),
        }
    }

    /// Its offsets.
    pub(super) fn offsets(&self) -> &dyn PartitionOffsets {
        &*self.offsets
    }

    /// Records were read.
    pub(super) fn on_read(&self, batch: &RecordBatch) {
        let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else { return };
        self.read.add(batch.records.len(), (last.value_end - first.key_start) as usize);
        self.unsettled.lock().on_read(first.offset, batch.next_offset, batch.first_written_ms);
    }

    /// Everything below is settled.
    pub(super) fn commit(&self, next_offset: u64) {
        self.offsets.commit(next_offset);
        self.unsettled.lock().on_commit(next_offset);
        self.progressed_ms.store(now_us() / 1000, Ordering::Relaxed);
    }

    /// So many batches are in flight.
    pub(super) fn set_batches(&self, num_batches: usize) {
        self.num_batches.store(num_batches, Ordering::Relaxed);
    }

    fn look(&self, now_ms: u64) {
        // The lag first: what is read meanwhile must not pass for all that there is.
        let (lag, end) = (self.offsets.lag(), self.offsets.end());
        self.unsettled.lock().on_look(end, lag, now_ms);
    }

    fn lag(&self, partition: &TopicPartition, now_ms: u64) -> PartitionLag {
        let records = self.offsets.lag();
        PartitionLag {
            partition: partition.clone(),
            records,
            age: self.unsettled.lock().age(records, now_ms),
            committed: self.offsets.committed(),
            end: self.offsets.end(),
            progressed_ms: Some(self.progressed_ms.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::log::RecordRef;

    struct At(Option<u64>);

    impl PartitionOffsets for At {
        fn commit(&self, _: u64) {}

        fn lag(&self) -> Option<u64> {
            self.0
        }

        fn end(&self) -> Option<u64> {
            None
        }

        fn committed(&self) -> Option<u64> {
            None
        }
    }

    struct Log(Arc<AtomicBool>);

    impl LagSource for Log {
        fn is_spare(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn now_ms(&self) -> u64 {
            60_000
        }
    }

    fn at(partition: u32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn records(lags: &Lags) -> Vec<(TopicPartition, Option<u64>)> {
        lags.read().into_iter().map(|lag| (lag.partition, lag.records)).collect()
    }

    #[test]
    fn test_an_unknown_lag_is_neither_left_out_nor_zero() {
        let (lags, telemetry) = (Lags::default(), Telemetry::default());
        let is_spare = Arc::new(AtomicBool::new(false));
        lags.expect(&[TopicSpec::own("t", 3)], Log(Arc::clone(&is_spare)));
        assert_eq!(
            records(&lags),
            [(at(0), None), (at(1), None), (at(2), None)],
            "nothing is consumed, though it should be"
        );
        is_spare.store(true, Ordering::Relaxed);
        assert_eq!(records(&lags), [], "others have them all");
        lags.begin(&at(2), Arc::new(At(None)), 2, &telemetry);
        lags.begin(&at(1), Arc::new(At(Some(7))), 2, &telemetry);
        assert_eq!(records(&lags), [(at(1), Some(7)), (at(2), None)]);
        assert!(lags.read().iter().all(|lag| lag.age.is_none() && lag.progressed_ms.is_some()));
        lags.end(&at(1));
        assert_eq!(records(&lags), [(at(2), None)]);
    }

    #[test]
    fn test_what_is_read_is_counted_and_has_an_age_until_it_is_settled() {
        let (lags, telemetry) = (Lags::default(), Telemetry::default());
        lags.expect(&[], Log(Arc::default()));
        let consumed = lags.begin(&at(1), Arc::new(At(Some(2))), 2, &telemetry);
        let record =
            |offset, key_start| RecordRef { offset, key_start, value_start: key_start + 1, value_end: key_start + 5 };
        let batch = RecordBatch {
            // What is left of a larger read shares its buffer.
            data: vec![0; 100].into(),
            records: vec![record(5, 10), record(6, 15)],
            next_offset: 7,
            first_written_ms: Some(50_000),
            meta: Vec::new(),
        };
        consumed.on_read(&batch);
        assert_eq!(lags.read()[0].age, Some(Duration::from_secs(10)));
        consumed.commit(7);
        assert_eq!(lags.read()[0].age, Some(Duration::from_secs(10)), "more is there, and no older");
        let volumes = telemetry.counters.read.map(|volume| (volume.records(), volume.bytes()));
        assert_eq!(volumes, [(("t".into(), 1), (2, 10))]);
        consumed.set_batches(1);
        assert!(!lags.has_all_batches());
        consumed.set_batches(2);
        assert!(lags.has_all_batches());
    }
}
