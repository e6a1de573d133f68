//! PartitionConsumer: one per assigned partition. Reads its own queue, keeps batches in flight, commits what is settled.
//!
//! What it does, and when, is the rule's to say ([`crate::flow::consumption`]): the actor reports events and carries out
//! actions. A batch stays in hand until it is settled: if the writer that held it dies, it is sent to another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient};
use futures_util::future::{AbortHandle, Abortable};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::batch_ack::{Acknowledged, BatchAck};
use super::batch_builder::{Batch, BatchBuilder};
use super::batch_slots::BatchSlots;
use super::gate::{Admission, Gate, Join, SetFlow};
use super::lags::ConsumedPartition;
use super::reader_slot::{ReaderSlot, read, rewind, set_paused};
use super::writer::{WriteBatch, Writer};
use crate::flow::consumption::{Action, Consumption, ConsumptionSettings, RETRY_DELAY, Size, Surroundings};
use crate::flow::memory::MemoryBudget;
use crate::flow::watermark::BatchId;
use crate::log::{ReadError, ReadLimit, RecordBatch, TopicPartition};
use crate::supervision::{ActorRef, Lifeline};
use crate::telemetry::{Recorder, Telemetry};

/// What a consumer works with.
#[derive(Clone)]
pub struct ConsumerParts {
    /// Which partition it consumes.
    pub partition: TopicPartition,
    /// Its reader.
    pub reader: ReaderSlot,
    /// Its offsets, and what is told of it.
    pub consumed: Arc<ConsumedPartition>,
    /// Where it gets leave to write.
    pub gate: ActorRef<Gate>,
    /// Who writes.
    pub writers: Vec<ActorRef<Writer>>,
    /// How much one batch takes, and how many may be in flight.
    pub settings: ConsumptionSettings,
    /// Leave for large batches.
    pub slots: BatchSlots,
    /// What batches in hand count against.
    pub memory: MemoryBudget,
    /// Measures the reads.
    pub telemetry: Arc<Telemetry>,
}

/// Consumes one partition.
pub struct PartitionConsumer {
    parts: ConsumerParts,
    /// The times of the rule are since then.
    epoch: Instant,
    read_records: Recorder,
    rule: Consumption,
    /// What was read and is not in flight yet.
    builder: BatchBuilder,
    /// Batches that are not settled.
    in_hand: HashMap<BatchId, Arc<Batch>>,
    /// There once it has joined the gate; nothing is sent before.
    admission: Option<Admission>,
    /// Ends the read that is under way.
    reading: Option<AbortHandle>,
    draining: Option<oneshot::Sender<()>>,
    next_writer: usize,
    lifeline: Lifeline,
}

/// Finish what is in flight, commit, and end; answered when that is done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Answered at the end.
    pub done: oneshot::Sender<()>,
}

/// What becomes of a read.
enum ReadOutcome {
    Read(RecordBatch),
    Failed(ReadError),
    TimedOut,
}

// === impl ConsumerParts ===

impl Surroundings for ConsumerParts {
    fn has_room(&self) -> bool {
        self.memory.may_read_on()
    }

    fn log_end(&self) -> Option<u64> {
        self.consumed.offsets().end()
    }
}

// === impl PartitionConsumer ===

impl PartitionConsumer {
    /// A consumer that goes on from the committed offset.
    pub fn new(parts: ConsumerParts, lifeline: Lifeline) -> Self {
        // The one before may have left some, which are read again.
        parts.consumed.set_batches(0);
        Self {
            epoch: Instant::now(),
            read_records: parts.telemetry.read_records.recorder(),
            rule: Consumption::new(parts.settings),
            builder: BatchBuilder::new(parts.memory.clone()),
            in_hand: HashMap::new(),
            admission: None,
            reading: None,
            draining: None,
            next_writer: 0,
            lifeline,
            parts,
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Does everything that the rule says, after an event.
    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.rule.next(self.now(), &self.parts) {
            match action {
                Action::Read { at_most, give_up_after } => self.read(at_most, give_up_after, ctx),
                Action::CancelRead => self.cancel_read(),
                Action::SetPaused(is_paused) => self.set_paused(is_paused, ctx),
                Action::AskForSlot => self.ask_for_slot(ctx),
                Action::ReleaseSlot => self.builder.release_slot(),
                Action::Send { id, next_offset } => self.send(id, next_offset, ctx),
                Action::SendAgain(id) => self.dispatch(id, ctx),
                Action::Commit(next_offset) => self.parts.consumed.commit(next_offset),
                Action::Discard => self.builder.discard(),
                Action::Leave => return self.leave(ctx),
                Action::LookAgain(after) => {
                    ctx.run_later(after, |consumer, ctx| {
                        consumer.rule.on_time();
                        consumer.carry_out(ctx);
                    });
                }
            }
        }
    }

    fn read(&mut self, at_most: Size, give_up_after: Option<Duration>, ctx: &mut Context<Self>) {
        let limit = ReadLimit { max_records: at_most.records, max_bytes: at_most.bytes };
        let read = read(Arc::clone(&self.parts.reader), self.parts.partition.clone(), limit);
        // A read that is given up loses no record.
        let read = timeout(give_up_after.unwrap_or(Duration::MAX), read);
        // Cancelled by its handle alone, a future of an actor may be asked once more, and its records would come after all.
        let (handle, registration) = AbortHandle::new_pair();
        self.reading = Some(handle);
        let read = Abortable::new(read, registration);
        ctx.spawn(wrap_future(read).map(|outcome, consumer: &mut Self, ctx| {
            let outcome = match outcome {
                Ok(Ok(Ok(batch))) => ReadOutcome::Read(batch),
                Ok(Ok(Err(error))) => ReadOutcome::Failed(error),
                Ok(Err(_elapsed)) => ReadOutcome::TimedOut,
                Err(_aborted) => return,
            };
            consumer.on_read(outcome);
            consumer.carry_out(ctx);
        }));
    }

    fn on_read(&mut self, outcome: ReadOutcome) {
        self.reading = None;
        match outcome {
            ReadOutcome::Read(batch) => {
                fail::fail_point!("partition_consumer");
                self.parts.consumed.on_read(&batch);
                let size = Size { records: batch.records.len(), bytes: batch.data.len() };
                self.rule.on_read(self.now(), size, batch.next_offset);
                self.builder.push(batch, self.rule.target());
            }
            ReadOutcome::TimedOut => self.rule.on_read_timeout(),
            ReadOutcome::Failed(ReadError::Revoked(partition)) => {
                debug!(%partition, "partition is being taken away");
                self.rule.on_revoked();
            }
            ReadOutcome::Failed(error @ ReadError::Unavailable { .. }) => {
                warn!(%error, "reading again soon");
                self.rule.on_read_failed(self.now());
            }
        }
    }

    fn cancel_read(&mut self) {
        let Some(reading) = self.reading.take() else { panic!("no read is under way that could be cancelled") };
        reading.abort();
    }

    fn set_paused(&mut self, is_paused: bool, ctx: &mut Context<Self>) {
        let slot = Arc::clone(&self.parts.reader);
        let switch = async move { set_paused(&slot, is_paused).await };
        ctx.spawn(wrap_future(switch).map(|(), consumer: &mut Self, ctx| {
            consumer.rule.on_paused();
            consumer.carry_out(ctx);
        }));
    }

    fn ask_for_slot(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(wrap_future(self.parts.slots.clone().take()).map(|slot, consumer: &mut Self, ctx| {
            if consumer.rule.on_slot() {
                consumer.builder.hold(slot);
            }
            consumer.carry_out(ctx);
        }));
    }

    /// Makes a batch of what was read.
    fn send(&mut self, id: BatchId, next_offset: u64, ctx: &mut Context<Self>) {
        let batch = self.builder.build();
        assert_eq!(batch.records.next_offset, next_offset, "the rule and the builder know of the same reads");
        self.read_records.record(batch.records.records.len() as u64);
        self.in_hand.insert(id, Arc::new(batch));
        self.parts.consumed.set_batches(self.in_hand.len());
        self.dispatch(id, ctx);
    }

    /// Sends a batch to a writer, as soon as that has room.
    fn dispatch(&mut self, id: BatchId, ctx: &mut Context<Self>) {
        let Some(batch) = self.in_hand.get(&id) else { panic!("{id:?} is to be sent and is not in hand") };
        let Some(admission) = self.admission.clone() else { panic!("{id:?} is to be sent before the gate was joined") };
        let num_writers = self.parts.writers.len();
        let candidates = (0..num_writers).map(|i| (self.next_writer + i) % num_writers);
        let Some(index) = candidates.into_iter().find(|index| self.parts.writers[*index].is_up()) else {
            return self.rule.on_dropped(self.now(), id);
        };
        self.next_writer = index + 1;
        let writer = self.parts.writers[index].clone();
        let ack = BatchAck::new(ctx.address().recipient(), id, Arc::clone(batch));
        let partition = self.parts.partition.clone();
        ctx.spawn(wrap_future(async move {
            let credit = writer.credits().take().await;
            writer.send(WriteBatch { partition, admission, ack, credit });
        }));
    }

    fn leave(&mut self, ctx: &mut Context<Self>) {
        let Some(done) = self.draining.take() else { panic!("a consumer leaves only when it was asked to") };
        self.lifeline.stopping();
        ctx.stop();
        // Nobody waits for it any more when that took too long.
        let _ = done.send(());
    }
}

impl Actor for PartitionConsumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let parts = self.parts.clone();
        let consumer = ctx.address().recipient();
        let prepare = async move {
            let admission = join(&parts.gate, &parts.partition, consumer).await;
            // The one before may have left it paused.
            set_paused(&parts.reader, false).await;
            rewind(&parts.reader, RETRY_DELAY).await;
            admission
        };
        ctx.spawn(wrap_future(prepare).map(|admission, consumer: &mut Self, ctx| {
            consumer.admission = Some(admission);
            consumer.rule.on_ready();
            consumer.carry_out(ctx);
        }));
    }
}

impl Handler<Acknowledged> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, Acknowledged { id, is_settled }: Acknowledged, ctx: &mut Self::Context) {
        if is_settled {
            self.rule.on_settled(id);
            self.in_hand.remove(&id);
            self.parts.consumed.set_batches(self.in_hand.len());
        } else {
            self.rule.on_dropped(self.now(), id);
        }
        self.carry_out(ctx);
    }
}

impl Handler<SetFlow> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, SetFlow(flow): SetFlow, ctx: &mut Self::Context) {
        self.rule.set_flow(flow);
        self.carry_out(ctx);
    }
}

impl Handler<Drain> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) {
        self.draining = Some(drain.done);
        self.rule.drain();
        self.carry_out(ctx);
    }
}

async fn join(gate: &ActorRef<Gate>, partition: &TopicPartition, consumer: Recipient<SetFlow>) -> Admission {
    loop {
        if let Some(gate) = gate.current()
            && let Ok(admission) = gate.send(Join { partition: partition.clone(), consumer: consumer.clone() }).await
        {
            return admission;
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
