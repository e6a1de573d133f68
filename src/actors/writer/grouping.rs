//! Groups the records of a batch, one group for one write.
//!
//! Rows of one database partition travel together: that is what halves the database's work per row. Records of one
//! package lie side by side in the log, so the group of the record before is tried first, without hashing.
//!
//! Only where a record belongs is read here. It becomes a row when its write is let through the gate
//! ([`OwnWrite::decode`]), so that what waits in line is bytes and not cells, which take several times as much.

use std::collections::HashMap;
use std::sync::Arc;

use super::routed::{RoutedWrite, Tally};
use crate::actors::schemas::{Plans, TablePlan};
use crate::codec::avro::{Fingerprint, RowError, RowPlan, split_single_object};
use crate::log::RecordBatch;
use crate::schema::row::{Cell, RowGroup, RowOp, Table};
use crate::store::Grouping;

/// The codes of records that can never be written.
pub(super) const NOT_A_RECORD: &str = "not_a_record";
pub(super) const UNDECODABLE: &str = "undecodable";
pub(super) const UNKNOWN_SCHEMA: &str = "unknown_schema";
/// The store refused their rows for what they hold.
pub const REFUSED: &str = "refused_by_store";
/// Their rows alone kept failing while others of their table were confirmed.
pub const GAVE_UP: &str = "gave_up";

/// A write to be made.
pub enum PendingWrite {
    /// Of records of message types into their own table, which are not decoded yet.
    Own(OwnWrite),
    /// Of rows that routes have made.
    Routed(RoutedWrite),
}

/// A write to be made of records that are not decoded yet.
pub struct OwnWrite {
    plan: Arc<TablePlan>,
    /// Index of each record in the batch.
    records: Vec<u32>,
}

/// A write to be made, and the records that it settles.
pub struct DecodedWrite {
    /// The rows.
    pub group: Arc<RowGroup>,
    /// Index of each row's record in the batch.
    pub records: Vec<u32>,
}

/// A record that can never be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index of the record in the batch.
    pub record: u32,
    /// One word for programs.
    pub code: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

/// A batch, made ready for the store.
#[derive(Default)]
pub struct Grouped {
    /// The writes to make.
    pub writes: Vec<PendingWrite>,
    /// The records for the dead-letter topic.
    pub rejects: Vec<Reject>,
    /// A writer schema that is not known (yet); its records are neither in `writes` nor in `rejects`.
    pub unknown_schemas: Vec<(u32, Fingerprint)>,
    /// What routes made of the records beside rows.
    pub(super) tally: Tally,
}

/// Groups the records `which` of a batch.
pub fn group(batch: &RecordBatch, which: impl Iterator<Item = u32>, plans: &Plans, grouping: Grouping) -> Grouped {
    let mut grouper = Grouper::new(grouping);
    let mut known: Option<(Fingerprint, Arc<TablePlan>)> = None;
    let mut grouped = Grouped::default();
    for index in which {
        // An index that is not there is a defect: a panic has the batch written again, skipping would settle the record.
        let record = &batch.records[index as usize];
        let (fingerprint, datum) = match split_single_object(record.value(&batch.data)) {
            Ok(parts) => parts,
            Err(error) => {
                grouped.rejects.push(Reject { record: index, code: NOT_A_RECORD, detail: error.to_string() });
                continue;
            }
        };
        if known.as_ref().is_none_or(|(last, _)| *last != fingerprint) {
            known = plans.get(fingerprint).map(|plan| (fingerprint, plan));
        }
        match &known {
            Some((_, plan)) => {
                if let Err(error) = grouper.add(index, plan, datum) {
                    grouped.rejects.push(undecodable(index, error));
                }
            }
            None => grouped.unknown_schemas.push((index, fingerprint)),
        }
    }
    grouped.writes = grouper.finish().into_iter().map(PendingWrite::Own).collect();
    grouped
}

fn undecodable(record: u32, error: impl std::fmt::Display) -> Reject {
    Reject { record, code: UNDECODABLE, detail: error.to_string() }
}

struct Grouper<'a> {
    max_rows: usize,
    max_bytes: usize,
    by_partition: bool,
    open: Vec<Open<'a>>,
    index: HashMap<Place<'a>, usize>,
    last: usize,
    full: Vec<OwnWrite>,
}

/// What rows of one group have in common: the plan (by its address), and in a store that groups by them device and bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place<'a> {
    plan: usize,
    device: &'a [u8],
    bucket: i64,
}

struct Open<'a> {
    place: Place<'a>,
    plan: Arc<TablePlan>,
    records: Vec<u32>,
    num_bytes: usize,
}

// === impl OwnWrite ===

impl OwnWrite {
    /// Where its rows go.
    pub fn table(&self) -> &Arc<Table> {
        &self.plan.table
    }

    /// The rows, and the records that cannot be rows.
    pub fn decode(self, batch: &RecordBatch) -> (DecodedWrite, Vec<Reject>) {
        let Self { plan, mut records } = self;
        let mut cells = Vec::with_capacity(records.len() * plan.table.columns.len());
        let mut rejects = Vec::new();
        records.retain(|index| {
            let outcome = decode_one(&plan.plan, batch, *index, &mut cells);
            let is_row = outcome.is_ok();
            rejects.extend(outcome.err());
            is_row
        });
        let group = RowGroup { table: Arc::clone(&plan.table), op: RowOp::Upsert, data: batch.data.clone(), cells };
        (DecodedWrite { group: Arc::new(group), records }, rejects)
    }
}

fn decode_one(plan: &RowPlan, batch: &RecordBatch, index: u32, cells: &mut Vec<Cell>) -> Result<(), Reject> {
    let record = &batch.records[index as usize];
    let (_, datum) = split_single_object(record.value(&batch.data)).map_err(|error| undecodable(index, error))?;
    plan.decode(datum, record.value_end - datum.len() as u32, cells).map_err(|error| undecodable(index, error))
}

// === impl Grouper ===

impl<'a> Grouper<'a> {
    fn new(grouping: Grouping) -> Self {
        let (by_partition, max_rows, max_bytes) = match grouping {
            Grouping::ByPartition { max_rows, max_bytes } => (true, max_rows, max_bytes),
            Grouping::ByTable { max_rows } => (false, max_rows, usize::MAX),
        };
        Self { max_rows, max_bytes, by_partition, open: Vec::new(), index: HashMap::new(), last: 0, full: Vec::new() }
    }

    fn add(&mut self, record: u32, plan: &Arc<TablePlan>, datum: &'a [u8]) -> Result<(), RowError> {
        let (device, bucket) = if self.by_partition { plan.plan.partition(datum)? } else { (&datum[..0], 0) };
        let slot = self.slot_of(Place { plan: Arc::as_ptr(plan) as usize, device, bucket }, plan);
        let open = &mut self.open[slot];
        let is_full = open.records.len() >= self.max_rows || open.num_bytes + datum.len() > self.max_bytes;
        if is_full && !open.records.is_empty() {
            self.full.push(open.close());
        }
        open.records.push(record);
        open.num_bytes += datum.len();
        self.last = slot;
        Ok(())
    }

    fn slot_of(&mut self, place: Place<'a>, plan: &Arc<TablePlan>) -> usize {
        if self.open.get(self.last).is_some_and(|open| open.place == place) {
            return self.last;
        }
        *self.index.entry(place).or_insert_with(|| {
            self.open.push(Open { place, plan: Arc::clone(plan), records: Vec::new(), num_bytes: 0 });
            self.open.len() - 1
        })
    }

    fn finish(mut self) -> Vec<OwnWrite> {
        self.full.extend(self.open.iter_mut().filter(|open| !open.records.is_empty()).map(Open::close));
        self.full
    }
}

// === impl Open ===

impl Open<'_> {
    fn close(&mut self) -> OwnWrite {
        self.num_bytes = 0;
        OwnWrite { plan: Arc::clone(&self.plan), records: std::mem::take(&mut self.records) }
    }
}
