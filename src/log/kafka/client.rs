//! One Kafka producer, and for each batch a tracker that completes when its last record is confirmed or given up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Message};

use super::bootstrap::{Bootstrap, Bootstrapped, serve_producer};
use super::brokers::{Brokers, Statistics};
use super::lane::{Lane, Pending};
use super::limits::Sizes;
use super::regroup::{Refused, Regrouper};
use super::settings::KafkaLogSettings;
use crate::flow::trace::{Trace, TraceContext};
use crate::log::{AppendError, Completion, LogError};

/// A producer whose batches have at most so many bytes.
pub(super) struct Client {
    producer: Arc<BaseProducer<DeliveryContext>>,
    sizes: Sizes,
}

/// Where librdkafka reports to, on the producer's own thread.
struct DeliveryContext {
    brokers: Arc<Brokers>,
    bootstrap: Bootstrap,
    regrouper: Weak<Regrouper>,
    batch_bytes: usize,
    single_bytes: usize,
    forgive_after: Duration,
    failed_at: Mutex<Option<Instant>>,
    /// As of the last report.
    queued_bytes: AtomicU64,
}

/// One batch on its way: every record in librdkafka's hands holds a reference.
pub(super) struct BatchTracker {
    lane: Arc<Lane>,
    partition: u32,
    num_remaining: AtomicU32,
    /// For the headers of its records.
    trace: Option<Trace>,
    /// The offset after the last record that is confirmed; 0 if none is.
    end: AtomicU64,
    outcome: Mutex<BatchOutcome>,
}

struct BatchOutcome {
    first_error: Option<AppendError>,
    done: Option<Completion>,
}

// === impl Client ===

impl Client {
    /// Starts a producer for topics that take this much. It connects in its own time.
    pub(super) fn start(
        settings: &KafkaLogSettings,
        sizes: Sizes,
        brokers: &Arc<Brokers>,
        regrouper: Weak<Regrouper>,
    ) -> Result<Self, LogError> {
        let what = "creating the kafka producer";
        let context = DeliveryContext {
            brokers: Arc::clone(brokers),
            bootstrap: Bootstrap::new(settings),
            regrouper,
            batch_bytes: KafkaLogSettings::batch_size(sizes),
            single_bytes: sizes.single,
            forgive_after: settings.delivery_timeout,
            failed_at: Mutex::new(None),
            queued_bytes: AtomicU64::new(0),
        };
        let producer = BaseProducer::from_config_and_context(&settings.producer(sizes), context)
            .map_err(|error| super::failed(what, error))?;
        let producer = Arc::new(producer);
        serve_producer("kafka-producer", &producer).map_err(|error| super::failed(what, error))?;
        Ok(Self { producer, sizes })
    }

    /// What the topics take that it is for.
    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Hands a batch over, in order, without waiting for anything.
    pub(super) fn append(&self, lane: &Arc<Lane>, Pending { partition, batch, done }: Pending) {
        let (num_records, trace) = (batch.num_records() as u32, batch.trace.clone());
        let tracker = Arc::new(BatchTracker {
            lane: Arc::clone(lane),
            partition,
            num_remaining: AtomicU32::new(num_records),
            trace,
            end: AtomicU64::new(0),
            outcome: Mutex::new(BatchOutcome { first_error: None, done: Some(done) }),
        });
        for (num_sent, (key, value)) in (0u32..).zip(batch.iter()) {
            if let Err(error) = self.send(Arc::clone(&tracker), key, value) {
                // The rest is not tried: it would overtake this record, and the batch has failed anyway.
                return tracker.settle(num_records - num_sent, Some(append_error(error)));
            }
        }
    }

    /// Hands a record over again that was refused in too large a batch.
    pub(super) fn append_again(&self, Refused { tracker, key, value, .. }: Refused) {
        if let Err(error) = self.send(Arc::clone(&tracker), &key, &value) {
            tracker.settle(1, Some(append_error(error)));
        }
    }

    fn send(&self, tracker: Arc<BatchTracker>, key: &[u8], value: &[u8]) -> Result<(), KafkaError> {
        let (lane, partition) = (Arc::clone(&tracker.lane), tracker.partition as i32);
        let headers = tracker.trace_of(key.len() + value.len()).map(headers_of);
        let mut record = BaseRecord::with_opaque_to(lane.topic(), tracker).partition(partition).key(key).payload(value);
        record.headers = headers;
        self.producer.send(record).map_err(|(error, _)| error)
    }

    /// Why it has given up for good, if it has.
    pub(super) fn broken(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(format!("the kafka producer cannot go on ({code}): {reason}"))
    }

    /// Waits until everything on its way is confirmed or given up. Blocks.
    pub(super) fn flush(&self, timeout: Duration) {
        if let Err(error) = self.producer.flush(timeout) {
            tracing::warn!(%error, "closing with appends that kafka did not confirm");
        }
    }
}

// === impl BatchTracker ===

impl BatchTracker {
    /// The topic that the batch is for.
    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// The trace that a record with so many bytes of key and value has in its headers: none if it would be larger with it
    /// than its topic takes, since the record matters more than its trace.
    fn trace_of(&self, num_bytes: usize) -> Option<&TraceContext> {
        let trace = self.trace.as_deref()?;
        (num_bytes + header_bytes(trace) <= self.lane.record_limit().max_bytes()).then_some(trace)
    }

    /// Bytes of the headers of a record with so many bytes of key and value.
    pub(super) fn header_bytes(&self, num_bytes: usize) -> usize {
        self.trace_of(num_bytes).map_or(0, header_bytes)
    }

    /// `num_records` records of the batch have come to an end. The last one completes it, with the first error if
    /// there was one.
    pub(super) fn settle(&self, num_records: u32, error: Option<AppendError>) {
        if let Some(error) = error {
            self.outcome.lock().first_error.get_or_insert(error);
        }
        if self.num_remaining.fetch_sub(num_records, Ordering::AcqRel) == num_records {
            let end = self.end.load(Ordering::Acquire);
            if end > 0 {
                self.lane.note_end(self.partition, end);
            }
            let mut outcome = self.outcome.lock();
            let (done, first_error) = (outcome.done.take(), outcome.first_error.take());
            drop(outcome);
            // There until the last record, which comes once. Not asserted: a panic within librdkafka would end the process.
            if let Some(done) = done {
                done.complete(first_error.map_or(Ok(()), Err));
            }
        }
    }
}

impl Drop for BatchTracker {
    fn drop(&mut self) {
        self.lane.ended();
    }
}

// === impl DeliveryContext ===

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.brokers.own_log.line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(statistics) = Statistics::parse(statistics) {
            self.brokers.on_statistics(&statistics);
            let queued_bytes = statistics.queued_bytes();
            self.brokers.note_queued(self.queued_bytes.swap(queued_bytes, Ordering::Relaxed), queued_bytes);
            self.brokers.note_sent(&statistics);
            self.bootstrap.on_statistics(&statistics);
        }
        // Without this a pod that stopped sending because of the failure would never send again.
        let mut failed_at = self.failed_at.lock();
        if failed_at.is_some_and(|at| at.elapsed() > self.forgive_after) {
            *failed_at = None;
            self.brokers.forgive();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.brokers.on_error(&error, reason);
    }
}

impl Bootstrapped for DeliveryContext {
    fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Arc<BatchTracker>;

    fn delivery(&self, result: &DeliveryResult<'_>, tracker: Arc<BatchTracker>) {
        let error = match result {
            Ok(message) => {
                // The records of a partition are confirmed in order. Unknown is negative.
                tracker.end.store(u64::try_from(message.offset() + 1).unwrap_or(0), Ordering::Release);
                self.brokers.on_delivery(true);
                tracker.lane.note_confirmed();
                return tracker.settle(1, None);
            }
            Err((error, message)) => match append_error(error.clone()) {
                AppendError::TooLarge(_) => return self.too_large(message, tracker),
                error => error,
            },
        };
        let is_unavailable = matches!(error, AppendError::Unavailable(_));
        if is_unavailable {
            *self.failed_at.lock() = Some(Instant::now());
        } else {
            tracker.lane.note_refused(&error.to_string());
        }
        self.brokers.on_delivery(!is_unavailable);
        tracker.settle(1, Some(error));
    }
}

impl DeliveryContext {
    /// The batch that the record was in is larger than the topic takes. librdkafka does not cut it anew.
    fn too_large(&self, message: &impl Message, tracker: Arc<BatchTracker>) {
        // Ours have both, be they empty.
        let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        match self.regrouper.upgrade() {
            Some(regrouper) => {
                let (key, value) = (key.to_vec(), value.to_vec());
                let (batch_bytes, single_bytes) = (self.batch_bytes, self.single_bytes);
                regrouper.take(Refused { tracker, key, value, batch_bytes, single_bytes });
            }
            None => tracker.settle(1, Some(AppendError::unavailable("the log is closed"))),
        }
    }
}

impl Drop for DeliveryContext {
    fn drop(&mut self) {
        self.brokers.note_queued(self.queued_bytes.load(Ordering::Relaxed), 0);
    }
}

/// A record's headers.
fn headers_of(trace: &TraceContext) -> OwnedHeaders {
    trace
        .headers()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// What these headers take in a record: names and values, and two lengths of at most two bytes each.
fn header_bytes(trace: &TraceContext) -> usize {
    trace.headers().map(|(name, value)| name.len() + value.len() + 4).sum()
}

/// Tells what no retry can help from what may pass.
fn append_error(error: KafkaError) -> AppendError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => AppendError::too_large(error),
        Some(
            Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat,
        ) => AppendError::refused(error),
        _ => AppendError::unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_an_error_keeps_what_kafka_said_and_says_it() {
        let said = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        let error = append_error(said.clone());
        assert_eq!(error.to_string(), format!("log unavailable: {said}"));
        assert_eq!(std::error::Error::source(&error).map(ToString::to_string), Some(said.to_string()));
        let error = super::super::failed("asking", said.clone());
        assert_eq!(error.to_string(), format!("asking: {said}"));
        assert!(std::error::Error::source(&error).is_some_and(|cause| cause.is::<KafkaError>()));
    }

    #[test]
    fn test_size_and_settings_are_told_from_what_may_pass() {
        let of = |code| append_error(KafkaError::MessageProduction(code));
        assert!(matches!(of(RDKafkaErrorCode::MessageSizeTooLarge), AppendError::TooLarge(_)));
        assert!(matches!(of(RDKafkaErrorCode::MessageBatchTooLarge), AppendError::TooLarge(_)));
        assert!(matches!(of(RDKafkaErrorCode::InvalidTimestamp), AppendError::Refused(_)));
        assert!(matches!(of(RDKafkaErrorCode::MessageTimedOut), AppendError::Unavailable(_)));
        assert!(matches!(of(RDKafkaErrorCode::QueueFull), AppendError::Unavailable(_)));
    }
}
