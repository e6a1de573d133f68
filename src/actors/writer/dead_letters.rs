//! Records that can never be written, on their way to the dead-letter topic.
//!
//! The letters of a batch are appended together, some appends at a time, since waiting for each would cost a flush or a
//! round trip to the brokers per record. A letter that is larger than the topic takes comes in parts. Until all are
//! confirmed the batch is not settled: its partition stands, and [`Unconfirmed`] says so.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::WriterParts;
use super::grouping::Reject;
use crate::codec::avro::{DeadLetter, Header, RecordIdentity, Source};
use crate::flow::backoff::Backoff;
use crate::flow::health::{Condition, Part};
use crate::flow::trace::{TRACEPARENT, TraceContext};
use crate::intake::append::{Append, Producer};
use crate::log::partitioner::partition_for;
use crate::log::{AppendBatch, AppendError, Completion, Keys, RecordBatch, RecordMeta, RecordRef, TopicPartition};
use crate::supervision::jitter;
use crate::telemetry::now_us;

/// One append has letters of at most so many records and, about, bytes of them (one record in any case).
const MAX_RECORDS: usize = 1024;
const MAX_BYTES: usize = 256 << 10;

/// So many appends of one batch are under way at the same time.
const MAX_IN_FLIGHT: usize = 4;

/// No device has a longer name: a key that is longer is not ours, and is cut.
const MAX_KEY_BYTES: usize = 256;

/// Buries records.
pub(super) struct DeadLetters<'a> {
    parts: &'a Arc<WriterParts>,
}

/// Rejects whose letters go to one partition of the dead-letter topic, in one append.
struct Burial<'a> {
    rejects: Vec<&'a Reject>,
    partition: u32,
    num_bytes: usize,
}

/// What is buried, and from where.
#[derive(Clone, Copy)]
struct Origin<'a> {
    partition: &'a TopicPartition,
    batch: &'a RecordBatch,
    at_us: u64,
}

/// Letters that the log has not confirmed although it was asked: their partitions stand.
#[derive(Debug)]
pub struct Unconfirmed {
    topic: Arc<str>,
    state: Mutex<UnconfirmedState>,
}

#[derive(Debug, Default)]
struct UnconfirmedState {
    num_appends: usize,
    last_error: String,
}

/// An append of letters that was not confirmed at least once; over when dropped.
struct Trouble<'a>(&'a Unconfirmed);

// === impl Unconfirmed ===

impl Unconfirmed {
    /// For letters to this topic.
    pub fn new(topic: Arc<str>) -> Self {
        Self { topic, state: Mutex::default() }
    }

    /// Says so while it is so.
    pub fn condition(&self) -> Option<Condition> {
        let state = self.state.lock();
        let UnconfirmedState { num_appends, last_error } = &*state;
        let detail = format!(
            "topic {} does not confirm dead letters ({num_appends} appends wait): {last_error}. The partitions that the \
             records are of stand until it does; look at the topic's settings and its brokers",
            self.topic
        );
        (*num_appends > 0).then(|| Condition::failing(Part::Log, "dead_letters_not_confirmed", &*self.topic, detail))
    }

    fn begin(&self) -> Trouble<'_> {
        self.state.lock().num_appends += 1;
        Trouble(self)
    }
}

impl Trouble<'_> {
    fn note(&self, error: &AppendError) {
        self.0.state.lock().last_error = error.to_string();
    }
}

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        self.0.state.lock().num_appends -= 1;
    }
}

// === impl DeadLetters ===

impl<'a> DeadLetters<'a> {
    pub(super) fn new(parts: &'a Arc<WriterParts>) -> Self {
        Self { parts }
    }

    /// Returns when the dead-letter topic has confirmed every reject, however long that takes.
    pub(super) async fn bury(&self, from: &TopicPartition, batch: &RecordBatch, rejects: &[Reject]) {
        let origin = Origin { partition: from, batch, at_us: now_us() };
        let burials = burials(batch, rejects, self.parts.dead_letter.partitions.len() as u32);
        stream::iter(burials).for_each_concurrent(MAX_IN_FLIGHT, |burial| self.until_confirmed(origin, burial)).await;
    }

    async fn until_confirmed(&self, origin: Origin<'_>, burial: Burial<'_>) {
        let (min, max) = self.parts.retry;
        let mut backoff = Backoff::new(min, max);
        let mut trouble = None;
        let producer = &self.parts.dead_letter.partitions[burial.partition as usize];
        loop {
            // Anew each time: what the topic takes may have changed.
            let letters = self.letters(origin, &burial.rejects);
            let _memory = self.parts.memory.take(letters.num_bytes() as u64);
            let Err(error) = append(producer, letters).await else { break };
            trouble.get_or_insert_with(|| self.parts.unconfirmed.begin()).note(&error);
            tokio::time::sleep(backoff.next_delay(jitter())).await;
        }
        let dead_letters = &self.parts.telemetry.counters.dead_letters;
        burial.rejects.iter().for_each(|reject| dead_letters.add(&reject.code, 1));
    }

    fn letters(&self, Origin { partition, batch, at_us }: Origin<'_>, rejects: &[&Reject]) -> AppendBatch {
        let plans = self.parts.schemas.plans();
        let max_bytes = self.parts.dead_letter.limit.max_bytes();
        let (mut values, mut ends, mut keys, mut key_ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for reject in rejects {
            let record = record_of(batch, reject);
            let (whole_key, key) = (record.key(&batch.data), key_of(batch, record));
            let value = record.value(&batch.data);
            let identity = RecordIdentity::peek(value);
            let origin = format!("writer {partition}@{}", record.offset);
            let headers: Vec<Header<'_>> = batch.headers(reject.record as usize).collect();
            let meta = batch.meta.get(reject.record as usize);
            let trace = trace_of(&headers);
            let source = Source {
                topic: &partition.topic,
                partition: partition.partition,
                offset: record.offset,
                timestamp_ms: meta.and_then(|meta| meta.timestamp_ms),
                key: is_told_apart(meta, whole_key, key).then_some(whole_key),
                headers: &headers,
                has_value: meta.is_none_or(|meta| meta.has_value),
            };
            let letter = DeadLetter {
                device_id: &String::from_utf8_lossy(key),
                reason_code: reject.code,
                detail: &reject.detail,
                origin: &origin,
                at_us,
                type_id: plans.type_id_of(value),
                version: identity.map(|identity| identity.version),
                sequence: identity.map(|identity| identity.sequence),
                event_time_ms: identity.map(|identity| identity.event_time_ms),
                payload: value,
                trace: trace.as_ref().map(TraceContext::parent),
                source: Some(source),
            };
            let num_before = ends.len();
            let whole = || format!("{partition}@{}", record.offset);
            letter.encode_within(max_bytes.saturating_sub(key.len()), whole, &mut values, &mut ends);
            for _ in num_before..ends.len() {
                keys.extend_from_slice(key);
                key_ends.push(keys.len() as u32);
            }
        }
        let keys = Keys::Each { text: keys.into(), ends: key_ends };
        AppendBatch { keys, values: values.into(), ends, trace: None }
    }
}

/// The trace that a record came with, if its headers have a valid one.
fn trace_of(headers: &[Header<'_>]) -> Option<TraceContext> {
    let parents = headers.iter().filter(|(name, _)| *name == TRACEPARENT.as_bytes());
    TraceContext::read(parents.filter_map(|(_, value)| *value), [])
}

/// Whether the letter has to say the key beside its device, which is as much of it as text can be and a device's name has.
fn is_told_apart(meta: Option<&RecordMeta>, whole_key: &[u8], key: &[u8]) -> bool {
    meta.map_or_else(|| whole_key.len() > key.len() || std::str::from_utf8(key).is_err(), |meta| meta.has_key)
}

async fn append(producer: &Producer, batch: AppendBatch) -> Result<(), AppendError> {
    let (answer, answered) = oneshot::channel();
    // Who asked may have died meanwhile.
    let done = Completion::new(move |outcome| drop(answer.send(outcome)));
    let credit = producer.credits().take().await;
    producer.send(Append { batch, done, credit });
    answered.await.unwrap_or(Err(AppendError::Abandoned))
}

/// Cuts rejects into appends; those for one partition keep their order.
fn burials<'a>(batch: &RecordBatch, rejects: &'a [Reject], num_partitions: u32) -> Vec<Burial<'a>> {
    let new = |partition| Burial { rejects: Vec::new(), partition, num_bytes: 0 };
    let mut open: Vec<Burial<'a>> = (0..num_partitions).map(new).collect();
    let mut full = Vec::new();
    for reject in rejects {
        let record = record_of(batch, reject);
        let partition = partition_for(key_of(batch, record), num_partitions);
        let burial = &mut open[partition as usize];
        let beside = batch.headers(reject.record as usize).num_bytes() + record.key(&batch.data).len();
        let num_bytes = record.value(&batch.data).len() + reject.detail.len() + beside;
        let is_full = burial.rejects.len() >= MAX_RECORDS || burial.num_bytes + num_bytes > MAX_BYTES;
        if is_full && !burial.rejects.is_empty() {
            full.push(std::mem::replace(burial, new(partition)));
        }
        burial.rejects.push(reject);
        burial.num_bytes += num_bytes;
    }
    full.extend(open.into_iter().filter(|burial| !burial.rejects.is_empty()));
    full
}

/// A reject is made of a record of its batch; another index would bury the wrong one.
fn record_of<'a>(batch: &'a RecordBatch, reject: &Reject) -> &'a RecordRef {
    &batch.records[reject.record as usize]
}

fn key_of<'a>(batch: &'a RecordBatch, record: &RecordRef) -> &'a [u8] {
    let key = record.key(&batch.data);
    key.get(..MAX_KEY_BYTES).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn batch_of(records: &[(&str, usize)]) -> RecordBatch {
        let (mut data, mut refs) = (Vec::new(), Vec::new());
        for (offset, (key, value_len)) in (0..).zip(records) {
            let key_start = data.len() as u32;
            data.extend_from_slice(key.as_bytes());
            let value_start = data.len() as u32;
            data.resize(data.len() + value_len, 7);
            refs.push(RecordRef { offset, key_start, value_start, value_end: data.len() as u32 });
        }
        RecordBatch {
            data: Bytes::from(data),
            records: refs,
            next_offset: records.len() as u64,
            first_written_ms: None,
            meta: Vec::new(),
        }
    }

    fn rejects(count: u32) -> Vec<Reject> {
        (0..count).map(|record| Reject { record, code: "undecodable", detail: String::new() }).collect()
    }

    #[test]
    fn test_rejects_travel_together_and_each_once() {
        let names: Vec<String> = (0..5000).map(|number| format!("truck-{}", number % 37)).collect();
        let batch = batch_of(&names.iter().map(|name| (name.as_str(), 100)).collect::<Vec<_>>());
        let rejects = rejects(5000);
        let burials = burials(&batch, &rejects, 3);
        assert!(burials.len() <= 8, "{}", burials.len());
        let mut buried: Vec<u32> = Vec::new();
        for burial in &burials {
            assert!(burial.rejects.len() <= MAX_RECORDS && burial.num_bytes <= MAX_BYTES);
            assert!(burial.rejects.is_sorted_by_key(|reject| reject.record));
            for reject in &burial.rejects {
                let record = record_of(&batch, reject);
                assert_eq!(partition_for(record.key(&batch.data), 3), burial.partition);
                buried.push(reject.record);
            }
        }
        buried.sort_unstable();
        assert_eq!(buried, (0..5000).collect::<Vec<_>>());
    }

    #[test]
    fn test_a_record_that_is_larger_than_an_append_goes_alone() {
        let batch = batch_of(&[("a", 10), ("a", MAX_BYTES * 4), ("a", 10)]);
        let rejects = rejects(3);
        let sizes: Vec<usize> = burials(&batch, &rejects, 1).iter().map(|burial| burial.rejects.len()).collect();
        assert_eq!(sizes, [1, 1, 1]);
    }

    #[test]
    fn test_the_trace_of_a_record_is_what_its_headers_say_if_that_is_valid() {
        let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = |headers: &[Header<'_>]| trace_of(headers).map(|trace| trace.parent().as_bytes().to_vec());
        assert_eq!(trace(&[(b"a", Some(b"b")), (b"traceparent", Some(parent))]), Some(parent.to_vec()));
        assert_eq!(trace(&[(b"traceparent", Some(b"00-1"))]), None);
        assert_eq!(trace(&[(b"traceparent", None), (b"tracestate", Some(parent))]), None);
        assert_eq!(trace(&[(b"traceparent", Some(parent)), (b"traceparent", Some(parent))]), None, "which one?");
    }

    #[test]
    fn test_a_letter_says_the_key_where_its_device_is_not_all_of_it() {
        let is_told = |meta: Option<RecordMeta>, key: &[u8], kept| is_told_apart(meta.as_ref(), key, &key[..kept]);
        assert!(!is_told(None, b"truck", 5) && !is_told(None, b"", 0));
        assert!(is_told(None, b"truck", 4) && is_told(None, &[0xff], 1));
        let record = RecordRef { offset: 0, key_start: 0, value_start: 0, value_end: 0 };
        for has_key in [false, true] {
            let meta = RecordMeta { has_key, ..RecordMeta::bare(&record) };
            assert_eq!(is_told(Some(meta), b"", 0), has_key, "of others, an empty key is one");
        }
    }

    #[test]
    fn test_unconfirmed_letters_are_a_condition_until_the_last_is_over() {
        let unconfirmed = Unconfirmed::new("dead".into());
        assert_eq!(unconfirmed.condition(), None);
        let (first, second) = (unconfirmed.begin(), unconfirmed.begin());
        first.note(&AppendError::unavailable("no leader"));
        drop(first);
        assert!(unconfirmed.condition().unwrap().detail.contains("no leader"));
        drop(second);
        assert_eq!(unconfirmed.condition(), None);
    }
}
