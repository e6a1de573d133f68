//! What a writer does with one batch: group, pass the gate, write, dead-letter.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{error, warn};

use super::dead_letters::DeadLetters;
use super::grouping::{Grouped, PendingWrite, REFUSED, Reject, UNKNOWN_SCHEMA, group};
use super::rows::RowWriter;
use super::tables::TableState;
use super::{Recorders, WriterParts};
use crate::actors::batch_builder::Batch;
use crate::actors::gate::{Admission, WritePermit};
use crate::flow::backoff::Backoff;
use crate::log::{RecordBatch, TopicPartition};
use crate::schema::IdentityColumn;
use crate::schema::row::{Cell, RowGroup, Table};
use crate::store::Store;
use crate::supervision::jitter;
use crate::telemetry::counters::{Counters, add};
use crate::telemetry::now_us;

/// How many descriptions of tables a writer keeps at hand; reloads make new ones.
const MAX_KNOWN_TABLES: usize = 256;

/// A writer's work, shared by the batches that it has under way.
pub(super) struct Work {
    parts: Arc<WriterParts>,
    recorders: Recorders,
    tables: RefCell<Vec<(Arc<Table>, Arc<TableState>)>>,
}

// === impl Work ===

impl Work {
    pub(super) fn new(parts: Arc<WriterParts>, recorders: Recorders) -> Self {
        Self { parts, recorders, tables: RefCell::default() }
    }

    /// Returns when every record is confirmed by the store or by the dead-letter topic, however long that takes.
    pub(super) async fn write_all(self: &Rc<Self>, from: &TopicPartition, batch: &Arc<Batch>, admission: &Admission) {
        let Grouped { writes, mut rejects, unknown_schemas } = self.group(&batch.records).await;
        let mut under_way = JoinSet::new();
        for write in writes {
            let asked = Instant::now();
            let permit = admission.enter().await;
            self.recorders.admission.record(asked.elapsed().as_micros() as u64);
            let (work, batch, admission) = (Rc::clone(self), Arc::clone(batch), admission.clone());
            under_way.spawn_local(async move { work.write_one(write, &batch.records, permit, &admission).await });
        }
        // A write that is tried again and again holds up its own partition, not the others.
        batch.release_slot();
        let mut refused = Vec::new();
        while let Some(written) = under_way.join_next().await {
            match written {
                Ok((table, faults)) => {
                    refused.push((table, faults.iter().filter(|fault| fault.code == REFUSED).count() as u64));
                    rejects.extend(faults);
                }
                // A panic in a write is a panic of the writer: its supervisor decides.
                Err(failure) => std::panic::resume_unwind(failure.into_panic()),
            }
        }
        rejects.extend(unknown_schemas.into_iter().map(|(record, fingerprint)| Reject {
            record,
            code: UNKNOWN_SCHEMA,
            detail: format!("no layout reads writer schema {}", u64::from_le_bytes(fingerprint)),
        }));
        if !rejects.is_empty() {
            DeadLetters::new(&self.parts).bury(from, &batch.records, &rejects).await;
            refused.iter().for_each(|(table, num_rows)| add(&table.counts().refused, *num_rows));
        }
    }

    /// Groups a batch; asks the log for schemas that are not known yet.
    async fn group(&self, batch: &RecordBatch) -> Grouped {
        let (schemas, grouping) = (&self.parts.schemas, self.parts.store.grouping());
        let plans = schemas.plans();
        let mut grouped = group(batch, 0..batch.records.len() as u32, &plans, grouping);
        let Some((_, wanted)) = grouped.unknown_schemas.first().copied() else { return grouped };
        let mut backoff = self.backoff(Duration::MAX);
        while let Err(error) = schemas.refresh(&plans, wanted).await {
            warn!(%error, "asking the log for a writer schema again soon");
            tokio::time::sleep(backoff.next_delay(jitter())).await;
        }
        let unknown = std::mem::take(&mut grouped.unknown_schemas);
        let learned = group(batch, unknown.into_iter().map(|(record, _)| record), &plans, grouping);
        grouped.writes.extend(learned.writes);
        grouped.rejects.extend(learned.rejects);
        grouped.unknown_schemas = learned.unknown_schemas;
        grouped
    }

    /// Writes one group until every row of it is settled; returns its table, with the records that are no rows, and those
    /// whose rows are at fault.
    async fn write_one(
        &self,
        write: PendingWrite,
        batch: &RecordBatch,
        permit: WritePermit,
        admission: &Admission,
    ) -> (Arc<TableState>, Vec<Reject>) {
        let table = self.table(write.table());
        let mut writer = RowWriter::new(self, admission, &table);
        let permit = if table.is_stopped() && table.known_good().is_some() {
            // Before the records become rows, which take several times as much.
            drop(permit);
            drop(writer.reopen().await);
            admission.enter().await
        } else {
            permit
        };
        fail::fail_point!("write_group");
        let (write, mut rejects) = write.decode(batch);
        if write.records.is_empty() {
            return (table, rejects);
        }
        let _rows = self.parts.memory.take(size_of_val(write.group.cells.as_slice()) as u64);
        for (row, reason) in writer.settle(&write.group, permit).await {
            self.say_refused(&table, &write.group, &reason);
            rejects.push(Reject { record: write.records[row], code: REFUSED, detail: reason });
        }
        drop(writer);
        (table, rejects)
    }

    /// The state of a table, without asking what all share: this is on the way of every write.
    fn table(&self, table: &Arc<Table>) -> Arc<TableState> {
        let mut known = self.tables.borrow_mut();
        if let Some((_, state)) = known.iter().find(|(known, _)| Arc::ptr_eq(known, table)) {
            return Arc::clone(state);
        }
        if known.len() >= MAX_KNOWN_TABLES {
            known.clear();
        }
        let state = self.parts.tables.of(table);
        known.push((Arc::clone(table), Arc::clone(&state)));
        state
    }

    fn say_refused(&self, table: &TableState, group: &RowGroup, reason: &str) {
        if let Some(num_rows) = table.refused(reason) {
            error!(
                table = group.table.name,
                num_rows, reason, "the store refuses rows for what they hold; they go to the dead-letter topic"
            );
        }
    }

    /// The store has confirmed every row of a group.
    pub(super) fn confirmed(&self, table: &TableState, group: &RowGroup, started: Instant) {
        let now = Instant::now();
        table.confirmed(group, now);
        let num_rows = group.num_rows() as u64;
        add(&table.counts().rows, num_rows);
        self.recorders.store_write.record(now.saturating_duration_since(started).as_micros() as u64);
        self.recorders.write_rows.record(num_rows);
        let now_ms = (now_us() / 1000) as i64;
        let since =
            |row: &[Cell], column: IdentityColumn| now_ms.saturating_sub(column.time_ms(row)).max(0) as u64 * 1000;
        self.recorders.device_to_row.record_all(group.rows().map(|row| since(row, IdentityColumn::EventTime)));
        self.recorders.receive_to_row.record_all(group.rows().map(|row| since(row, IdentityColumn::ReceivedAt)));
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.parts.telemetry.counters
    }

    /// Delays between two tries, as configured, but never longer than this.
    pub(super) fn backoff(&self, longest: Duration) -> Backoff {
        let (min, max) = self.parts.retry;
        Backoff::new(min, max.min(longest))
    }
}
