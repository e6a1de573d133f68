//! PartitionProducer: one per log partition. Appends batches in the order in which they come; the log's answer is the
//! durable receipt.
//!
//! The credit of a batch is held until the log has answered, so that the bound covers what the log has in flight.

use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Context, Handler};

use crate::intake::append::Append;
use crate::log::{Completion, Log, TopicPartition};
use crate::supervision::Lifeline;
use crate::telemetry::family::Volume;
use crate::telemetry::{Recorder, Telemetry};

/// Appends to one partition.
pub struct PartitionProducer {
    partition: TopicPartition,
    log: Arc<dyn Log>,
    append: Recorder,
    appended: Arc<Volume>,
    _lifeline: Lifeline,
}

impl PartitionProducer {
    /// A producer for one partition.
    pub fn new(partition: TopicPartition, log: Arc<dyn Log>, telemetry: &Telemetry, lifeline: Lifeline) -> Self {
        let appended = telemetry.counters.appended.of(&partition.topic);
        Self { partition, log, append: telemetry.append.recorder(), appended, _lifeline: lifeline }
    }
}

impl Actor for PartitionProducer {
    type Context = Context<Self>;
}

impl Handler<Append> for PartitionProducer {
    type Result = ();

    fn handle(&mut self, Append { batch, done, credit }: Append, _: &mut Self::Context) {
        fail::fail_point!("partition_producer");
        let (append, appended, since) = (self.append.clone(), Arc::clone(&self.appended), Instant::now());
        let (num_records, num_bytes) = (batch.num_records(), batch.num_record_bytes());
        let done = Completion::new(move |answer| {
            // Why the log does not confirm is for the log to say, once per change and not once per batch.
            if answer.is_ok() {
                append.record(since.elapsed().as_micros() as u64);
                appended.add(num_records, num_bytes);
            }
            done.complete(answer);
            drop(credit);
        });
        self.log.append(&self.partition, batch, done);
    }
}
