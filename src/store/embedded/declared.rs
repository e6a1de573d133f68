//! What routes have declared of the tables that they created, kept in the file: SQLite's own types do not tell a UUID from a
//! text, nor a time from a number, and its primary key has no partitions.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::schema::declared_type;
use crate::schema::cql::{parse_type, type_text};
use crate::schema::row::{ColumnKind, Table};

/// The table that it is kept in: the type of each column in CQL, and whether that is in the partition key.
const TABLE: &str = "_route_columns";

/// What a route has declared of a table's columns, by name.
#[derive(Debug, Default)]
pub(super) struct Declared(HashMap<String, DeclaredColumn>);

#[derive(Debug)]
struct DeclaredColumn {
    type_text: String,
    is_in_partition_key: bool,
}

// === impl Declared ===

impl Declared {
    /// Keeps what a route declares of a table, in the place of what was declared of an earlier one of its name. Within a
    /// transaction of the caller.
    pub(super) fn keep(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {TABLE}(table_name TEXT NOT NULL, column_name TEXT NOT NULL, type TEXT NOT NULL, \
             is_in_partition_key INTEGER NOT NULL, PRIMARY KEY(table_name, column_name)) STRICT, WITHOUT ROWID",
        ))?;
        let name = table.full_name();
        connection.execute(&format!("DELETE FROM {TABLE} WHERE table_name = ?1 COLLATE NOCASE"), [&name])?;
        let mut insert = connection.prepare(&format!("INSERT INTO {TABLE} VALUES (?1, ?2, ?3, ?4)"))?;
        for (position, column) in table.columns.iter().enumerate() {
            let is_in_partition_key = position < table.key.num_partition;
            insert.execute(params![name, column.name, type_text(column.kind), is_in_partition_key])?;
        }
        Ok(())
    }

    /// What was declared of the table of this name; nothing if no route has created it.
    pub(super) fn of(connection: &Connection, name: &str) -> rusqlite::Result<Self> {
        let is_there = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
        if !connection.query_row(is_there, [TABLE], |row| row.get(0))? {
            return Ok(Self::default());
        }
        let sql =
            format!("SELECT column_name, type, is_in_partition_key FROM {TABLE} WHERE table_name = ?1 COLLATE NOCASE",);
        let mut statement = connection.prepare(&sql)?;
        let column = |row: &rusqlite::Row<'_>| {
            Ok((row.get(0)?, DeclaredColumn { type_text: row.get(1)?, is_in_partition_key: row.get(2)? }))
        };
        Ok(Self(statement.query_map([name], column)?.collect::<rusqlite::Result<_>>()?))
    }

    /// The type that a column was declared with, and its kind, if it still is of the type of SQLite that goes with it.
    pub(super) fn kind_of(&self, column: &str, found: &str) -> Option<(&str, ColumnKind)> {
        let type_text = &self.0.get(column)?.type_text;
        let kind = parse_type(type_text)?;
        declared_type(kind).eq_ignore_ascii_case(found).then_some((type_text, kind))
    }

    /// Whether a column of the primary key was declared as one of the partition key.
    pub(super) fn is_in_partition_key(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(|column| column.is_in_partition_key)
    }
}
