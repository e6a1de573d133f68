//! `surgetank query`: reading the embedded store with SQL, while the engine runs or not.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Row};
use serde_json::Value;

use super::visitor::Visitor;
use crate::schema::cell_text::hex;

/// What a query finds, piece by piece: the names of the columns first, then each row, one value per column. Bytes are
/// hexadecimal text.
#[derive(Debug)]
pub enum Found<'a> {
    /// Names of the columns, once.
    Columns(&'a [String]),
    /// The next row.
    Row(Vec<Value>),
}

/// All that a query has found.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, one value per column. Bytes are hexadecimal text.
    pub rows: Vec<Vec<Value>>,
}

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no such file.
    #[error("{path} does not exist: the embedded store has written nothing yet, or data_dir is another directory")]
    NoDatabase {
        /// The file.
        path: String,
    },
    /// The file cannot be opened.
    #[error("cannot open {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What SQLite said.
        reason: String,
    },
    /// It was read without SQLite's locks, and then somebody wrote.
    #[error("the database was written to while it was read, so that rows may be wrong; ask again")]
    Changed,
    /// The text is not one statement.
    #[error("exactly one SQL statement is needed")]
    NotOneStatement,
    /// The statement would change something.
    #[error("the statement would change the database, and queries only read")]
    Writing,
    /// SQLite refuses the statement or fails to run it.
    #[error("query failed: {0}")]
    Failed(String),
}

/// Runs one reading statement against the database at `path` and keeps all of its rows in memory: for few of them.
pub fn query(path: &Path, sql: &str) -> Result<QueryResult, QueryError> {
    let mut result = QueryResult { columns: Vec::new(), rows: Vec::new() };
    query_each(path, sql, &mut |found| {
        match found {
            Found::Columns(columns) => result.columns = columns.to_vec(),
            Found::Row(row) => result.rows.push(row),
        }
        ControlFlow::Continue(())
    })?;
    Ok(result)
}

/// Runs one reading statement against the database at `path` and hands on what it finds as it comes, until `visit` says
/// that it is enough.
pub fn query_each(
    path: &Path,
    sql: &str,
    visit: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    if !path.exists() {
        return Err(QueryError::NoDatabase { path: path.display().to_string() });
    }
    let visitor = Visitor::open(path)?;
    run(&visitor.connection, sql, visit)?;
    visitor.finish(path)
}

fn run(
    connection: &Connection,
    sql: &str,
    visit: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    let mut statements = Batch::new(connection, sql);
    let mut statement = statements.next().map_err(failed)?.ok_or(QueryError::NotOneStatement)?;
    match statements.next() {
        Ok(None) => {}
        // A second statement that does not parse is a second one, too.
        Ok(Some(_)) | Err(_) => return Err(QueryError::NotOneStatement),
    }
    if !statement.readonly() {
        return Err(QueryError::Writing);
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_string).collect();
    let mut found = statement.query([]).map_err(failed)?;
    let mut flow = visit(Found::Columns(&columns));
    while flow.is_continue()
        && let Some(row) = found.next().map_err(failed)?
    {
        let values: rusqlite::Result<Vec<Value>> = (0..columns.len()).map(|index| json_value(row, index)).collect();
        flow = visit(Found::Row(values.map_err(failed)?));
    }
    Ok(())
}

fn json_value(row: &Row<'_>, index: usize) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => value.into(),
        // JSON has no infinity; text says more than null.
        ValueRef::Real(value) if !value.is_finite() => value.to_string().into(),
        ValueRef::Real(value) => value.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => hex(bytes).into(),
    })
}

fn failed(error: rusqlite::Error) -> QueryError {
    QueryError::Failed(match error {
        // The position and the whole statement that the error carries say less than SQLite's own words.
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        other => other.to_string(),
    })
}
