//! Writes rows of one table, one statement each, within a transaction of others.
//!
//! SQLite's own word is not enough where another program has put triggers or conflict clauses on the table. A clause of
//! a constraint is overruled by the statement. A trigger that says RAISE(FAIL) refuses a row and leaves what the statement
//! did so far, perhaps the row itself: with triggers, each row is written behind a savepoint. One that says RAISE(IGNORE)
//! passes a row over without an error: a statement that changed nothing has refused its row, unless that is there already.

use rusqlite::{CachedStatement, Connection};

use super::bind::BoundCell;
use super::schema::{delete_sql, is_there_sql, touch_sql, upsert_sql};
use crate::schema::identity::NUM_KEY_COLUMNS;
use crate::schema::row::{Cell, Table};

const SAVEPOINT: &str = "SAVEPOINT one_row";
const RELEASE: &str = "RELEASE one_row";
const ROLLBACK: &str = "ROLLBACK TO one_row";

/// The statements of one table.
pub(super) struct Rows<'c> {
    connection: &'c Connection,
    table: &'c Table,
    upsert: CachedStatement<'c>,
    /// With triggers.
    savepoint_opt: Option<[CachedStatement<'c>; 2]>,
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
    pub(super) fn new(connection: &'c Connection, table: &'c Table, has_triggers: bool) -> rusqlite::Result<Self> {
        let prepare = |sql| connection.prepare_cached(sql);
        let savepoint_opt = if has_triggers { Some([prepare(SAVEPOINT)?, prepare(RELEASE)?]) } else { None };
        let upsert = prepare(&upsert_sql(table, 1, has_triggers))?;
        Ok(Self { connection, table, upsert, savepoint_opt })
    }

    /// Writes a row. A refusal has changed nothing, or has ended the transaction.
    pub(super) fn write(&mut self, row: &[Cell], data: &[u8]) -> Result<(), Refusal> {
        let Some([savepoint, _]) = &mut self.savepoint_opt else { return self.upsert(row, data) };
        savepoint.raw_execute()?;
        let written = self.upsert(row, data);
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
    /// that takes no changes of rows is judged by the latter alone.
    pub(super) fn would_take(&mut self, row: &[Cell], data: &[u8]) -> Result<(), Refusal> {
        if let Err(refusal) = self.try_out(|rows| rows.upsert(row, data))?
            && self.try_out(|rows| rows.by_key(&touch_sql(rows.table), row, data))?.is_ok()
        {
            return Err(refusal);
        }
        self.try_out(|rows| {
            // Where rows may not be deleted, writing it over once more has to tell.
            let _ = rows.by_key(&delete_sql(rows.table), row, data);
            rows.upsert(row, data)
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

    /// Whether a row of exactly these values is there.
    pub(super) fn is_there(&self, row: &[Cell], data: &[u8]) -> rusqlite::Result<bool> {
        let mut statement = self.connection.prepare_cached(&is_there_sql(self.table))?;
        bind(&mut statement, row, data)?;
        let found = statement.raw_query().next()?.is_some();
        Ok(found)
    }

    fn upsert(&mut self, row: &[Cell], data: &[u8]) -> Result<(), Refusal> {
        bind(&mut self.upsert, row, data)?;
        match self.upsert.raw_execute()? {
            0 if !self.is_there(row, data)? => Err(Refusal::Ignored),
            _ => Ok(()),
        }
    }

    /// Runs a statement that has the key as its parameters.
    fn by_key(&self, sql: &str, row: &[Cell], data: &[u8]) -> Result<(), Refusal> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, row.get(..NUM_KEY_COLUMNS).unwrap_or(row), data)?;
        statement.raw_execute()?;
        Ok(())
    }
}

fn bind(statement: &mut CachedStatement<'_>, cells: &[Cell], data: &[u8]) -> rusqlite::Result<()> {
    for (index, cell) in cells.iter().enumerate() {
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
