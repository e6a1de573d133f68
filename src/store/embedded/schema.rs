//! Tables of the embedded store: what they look like, how they come to be, how they are checked. Those of routes are
//! `routed`'s.
//!
//! Tables are `STRICT`, so that a value of the wrong type is refused instead of stored as something else, and `WITHOUT
//! ROWID`, so that the primary key is the only tree that a row goes into.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::statements::quoted;
use super::{failed, routed};
use crate::flow::health::{Condition, Part};
use crate::schema::row::{Column, ColumnKind, ScalarKind, Table};
use crate::store::StoreError;

/// A column as the database describes it.
struct ExistingColumn {
    /// The declared type.
    declared: String,
    /// Position in the primary key from 1, or 0.
    key_position: usize,
}

/// Whether another program has put triggers on a table.
pub(super) fn has_triggers(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE)";
    connection.prepare_cached(sql)?.query_row([table.full_name()], |row| row.get(0))
}

/// Creates missing tables and adds missing columns, and says so, one line each.
pub(super) fn apply(connection: &Connection, tables: &[Arc<Table>]) -> Result<Vec<String>, StoreError> {
    let mut changes = Vec::new();
    for table in tables {
        if let Some(route) = &table.routed {
            changes.extend(routed::apply(connection, table, route)?);
            continue;
        }
        let existing = existing_columns(connection, table)?;
        if existing.is_empty() {
            run(connection, &create_sql(table))?;
            changes.push(format!("created table {}", table.name));
            continue;
        }
        check_key(table, &existing)?;
        for column in &table.columns {
            match existing.get(&column.name) {
                Some(found) if is_of_older_build(column, found) => {
                    pad_digits(connection, table, column)?;
                    changes.push(format!("turned column {}.{} into TEXT of 20 digits", table.name, column.name));
                }
                Some(found) => check_type(table, column, found)?,
                None => {
                    let (name, declared) = (quoted(&column.name), declared_type(column.kind));
                    run(connection, &format!("ALTER TABLE {} ADD COLUMN {name} {declared}", quoted(&table.name)))?;
                    changes.push(format!("added column {}.{} {declared}", table.name, column.name));
                }
            }
        }
    }
    Ok(changes)
}

/// Checks that every table is there with all its columns, each of the right type.
pub(super) fn check(connection: &Connection, tables: &[Arc<Table>]) -> Result<(), StoreError> {
    for table in tables {
        if let Some(route) = &table.routed {
            routed::check(connection, table, route)?;
            continue;
        }
        let existing = existing_columns(connection, table)?;
        if existing.is_empty() {
            return Err(StoreError::Missing { what: format!("table {}", table.name) });
        }
        check_strict(connection, table)?;
        for column in &table.columns {
            match existing.get(&column.name) {
                Some(found) => check_type(table, column, found)?,
                None => return Err(StoreError::Missing { what: format!("column {}.{}", table.name, column.name) }),
            }
        }
        check_key(table, &existing)?;
    }
    Ok(())
}

/// What is wrong with a table, if another program has changed it; an error if it cannot be looked at.
pub(super) fn condition(connection: &Connection, table: &Arc<Table>) -> Result<Option<Condition>, StoreError> {
    if let Some(route) = &table.routed {
        return routed::condition(connection, table, route);
    }
    match check(connection, std::slice::from_ref(table)) {
        Ok(()) => Ok(None),
        Err(StoreError::Missing { what }) => {
            let code = if what.starts_with("column") { "column_missing" } else { "table_missing" };
            let detail = format!("{}; no row is written to it", StoreError::Missing { what });
            Ok(Some(Condition::failing(Part::Store, code, &*table.name, detail)))
        }
        Err(error @ StoreError::Conflict { .. }) => {
            let detail = format!("{error}: no row is written to it; rename what is there and restart the engine");
            Ok(Some(Condition::failing(Part::Store, "table_differs", &*table.name, detail).refusing_start()))
        }
        Err(other) => Err(other),
    }
}

fn create_sql(table: &Table) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(position, column)| {
            let not_null = if position < table.key.len() { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quoted(&column.name), declared_type(column.kind))
        })
        .collect();
    let keys: Vec<String> = table.columns.iter().take(table.key.len()).map(|column| quoted(&column.name)).collect();
    format!(
        "CREATE TABLE {}({}, PRIMARY KEY({})) STRICT, WITHOUT ROWID",
        quoted(&table.name),
        columns.join(", "),
        keys.join(", "),
    )
}

/// The type that a column is declared with, one of those that strict tables know.
pub(super) fn declared_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Scalar(
            ScalarKind::Bool
            | ScalarKind::TinyInt
            | ScalarKind::SmallInt
            | ScalarKind::Int
            | ScalarKind::Long
            | ScalarKind::Timestamp,
        ) => "INTEGER",
        ColumnKind::Scalar(ScalarKind::Float | ScalarKind::Double) => "REAL",
        ColumnKind::Scalar(ScalarKind::Bytes) => "BLOB",
        // Integers of SQLite are signed: 64 bits unsigned are 20 digits, which are ordered like the numbers.
        ColumnKind::Scalar(_) | ColumnKind::List(_) | ColumnKind::Json | ColumnKind::Collection(_) => "TEXT",
    }
}

/// Whether a column of unsigned integers is still declared as older builds did: with small numbers as INTEGER and large
/// ones as TEXT, which SQLite orders after all of the small ones.
fn is_of_older_build(column: &Column, found: &ExistingColumn) -> bool {
    column.kind == ColumnKind::Scalar(ScalarKind::Unsigned) && found.declared.eq_ignore_ascii_case("ANY")
}

/// Turns such a column into one of 20 digits, at once or not at all. Other columns, and indexes on them, stay.
fn pad_digits(connection: &Connection, table: &Table, column: &Column) -> Result<(), StoreError> {
    let (table, name) = (quoted(&table.name), quoted(&column.name));
    let old = quoted(&format!("{} before 20 digits", column.name));
    let steps = format!(
        "SAVEPOINT pad_digits;
         ALTER TABLE {table} RENAME COLUMN {name} TO {old};
         ALTER TABLE {table} ADD COLUMN {name} TEXT;
         UPDATE {table} SET {name} = substr('00000000000000000000' || {old}, -20);
         ALTER TABLE {table} DROP COLUMN {old};
         RELEASE pad_digits"
    );
    run(connection, &steps).inspect_err(|_| {
        // Fails only if the first step did, and then there is nothing to take back.
        let _ = connection.execute_batch("ROLLBACK TO pad_digits; RELEASE pad_digits");
    })
}

fn check_type(table: &Table, column: &Column, found: &ExistingColumn) -> Result<(), StoreError> {
    let needed = declared_type(column.kind);
    if found.declared.eq_ignore_ascii_case(needed) {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("column {}.{}", table.name, column.name),
        actual: found.declared.clone(),
        expected: needed.to_string(),
    })
}

/// Any other table would turn a value of the wrong type into something else instead of refusing it.
fn check_strict(connection: &Connection, table: &Table) -> Result<(), StoreError> {
    let is_strict: bool = connection
        .query_row("SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1", [&table.name], |row| {
            row.get(0)
        })
        .map_err(|error| failed(format!("reading how table {} is declared", table.name), error))?;
    if is_strict {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("table {}", table.name),
        actual: "not declared STRICT".to_owned(),
        expected: "a STRICT one".to_owned(),
    })
}

fn check_key(table: &Table, existing: &HashMap<String, ExistingColumn>) -> Result<(), StoreError> {
    let needed: Vec<&str> = table.columns.iter().take(table.key.len()).map(|column| column.name.as_str()).collect();
    let mut found: Vec<(usize, &str)> = existing
        .iter()
        .filter(|(_, column)| column.key_position > 0)
        .map(|(name, column)| (column.key_position, name.as_str()))
        .collect();
    found.sort_unstable();
    if found.iter().map(|(_, name)| *name).eq(needed.iter().copied()) {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("primary key of table {}", table.name),
        actual: found.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", "),
        expected: needed.join(", "),
    })
}

/// The columns that a table has; none if there is no such table.
fn existing_columns(connection: &Connection, table: &Table) -> Result<HashMap<String, ExistingColumn>, StoreError> {
    let context = || format!("reading the columns of table {}", table.name);
    let mut statement = connection
        .prepare("SELECT name, type, pk FROM pragma_table_info(?1)")
        .map_err(|error| failed(context(), error))?;
    let columns = statement
        .query_map([&table.name], |row| {
            Ok((row.get(0)?, ExistingColumn { declared: row.get(1)?, key_position: row.get(2)? }))
        })
        .and_then(Iterator::collect)
        .map_err(|error| failed(context(), error))?;
    Ok(columns)
}

fn run(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.execute_batch(sql).map_err(|error| failed(sql, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::documented;

    #[test]
    fn test_each_kind_has_the_column_that_is_documented() {
        for kind in documented::kinds() {
            let declared = declared_type(kind.column);
            assert!(kind.sqlite.split([',', ' ', ':', ';']).next() == Some(declared), "{}: {declared}", kind.sqlite);
        }
    }
}
