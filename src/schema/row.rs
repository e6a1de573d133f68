//! Rows: what a record becomes on its way into a table.
//!
//! A table is derived from a message type's layouts; cells are decoded from Avro once and point into the buffer that
//! the record was read into, so that a row costs no allocation of its own. Stores turn cells into their own format.

use std::sync::Arc;

use bytes::Bytes;

/// A table of one message type: the [identity columns](super::identity), then one column per field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The message type's name, which is also the table's.
    pub name: String,
    /// All columns; cells of a row come in this order.
    pub columns: Vec<Column>,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Lower-case name; fields of nested groups are joined with `_`.
    pub name: String,
    /// What the column holds.
    pub kind: ColumnKind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// One value.
    Scalar(ScalarKind),
    /// A list of values of one kind.
    List(ScalarKind),
    /// JSON text: arrays whose items are groups or arrays.
    Json,
}

/// The kinds of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// True or false.
    Bool,
    /// A signed 32-bit integer.
    Int,
    /// A signed 64-bit integer.
    Long,
    /// An unsigned 64-bit integer that may not fit a [`ScalarKind::Long`].
    Unsigned,
    /// A 32-bit float.
    Float,
    /// A 64-bit float.
    Double,
    /// Text, also the symbols of enums.
    Text,
    /// Bytes.
    Bytes,
    /// A point in time, in milliseconds since the Unix epoch.
    Timestamp,
}

/// A part of [`RowGroup::data`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes that this span names.
    ///
    /// # Panics
    /// If the span does not lie within `data`: a group has the buffer that its cells were decoded from.
    pub fn of<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        &data[self.start as usize..self.end as usize]
    }

    /// The text that this span of a [`Cell::Text`] names.
    ///
    /// # Panics
    /// As [`Span::of`], and if it is not UTF-8: that was checked when the cell was decoded.
    pub fn text_of<'a>(&self, data: &'a [u8]) -> &'a str {
        let Ok(text) = std::str::from_utf8(self.of(data)) else {
            unreachable!("a text was checked when it was decoded")
        };
        text
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// For [`ScalarKind::Bool`].
    Bool(bool),
    /// For [`ScalarKind::Int`].
    Int(i32),
    /// For [`ScalarKind::Long`].
    Long(i64),
    /// For [`ScalarKind::Unsigned`].
    Unsigned(u64),
    /// For [`ScalarKind::Float`].
    Float(f32),
    /// For [`ScalarKind::Double`].
    Double(f64),
    /// For [`ScalarKind::Text`]: UTF-8 in the group's data.
    Text(Span),
    /// For [`ScalarKind::Text`] too: an enum's symbol, which the schema has and the data has not. Shared, so that a
    /// cell costs a count and no copy.
    Symbol(Arc<str>),
    /// For [`ScalarKind::Bytes`]: bytes in the group's data.
    Bytes(Span),
    /// For [`ScalarKind::Timestamp`], in milliseconds since the Unix epoch.
    Timestamp(i64),
    /// For [`ColumnKind::List`]: scalar cells of the list's kind.
    List(Vec<Cell>),
    /// For [`ColumnKind::Json`].
    Json(String),
}

/// Rows of one table that travel to the store as one write.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGroup {
    /// Where the rows go.
    pub table: Arc<Table>,
    /// The bytes that spans point into: the buffer that the records were read into, shared, not copied.
    pub data: Bytes,
    /// Cells, row after row, `table.columns.len()` to each.
    pub cells: Vec<Cell>,
}

impl RowGroup {
    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.cells.len() / self.table.columns.len()
    }

    /// The rows, each as one cell per column.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Cell]> + Clone {
        self.cells.chunks_exact(self.table.columns.len())
    }

    /// Some of the rows as a group of their own.
    pub fn part(&self, rows: std::ops::Range<usize>) -> RowGroup {
        let num_columns = self.table.columns.len();
        let cells = self.cells[rows.start * num_columns..rows.end * num_columns].to_vec();
        RowGroup { table: Arc::clone(&self.table), data: self.data.clone(), cells }
    }
}
