//! PartitionConsumer: one per assigned partition. Reads its own queue, keeps batches in flight, tracks which offsets
//! are done, commits the contiguous prefix only.
//!
//! While writes are in flight the next records gather in the log, so batches grow exactly when there is a backlog and
//! are as small as they come when there is none. A batch stays in hand until it is settled: if the writer that held
//! it dies, it is sent to another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle};
use tokio::sync::{Mutex, oneshot};
use tracing::{debug, warn};

use super::gate::{Admission, Gate, Join, SetFlow};
use super::writer::{WriteBatch, Writer};
use crate::flow::pause::FlowState;
use crate::flow::watermark::{BatchId, Watermark};
use crate::log::{PartitionOffsets, PartitionReader, ReadError, ReadLimit, RecordBatch, TopicPartition};
use crate::supervision::{ActorRef, Lifeline};
use crate::telemetry::{Recorder, Telemetry};

/// How long to wait before asking again for something that is not there right now: the log, the gate, a live writer.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Where a partition's reader is kept, so that it outlives the actor that reads; empty once the partition is given up.
pub type ReaderSlot = Arc<Mutex<Option<Box<dyn PartitionReader>>>>;

/// What a consumer works with.
#[derive(Clone)]
pub struct ConsumerParts {
    /// Which partition it consumes.
    pub partition: TopicPartition,
    /// Its reader.
    pub reader: ReaderSlot,
    /// Its offsets.
    pub offsets: Arc<dyn PartitionOffsets>,
    /// Where it gets leave to write.
    pub gate: ActorRef<Gate>,
    /// Who writes.
    pub writers: Vec<ActorRef<Writer>>,
    /// How much one read takes.
    pub read_limit: ReadLimit,
    /// How many batches may be read and not settled.
    pub max_batches_in_flight: usize,
    /// Measures the reads.
    pub telemetry: Arc<Telemetry>,
}

/// Consumes one partition.
pub struct PartitionConsumer {
    parts: ConsumerParts,
    read_records: Recorder,
    admission: Option<Admission>,
    watermark: Watermark,
    in_flight: HashMap<BatchId, Arc<RecordBatch>>,
    reading: Option<SpawnHandle>,
    flow: FlowState,
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

/// What became of a batch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settled {
    id: BatchId,
    /// Every record is in the store or the dead-letter topic; otherwise the writer died with it.
    done: bool,
}

/// Rides with a batch; unless it is [`done`](Settle::done), its drop reports that the batch has to be written again.
#[derive(Debug)]
pub struct Settle {
    to: Recipient<Settled>,
    id: BatchId,
    done: bool,
}

// === impl Settle ===

impl Settle {
    /// Every record of the batch is in the store or in the dead-letter topic.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.to.do_send(Settled { id: self.id, done: self.done });
    }
}

// === impl PartitionConsumer ===

impl PartitionConsumer {
    /// A consumer that goes on from the committed offset.
    pub fn new(parts: ConsumerParts, lifeline: Lifeline) -> Self {
        let read_records = parts.telemetry.read_records.recorder();
        Self {
            parts,
            read_records,
            admission: None,
            watermark: Watermark::new(),
            in_flight: HashMap::new(),
            reading: None,
            flow: FlowState::Open,
            draining: None,
            next_writer: 0,
            lifeline,
        }
    }

    fn read_next(&mut self, ctx: &mut Context<Self>) {
        let may_read = self.flow == FlowState::Open && self.draining.is_none() && self.admission.is_some();
        if !may_read || self.reading.is_some() || self.in_flight.len() >= self.parts.max_batches_in_flight {
            return;
        }
        let (slot, limit) = (Arc::clone(&self.parts.reader), self.parts.read_limit);
        let partition = self.parts.partition.clone();
        let read = async move {
            match slot.lock().await.as_mut() {
                Some(reader) => reader.read(limit).await,
                None => Err(ReadError::Revoked(partition)),
            }
        };
        let read = wrap_future(read).map(|outcome, consumer: &mut Self, ctx| consumer.on_read(outcome, ctx));
        self.reading = Some(ctx.spawn(read));
    }

    fn on_read(&mut self, outcome: Result<RecordBatch, ReadError>, ctx: &mut Context<Self>) {
        self.reading = None;
        match outcome {
            Ok(batch) => {
                fail::fail_point!("partition_consumer");
                self.read_records.record(batch.records.len() as u64);
                let id = self.watermark.track(batch.next_offset);
                self.in_flight.insert(id, Arc::new(batch));
                self.dispatch(id, ctx);
                self.read_next(ctx);
            }
            Err(ReadError::Revoked(partition)) => debug!(%partition, "partition is being taken away"),
            Err(error @ ReadError::Unavailable { .. }) => {
                warn!(%error, "reading again soon");
                ctx.run_later(RETRY_DELAY, Self::read_next);
            }
        }
    }

    /// Sends a batch to a writer, as soon as that has room.
    fn dispatch(&mut self, id: BatchId, ctx: &mut Context<Self>) {
        let (Some(records), Some(admission)) = (self.in_flight.get(&id).cloned(), self.admission.clone()) else {
            return;
        };
        let num_writers = self.parts.writers.len();
        let candidates = (0..num_writers).map(|i| (self.next_writer + i) % num_writers);
        let Some(index) = candidates.into_iter().find(|index| self.parts.writers[*index].is_up()) else {
            ctx.run_later(RETRY_DELAY, move |consumer, ctx| consumer.dispatch(id, ctx));
            return;
        };
        self.next_writer = index + 1;
        let writer = self.parts.writers[index].clone();
        let settle = Settle { to: ctx.address().recipient(), id, done: false };
        let partition = self.parts.partition.clone();
        ctx.spawn(wrap_future(async move {
            let credit = writer.credits().take().await;
            writer.send(WriteBatch { partition, records, admission, settle, credit });
        }));
    }

    fn leave_if_drained(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight.is_empty()
            && let Some(done) = self.draining.take()
        {
            self.lifeline.stopping();
            ctx.stop();
            let _ = done.send(());
        }
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
            rewind(&parts.reader).await;
            admission
        };
        ctx.spawn(wrap_future(prepare).map(|admission, consumer: &mut Self, ctx| {
            consumer.admission = Some(admission);
            consumer.read_next(ctx);
        }));
    }
}

impl Handler<Settled> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, settled: Settled, ctx: &mut Self::Context) {
        if !settled.done {
            // The writer that had it died; give the supervisor a moment.
            ctx.run_later(RETRY_DELAY, move |consumer, ctx| consumer.dispatch(settled.id, ctx));
            return;
        }
        self.in_flight.remove(&settled.id);
        if let Some(next_offset) = self.watermark.settle(settled.id) {
            self.parts.offsets.commit(next_offset);
        }
        self.leave_if_drained(ctx);
        self.read_next(ctx);
    }
}

impl Handler<SetFlow> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, SetFlow(flow): SetFlow, ctx: &mut Self::Context) {
        let was_paused = self.flow == FlowState::Paused;
        self.flow = flow;
        if flow != FlowState::Open
            && let Some(read) = self.reading.take()
        {
            // It loses no record, and holds the reader.
            ctx.cancel_future(read);
        }
        let (slot, is_paused) = (Arc::clone(&self.parts.reader), flow == FlowState::Paused);
        let switch = async move {
            if is_paused != was_paused {
                set_paused(&slot, is_paused).await;
            }
        };
        // The reader's lock is fair: a resume never overtakes the pause before it.
        ctx.spawn(wrap_future(switch).map(|(), consumer: &mut Self, ctx| consumer.read_next(ctx)));
    }
}

impl Handler<Drain> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) {
        if let Some(read) = self.reading.take() {
            // It holds the reader, which is wanted back.
            ctx.cancel_future(read);
        }
        self.draining = Some(drain.done);
        self.leave_if_drained(ctx);
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

async fn set_paused(slot: &ReaderSlot, is_paused: bool) {
    if let Some(reader) = slot.lock().await.as_mut() {
        if is_paused { reader.pause() } else { reader.resume() }
    }
}

/// Back to the committed offset: a consumer that died has left batches behind that nobody will settle.
async fn rewind(slot: &ReaderSlot) {
    loop {
        let outcome = match slot.lock().await.as_mut() {
            Some(reader) => reader.rewind().await,
            None => return,
        };
        match outcome {
            Ok(()) | Err(ReadError::Revoked(_)) => return,
            Err(error) => warn!(%error, "going back to the committed offset again soon"),
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
