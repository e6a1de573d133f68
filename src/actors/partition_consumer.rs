//! PartitionConsumer: one per assigned partition. Reads its own queue, keeps batches in flight, tracks which offsets
//! are done, commits the contiguous prefix only.
//!
//! While a batch is in flight the next records gather, so batches grow exactly when there is a backlog and are as small
//! as they come when there is none. A batch stays in hand until it is settled: if the writer that held it dies, it is
//! sent to another. A partition that is behind gathers a large one when it is its turn ([`Turns`]).
//!
//! What is in hand counts against the memory budget. While that has no room, the first batch is read all the same, so
//! that every partition moves, but no further one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::gate::{Admission, Gate, Join, SetFlow};
use super::gather::{Gather, MAX_AGE, SMALL};
use super::reader_slot::{ReaderSlot, read, rewind, set_paused};
use super::settle::{Settle, Settled};
use super::turns::{Turn, Turns};
use super::writer::{WriteBatch, Writer};
use crate::flow::memory::{MemoryBudget, Reserved};
use crate::flow::pause::FlowState;
use crate::flow::watermark::{BatchId, Watermark};
use crate::log::{PartitionOffsets, ReadError, ReadLimit, RecordBatch, RecordRef, TopicPartition};
use crate::supervision::{ActorRef, Lifeline};
use crate::telemetry::{Recorder, Telemetry};

/// How long to wait before asking again for something that is not there right now: the log, the gate, a live writer.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// How long a partition whose turn it is waits for records that the log is known to have. Longer than a broker takes to
/// answer on a busy machine: what it misses travels in a smaller batch.
const FILL_PAUSE: Duration = Duration::from_millis(500);

/// What a record takes on its way into the store beside its bytes, about: its place in the batch, and in a group. Rows are
/// made of it only while its write is in flight, of which there are few.
const RECORD_BYTES: usize = size_of::<RecordRef>() + 3 * size_of::<u32>();

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
    /// How much one batch takes.
    pub read_limit: ReadLimit,
    /// How many batches may be read and not settled.
    pub max_batches_in_flight: usize,
    /// Leave for large batches.
    pub turns: Turns,
    /// What batches in hand count against.
    pub memory: MemoryBudget,
    /// Measures the reads.
    pub telemetry: Arc<Telemetry>,
}

/// Consumes one partition.
pub struct PartitionConsumer {
    parts: ConsumerParts,
    read_records: Recorder,
    admission: Option<Admission>,
    watermark: Watermark,
    in_flight: HashMap<BatchId, InHand>,
    /// What was read and is not in flight yet.
    gathered: Gather,
    gathered_memory: Option<Reserved>,
    /// A timer looks how long it has been gathering.
    watches_age: bool,
    /// Leave to gather more than a small batch.
    turn: Option<Turn>,
    waits_for_turn: bool,
    reading: Option<SpawnHandle>,
    /// There was no room in memory; a timer looks again.
    waits_for_room: bool,
    flow: FlowState,
    draining: Option<oneshot::Sender<()>>,
    next_writer: usize,
    lifeline: Lifeline,
}

/// A batch that is not settled.
#[derive(Clone)]
struct InHand {
    records: Arc<RecordBatch>,
    memory: Arc<Reserved>,
}

/// Finish what is in flight, commit, and end; answered when that is done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Answered at the end.
    pub done: oneshot::Sender<()>,
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
            gathered: Gather::default(),
            gathered_memory: None,
            watches_age: false,
            turn: None,
            waits_for_turn: false,
            reading: None,
            waits_for_room: false,
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
        let has_some = !self.in_flight.is_empty() || !self.gathered.is_empty();
        if has_some && !self.parts.memory.may_read_on() {
            if self.turn.is_some() {
                return self.send(ctx);
            }
            return self.wait_for_room(ctx);
        }
        let Some(limit) = self.gathered.room(self.limit()) else { return };
        let read = read(Arc::clone(&self.parts.reader), self.parts.partition.clone(), limit);
        let longest = if self.turn.is_some() { FILL_PAUSE } else { Duration::MAX };
        // A read that is given up loses no record.
        let read = tokio::time::timeout(longest, read);
        let read = wrap_future(read).map(|outcome, consumer: &mut Self, ctx| match outcome {
            Ok(outcome) => consumer.on_read(outcome, ctx),
            Err(_) => consumer.on_nothing_more(ctx),
        });
        self.reading = Some(ctx.spawn(read));
    }

    /// How much the next batch takes.
    fn limit(&self) -> ReadLimit {
        let full = self.parts.read_limit;
        match self.turn {
            Some(_) => full,
            None => ReadLimit {
                max_records: full.max_records.min(SMALL.max_records),
                max_bytes: full.max_bytes.min(SMALL.max_bytes),
            },
        }
    }

    /// Its own batches tell when they are settled; those of others are looked for.
    fn wait_for_room(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.waits_for_room, true) {
            ctx.run_later(RETRY_DELAY, |consumer, ctx| {
                consumer.waits_for_room = false;
                consumer.read_next(ctx);
            });
        }
    }

    fn on_read(&mut self, outcome: Result<RecordBatch, ReadError>, ctx: &mut Context<Self>) {
        self.reading = None;
        match outcome {
            Ok(batch) => {
                fail::fail_point!("partition_consumer");
                let limit = self.limit();
                self.gathered.push(batch, limit);
                let memory = self.gathered_memory.get_or_insert_with(|| self.parts.memory.take(0));
                memory.resize(weight(&self.gathered));
                self.send_gathered(ctx);
                self.read_next(ctx);
            }
            Err(ReadError::Revoked(partition)) => debug!(%partition, "partition is being taken away"),
            Err(error @ ReadError::Unavailable { .. }) => {
                warn!(%error, "reading again soon");
                ctx.run_later(RETRY_DELAY, Self::read_next);
            }
        }
    }

    /// The partition has no more for the batch that its turn is for.
    fn on_nothing_more(&mut self, ctx: &mut Context<Self>) {
        self.reading = None;
        self.send(ctx);
        self.read_next(ctx);
    }

    /// Makes a batch of what was gathered, if it is time.
    fn send_gathered(&mut self, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() || self.in_flight.len() >= self.parts.max_batches_in_flight {
            return;
        }
        let is_full = self.gathered.room(self.limit()).is_none();
        if self.turn.is_some() {
            // Others wait for it: it is not held for what is still to come into the log.
            if is_full || !self.has_more() {
                self.send(ctx);
            }
            return;
        }
        let may_grow = self.flow == FlowState::Open && self.gathered.room(self.parts.read_limit).is_some();
        if is_full && may_grow {
            return self.ask_for_turn(ctx);
        }
        if !is_full && !self.in_flight.is_empty() && self.gathered.age() < MAX_AGE {
            return self.watch_age(ctx);
        }
        self.send(ctx);
    }

    /// Whether the log may have more than was read.
    fn has_more(&self) -> bool {
        self.parts.offsets.end().is_none_or(|end| self.gathered.next_offset() < end)
    }

    /// A partition that is behind waits until it may gather a large batch.
    fn ask_for_turn(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.waits_for_turn, true) {
            ctx.spawn(wrap_future(self.parts.turns.clone().take()).map(|turn, consumer: &mut Self, ctx| {
                consumer.waits_for_turn = false;
                if consumer.flow == FlowState::Open && consumer.draining.is_none() && !consumer.gathered.is_empty() {
                    consumer.turn = Some(turn);
                    consumer.send_gathered(ctx);
                    consumer.read_next(ctx);
                }
            }));
        }
    }

    /// Makes a batch of what was gathered.
    fn send(&mut self, ctx: &mut Context<Self>) {
        let batch = self.gathered.take();
        self.read_records.record(batch.records.len() as u64);
        let id = self.watermark.track(batch.next_offset);
        // Every read takes some. Going on without would leave a batch that is tracked and never written.
        let Some(memory) = self.gathered_memory.take() else { unreachable!("what was gathered takes no memory") };
        self.in_flight.insert(id, InHand { records: Arc::new(batch), memory: Arc::new(memory) });
        let turn = self.turn.take();
        self.dispatch(id, turn, ctx);
    }

    fn watch_age(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.watches_age, true) {
            ctx.run_later(MAX_AGE.saturating_sub(self.gathered.age()), |consumer, ctx| {
                consumer.watches_age = false;
                consumer.send_gathered(ctx);
                consumer.read_next(ctx);
            });
        }
    }

    /// Sends a batch to a writer, as soon as that has room.
    fn dispatch(&mut self, id: BatchId, turn: Option<Turn>, ctx: &mut Context<Self>) {
        let (Some(in_hand), Some(admission)) = (self.in_flight.get(&id).cloned(), self.admission.clone()) else {
            return;
        };
        let InHand { records, memory } = in_hand;
        let num_writers = self.parts.writers.len();
        let candidates = (0..num_writers).map(|i| (self.next_writer + i) % num_writers);
        let Some(index) = candidates.into_iter().find(|index| self.parts.writers[*index].is_up()) else {
            ctx.run_later(RETRY_DELAY, move |consumer, ctx| consumer.dispatch(id, turn, ctx));
            return;
        };
        self.next_writer = index + 1;
        let writer = self.parts.writers[index].clone();
        let settle = Settle::new(ctx.address().recipient(), id, memory);
        let partition = self.parts.partition.clone();
        ctx.spawn(wrap_future(async move {
            let credit = writer.credits().take().await;
            writer.send(WriteBatch { partition, records, admission, turn, settle, credit });
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
            rewind(&parts.reader, RETRY_DELAY).await;
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
            ctx.run_later(RETRY_DELAY, move |consumer, ctx| consumer.dispatch(settled.id, None, ctx));
            return;
        }
        self.in_flight.remove(&settled.id);
        if let Some(next_offset) = self.watermark.settle(settled.id) {
            self.parts.offsets.commit(next_offset);
        }
        self.leave_if_drained(ctx);
        self.send_gathered(ctx);
        self.read_next(ctx);
    }
}

impl Handler<SetFlow> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, SetFlow(flow): SetFlow, ctx: &mut Self::Context) {
        let was_paused = self.flow == FlowState::Paused;
        self.flow = flow;
        if flow != FlowState::Open {
            if let Some(read) = self.reading.take() {
                // It loses no record, and holds the reader.
                ctx.cancel_future(read);
            }
            self.turn = None;
        }
        self.send_gathered(ctx);
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
        // It was not begun, and is read again by whoever comes next.
        self.gathered = Gather::default();
        self.gathered_memory = None;
        self.turn = None;
        self.draining = Some(drain.done);
        self.leave_if_drained(ctx);
    }
}

fn weight(gathered: &Gather) -> u64 {
    (gathered.num_bytes() + gathered.num_records() * RECORD_BYTES) as u64
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
