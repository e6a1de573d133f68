//! Cells as SQLite values.
//!
//! Text and bytes are borrowed from the group's buffer; only what SQLite has no type for allocates, because it becomes text
//! ([`CellText`]).

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::schema::cell_text::CellText;
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
            // What SQLite has no type for is text.
            Cell::List(_)
            | Cell::Map(_)
            | Cell::Varint(_)
            | Cell::Decimal(_)
            | Cell::Uuid(_)
            | Cell::Inet(_)
            | Cell::Date(_)
            | Cell::Time(_)
            | Cell::Duration { .. } => {
                let text = CellText { cell: self.cell, data: self.data }.to_string();
                return Ok(ToSqlOutput::Owned(Value::Text(text)));
            }
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}
