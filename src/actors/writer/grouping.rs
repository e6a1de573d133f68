//! Turns records into rows and rows into groups, one group for one write.
//!
//! Rows of one database partition travel together: that is what halves the database's work per row. Records of one
//! package lie side by side in the log, so the group of the record before is tried first, without hashing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::actors::schemas::{Schemas, TablePlan};
use crate::log::RecordBatch;
use crate::protocol::avro::{Fingerprint, split_single_object};
use crate::protocol::row::{Cell, RowGroup, Table};
use crate::store::Grouping;

/// A write to be made, and the records that it settles.
#[derive(Debug)]
pub struct PendingWrite {
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
#[derive(Debug, Default)]
pub struct Grouped {
    /// The writes to make.
    pub writes: Vec<PendingWrite>,
    /// The records for the dead-letter topic.
    pub rejects: Vec<Reject>,
    /// A writer schema that is not known (yet); its records are neither in `writes` nor in `rejects`.
    pub unknown_schemas: Vec<(u32, Fingerprint)>,
}

/// Groups the records `which` of a batch.
pub fn group(batch: &RecordBatch, which: impl Iterator<Item = u32>, schemas: &Schemas, grouping: Grouping) -> Grouped {
    let mut grouper = Grouper::new(batch, grouping);
    let mut known: Option<(Fingerprint, Arc<TablePlan>)> = None;
    let mut grouped = Grouped::default();
    for index in which {
        let Some(record) = batch.records.get(index as usize) else { continue };
        let value = record.value(&batch.data);
        let (fingerprint, datum) = match split_single_object(value) {
            Ok(parts) => parts,
            Err(error) => {
                grouped.rejects.push(Reject { record: index, code: "not_a_record", detail: error.to_string() });
                continue;
            }
        };
        let plan = match &known {
            Some((last, plan)) if *last == fingerprint => Arc::clone(plan),
            _ => match schemas.get(fingerprint) {
                Some(plan) => {
                    known = Some((fingerprint, Arc::clone(&plan)));
                    plan
                }
                None => {
                    grouped.unknown_schemas.push((index, fingerprint));
                    continue;
                }
            },
        };
        let base = record.value_end - datum.len() as u32;
        if let Err(error) = grouper.add(index, &plan, datum, base) {
            grouped.rejects.push(Reject { record: index, code: "undecodable", detail: error });
        }
    }
    grouped.writes = grouper.finish();
    grouped
}

struct Grouper<'a> {
    batch: &'a RecordBatch,
    max_rows: usize,
    max_bytes: usize,
    by_partition: bool,
    open: Vec<Open>,
    index: HashMap<(usize, &'a [u8], i64), usize>,
    last: Option<usize>,
    scratch: Vec<Cell>,
    full: Vec<PendingWrite>,
}

struct Open {
    table: Arc<Table>,
    /// Device and bucket, in a store that groups by them.
    partition: (Vec<u8>, i64),
    cells: Vec<Cell>,
    records: Vec<u32>,
    num_bytes: usize,
}

// === impl Grouper ===

impl<'a> Grouper<'a> {
    fn new(batch: &'a RecordBatch, grouping: Grouping) -> Self {
        let (by_partition, max_rows, max_bytes) = match grouping {
            Grouping::ByPartition { max_rows, max_bytes } => (true, max_rows, max_bytes),
            Grouping::ByTable { max_rows } => (false, max_rows, usize::MAX),
        };
        Self {
            batch,
            max_rows,
            max_bytes,
            by_partition,
            open: Vec::new(),
            index: HashMap::new(),
            last: None,
            scratch: Vec::new(),
            full: Vec::new(),
        }
    }

    fn add(&mut self, record: u32, plan: &TablePlan, datum: &[u8], base: u32) -> Result<(), String> {
        self.scratch.clear();
        plan.plan.decode(datum, base, &mut self.scratch).map_err(|error| error.to_string())?;
        let slot = self.slot_of(&plan.table);
        let open = &mut self.open[slot];
        if open.records.len() >= self.max_rows
            || (open.num_bytes + datum.len() > self.max_bytes && !open.records.is_empty())
        {
            self.full.push(close(open, self.batch));
        }
        open.cells.append(&mut self.scratch);
        open.records.push(record);
        open.num_bytes += datum.len();
        self.last = Some(slot);
        Ok(())
    }

    /// The open group for the row in `scratch`.
    fn slot_of(&mut self, table: &Arc<Table>) -> usize {
        let data: &'a [u8] = &self.batch.data;
        let (device, bucket): (&'a [u8], i64) = match (self.by_partition, self.scratch.first(), self.scratch.get(1)) {
            (true, Some(Cell::Text(device)), Some(Cell::Timestamp(bucket))) => (device.of(data), *bucket),
            _ => (&[], 0),
        };
        if let Some(last) = self.last {
            let open = &self.open[last];
            if Arc::ptr_eq(&open.table, table) && open.partition.1 == bucket && open.partition.0 == device {
                return last;
            }
        }
        let key = (Arc::as_ptr(table) as usize, device, bucket);
        *self.index.entry(key).or_insert_with(|| {
            self.open.push(Open {
                table: Arc::clone(table),
                partition: (device.to_vec(), bucket),
                cells: Vec::new(),
                records: Vec::new(),
                num_bytes: 0,
            });
            self.open.len() - 1
        })
    }

    fn finish(mut self) -> Vec<PendingWrite> {
        let batch = self.batch;
        self.full.extend(self.open.iter_mut().filter(|open| !open.records.is_empty()).map(|open| close(open, batch)));
        self.full
    }
}

fn close(open: &mut Open, batch: &RecordBatch) -> PendingWrite {
    open.num_bytes = 0;
    PendingWrite {
        group: Arc::new(RowGroup {
            table: Arc::clone(&open.table),
            data: batch.data.clone(),
            cells: std::mem::take(&mut open.cells),
        }),
        records: std::mem::take(&mut open.records),
    }
}
