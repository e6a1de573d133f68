//! Appending to Kafka: one shared producer, and for each batch a tracker that completes when its last record is
//! confirmed or given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::bootstrap::{Bootstrap, Bootstrapped, serve_producer};
use super::brokers::{Brokers, Statistics, log_line};
use super::settings::KafkaLogSettings;
use crate::log::{AppendBatch, AppendError, Completion, LogError, TopicPartition};

/// Appends batches and reports each exactly once.
pub(super) struct BatchProducer {
    producer: Arc<BaseProducer<DeliveryContext>>,
    brokers: Arc<Brokers>,
    delivery_timeout: Duration,
    is_closed: AtomicBool,
}

/// Where librdkafka reports to, on the producer's own thread.
struct DeliveryContext {
    brokers: Arc<Brokers>,
    bootstrap: Bootstrap,
    forgive_after: Duration,
    failed_at: Mutex<Option<Instant>>,
}

/// One batch on its way: every record in librdkafka's hands holds a reference.
struct BatchTracker {
    num_remaining: AtomicU32,
    outcome: Mutex<BatchOutcome>,
}

struct BatchOutcome {
    first_error: Option<AppendError>,
    done: Option<Completion>,
}

// === impl BatchProducer ===

impl BatchProducer {
    /// Starts the producer. It connects in its own time.
    pub(super) fn start(settings: &KafkaLogSettings, brokers: Arc<Brokers>) -> Result<Self, LogError> {
        let what = "creating the kafka producer";
        let context = DeliveryContext {
            brokers: brokers.clone(),
            bootstrap: Bootstrap::new(settings),
            forgive_after: settings.delivery_timeout,
            failed_at: Mutex::new(None),
        };
        let producer = BaseProducer::from_config_and_context(&settings.producer(), context)
            .map_err(|error| super::failed(what, &error))?;
        let producer = Arc::new(producer);
        serve_producer("kafka-producer", &producer).map_err(|error| super::failed(what, &error))?;
        let is_closed = AtomicBool::new(false);
        Ok(Self { producer, brokers, delivery_timeout: settings.delivery_timeout, is_closed })
    }

    /// Hands a batch over, in order, without waiting for anything.
    pub(super) fn append(&self, to: &TopicPartition, batch: &AppendBatch, done: Completion) {
        if self.is_closed.load(Ordering::Acquire) {
            return done.complete(Err(AppendError::Unavailable("the log is closed".to_owned())));
        }
        let num_records = batch.num_records() as u32;
        if num_records == 0 {
            return done.complete(Ok(()));
        }
        let tracker = Arc::new(BatchTracker {
            num_remaining: AtomicU32::new(num_records),
            outcome: Mutex::new(BatchOutcome { first_error: None, done: Some(done) }),
        });
        for (num_sent, (key, value)) in (0u32..).zip(batch.iter()) {
            let record = BaseRecord::with_opaque_to(&to.topic, tracker.clone())
                .partition(to.partition as i32)
                .key(key)
                .payload(value);
            if let Err((error, _)) = self.producer.send(record) {
                // The rest is not tried: it would overtake this record, and the batch has failed anyway.
                return tracker.settle(num_records - num_sent, Some(append_error(&error)));
            }
        }
    }

    /// Why the client has given up for good, if it has.
    pub(super) fn broken(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(format!("the kafka producer cannot go on ({code}): {reason}"))
    }

    /// `Ok` while appends can be expected to be confirmed.
    pub(super) fn check(&self) -> Result<(), String> {
        self.broken().map_or_else(|| self.brokers.check(), Err)
    }

    /// Takes no more appends and waits until those on their way are confirmed or given up. Blocks.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        if let Err(error) = self.producer.flush(self.delivery_timeout) {
            tracing::warn!(%error, "closing with appends that kafka did not confirm");
        }
    }
}

// === impl BatchTracker ===

impl BatchTracker {
    /// `num_records` records of the batch have come to an end. The last one completes it, with the first error if
    /// there was one.
    fn settle(&self, num_records: u32, error: Option<AppendError>) {
        if let Some(error) = error {
            self.outcome.lock().first_error.get_or_insert(error);
        }
        if self.num_remaining.fetch_sub(num_records, Ordering::AcqRel) == num_records {
            let mut outcome = self.outcome.lock();
            let (done, first_error) = (outcome.done.take(), outcome.first_error.take());
            drop(outcome);
            if let Some(done) = done {
                done.complete(first_error.map_or(Ok(()), Err));
            }
        }
    }
}

// === impl DeliveryContext ===

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(statistics) = Statistics::parse(statistics) {
            self.brokers.on_statistics(&statistics);
            self.brokers.note_queued(&statistics);
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
        let error = result.as_ref().err().map(|(error, _)| append_error(error));
        let is_unavailable = matches!(error, Some(AppendError::Unavailable(_)));
        if is_unavailable {
            *self.failed_at.lock() = Some(Instant::now());
        }
        self.brokers.on_delivery(!is_unavailable);
        tracker.settle(1, error);
    }
}

/// Tells what no retry can help from what may pass.
fn append_error(error: &KafkaError) -> AppendError {
    use RDKafkaErrorCode as Code;
    let is_refused = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::MessageBatchTooLarge
                | Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::PolicyViolation
                | Code::UnsupportedForMessageFormat
        )
    );
    match is_refused {
        true => AppendError::Refused(error.to_string()),
        false => AppendError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn tracked(num_records: u32) -> (BatchTracker, mpsc::Receiver<Result<(), AppendError>>) {
        let (sender, receiver) = mpsc::channel();
        let done = Some(Completion::new(move |outcome| sender.send(outcome).unwrap()));
        let outcome = Mutex::new(BatchOutcome { first_error: None, done });
        (BatchTracker { num_remaining: AtomicU32::new(num_records), outcome }, receiver)
    }

    #[test]
    fn test_batch_completes_once_with_its_last_record() {
        let (tracker, outcomes) = tracked(3);
        tracker.settle(1, None);
        tracker.settle(1, None);
        assert!(outcomes.try_recv().is_err());
        tracker.settle(1, None);
        assert!(outcomes.try_recv().unwrap().is_ok());
        drop(tracker);
        assert!(outcomes.try_recv().is_err());
    }

    #[test]
    fn test_batch_reports_its_first_error() {
        let (tracker, outcomes) = tracked(3);
        tracker.settle(1, Some(AppendError::Refused("first".to_owned())));
        tracker.settle(2, Some(AppendError::Unavailable("second".to_owned())));
        assert!(matches!(outcomes.try_recv().unwrap(), Err(AppendError::Refused(reason)) if reason == "first"));
    }

    #[test]
    fn test_batch_that_is_dropped_counts_as_not_delivered() {
        let (tracker, outcomes) = tracked(1);
        drop(tracker);
        assert!(matches!(outcomes.try_recv().unwrap(), Err(AppendError::Abandoned)));
    }

    #[test]
    fn test_only_what_no_retry_can_help_is_refused() {
        let size = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        assert!(matches!(append_error(&size), AppendError::Refused(_)));
        let timeout = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        assert!(matches!(append_error(&timeout), AppendError::Unavailable(_)));
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert!(matches!(append_error(&full), AppendError::Unavailable(_)));
    }
}
