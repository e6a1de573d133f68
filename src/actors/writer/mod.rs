//! Writer: a pool. Turns records into rows, groups rows by database partition, writes, measures, retries, and sends to the
//! dead-letter topic what can never be a row for what it holds itself.
//!
//! A batch is settled only when every record of it is confirmed by the store or by the dead-letter topic. Until then
//! the partition consumer keeps it, so a writer that dies loses nothing.

mod aside;
mod dead_letters;
mod grouping;
mod known_good;
mod refusal_log;
mod route_groups;
mod routed;
mod row_key;
mod rows;
mod spare;
mod tables;
mod work;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use arc_swap::ArcSwap;

use super::batch_ack::BatchAck;
use super::gate::Admission;
use super::routing::Routing;
use super::schemas::Schemas;
use crate::flow::credit::Credit;
use crate::flow::memory::MemoryBudget;
use crate::intake::routes::TopicRoute;
use crate::log::TopicPartition;
use crate::store::Store;
use crate::supervision::Lifeline;
use crate::telemetry::{Recorder, Telemetry};
pub use dead_letters::Unconfirmed;
pub use grouping::{GAVE_UP, REFUSED};
pub use routed::SKIP_REASONS;
pub use tables::Tables;
use work::Work;

/// Every reason for which a writer makes a dead letter.
pub const DEAD_LETTER_REASONS: [&str; 5] =
    [grouping::NOT_A_RECORD, grouping::UNDECODABLE, grouping::UNKNOWN_SCHEMA, grouping::REFUSED, grouping::GAVE_UP];

/// What all writers share.
pub struct WriterParts {
    /// Where rows go.
    pub store: Arc<dyn Store>,
    /// How records of message types become rows of their own tables.
    pub schemas: Arc<Schemas>,
    /// How records become rows of other tables; looked at once for each batch.
    pub routing: Arc<ArcSwap<Routing>>,
    /// Where records go that can never be written.
    pub dead_letter: TopicRoute,
    /// Says that dead letters are not confirmed.
    pub unconfirmed: Arc<Unconfirmed>,
    /// First and longest delay between two tries of a write.
    pub retry: (Duration, Duration),
    /// How long a row may keep failing while others of its table are confirmed; `None`: for ever.
    pub give_up_after: Option<Duration>,
    /// What rows in flight count against.
    pub memory: MemoryBudget,
    /// Counters and stages.
    pub telemetry: Arc<Telemetry>,
    /// What is known of the tables.
    pub tables: Arc<Tables>,
}

/// Writes batches.
pub struct Writer {
    work: Rc<Work>,
    _lifeline: Lifeline,
}

/// Writes every record of a batch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WriteBatch {
    /// Where the batch was read.
    pub partition: TopicPartition,
    /// The partition's way through the gate.
    pub admission: Admission,
    /// The batch; tells its consumer what becomes of it.
    pub ack: BatchAck,
    /// The writer's credit for this batch.
    pub credit: Credit,
}

/// One writer's own recorders.
struct Recorders {
    admission: Recorder,
    store_write: Recorder,
    write_rows: Recorder,
    receive_to_row: Recorder,
    device_to_row: Recorder,
}

// === impl Writer ===

impl Writer {
    /// A writer of the pool.
    pub fn new(parts: Arc<WriterParts>, lifeline: Lifeline) -> Self {
        let telemetry = &parts.telemetry;
        let recorders = Recorders {
            admission: telemetry.admission.recorder(),
            store_write: telemetry.store_write.recorder(),
            write_rows: telemetry.write_rows.recorder(),
            receive_to_row: telemetry.receive_to_row.recorder(),
            device_to_row: telemetry.device_to_row.recorder(),
        };
        Self { work: Rc::new(Work::new(parts, recorders)), _lifeline: lifeline }
    }
}

impl Actor for Writer {
    type Context = Context<Self>;
}

impl Handler<WriteBatch> for Writer {
    type Result = ();

    fn handle(&mut self, batch: WriteBatch, ctx: &mut Self::Context) {
        fail::fail_point!("writer");
        let work = Rc::clone(&self.work);
        ctx.spawn(wrap_future(async move {
            work.write_all(&batch.partition, batch.ack.batch(), &batch.admission).await;
            batch.ack.settled();
            drop(batch.credit);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::actors::schemas::tests::{log_in, opened};
    use crate::log::{Log, RecordLimit};

    pub(super) fn log_of(directory: &Path) -> Arc<dyn Log> {
        log_in(&directory.join("log"))
    }

    /// A writer's work on a store.
    pub(super) async fn work_on(
        store: Arc<dyn Store>,
        log: &Arc<dyn Log>,
        give_up_after: Option<Duration>,
    ) -> Rc<Work> {
        let telemetry = Arc::new(Telemetry::default());
        let parts = WriterParts {
            store,
            schemas: Arc::new(opened(log).await),
            routing: Arc::default(),
            dead_letter: TopicRoute { partitions: Vec::new(), limit: RecordLimit::new(1 << 20) },
            unconfirmed: Arc::new(Unconfirmed::new("dead".into())),
            retry: (Duration::from_millis(1), Duration::from_millis(10)),
            give_up_after,
            memory: MemoryBudget::new(1 << 20),
            tables: Arc::new(Tables::new(None, Arc::clone(&telemetry))),
            telemetry,
        };
        let recorders = Recorders {
            admission: Recorder::new(),
            store_write: Recorder::new(),
            write_rows: Recorder::new(),
            receive_to_row: Recorder::new(),
            device_to_row: Recorder::new(),
        };
        Rc::new(Work::new(Arc::new(parts), recorders))
    }
}
