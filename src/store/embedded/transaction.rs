//! Groups of rows into one transaction.
//!
//! The rows of all groups go in as one run in key order. A row that SQLite refuses undoes its own statement only: it is
//! left out, and the transaction goes on. Once all rows of a table were tried, the table is asked whether it would take
//! one anew that was taken, or was confirmed before: if so, those that were left out are at fault, but for those that are
//! there already with the same values. Only what says ROLLBACK ends the transaction; then each group gets one of its own.
//!
//! Another process may alter the tables. So each transaction, which alone keeps others from doing that, looks at the
//! number that SQLite counts up with every such change, and checks the tables again when it is another one.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::deleted::Deleted;
use super::rows::{Refusal, RowRef, Rows};
use super::statements::Found;
use super::{key_order, routed, schema};
use crate::schema::row::{RowGroup, RowOp, Table};
use crate::store::{RefusedRow, TransientKind, WriteError};
use crate::telemetry::now_us;

/// A row's place: which group, which row of it.
#[derive(Debug, Clone, Copy)]
struct RowAt {
    group: u32,
    row: u32,
}

/// Writes groups and keeps its buffers between transactions.
#[derive(Debug, Default)]
pub(super) struct GroupWriter {
    order: Vec<RowAt>,
    checked: Checked,
    deleted: Deleted,
}

/// Tables that are as described, as of one version of the database's schema.
#[derive(Debug, Default)]
struct Checked {
    schema_version: i64,
    tables: Vec<(Arc<Table>, Found)>,
}

/// A group that is to be written.
#[derive(Debug)]
pub(super) struct Asked {
    /// The rows.
    pub(super) group: Arc<RowGroup>,
    /// A row of the same table that was confirmed before; is written only if no other row would tell who is at fault.
    pub(super) known_good: Option<Arc<RowGroup>>,
}

/// What became of a group: all rows are on disk but these, or none is confirmed.
pub(super) type Outcome = Result<Vec<RefusedRow>, Fault>;

/// Why a group was not written.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Somebody else has the database locked.
    Busy(String),
    /// The database cannot be written at all: full, read-only, damaged.
    Database(String),
    /// A table is not as described.
    Table(String),
    /// SQLite refused every row by itself, and nothing tells whether they or the table is at fault.
    Rows(String),
    /// SQLite refused a row and has ended the transaction.
    Ended(String),
}

// === impl GroupWriter ===

impl GroupWriter {
    /// Writes all groups in one transaction; the outcomes come in the order of the groups. `Ok` rows are on disk.
    pub(super) fn write(&mut self, connection: &Connection, asked: &[Asked]) -> Vec<Outcome> {
        match self.write_together(connection, asked) {
            Ok(outcomes) => outcomes,
            Err(Fault::Ended(_)) if asked.len() > 1 => {
                asked.chunks(1).flat_map(|alone| self.write(connection, alone)).collect()
            }
            Err(fault) => vec![Err(fault); asked.len()],
        }
    }

    /// Nothing was committed if this fails as a whole.
    fn write_together(&mut self, connection: &Connection, asked: &[Asked]) -> Result<Vec<Outcome>, Fault> {
        self.sort(asked);
        let mut outcomes = vec![Ok(Vec::new()); asked.len()];
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        self.checked.look(connection)?;
        let mut rest = self.order.as_slice();
        while let Some(first) = rest.first() {
            let table = &asked[first.group as usize].group.table;
            let num_same = rest.partition_point(|at| same_table(&asked[at.group as usize].group.table, table));
            let (run, others) = rest.split_at(num_same.max(1));
            let outcome = self.checked.check(connection, table).and_then(|found| {
                let now_us = i64::try_from(now_us()).unwrap_or(i64::MAX);
                let rows = Rows::new(connection, table, found, &mut self.deleted, now_us)?;
                write_run(connection, asked, rows, run)
            });
            match outcome {
                Ok(refused) => refused.into_iter().for_each(|(at, reason)| {
                    if let Ok(of_group) = &mut outcomes[at.group as usize] {
                        of_group.push(RefusedRow { row: at.row as usize, reason });
                    }
                }),
                // Rows of it that were taken are written again later.
                Err(fault @ (Fault::Table(_) | Fault::Rows(_))) => {
                    run.iter().for_each(|at| outcomes[at.group as usize] = Err(fault.clone()));
                }
                Err(fault) => return Err(fault),
            }
            rest = others;
        }
        transaction.commit()?;
        outcomes.iter_mut().flatten().for_each(|refused| refused.sort_unstable_by_key(|one| one.row));
        Ok(outcomes)
    }

    /// Key order: neighbours in the tree are written one after the other, while their page is at hand.
    fn sort(&mut self, asked: &[Asked]) {
        self.order.clear();
        for (index, one) in asked.iter().enumerate() {
            // A transaction holds far fewer groups, and a group far fewer rows, than 2^32.
            self.order.extend((0..one.group.num_rows() as u32).map(|row| RowAt { group: index as u32, row }));
        }
        // Descriptions of one table may differ: of two routes, or after a reload. Each is written by itself.
        let tables: Vec<usize> = asked
            .iter()
            .map(|one| asked.iter().take_while(|other| !same_table(&other.group.table, &one.group.table)).count())
            .collect();
        self.order.sort_by(|left, right| {
            let (left_at, right_at) = (left.group as usize, right.group as usize);
            let (left_group, right_group) = (&*asked[left_at].group, &*asked[right_at].group);
            if tables[left_at] != tables[right_at] {
                let (left, right) = (&left_group.table, &right_group.table);
                let names = left.name.cmp(&right.name).then_with(|| left.keyspace.cmp(&right.keyspace));
                return names.then(tables[left_at].cmp(&tables[right_at]));
            }
            let num_keys = left_group.table.key.len();
            let (left, right) = (row_ref(left_group, left.row).cells, row_ref(right_group, right.row).cells);
            // Two rows of one key keep the order that they came in.
            key_order::compare((left, left_group), (right, right_group), num_keys)
        });
    }
}

/// Writes rows of one table and returns those that are at fault.
fn write_run(
    connection: &Connection,
    asked: &[Asked],
    mut rows: Rows<'_>,
    run: &[RowAt],
) -> Result<Vec<(RowAt, String)>, Fault> {
    let (mut refused, mut taken, mut deleted) = (Vec::new(), None, None);
    for at in run {
        let row = row_at(asked, *at);
        match rows.write(row) {
            Ok(()) if row.op == RowOp::Delete => deleted = Some(row),
            Ok(()) => taken = Some(row),
            Err(error) => refused.push((*at, refusal(connection, error)?)),
        }
    }
    let Some(reason) = refused.first().map(|(_, reason)| reason.clone()) else { return Ok(refused) };
    // Such as records that come again after a restart, to a table that takes no row twice.
    let mut there = None;
    let mut at_fault = Vec::with_capacity(refused.len());
    for (at, reason) in refused {
        let row = row_at(asked, at);
        match rows.is_done(row)? {
            true => there = Some(row),
            false => at_fault.push((at, reason)),
        }
    }
    // That rows are deleted says nothing of whether others are taken.
    if at_fault.iter().all(|(at, _)| row_at(asked, *at).op == RowOp::Delete) {
        taken = deleted.or(taken);
    }
    let known_good = || run.iter().find_map(|at| asked[at.group as usize].known_good.as_deref());
    // Behind the last refusal, as the table may have begun to refuse rows after it took some.
    let witness = taken.or_else(|| known_good().map(|group| row_ref(group, 0))).or(there);
    let Some(witness) = witness else { return Err(Fault::Rows(reason)) };
    match rows.would_take(witness) {
        Ok(()) if connection.is_autocommit() => Err(Fault::Ended(reason)),
        Ok(()) => Ok(at_fault),
        Err(error) => Err(Fault::Table(refusal(connection, error)?)),
    }
}

/// Why a row was refused; fails if that is more than a matter of this row's statement.
fn refusal(connection: &Connection, refusal: Refusal) -> Result<String, Fault> {
    let error = match refusal {
        Refusal::Ignored => return Ok("a trigger on the table has passed the row over, with RAISE(IGNORE)".to_owned()),
        Refusal::Error(error) => error,
    };
    // The general code: the table was checked in this transaction, so that it is what a trigger has made of the row.
    let is_of_statement = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::Unknown)
    );
    match is_of_statement {
        false => Err(error.into()),
        true if connection.is_autocommit() => Err(Fault::Ended(error.to_string())),
        true => Ok(error.to_string()),
    }
}

fn row_at(asked: &[Asked], at: RowAt) -> RowRef<'_> {
    row_ref(&asked[at.group as usize].group, at.row)
}

fn row_ref(group: &RowGroup, row: u32) -> RowRef<'_> {
    let row_len = group.table.row_len();
    let start = row as usize * row_len;
    RowRef { op: group.op, cells: &group.cells[start..start + row_len], data: &group.data }
}

/// Groups of one table mostly share its description; two descriptions of one name may differ after a reload.
fn same_table(left: &Arc<Table>, right: &Arc<Table>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}

// === impl Checked ===

impl Checked {
    /// Forgets what was checked before the last change of the schema.
    fn look(&mut self, connection: &Connection) -> Result<(), Fault> {
        let schema_version = connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?;
        if self.schema_version != schema_version {
            *self = Self { schema_version, tables: Vec::new() };
        }
        Ok(())
    }

    /// Tells what there is beside what is described, if the table is as described.
    fn check(&mut self, connection: &Connection, table: &Arc<Table>) -> Result<Found, Fault> {
        if let Some((_, found)) = self.tables.iter().find(|(known, _)| same_table(known, table)) {
            return Ok(*found);
        }
        schema::check(connection, std::slice::from_ref(table)).map_err(|error| Fault::Table(error.to_string()))?;
        let found = Found {
            has_triggers: schema::has_triggers(connection, table)?,
            has_written_at: table.routed.is_some() && routed::has_written_at(connection, table)?,
        };
        self.tables.push((Arc::clone(table), found));
        Ok(found)
    }
}

// === impl Fault ===

impl From<rusqlite::Error> for Fault {
    /// By SQLite's codes alone.
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Busy(reason)
            }
            // The general code: a statement that the table does not allow. A constraint: one that is checked at the end.
            Some(ErrorCode::Unknown | ErrorCode::SchemaChanged) => Self::Table(reason),
            Some(ErrorCode::ConstraintViolation) => Self::Ended(reason),
            _ => Self::Database(reason),
        }
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy(reason) => Self::Transient(TransientKind::Overloaded, reason),
            Fault::Database(reason) | Fault::Table(reason) => Self::Table(reason),
            Fault::Rows(reason) | Fault::Ended(reason) => Self::Invalid(reason),
        }
    }
}
