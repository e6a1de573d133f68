//! Writes and deletes rows of one table, one statement each, within a transaction of others.
//!
//! SQLite's own word is not enough where another program has put triggers or conflict clauses on the table. A clause of
//! a constraint is overruled by the statement. A trigger that says RAISE(FAIL) refuses a row and leaves what the statement
//! did so far, perhaps the row itself: with triggers, each row is written behind a savepoint. One that says RAISE(IGNORE)
//! passes a row over without an error: a statement that changed nothing has refused its row, unless that is there already
//! or a newer write of it is.

use rusqlite::{CachedStatement, Connection};

use super::bind::BoundCell;
use super::deleted::Deleted;
use super::statements::{Found, Statements};
use crate::schema::row::{Cell, RowOp, Table};

const SAVEPOINT: &str = "SAVEPOINT one_row";
const RELEASE: &str = "RELEASE one_row";
const ROLLBACK: &str = "ROLLBACK TO one_row";

/// The statements of one table.
pub(super) struct Rows<'c> {
    connection: &'c Connection,
    statements: Statements<'c>,
    deleted: &'c mut Deleted,
    /// For rows that have something for every column.
    upsert: CachedStatement<'c>,
    /// With triggers.
    savepoint_opt: Option<[CachedStatement<'c>; 2]>,
    /// What is taken down as the time of rows that have none, in microseconds since the Unix epoch.
    now_us: Cell,
}

/// A row as a group has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowRef<'a> {
    pub(super) op: RowOp,
    pub(super) cells: &'a [Cell],
    /// The group's data.
    pub(super) data: &'a [u8],
}

/// Why a row is not written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// SQLite says so.
    Error(rusqlite::Error),
    /// Nobody said a word.
    Ignored,
}

// === impl Rows ===

impl<'c> Rows<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        table: &'c Table,
        found: Found,
        deleted: &'c mut Deleted,
        now_us: i64,
    ) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare_cached(sql);
        let savepoint_opt = if found.has_triggers { Some([prepare(SAVEPOINT)?, prepare(RELEASE)?]) } else { None };
        let statements = Statements { table, found };
        let upsert = prepare(&statements.upsert(|_| true))?;
        Ok(Self { connection, statements, deleted, upsert, savepoint_opt, now_us: Cell::Long(now_us) })
    }

    /// Writes or deletes a row. A refusal has changed nothing, or has ended the transaction.
    pub(super) fn write(&mut self, row: RowRef<'_>) -> Result<(), Refusal> {
        let Some([savepoint, _]) = &mut self.savepoint_opt else { return self.run(row) };
        savepoint.raw_execute()?;
        let written = self.run(row);
        if let Some([_, release]) = &mut self.savepoint_opt
            && !self.connection.is_autocommit()
        {
            if written.is_err() {
                self.connection.prepare_cached(ROLLBACK)?.raw_execute()?;
            }
            release.raw_execute()?;
        }
        written
    }

    /// Whether the table takes rows, by one that it took before and that mostly is there already. Changes nothing.
    ///
    /// Over the row that is there first, then anew, since what happens at an insertion does not happen at a change. A table
    /// that takes no changes of rows is judged by the latter alone. One that was deleted is deleted again.
    pub(super) fn would_take(&mut self, row: RowRef<'_>) -> Result<(), Refusal> {
        if row.op == RowOp::Delete {
            return self.try_out(|rows| rows.run(row))?;
        }
        if let Err(refusal) = self.try_out(|rows| rows.run(row))?
            && self.try_out(|rows| rows.by_key(&rows.statements.touch(), row))?.is_ok()
        {
            return Err(refusal);
        }
        self.try_out(|rows| {
            // Where rows may not be deleted, writing it over once more has to tell.
            let _ = rows.by_key(&rows.statements.delete_anyhow(), row);
            rows.run(row)
        })?
    }

    /// What comes of some statements, which are undone.
    fn try_out(&mut self, run: impl FnOnce(&mut Self) -> Result<(), Refusal>) -> rusqlite::Result<Result<(), Refusal>> {
        self.connection.prepare_cached(SAVEPOINT)?.raw_execute()?;
        let outcome = run(self);
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached(ROLLBACK)?.raw_execute()?;
            self.connection.prepare_cached(RELEASE)?.raw_execute()?;
        }
        Ok(outcome)
    }

    /// Whether nothing is left to do for a row: it is there with exactly these values, or it is deleted, or what is there
    /// is newer.
    pub(super) fn is_done(&self, row: RowRef<'_>) -> rusqlite::Result<bool> {
        let statements = &self.statements;
        let time = statements.is_by_time().then(|| self.time_of(row));
        let sql = match row.op {
            RowOp::Upsert => statements.is_there(|position| statements.is_set(row.cells, position)),
            RowOp::Delete => statements.is_left(),
        };
        let mut statement = self.connection.prepare_cached(&sql)?;
        bind(&mut statement, self.parameters(row).chain(time), row.data)?;
        let is_found = statement.raw_query().next()?.is_some();
        Ok(is_found == (row.op == RowOp::Upsert))
    }

    fn run(&mut self, row: RowRef<'_>) -> Result<(), Refusal> {
        let Statements { table, .. } = self.statements;
        let key = row.cells.get(..table.key.len()).unwrap_or(row.cells);
        let time_opt = self.statements.is_by_time().then(|| self.time_of(row).clone());
        if let (RowOp::Upsert, Some(Cell::Long(time))) = (row.op, &time_opt)
            && self.deleted.is_newer(table, key, row.data, *time)
        {
            return Ok(());
        }
        let num_changed = match row.op {
            RowOp::Upsert => self.upsert(row)?,
            RowOp::Delete => self.delete(row)?,
        };
        if num_changed == 0 && !self.is_done(row)? {
            return Err(Refusal::Ignored);
        }
        if let (RowOp::Delete, Some(Cell::Long(time))) = (row.op, &time_opt) {
            self.deleted.note(table, key, row.data, *time);
        }
        Ok(())
    }

    fn upsert(&mut self, row: RowRef<'_>) -> rusqlite::Result<usize> {
        let statements = self.statements;
        let time = statements.found.has_written_at.then(|| self.time_of(row).clone());
        if statements.is_full(row.cells) {
            let cells = row.cells.iter().take(statements.table.columns.len());
            bind(&mut self.upsert, cells.chain(&time), row.data)?;
            return self.upsert.raw_execute();
        }
        let sql = statements.upsert(|position| statements.is_set(row.cells, position));
        let mut statement = self.connection.prepare_cached(&sql)?;
        bind(&mut statement, self.parameters(row).chain(&time), row.data)?;
        statement.raw_execute()
    }

    fn delete(&mut self, row: RowRef<'_>) -> rusqlite::Result<usize> {
        let time = self.statements.is_by_time().then(|| self.time_of(row));
        let mut statement = self.connection.prepare_cached(&self.statements.delete())?;
        bind(&mut statement, self.parameters(row).chain(time), row.data)?;
        statement.raw_execute()
    }

    /// Runs a statement that has the key as its parameters.
    fn by_key(&self, sql: &str, row: RowRef<'_>) -> Result<(), Refusal> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, row.cells.iter().take(self.statements.table.key.len()), row.data)?;
        statement.raw_execute()?;
        Ok(())
    }

    /// The cells of a row that its statement has parameters for.
    fn parameters<'r>(&self, row: RowRef<'r>) -> impl Iterator<Item = &'r Cell> {
        let statements = self.statements;
        let num_columns = match row.op {
            RowOp::Upsert => statements.table.columns.len(),
            RowOp::Delete => statements.table.key.len(),
        };
        let set = row.cells.iter().take(num_columns).enumerate();
        set.filter(move |(position, _)| statements.is_set(row.cells, *position)).map(|(_, cell)| cell)
    }

    /// When a row was written: by itself, or now.
    fn time_of<'r>(&'r self, row: RowRef<'r>) -> &'r Cell {
        self.statements.table.timestamp_cell().and_then(|position| row.cells.get(position)).unwrap_or(&self.now_us)
    }
}

fn bind<'a>(
    statement: &mut CachedStatement<'_>,
    cells: impl Iterator<Item = &'a Cell>,
    data: &[u8],
) -> rusqlite::Result<()> {
    for (index, cell) in cells.enumerate() {
        statement.raw_bind_parameter(index + 1, BoundCell { cell, data })?;
    }
    Ok(())
}

// === impl Refusal ===

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Error(error)
    }
}
