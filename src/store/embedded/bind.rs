//! Cells as SQLite values.
//!
//! Text and bytes are borrowed from the group's buffer; only lists allocate, because they become JSON text.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::schema::row::Cell;

/// A cell with the data that its spans point into.
///
/// SQLite knows no "not a number": such a float, which only records of older builds hold, is stored as NULL.
pub(super) struct BoundCell<'a> {
    /// The value.
    pub(super) cell: &'a Cell,
    /// The group's data.
    pub(super) data: &'a [u8],
}

// === impl BoundCell ===

impl ToSql for BoundCell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self.cell {
            Cell::Null | Cell::Clear => ValueRef::Null,
            Cell::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Cell::Int(value) => ValueRef::Integer(i64::from(*value)),
            Cell::Long(value) | Cell::Timestamp(value) => ValueRef::Integer(*value),
            // Integers of SQLite are signed; digits of one length are ordered like the numbers.
            Cell::Unsigned(value) => return Ok(ToSqlOutput::Owned(Value::Text(format!("{value:020}")))),
            Cell::Float(value) => ValueRef::Real(f64::from(*value)),
            Cell::Double(value) => ValueRef::Real(*value),
            Cell::Text(span) => ValueRef::Text(span.of(self.data)),
            Cell::Symbol(symbol) => ValueRef::Text(symbol.as_bytes()),
            Cell::Bytes(span) => ValueRef::Blob(span.of(self.data)),
            Cell::Json(text) => ValueRef::Text(text.as_bytes()),
            Cell::OwnText(text) => ValueRef::Text(text.as_bytes()),
            Cell::OwnBytes(bytes) => ValueRef::Blob(bytes),
            Cell::List(items) => return Ok(ToSqlOutput::Owned(Value::Text(list_json(items, self.data)))),
            other => unreachable!("{other:?} is only in rows of routes"),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// A list as a JSON array; bytes become hexadecimal text, floats that JSON cannot hold become null.
fn list_json(items: &[Cell], data: &[u8]) -> String {
    serde_json::Value::Array(items.iter().map(|item| json_of(item, data)).collect()).to_string()
}

fn json_of(cell: &Cell, data: &[u8]) -> serde_json::Value {
    match cell {
        Cell::Null | Cell::Clear => serde_json::Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Int(value) => (*value).into(),
        Cell::Long(value) | Cell::Timestamp(value) => (*value).into(),
        Cell::Unsigned(value) => (*value).into(),
        Cell::Float(value) => (*value).into(),
        Cell::Double(value) => (*value).into(),
        Cell::Text(span) => span.text_of(data).into(),
        Cell::Symbol(symbol) => symbol.as_ref().into(),
        Cell::Bytes(span) => hex(span.of(data)).into(),
        Cell::Json(text) => text.as_str().into(),
        Cell::List(items) => items.iter().map(|item| json_of(item, data)).collect(),
        Cell::OwnText(text) => text.as_ref().into(),
        Cell::OwnBytes(bytes) => hex(bytes).into(),
        other => unreachable!("{other:?} is only in rows of routes"),
    }
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
