//! Groups of rows into one transaction.
//!
//! The rows of all groups go in as one run in key order. Only if SQLite refuses one of them are the groups written
//! one by one, each behind a savepoint, so that the group at fault fails alone.

use std::cmp::Ordering;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ErrorCode, Transaction, TransactionBehavior};

use super::bind::BoundCell;
use super::schema::{NUM_KEY_COLUMNS, upsert_sql};
use crate::protocol::row::{Cell, RowGroup, Table};
use crate::store::WriteError;

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
}

// === impl GroupWriter ===

impl GroupWriter {
    /// Writes all groups in one transaction; the outcomes come in the order of the groups. `Ok` rows are on disk.
    pub(super) fn write(&mut self, connection: &Connection, groups: &[Arc<RowGroup>]) -> Vec<Result<(), WriteError>> {
        let error = match self.write_together(connection, groups) {
            Ok(()) => return vec![Ok(()); groups.len()],
            Err(error) => write_error(&error),
        };
        match error {
            WriteError::Invalid(_) if groups.len() > 1 => write_apart(connection, groups),
            error => vec![Err(error); groups.len()],
        }
    }

    fn write_together(&mut self, connection: &Connection, groups: &[Arc<RowGroup>]) -> rusqlite::Result<()> {
        self.sort(groups);
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let mut rest = self.order.as_slice();
        while let Some(first) = rest.first() {
            let table = &groups[first.group as usize].table;
            let num_same = rest.partition_point(|at| same_table(&groups[at.group as usize].table, table));
            let (run, others) = rest.split_at(num_same.max(1));
            let mut statement = connection.prepare_cached(&upsert_sql(table, 1))?;
            for at in run {
                let group = &groups[at.group as usize];
                write_row(&mut statement, cells(group, at.row), &group.data)?;
            }
            rest = others;
        }
        transaction.commit()
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

/// Each group behind a savepoint of one transaction.
fn write_apart(connection: &Connection, groups: &[Arc<RowGroup>]) -> Vec<Result<(), WriteError>> {
    let attempt = || -> rusqlite::Result<Vec<Result<(), WriteError>>> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(groups.len());
        for group in groups {
            connection.execute_batch("SAVEPOINT one_group")?;
            match write_group(connection, group) {
                Ok(()) => outcomes.push(Ok(())),
                Err(error) => match write_error(&error) {
                    WriteError::Transient(_) => return Err(error),
                    invalid => {
                        connection.execute_batch("ROLLBACK TO one_group")?;
                        outcomes.push(Err(invalid));
                    }
                },
            }
            connection.execute_batch("RELEASE one_group")?;
        }
        transaction.commit()?;
        Ok(outcomes)
    };
    attempt().unwrap_or_else(|error| {
        // Nothing was committed, and by now the cause is not the rows.
        vec![Err(WriteError::Transient(error.to_string())); groups.len()]
    })
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

/// Rows are at fault only where SQLite says so by a code that names the value. Anything else, a dropped table among
/// it, can be mended from outside, and then the same rows are good.
fn write_error(error: &rusqlite::Error) -> WriteError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            WriteError::Invalid(error.to_string())
        }
        _ => WriteError::Transient(error.to_string()),
    }
}
