//! What a writer does with one batch: group, pass the gate, write, dead-letter.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{error, warn};

use super::aside::Fault;
use super::dead_letters::DeadLetters;
use super::grouping::{DecodedWrite, Grouped, OwnWrite, PendingWrite, REFUSED, Reject, UNKNOWN_SCHEMA, group};
use super::routed::{RoutedWrite, merge};
use super::rows::RowWriter;
use super::spare::Spare;
use super::tables::TableState;
use super::{Recorders, WriterParts};
use crate::actors::batch_builder::Batch;
use crate::actors::gate::{Admission, WritePermit};
use crate::actors::routing::{RoutedTopic, RoutedType};
use crate::actors::schemas::Plans;
use crate::flow::backoff::Backoff;
use crate::flow::memory::MemoryBudget;
use crate::log::{RecordBatch, TopicPartition};
use crate::schema::IdentityColumn;
use crate::schema::row::{Cell, RowGroup, RowOp, Table};
use crate::store::{RefusedRow, Store, TransientKind, WriteError, Written, first_confirmed};
use crate::supervision::jitter;
use crate::telemetry::counters::{Counters, RouteCounts, add};
use crate::telemetry::now_us;

/// How many descriptions of tables a writer keeps at hand; reloads make new ones.
const MAX_KNOWN_TABLES: usize = 256;

/// A writer's work, shared by the batches that it has under way.
pub(super) struct Work {
    parts: Arc<WriterParts>,
    recorders: Recorders,
    tables: RefCell<Vec<(Arc<Table>, Arc<TableState>)>>,
    pub(super) compiled_topics: Spare<Arc<RoutedTopic>>,
    pub(super) compiled_types: Spare<(Arc<RoutedType>, Arc<Table>)>,
}

/// What became of a write: which records are at fault, and what counts them.
struct Settled {
    table: Arc<TableState>,
    route: Option<Arc<RouteCounts>>,
    faults: Vec<Reject>,
}

/// How old the rows of a group are.
#[derive(Clone, Copy)]
pub(super) enum Ages<'a> {
    /// Their identity columns tell.
    Identity,
    /// The records say when they were written.
    Records(&'a RecordBatch, &'a [u32]),
    /// That is told of another row of the same record.
    Untold,
}

/// Where what was confirmed is counted.
#[derive(Clone, Copy)]
pub(super) struct Confirmed<'a> {
    pub(super) table: &'a Arc<TableState>,
    pub(super) ages: Ages<'a>,
    pub(super) route: Option<&'a Arc<RouteCounts>>,
}

// === impl Work ===

impl Work {
    pub(super) fn new(parts: Arc<WriterParts>, recorders: Recorders) -> Self {
        let (compiled_topics, compiled_types) = Default::default();
        Self { parts, recorders, tables: RefCell::default(), compiled_topics, compiled_types }
    }

    /// Returns when every record is confirmed by the store or by the dead-letter topic, however long that takes.
    pub(super) async fn write_all(self: &Rc<Self>, from: &TopicPartition, batch: &Arc<Batch>, admission: &Admission) {
        let Grouped { writes, mut rejects, unknown_schemas, mut tally } = self.group(from, &batch.records).await;
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
                Ok(Settled { table, route, faults }) => {
                    refused.push((table, faults.iter().filter(|fault| fault.code == REFUSED).count() as u64));
                    if let Some(route) = route {
                        faults.iter().for_each(|fault| tally.rejected(&route, fault.code));
                    }
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
            let rejects = if tally.is_empty() { rejects } else { merge(rejects) };
            DeadLetters::new(&self.parts).bury(from, &batch.records, &rejects).await;
            refused.iter().for_each(|(table, num_rows)| add(&table.counts().refused, *num_rows));
        }
        tally.count(&from.topic, self.counters());
    }

    /// Groups a batch, by the routes of its topic if that is one of others.
    async fn group(&self, from: &TopicPartition, batch: &RecordBatch) -> Grouped {
        let routing = self.parts.routing.load_full();
        if let Some(source) = routing.of_topic(&from.topic) {
            return self.group_routed(source, from, batch).await;
        }
        let plans = self.parts.schemas.plans();
        let mut grouped = self.group_own(batch, &plans).await;
        if !routing.types().is_empty() {
            self.add_routes_of_types(&routing, &plans, from, batch, &mut grouped).await;
        }
        grouped
    }

    /// Groups a batch of ours; asks the log for schemas that are not known yet.
    async fn group_own(&self, batch: &RecordBatch, plans: &Plans) -> Grouped {
        let (schemas, grouping) = (&self.parts.schemas, self.parts.store.grouping());
        let mut grouped = group(batch, 0..batch.records.len() as u32, plans, grouping);
        let Some((_, wanted)) = grouped.unknown_schemas.first().copied() else { return grouped };
        let mut backoff = self.backoff(Duration::MAX);
        while let Err(error) = schemas.refresh(plans, wanted).await {
            warn!(%error, "asking the log for a writer schema again soon");
            tokio::time::sleep(backoff.next_delay(jitter())).await;
        }
        let unknown = std::mem::take(&mut grouped.unknown_schemas);
        let learned = group(batch, unknown.into_iter().map(|(record, _)| record), plans, grouping);
        grouped.writes.extend(learned.writes);
        grouped.rejects.extend(learned.rejects);
        grouped.unknown_schemas = learned.unknown_schemas;
        grouped
    }

    /// Writes until every row is settled.
    async fn write_one(
        &self,
        write: PendingWrite,
        batch: &RecordBatch,
        permit: WritePermit,
        admission: &Admission,
    ) -> Settled {
        match write {
            PendingWrite::Own(write) => self.write_own(write, batch, permit, admission).await,
            PendingWrite::Routed(write) => self.write_routed(write, batch, permit, admission).await,
        }
    }

    async fn write_own(
        &self,
        write: OwnWrite,
        batch: &RecordBatch,
        permit: WritePermit,
        admission: &Admission,
    ) -> Settled {
        let table = self.table(write.table());
        let mut writer =
            RowWriter::new(self, admission, Confirmed { table: &table, ages: Ages::Identity, route: None });
        let permit = if table.is_stopped() && table.known_good().is_some() {
            // Before the records become rows, which take several times as much.
            drop(permit);
            drop(writer.reopen().await);
            admission.enter().await
        } else {
            permit
        };
        fail::fail_point!("write_group");
        let (write, mut faults) = write.decode(batch);
        if !write.records.is_empty() {
            let _rows = self.parts.memory.take(size_of_val(write.group.cells.as_slice()) as u64);
            for Fault { row, code, reason } in writer.settle(&write.group, permit).await {
                self.say_refused(&table, code, &reason);
                faults.push(Reject { record: write.records[row], code, detail: reason });
            }
        }
        drop(writer);
        Settled { table, route: None, faults }
    }

    /// Writes groups one after the other, the first with this permit.
    async fn write_routed(
        &self,
        write: RoutedWrite,
        batch: &RecordBatch,
        permit: WritePermit,
        admission: &Admission,
    ) -> Settled {
        let RoutedWrite { chain, counts, has_age, _memory } = write;
        let Some(first) = chain.first() else { unreachable!("a write of a route has rows") };
        let table = self.table(&first.group.table);
        let mut faults = Vec::new();
        let mut permit = Some(permit);
        for DecodedWrite { group, records } in chain {
            let ages = if has_age { Ages::Records(batch, &records) } else { Ages::Untold };
            let permit = match permit.take() {
                Some(permit) => permit,
                None => admission.enter().await,
            };
            fail::fail_point!("write_group");
            let mut writer = RowWriter::new(self, admission, Confirmed { table: &table, ages, route: Some(&counts) });
            for Fault { row, code, reason } in writer.settle(&group, permit).await {
                self.say_refused(&table, code, &reason);
                let detail = match &group.table.routed {
                    Some(routed) => format!("route {}: {reason}", routed.route),
                    None => reason,
                };
                faults.push(Reject { record: records[row], code, detail });
            }
        }
        Settled { table, route: Some(counts), faults }
    }

    /// The state of a table, without asking what all share: this is on the way of every write.
    pub(super) fn table(&self, table: &Arc<Table>) -> Arc<TableState> {
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

    fn say_refused(&self, table: &TableState, code: &'static str, reason: &str) {
        if code == REFUSED
            && let Some(num_rows) = table.refused(reason)
        {
            let table = table.name();
            error!(
                table,
                num_rows, reason, "the store refuses rows for what they hold; they go to the dead-letter topic"
            );
        }
    }

    /// The store has confirmed all rows of a group but these.
    pub(super) fn confirmed(&self, to: Confirmed<'_>, group: &RowGroup, refused: &[RefusedRow], started: Instant) {
        let Confirmed { table, ages, route } = to;
        let now = Instant::now();
        if let Some(row) = first_confirmed(group.num_rows(), refused) {
            table.confirmed(group, row, now);
        }
        let num_rows = (group.num_rows() - refused.len()) as u64;
        match group.op {
            RowOp::Upsert => add(&table.counts().rows, num_rows),
            RowOp::Delete => {}
        }
        if let Some(route) = route {
            add(if group.op == RowOp::Delete { &route.deleted } else { &route.rows }, num_rows);
        }
        self.recorders.store_write.record(now.saturating_duration_since(started).as_micros() as u64);
        self.recorders.write_rows.record(num_rows);
        let is_confirmed = |row: usize| refused.binary_search_by_key(&row, |one| one.row).is_err();
        match ages {
            Ages::Identity if refused.is_empty() => self.record_ages(group.rows()),
            Ages::Identity => {
                let confirmed = group.rows().enumerate().filter(|(row, _)| is_confirmed(*row));
                self.record_ages(confirmed.map(|(_, cells)| cells));
            }
            Ages::Records(batch, records) => {
                let now_ms = (now_us() / 1000) as i64;
                let age_us = |written_ms: i64| now_ms.saturating_sub(written_ms).max(0) as u64 * 1000;
                let written = |record: u32| batch.meta.get(record as usize)?.timestamp_ms;
                let confirmed = records.iter().enumerate().filter(|(row, _)| is_confirmed(*row));
                self.recorders
                    .receive_to_row
                    .record_all(confirmed.filter_map(|(_, record)| written(*record)).map(age_us));
            }
            Ages::Untold => {}
        }
    }

    fn record_ages<'r>(&self, rows: impl Iterator<Item = &'r [Cell]> + Clone) {
        let now_ms = (now_us() / 1000) as i64;
        let since =
            |row: &[Cell], column: IdentityColumn| now_ms.saturating_sub(column.time_ms(row)).max(0) as u64 * 1000;
        self.recorders.device_to_row.record_all(rows.clone().map(|row| since(row, IdentityColumn::EventTime)));
        self.recorders.receive_to_row.record_all(rows.map(|row| since(row, IdentityColumn::ReceivedAt)));
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    /// Writes a group. In tests the fail point `sick_row` has rows fail that hold its text.
    pub(super) async fn try_write(&self, rows: &Arc<RowGroup>) -> Written {
        if is_sick(rows) {
            return Err(WriteError::Transient(TransientKind::Timeout, "a fail point".to_owned()));
        }
        self.store().write(Arc::clone(rows)).await
    }

    pub(super) fn give_up_after(&self) -> Option<Duration> {
        self.parts.give_up_after
    }

    pub(super) fn memory(&self) -> &MemoryBudget {
        &self.parts.memory
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

fn is_sick(_rows: &RowGroup) -> bool {
    fail::fail_point!("sick_row", |text| {
        let text = text.unwrap_or_default();
        _rows.cells.iter().any(|cell| matches!(cell, Cell::Text(span) if span.text_of(&_rows.data) == text))
    });
    false
}

// === impl Confirmed ===

impl<'a> Confirmed<'a> {
    /// Of some of the rows.
    pub(super) fn part(self, rows: &Range<usize>) -> Self {
        let ages = match self.ages {
            Ages::Records(batch, records) => Ages::Records(batch, &records[rows.clone()]),
            same => same,
        };
        Self { ages, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::super::tests::work_on;
    use super::*;
    use crate::actors::schemas::tests::log_in;
    use crate::codec::Codecs;
    use crate::codec::avro::Fingerprint;
    use crate::log::{Log, RecordRef};
    use crate::store::embedded::{EmbeddedStore, EmbeddedStoreSettings};

    async fn work_in(directory: &Path, log: &Arc<dyn Log>) -> Rc<Work> {
        let path = directory.join("rows.db");
        let settings = EmbeddedStoreSettings { path, transaction_rows: 100, page_cache_bytes: 1 << 20, ttl: None };
        work_on(Arc::new(EmbeddedStore::open(settings).unwrap()), log, None).await
    }

    /// Records that say no more than which schema they were written with.
    fn batch_of(fingerprints: &[Fingerprint]) -> RecordBatch {
        let (mut data, mut records) = (Vec::new(), Vec::new());
        for (offset, fingerprint) in (0..).zip(fingerprints) {
            let start = data.len() as u32;
            data.extend_from_slice(&[0xc3, 0x01]);
            data.extend_from_slice(fingerprint);
            let value_end = data.len() as u32;
            records.push(RecordRef { offset, key_start: start, value_start: start, value_end });
        }
        RecordBatch {
            data: Bytes::from(data),
            next_offset: records.len() as u64,
            records,
            first_written_ms: None,
            meta: Vec::new(),
        }
    }

    fn own(writes: &[PendingWrite]) -> impl Iterator<Item = &OwnWrite> {
        writes.iter().map(|write| match write {
            PendingWrite::Own(write) => write,
            PendingWrite::Routed(_) => panic!("there are no routes"),
        })
    }

    #[tokio::test]
    async fn test_the_log_is_asked_for_an_unknown_schema_and_what_it_does_not_have_stays_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let log = log_in(&directory.path().join("log"));
        let work = work_in(directory.path(), &log).await;
        let codecs = Codecs::builtin().unwrap();
        let position = codecs.by_name("position").unwrap();
        // By a newer pod, after this one has read the schemas.
        log.put_schema([9; 8], position.schema_json.clone()).await.unwrap();

        let batch = batch_of(&[position.fingerprint, [9; 8], [8; 8], [9; 8]]);
        let grouped = work.group_own(&batch, &work.parts.schemas.plans()).await;
        assert_eq!(grouped.unknown_schemas, [(2, [8; 8])]);
        let tables: Vec<&str> = own(&grouped.writes).map(|write| write.table().name.as_str()).collect();
        assert_eq!(tables, ["position", "position"], "one of the known, one of what was learnt");
        // They have no fields, so that each says which record it is by being no row.
        let written: Vec<u32> = grouped
            .writes
            .into_iter()
            .flat_map(|write| match write {
                PendingWrite::Own(write) => write.decode(&batch).1.into_iter().map(|reject| reject.record),
                PendingWrite::Routed(_) => panic!("there are no routes"),
            })
            .collect();
        assert_eq!(written, [0, 1, 3], "every record that is not unknown, once");
    }

    #[tokio::test]
    async fn test_the_state_of_a_table_is_one_however_many_tables_came_between() {
        let directory = tempfile::tempdir().unwrap();
        let log = log_in(&directory.path().join("log"));
        let work = work_in(directory.path(), &log).await;
        let table = |name: String| Arc::new(Table::of_type(name, Vec::new()));
        let first = table("first".to_owned());
        let state = work.table(&first);
        assert!(Arc::ptr_eq(&state, &work.table(&first)));
        for number in 0..MAX_KNOWN_TABLES * 2 {
            work.table(&table(format!("t{number}")));
            assert!(work.tables.borrow().len() <= MAX_KNOWN_TABLES);
        }
        assert!(Arc::ptr_eq(&state, &work.table(&first)));
    }
}
