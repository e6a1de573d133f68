//! What a writer does with one batch: group, pass the gate, write, retry, dead-letter.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::dead_letters::DeadLetters;
use super::grouping::{DecodedWrite, Grouped, PendingWrite, Reject, group};
use super::{Recorders, WriterParts};
use crate::actors::gate::{Admission, WritePermit};
use crate::actors::turns::Turn;
use crate::flow::backoff::Backoff;
use crate::log::{RecordBatch, TopicPartition};
use crate::protocol::row::{Cell, RowGroup};
use crate::store::WriteError;
use crate::supervision::jitter;
use crate::telemetry::counters::add;
use crate::telemetry::now_us;

/// A writer's work, shared by the batches that it has under way.
pub(super) struct Work {
    parts: Arc<WriterParts>,
    recorders: Recorders,
}

// === impl Work ===

impl Work {
    pub(super) fn new(parts: Arc<WriterParts>, recorders: Recorders) -> Self {
        Self { parts, recorders }
    }

    /// Returns when every record is confirmed by the store or by the dead-letter topic, however long that takes.
    pub(super) async fn write_all(
        self: &Rc<Self>,
        from: &TopicPartition,
        batch: &Arc<RecordBatch>,
        admission: &Admission,
        turn: Option<Turn>,
    ) {
        let Grouped { writes, mut rejects, unknown_schemas } = self.group(batch).await;
        let mut under_way = JoinSet::new();
        for write in writes {
            let asked = Instant::now();
            let permit = admission.enter().await;
            self.recorders.admission.record(asked.elapsed().as_micros() as u64);
            let (work, batch, admission) = (Rc::clone(self), Arc::clone(batch), admission.clone());
            under_way.spawn_local(async move { work.write_one(write, &batch, permit, &admission).await });
        }
        // A write that is tried again and again holds up its own partition, not the others.
        drop(turn);
        while let Some(refused) = under_way.join_next().await {
            match refused {
                Ok(refused) => rejects.extend(refused),
                // A panic in a write is a panic of the writer: its supervisor decides.
                Err(failure) => std::panic::resume_unwind(failure.into_panic()),
            }
        }
        rejects.extend(unknown_schemas.into_iter().map(|(record, fingerprint)| Reject {
            record,
            code: "unknown_schema",
            detail: format!("no layout reads writer schema {}", u64::from_le_bytes(fingerprint)),
        }));
        if !rejects.is_empty() {
            DeadLetters::new(&self.parts).bury(from, batch, &rejects).await;
        }
    }

    /// Groups a batch; asks the log for schemas that are not known yet.
    async fn group(&self, batch: &RecordBatch) -> Grouped {
        let (schemas, grouping) = (&self.parts.schemas, self.parts.store.grouping());
        let plans = schemas.plans();
        let mut grouped = group(batch, 0..batch.records.len() as u32, &plans, grouping);
        let Some((_, wanted)) = grouped.unknown_schemas.first().copied() else { return grouped };
        let mut backoff = self.backoff();
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

    /// Writes one group until the store has confirmed or refused every row of it; returns the records that are no rows,
    /// and those that it refused.
    async fn write_one(
        &self,
        write: PendingWrite,
        batch: &RecordBatch,
        permit: WritePermit,
        admission: &Admission,
    ) -> Vec<Reject> {
        let (write, mut rejects) = write.decode(batch);
        if write.records.is_empty() {
            return rejects;
        }
        let _rows = self.parts.memory.take(size_of_val(write.group.cells.as_slice()) as u64);
        match self.until_answered(&write.group, permit, admission).await {
            Ok(()) => return rejects,
            Err(reason) if write.records.len() == 1 => {
                rejects.extend(refused(&write, 0, reason));
                return rejects;
            }
            Err(_) => {}
        }
        // Some row of the group is at fault: each by itself tells which.
        for (index, row) in write.group.rows().enumerate() {
            let (table, data) = (Arc::clone(&write.group.table), write.group.data.clone());
            let single = Arc::new(RowGroup { table, data, cells: row.to_vec() });
            let permit = admission.enter().await;
            if let Err(reason) = self.until_answered(&single, permit, admission).await {
                rejects.extend(refused(&write, index, reason));
            }
        }
        rejects
    }

    /// Writes a group again and again until the store confirms it, or says that it never will. Each try needs leave of
    /// its own: how many a failing store gets is up to the gate.
    async fn until_answered(
        &self,
        group: &Arc<RowGroup>,
        mut permit: WritePermit,
        admission: &Admission,
    ) -> Result<(), String> {
        let mut backoff = self.backoff();
        loop {
            let started = Instant::now();
            match self.parts.store.write(Arc::clone(group)).await {
                Ok(()) => {
                    permit.confirmed(group.num_rows() as u32);
                    self.confirmed(group, started);
                    return Ok(());
                }
                Err(WriteError::Invalid(reason)) => return Err(reason),
                Err(WriteError::Transient(reason)) => {
                    permit.dropped();
                    add(&self.parts.telemetry.counters.write_retries, 1);
                    if !self.parts.store_down.swap(true, Ordering::Relaxed) {
                        warn!(reason, "the store does not take writes; trying again until it does");
                    }
                    tokio::time::sleep(backoff.next_delay(jitter())).await;
                    permit = admission.enter().await;
                }
            }
        }
    }

    fn confirmed(&self, group: &RowGroup, started: Instant) {
        let num_rows = group.num_rows() as u64;
        add(&self.parts.telemetry.counters.rows, num_rows);
        self.recorders.store_write.record(started.elapsed().as_micros() as u64);
        self.recorders.write_rows.record(num_rows);
        let now_ms = (now_us() / 1000) as i64;
        let since = |row: &[Cell], column: usize| match row.get(column) {
            Some(Cell::Timestamp(at_ms)) => now_ms.saturating_sub(*at_ms).max(0) as u64 * 1000,
            _ => 0,
        };
        self.recorders.device_to_row.record_all(group.rows().map(|row| since(row, 2)));
        self.recorders.receive_to_row.record_all(group.rows().map(|row| since(row, 4)));
        if self.parts.store_down.load(Ordering::Relaxed) && self.parts.store_down.swap(false, Ordering::Relaxed) {
            info!("the store takes writes again");
        }
    }

    fn backoff(&self) -> Backoff {
        let (min, max) = self.parts.retry;
        Backoff::new(min, max)
    }
}

fn refused(write: &DecodedWrite, index: usize, reason: String) -> Option<Reject> {
    error!(
        table = write.group.table.name,
        reason, "the store refuses a row for good; it goes to the dead-letter topic"
    );
    let record = write.records.get(index).copied();
    record.map(|record| Reject { record, code: "refused_by_store", detail: reason })
}
