//! Records that can never be written, on their way to the dead-letter topic.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::warn;

use super::WriterParts;
use super::grouping::Reject;
use crate::actors::partition_producer::Append;
use crate::flow::backoff::Backoff;
use crate::log::{AppendBatch, Completion, Keys, RecordBatch, TopicPartition};
use crate::protocol::avro::{DeadLetter, RecordIdentity};
use crate::supervision::jitter;
use crate::telemetry::counters::add;
use crate::telemetry::now_us;

/// Buries records.
pub(super) struct DeadLetters<'a> {
    parts: &'a Arc<WriterParts>,
}

// === impl DeadLetters ===

impl<'a> DeadLetters<'a> {
    pub(super) fn new(parts: &'a Arc<WriterParts>) -> Self {
        Self { parts }
    }

    /// Returns when the dead-letter topic has confirmed every reject, however long that takes.
    pub(super) async fn bury(&self, from: &TopicPartition, batch: &RecordBatch, rejects: &[Reject]) {
        let plans = self.parts.schemas.plans();
        for reject in rejects {
            let record = &batch.records[reject.record as usize];
            let (key, value) = (record.key(&batch.data), record.value(&batch.data));
            let device_id = String::from_utf8_lossy(key);
            let identity = RecordIdentity::peek(value);
            let mut letter = Vec::new();
            DeadLetter {
                device_id: &device_id,
                reason_code: reject.code,
                detail: &reject.detail,
                origin: &format!("writer {from}@{}", record.offset),
                at_us: now_us(),
                type_id: plans.type_id_of(value),
                version: identity.map(|identity| identity.version),
                sequence: identity.map(|identity| identity.sequence),
                event_time_ms: identity.map(|identity| identity.event_time_ms),
                payload: value,
            }
            .encode(&mut letter);
            self.append_until_confirmed(Bytes::copy_from_slice(key), letter.into()).await;
        }
    }

    async fn append_until_confirmed(&self, key: Bytes, value: Bytes) {
        let (min, max) = self.parts.retry;
        let mut backoff = Backoff::new(min, max);
        let producer = self.parts.dead_letter.producer_of(&key);
        loop {
            let (answer, answered) = oneshot::channel();
            let done = Completion::new(move |outcome| {
                let _ = answer.send(outcome);
            });
            let batch =
                AppendBatch { keys: Keys::Same(key.clone()), values: value.clone(), ends: vec![value.len() as u32] };
            let credit = producer.credits().take().await;
            producer.send(Append { batch, done, credit });
            match answered.await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => warn!(%error, "a dead letter is not confirmed yet; trying again"),
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_delay(jitter())).await;
        }
        add(&self.parts.telemetry.counters.dead_letters, 1);
    }
}
