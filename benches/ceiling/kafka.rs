//! A bare idempotent producer, as fast as the client goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

/// How long the last records may take to be confirmed.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// How long to wait when the client's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Writes to one topic and counts what was not confirmed.
pub struct Topic {
    name: String,
    producer: ThreadedProducer<Failures>,
    failures: Failures,
}

/// Counts failed deliveries.
#[derive(Debug, Clone, Default)]
struct Failures(Arc<AtomicU64>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Topic ===

impl Topic {
    /// Starts a producer of its own for the topic, which must exist.
    pub fn open(broker: &str, name: &str, compression: &str) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        for (key, value) in [
            ("bootstrap.servers", broker),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "5"),
            ("compression.type", compression),
            ("batch.size", "1000000"),
            ("queue.buffering.max.messages", "200000"),
        ] {
            config.set(key, value);
        }
        let failures = Failures::default();
        let producer = ThreadedProducer::from_config_and_context(&config, failures.clone())?;
        Ok(Self { name: name.to_owned(), producer, failures })
    }

    /// Hands one record over; waits while the client's queue is full.
    pub fn send(&self, partition: u32, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(&self.name).partition(partition as i32).key(key).payload(value);
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
                Err((error, _)) => return Err(error).context("producing"),
            };
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// Waits until everything is confirmed; what was not is an error.
    pub fn finish(self) -> anyhow::Result<()> {
        self.producer.flush(FLUSH_TIMEOUT).context("waiting for confirmations")?;
        match self.failures.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => bail!("{failed} records of {} were not confirmed", self.name),
        }
    }
}
