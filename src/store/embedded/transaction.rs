//! Groups of rows into one transaction.
//!
//! The rows of all groups go in as one run in key order. Only if SQLite refuses one of them are the groups written
//! one by one, each behind a savepoint, so that the group at fault fails alone.
//!
//! Another process may alter the tables. So each transaction, which alone keeps others from doing that, looks at the
//! number that SQLite counts up with every such change, and checks the tables again when it is another one.

use std::cmp::Ordering;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ErrorCode, Transaction, TransactionBehavior};

use super::bind::BoundCell;
use super::schema::{self, upsert_sql};
use crate::schema::identity::NUM_KEY_COLUMNS;
use crate::schema::row::{Cell, RowGroup, Table};
use crate::store::{TransientKind, WriteError};

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
}

/// Tables that are as described, as of one version of the database's schema.
#[derive(Debug, Default)]
struct Checked {
    schema_version: i64,
    tables: Vec<Arc<Table>>,
}

/// Why a group was not written.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Somebody else has the database locked.
    Busy(String),
    /// The database cannot be written at all: full, read-only, damaged.
    Database(String),
    /// A table is not as described.
    Table(String),
    /// SQLite refused a value, by a code that constraints share with it.
    Row(String),
}

// === impl GroupWriter ===

impl GroupWriter {
    /// Writes all groups in one transaction; the outcomes come in the order of the groups. `Ok` rows are on disk.
    pub(super) fn write(&mut self, connection: &Connection, groups: &[Arc<RowGroup>]) -> Vec<Result<(), Fault>> {
        match self.write_together(connection, groups) {
            Ok(()) => vec![Ok(()); groups.len()],
            Err(Fault::Row(_) | Fault::Table(_)) if groups.len() > 1 => self.write_apart(connection, groups),
            Err(fault) => vec![Err(fault); groups.len()],
        }
    }

    fn write_together(&mut self, connection: &Connection, groups: &[Arc<RowGroup>]) -> Result<(), Fault> {
        self.sort(groups);
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        self.checked.look(connection)?;
        let mut rest = self.order.as_slice();
        while let Some(first) = rest.first() {
            let table = &groups[first.group as usize].table;
            self.checked.check(connection, table)?;
            let num_same = rest.partition_point(|at| same_table(&groups[at.group as usize].table, table));
            let (run, others) = rest.split_at(num_same.max(1));
            let mut statement = connection.prepare_cached(&upsert_sql(table, 1))?;
            for at in run {
                let group = &groups[at.group as usize];
                write_row(&mut statement, cells(group, at.row), &group.data)?;
            }
            rest = others;
        }
        Ok(transaction.commit()?)
    }

    /// Each group behind a savepoint of one transaction.
    fn write_apart(&mut self, connection: &Connection, groups: &[Arc<RowGroup>]) -> Vec<Result<(), Fault>> {
        let mut attempt = || -> Result<Vec<Result<(), Fault>>, Fault> {
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            self.checked.look(connection)?;
            let mut outcomes = Vec::with_capacity(groups.len());
            for group in groups {
                connection.execute_batch("SAVEPOINT one_group")?;
                let outcome =
                    self.checked.check(connection, &group.table).and_then(|()| Ok(write_group(connection, group)?));
                match &outcome {
                    Ok(()) => {}
                    Err(Fault::Row(_) | Fault::Table(_)) => connection.execute_batch("ROLLBACK TO one_group")?,
                    Err(fault) => return Err(fault.clone()),
                }
                outcomes.push(outcome);
                connection.execute_batch("RELEASE one_group")?;
            }
            transaction.commit()?;
            Ok(outcomes)
        };
        // Nothing was committed.
        attempt().unwrap_or_else(|fault| vec![Err(fault); groups.len()])
    }

    /// Key order: neighbours in the tree are written one after the other, while their page is at hand.
    fn sort(&mut self, groups: &[Arc<RowGroup>]) {
        self.order.clear();
        for (index, group) in groups.iter().enumerate() {
            // A transaction holds far fewer groups, and a group far fewer rows, than 2^32.
            self.order.extend((0..group.num_rows() as u32).map(|row| RowAt { group: index as u32, row }));
        }
        self.order.sort_by(|left, right| {
            let (left_group, right_group) = (&groups[left.group as usize], &groups[right.group as usize]);
            if !same_table(&left_group.table, &right_group.table) {
                return left_group.table.name.cmp(&right_group.table.name);
            }
            let left_key = cells(left_group, left.row).iter().take(NUM_KEY_COLUMNS);
            let right_key = cells(right_group, right.row).iter();
            left_key
                .zip(right_key)
                .map(|(a, b)| compare(a, &left_group.data, b, &right_group.data))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
    }
}

fn write_group(connection: &Connection, group: &RowGroup) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&upsert_sql(&group.table, 1))?;
    group.rows().try_for_each(|row| write_row(&mut statement, row, &group.data))
}

fn write_row(statement: &mut CachedStatement<'_>, row: &[Cell], data: &[u8]) -> rusqlite::Result<()> {
    for (index, cell) in row.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, BoundCell { cell, data })?;
    }
    statement.raw_execute()?;
    Ok(())
}

fn cells(group: &RowGroup, row: u32) -> &[Cell] {
    let num_columns = group.table.columns.len();
    let start = row as usize * num_columns;
    &group.cells[start..start + num_columns]
}

/// Groups of one table mostly share its description; two descriptions of one name may differ after a reload.
fn same_table(left: &Arc<Table>, right: &Arc<Table>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}

/// Key cells in SQLite's order. It decides speed only, so kinds that no key has count as equal.
fn compare(left: &Cell, left_data: &[u8], right: &Cell, right_data: &[u8]) -> Ordering {
    match (left, right) {
        (Cell::Text(a), Cell::Text(b)) => a.of(left_data).cmp(b.of(right_data)),
        (Cell::Symbol(a), Cell::Symbol(b)) => a.cmp(b),
        (Cell::Timestamp(a), Cell::Timestamp(b)) | (Cell::Long(a), Cell::Long(b)) => a.cmp(b),
        (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
        (Cell::Unsigned(a), Cell::Unsigned(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
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

    fn check(&mut self, connection: &Connection, table: &Arc<Table>) -> Result<(), Fault> {
        if self.tables.iter().any(|known| same_table(known, table)) {
            return Ok(());
        }
        schema::check(connection, std::slice::from_ref(table)).map_err(|error| Fault::Table(error.to_string()))?;
        self.tables.push(Arc::clone(table));
        Ok(())
    }
}

// === impl Fault ===

impl From<rusqlite::Error> for Fault {
    /// By SQLite's codes alone.
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => Self::Row(reason),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Busy(reason)
            }
            // The general code: a statement that the table does not allow.
            Some(ErrorCode::Unknown | ErrorCode::SchemaChanged) => Self::Table(reason),
            _ => Self::Database(reason),
        }
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy(reason) => Self::Transient(TransientKind::Overloaded, reason),
            Fault::Database(reason) | Fault::Table(reason) => Self::Table(reason),
            Fault::Row(reason) => Self::Invalid(reason),
        }
    }
}
