//! What every log promises, as tests that both backends run.

// Each test file uses a part of it.
#![allow(dead_code, unused_macros, unused_imports)]

// Programs with engines have it among their common helpers as well.
#[allow(clippy::duplicate_mod)]
#[path = "scan.rs"]
mod scan;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use scan::scan;
use surgetank::log::{
    AppendBatch, AppendError, AssignmentEvent, Completion, Keys, Log, LogError, PartitionReader, RangeEnd, RangeError,
    RangeReader, RangeStart, Ranges, ReadLimit, Subscription, TopicPartition, TopicSpec,
};
use tokio::sync::{mpsc, oneshot};

/// A place where a log can be opened again and again, and nobody else is.
pub trait Room {
    /// Opens the log as a process would at its start.
    fn open(&self) -> Arc<dyn Log>;
    /// A topic name that no other test uses.
    fn topic(&self) -> &str;
}

/// Longer than any wait that ends well.
pub const PATIENCE: Duration = Duration::from_secs(30);
const LIMIT: ReadLimit = ReadLimit { max_records: 64, max_bytes: 1 << 20 };

pub type Readers = HashMap<u32, Box<dyn PartitionReader>>;

/// A subscription whose partitions have all arrived.
pub struct Consumption {
    pub subscription: Box<dyn Subscription>,
    pub readers: Readers,
    pub events: mpsc::UnboundedReceiver<AssignmentEvent>,
}

impl Consumption {
    pub async fn start(log: &dyn Log, topic: &TopicSpec) -> Self {
        let (subscription, mut events) = log.subscribe(std::slice::from_ref(topic)).unwrap();
        let mut readers = Readers::new();
        while readers.len() < topic.num_partitions as usize {
            let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("partitions are assigned in time");
            match event.expect("the subscription lives") {
                AssignmentEvent::Assigned(new) => readers.extend(new.into_iter().map(|r| (r.partition().partition, r))),
                AssignmentEvent::Revoked { .. } => panic!("there is no other member"),
            }
        }
        Self { subscription, readers, events }
    }

    pub async fn close(self) {
        drop(self.readers);
        self.subscription.close().await;
    }
}

pub fn spec(name: &str, num_partitions: u32) -> TopicSpec {
    TopicSpec::own(name, num_partitions)
}

pub fn at(topic: &TopicSpec, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.name.clone(), partition }
}

pub fn batch<V: AsRef<[u8]>>(key: &str, values: &[V]) -> AppendBatch {
    let mut joined = Vec::new();
    let mut ends = Vec::new();
    for value in values {
        joined.extend_from_slice(value.as_ref());
        ends.push(joined.len() as u32);
    }
    AppendBatch { keys: Keys::Same(key.to_owned().into()), values: joined.into(), ends, trace: None }
}

/// Appends without waiting; the receiver gets the outcome.
pub fn append(log: &dyn Log, to: &TopicPartition, batch: AppendBatch) -> oneshot::Receiver<Result<(), AppendError>> {
    let (sender, receiver) = oneshot::channel();
    log.append(to, batch, Completion::new(move |outcome| drop(sender.send(outcome))));
    receiver
}

pub async fn outcome(receipt: oneshot::Receiver<Result<(), AppendError>>) -> Result<(), AppendError> {
    tokio::time::timeout(PATIENCE, receipt).await.expect("the outcome comes in time").expect("exactly one outcome")
}

/// Reads until `num_records` have come, and checks that offsets ascend.
pub async fn read(reader: &mut dyn PartitionReader, num_records: usize) -> Vec<(u64, String, String)> {
    let mut records = Vec::new();
    while records.len() < num_records {
        let max_records = LIMIT.max_records.min(num_records - records.len());
        let reading = reader.read(ReadLimit { max_records, ..LIMIT });
        let got = tokio::time::timeout(PATIENCE, reading).await.expect("records come in time").unwrap();
        assert!(!got.records.is_empty() && got.records.len() <= max_records);
        assert!(got.next_offset > got.records.last().unwrap().offset);
        // Some time of this century: logs with wrong clocks are read here, too.
        assert!(got.first_written_ms.is_some_and(|ms| ms > 1_600_000_000_000), "{:?}", got.first_written_ms);
        for record in &got.records {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            records.push((record.offset, text(record.key(&got.data)), text(record.value(&got.data))));
        }
    }
    assert!(records.is_sorted_by(|a, b| a.0 < b.0), "offsets ascend");
    records
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn values(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

// === the contract ===

/// All of the contract, one test each. `$room` is where, or `None` if this machine has no such log.
macro_rules! contract {
    ($room:expr) => {
        $crate::log_contract::contract!(
            $room,
            records_come_back_in_order,
            restart_goes_on_at_the_commit,
            rewind_reads_again_what_is_not_committed,
            lag_falls_to_zero,
            a_paused_reader_goes_on_where_it_was,
            scan_sees_everything_once,
            ranges_lie_between_offsets_and_times,
            a_range_ends_where_the_log_ended_when_it_began,
            schemas_stay_in_the_order_they_were_put,
            topics_are_created_once_and_checked,
            closed_log_refuses_appends,
        );
    };
    ($room:expr, $($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(room) = $room {
                log_contract::$name(&room).await;
            }
        }
    )*};
}
pub(crate) use contract;

pub async fn records_come_back_in_order(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 3);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let mut receipts = Vec::new();
    for round in 0..40 {
        for partition in 0..3 {
            let values = values(&format!("p{partition}-r{round}"), 5);
            receipts.push(append(&*log, &at(&topic, partition), batch(&format!("device-{round}"), &values)));
        }
    }
    for receipt in receipts {
        outcome(receipt).await.unwrap();
    }
    let mut consumption = Consumption::start(&*log, &topic).await;
    for (partition, reader) in &mut consumption.readers {
        let got = read(&mut **reader, 200).await;
        let expected = (0..40).flat_map(|round| {
            let values = values(&format!("p{partition}-r{round}"), 5);
            values.into_iter().map(move |value| (format!("device-{round}"), value))
        });
        let expected: Vec<_> = (0..).zip(expected).map(|(offset, (key, value))| (offset, key, value)).collect();
        assert_eq!(got, expected, "partition {partition}");
    }
    // A reader that waits is woken by what comes next.
    let reader = consumption.readers.get_mut(&1).unwrap();
    let waiting = read(&mut **reader, 1);
    let appending = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        outcome(append(&*log, &at(&topic, 1), batch("late", &["value"]))).await.unwrap();
    };
    let (got, ()) = tokio::join!(waiting, appending);
    assert_eq!(got, [(200, "late".to_owned(), "value".to_owned())]);
    consumption.close().await;
    log.close().await;
}

pub async fn restart_goes_on_at_the_commit(room: &impl Room) {
    let topic = spec(room.topic(), 1);
    for start in 0..3 {
        let log = room.open();
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        let values = values(&format!("start{start}"), 100);
        outcome(append(&*log, &at(&topic, 0), batch("device", &values))).await.unwrap();
        let mut consumption = Consumption::start(&*log, &topic).await;
        let reader = consumption.readers.get_mut(&0).unwrap();
        // Each start reads what was not committed before, and commits all but ten.
        let first_expected = if start == 0 { 0 } else { start * 100 - 10 };
        let num_expected = ((start + 1) * 100 - first_expected) as usize;
        let got = read(&mut **reader, num_expected).await;
        assert_eq!(got.first().unwrap().0, first_expected);
        assert_eq!(got.last().unwrap().2, format!("start{start}-99"));
        reader.offsets().commit((start + 1) * 100 - 10);
        reader.offsets().commit(5); // never goes backwards
        consumption.close().await;
        log.close().await;
    }
}

pub async fn rewind_reads_again_what_is_not_committed(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    outcome(append(&*log, &at(&topic, 0), batch("device", &values("v", 100)))).await.unwrap();
    let mut consumption = Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    read(&mut **reader, 60).await;
    reader.rewind().await.unwrap();
    assert_eq!(read(&mut **reader, 60).await.first().unwrap().0, 0);
    reader.offsets().commit(42);
    read(&mut **reader, 40).await;
    reader.rewind().await.unwrap();
    let again = read(&mut **reader, 58).await;
    assert_eq!((again.first().unwrap().0, again.last().unwrap().0), (42, 99));
    consumption.close().await;
    log.close().await;
}

/// What was fetched ahead and not read is dropped by a pause, and must come again.
pub async fn a_paused_reader_goes_on_where_it_was(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let all = values("v", 400);
    outcome(append(&*log, &at(&topic, 0), batch("device", &all[..200]))).await.unwrap();
    let mut consumption = Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    let mut got = read(&mut **reader, 64).await;
    for _ in 0..3 {
        reader.pause();
        reader.resume();
        got.extend(read(&mut **reader, 20).await);
    }
    reader.pause();
    outcome(append(&*log, &at(&topic, 0), batch("device", &all[200..]))).await.unwrap();
    reader.resume();
    // Harmless when there is no pause to take back.
    reader.resume();
    let rest = all.len() - got.len();
    got.extend(read(&mut **reader, rest).await);
    let offsets: Vec<u64> = got.iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, (0..400).collect::<Vec<u64>>());
    consumption.close().await;
    log.close().await;
}

pub async fn lag_falls_to_zero(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    outcome(append(&*log, &at(&topic, 0), batch("device", &values("v", 100)))).await.unwrap();
    let mut consumption = Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    read(&mut **reader, 100).await;
    until("the lag shows", || reader.offsets().lag() == Some(100)).await;
    reader.offsets().commit(60);
    until("the lag falls", || reader.offsets().lag() == Some(40)).await;
    reader.offsets().commit(100);
    until("the lag is gone", || reader.offsets().lag() == Some(0)).await;
    consumption.close().await;
    log.close().await;
}

pub async fn scan_sees_everything_once(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 2);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let mut seen = Vec::new();
    scan(&*log, &topic, |_, _, _, _| panic!("the topic is empty"));
    for partition in 0..2 {
        outcome(append(&*log, &at(&topic, partition), batch("device", &values("v", 70)))).await.unwrap();
    }
    scan(&*log, &topic, |id, offset, key, value| {
        assert_eq!(key, b"device");
        assert_eq!(value, format!("v-{offset}").as_bytes());
        seen.push((id.partition, offset));
    });
    let expected: Vec<_> = (0..2).flat_map(|partition| (0..70).map(move |offset| (partition, offset))).collect();
    assert_eq!(seen, expected);
    log.close().await;
}

/// The offsets of what a range still has, each with the value that its offset should have.
pub async fn offsets_of(range: &mut dyn RangeReader, max_records: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    let limit = ReadLimit { max_records, ..LIMIT };
    while let Some(batch) = tokio::time::timeout(PATIENCE, range.read(limit)).await.expect("in time").unwrap() {
        assert!(!batch.records.is_empty() && batch.records.len() <= max_records);
        assert!(batch.next_offset > batch.records.last().unwrap().offset);
        for record in &batch.records {
            assert_eq!(record.value(&batch.data), format!("v-{}", record.offset).as_bytes());
            offsets.push(record.offset);
        }
    }
    assert!(range.read(limit).await.unwrap().is_none(), "an end stays one");
    offsets
}

/// Reads a range whole.
pub async fn range(ranges: &dyn Ranges, id: &TopicPartition, from: RangeStart, to: RangeEnd) -> Vec<u64> {
    let mut reader = ranges.read_range(id, from, to).await.unwrap();
    let Range { start, end } = reader.offsets();
    let offsets = offsets_of(&mut *reader, 7).await;
    assert!(offsets.iter().all(|offset| (start..end).contains(offset)));
    offsets
}

/// What every reader of ranges does with a partition that has offsets 0 to 199, of which the second half was written after
/// `between_ms`.
pub async fn reads_ranges_of_200(ranges: &dyn Ranges, id: &TopicPartition, between_ms: u64) {
    use {RangeEnd as To, RangeStart as From};
    for (from, to, expected) in [
        (From::Earliest, To::Now, 0..200),
        (From::Offset(30), To::Offset(70), 30..70),
        (From::Offset(190), To::Offset(5000), 190..200),
        (From::Offset(200), To::Now, 0..0),
        (From::Offset(70), To::Offset(30), 0..0),
        (From::TimeMs(between_ms), To::Now, 100..200),
        (From::Earliest, To::TimeMs(between_ms), 0..100),
        (From::Offset(90), To::TimeMs(between_ms), 90..100),
        (From::TimeMs(0), To::Offset(3), 0..3),
        (From::TimeMs(between_ms + 3_600_000), To::Now, 0..0),
    ] {
        let got = range(ranges, id, from, to).await;
        assert_eq!(got, expected.collect::<Vec<u64>>(), "{from:?} to {to:?}");
    }
    let beyond = ranges.read_range(id, From::Offset(201), To::Now).await.err();
    assert!(matches!(beyond, Some(RangeError::Beyond { from: 201, end: 200, .. })), "{beyond:?}");
    let nowhere = TopicPartition { partition: 77, ..id.clone() };
    let missing = ranges.read_range(&nowhere, From::Earliest, To::Now).await.err();
    assert!(matches!(&missing, Some(RangeError::NoSuchPartition(told)) if *told == nowhere), "{missing:?}");
}

/// Appends offsets 0 to 199 in two halves, and returns a time between them, in milliseconds since the Unix epoch.
pub async fn append_200(log: &dyn Log, id: &TopicPartition) -> u64 {
    let all = values("v", 200);
    outcome(append(log, id, batch("device", &all[..100]))).await.unwrap();
    // Times have milliseconds, and those of the embedded log begin with what the clock showed at its start.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let between = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 - 50;
    outcome(append(log, id, batch("device", &all[100..]))).await.unwrap();
    between
}

pub async fn ranges_lie_between_offsets_and_times(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 2);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let between_ms = append_200(&*log, &at(&topic, 1)).await;
    reads_ranges_of_200(&*log, &at(&topic, 1), between_ms).await;
    for from in [RangeStart::Earliest, RangeStart::Offset(0), RangeStart::TimeMs(0)] {
        assert!(range(&*log, &at(&topic, 0), from, RangeEnd::Now).await.is_empty());
    }
    log.close().await;
}

/// Also while a consumer reads and commits, which a range does not disturb.
pub async fn a_range_ends_where_the_log_ended_when_it_began(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let all = values("v", 300);
    outcome(append(&*log, &at(&topic, 0), batch("device", &all[..100]))).await.unwrap();
    let mut consumption = Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    read(&mut **reader, 40).await;
    reader.offsets().commit(40);
    let mut range = log.read_range(&at(&topic, 0), RangeStart::Offset(10), RangeEnd::Now).await.unwrap();
    outcome(append(&*log, &at(&topic, 0), batch("device", &all[100..]))).await.unwrap();
    assert_eq!(range.offsets(), 10..100);
    assert_eq!(offsets_of(&mut *range, 64).await, (10..100).collect::<Vec<u64>>());
    assert_eq!(read(&mut **reader, 260).await.first().unwrap().0, 40);
    consumption.close().await;
    log.close().await;
}

pub async fn schemas_stay_in_the_order_they_were_put(room: &impl Room) {
    let put = [([9u8; 8], "{\"a\":1}"), ([1; 8], "{\"b\":2}"), ([5; 8], "{\"c\":3}")];
    for _ in 0..2 {
        let log = room.open();
        log.apply(&[]).await.unwrap();
        for (fingerprint, json) in put {
            log.put_schema(fingerprint, json.to_owned()).await.unwrap();
        }
        let expected: Vec<_> = put.iter().map(|(fingerprint, json)| (*fingerprint, (*json).to_owned())).collect();
        assert_eq!(log.schemas().await.unwrap(), expected);
        log.close().await;
    }
}

pub async fn topics_are_created_once_and_checked(room: &impl Room) {
    let log = room.open();
    let (topic, wider) = (spec(room.topic(), 2), spec(room.topic(), 3));
    log.apply(&[]).await.unwrap();
    let missing = log.check(std::slice::from_ref(&topic)).await;
    assert!(matches!(missing, Err(LogError::MissingTopic(name)) if name == room.topic()));
    assert_eq!(log.apply(std::slice::from_ref(&topic)).await.unwrap().len(), 1);
    assert!(log.apply(std::slice::from_ref(&topic)).await.unwrap().is_empty());
    log.check(std::slice::from_ref(&topic)).await.unwrap();
    for result in [log.check(std::slice::from_ref(&wider)).await, log.apply(&[wider]).await.map(|_| ())] {
        assert!(matches!(result, Err(LogError::PartitionCount { actual: 2, expected: 3, .. })));
    }
    log.close().await;
}

pub async fn closed_log_refuses_appends(room: &impl Room) {
    let log = room.open();
    let topic = spec(room.topic(), 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    until("the log is healthy", || log.health().is_ok()).await;
    let receipts: Vec<_> = (0..20).map(|_| append(&*log, &at(&topic, 0), batch("device", &["v"]))).collect();
    log.close().await;
    for receipt in receipts {
        outcome(receipt).await.expect("what was appended before the close is durable");
    }
    assert!(outcome(append(&*log, &at(&topic, 0), batch("device", &["late"]))).await.is_err());
}
