//! The set of partitions that this process consumes: starts a supervised consumer for each partition that is assigned
//! and ends it, with its commits made, before the partition is given back.
//!
//! A task, not an actor: it owns the channel of assignments, which must not be lost in a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use actix_rt::ArbiterHandle;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

use super::batch_slots::BatchSlots;
use super::gate::{Gate, Leave};
pub use super::lags::{LagSource, Lags, PartitionLag};
use super::partition_consumer::{ConsumerParts, Drain, PartitionConsumer};
use super::reader_slot::ReaderSlot;
use super::writer::Writer;
use crate::flow::consumption::ConsumptionSettings;
use crate::flow::memory::MemoryBudget;
use crate::log::{AssignmentEvent, PartitionReader, TopicPartition};
use crate::supervision::{ActorRef, ChildSpec, Supervisor};
use crate::telemetry::Telemetry;

/// What consumers are built from.
pub struct Group {
    /// Restarts the consumers.
    pub supervisor: Supervisor,
    /// Where consumers run.
    pub homes: Vec<ArbiterHandle>,
    /// See [`ConsumerParts`].
    pub gate: ActorRef<Gate>,
    /// See [`ConsumerParts`].
    pub writers: Vec<ActorRef<Writer>>,
    /// See [`ConsumerParts`].
    pub settings: ConsumptionSettings,
    /// See [`ConsumerParts`].
    pub slots: BatchSlots,
    /// How long a partition that is taken away may take to finish what is in flight.
    pub drain_timeout: Duration,
    /// See [`ConsumerParts`].
    pub memory: MemoryBudget,
    /// See [`ConsumerParts`].
    pub telemetry: Arc<Telemetry>,
    /// The offsets of what is consumed now, for lag.
    pub lags: Lags,
    /// Whether batches of a partition of this topic are to be written one after the other.
    pub is_in_order: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

struct Consumed {
    consumer: ActorRef<PartitionConsumer>,
    reader: ReaderSlot,
}

// === impl Group ===

impl Group {
    /// Follows assignments until `stop`, then ends every consumer.
    pub async fn run(self, mut events: mpsc::UnboundedReceiver<AssignmentEvent>, mut stop: oneshot::Receiver<()>) {
        let mut consumed: HashMap<TopicPartition, Consumed> = HashMap::new();
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = &mut stop => None,
            };
            match event {
                Some(AssignmentEvent::Assigned(readers)) => {
                    info!(partitions = %list(readers.iter().map(|reader| reader.partition())), "partitions assigned");
                    for reader in readers {
                        let partition = reader.partition().clone();
                        let taken = self.consume(reader, consumed.len());
                        consumed.insert(partition, taken);
                    }
                }
                Some(AssignmentEvent::Revoked { partitions, done }) => {
                    info!(partitions = %list(partitions.iter()), "partitions taken away");
                    let leaving = partitions.iter().filter_map(|partition| consumed.remove_entry(partition)).collect();
                    self.give_up(leaving).await;
                    let _ = done.send(());
                }
                None => break,
            }
        }
        self.give_up(consumed.into_iter().collect()).await;
    }

    fn consume(&self, reader: Box<dyn PartitionReader>, index: usize) -> Consumed {
        let (partition, offsets) = (reader.partition().clone(), reader.offsets());
        let mut settings = self.settings;
        if (self.is_in_order)(&partition.topic) {
            settings.max_batches_in_flight = 1;
        }
        let consumed = self.lags.begin(&partition, offsets, settings.max_batches_in_flight, &self.telemetry);
        let reader: ReaderSlot = Arc::new(Mutex::new(Some(reader)));
        // Its edge is the number of batches in flight, which it bounds itself.
        let consumer = ActorRef::new(1);
        let parts = ConsumerParts {
            partition: partition.clone(),
            reader: Arc::clone(&reader),
            consumed,
            gate: self.gate.clone(),
            writers: self.writers.clone(),
            settings,
            slots: self.slots.clone(),
            memory: self.memory.clone(),
            telemetry: Arc::clone(&self.telemetry),
        };
        let reference: ActorRef<PartitionConsumer> = consumer.clone();
        self.supervisor.supervise(ChildSpec {
            group: "partition_consumer",
            name: partition.to_string(),
            home: self.homes[index % self.homes.len()].clone(),
            edge: None,
            start: Arc::new(move |lifeline| {
                reference.point_to(PartitionConsumer::new(parts.clone(), lifeline).start());
            }),
        });
        Consumed { consumer, reader }
    }

    async fn give_up(&self, leaving: Vec<(TopicPartition, Consumed)>) {
        let asked: Vec<_> = leaving
            .iter()
            .map(|(_, consumed)| {
                let (done, drained) = oneshot::channel();
                consumed.consumer.send(Drain { done });
                drained
            })
            .collect();
        let all_drained = async {
            for drained in asked {
                // An error means that the consumer is dead: nothing of it will be committed any more.
                let _ = drained.await;
            }
        };
        if timeout(self.drain_timeout, all_drained).await.is_err() {
            warn!("partitions given back with writes in flight: their next owner writes those rows again");
        }
        for (partition, consumed) in leaving {
            consumed.reader.lock().await.take();
            self.lags.end(&partition);
            if let Some(gate) = self.gate.current() {
                gate.do_send(Leave { partition });
            }
        }
    }
}

fn list<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> String {
    let names: Vec<String> = partitions.map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
