//! Cells into the driver's buffers, by position, without a value in between.

use scylla::errors::SerializationError;
use scylla::serialize::batch::{BatchValues, BatchValuesIterator};
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::{CellWriter, RowWriter};

use super::values::{ValueError, write_value};
use crate::schema::identity::{NUM_KEY_COLUMNS, write_timestamp_us};
use crate::schema::row::{Cell, Column, Routed, RowGroup, RowOp, WriteTime};

/// Why a row cannot be bound. It never can be: the row is at fault.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("key column {0} has no value")]
    NullKey(String),
    #[error("the value of column {0} is of another kind")]
    WrongKind(String),
    #[error("the value of column {0} is not in the range of its type")]
    OutOfRange(String),
    #[error("the value of column {0} is too large")]
    TooLarge(String),
    #[error("the row has no write timestamp")]
    NoTimestamp,
    #[error("the time to live is no number of seconds")]
    NoTtl,
    #[error("the row has {actual} columns but the statement {expected}")]
    WrongCount { actual: usize, expected: usize },
}

/// One row of a group, with its write timestamp as the last value; as the table's [`Routed`] says if it is a route's.
#[derive(Clone, Copy)]
pub(super) struct BoundRow<'a> {
    /// The group: its table and its data.
    pub(super) group: &'a RowGroup,
    /// The row.
    pub(super) row: &'a [Cell],
}

/// All rows of a group, as the values of a batch.
#[derive(Clone, Copy)]
pub(super) struct BoundGroup<'a>(pub(super) &'a RowGroup);

/// Goes over the rows of a [`BoundGroup`].
pub(super) struct BoundRows<'a> {
    group: &'a RowGroup,
    row_len: usize,
    rest: &'a [Cell],
}

// === impl BoundRow ===

impl SerializeRow for BoundRow<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let table = &self.group.table;
        if let Some(routed) = &table.routed {
            return self.serialize_routed(routed, context, writer).map_err(SerializationError::new);
        }
        let columns = &table.columns;
        let expected = context.columns().len();
        if self.row.len() + 1 != expected || columns.len() != self.row.len() {
            return Err(SerializationError::new(BindError::WrongCount { actual: self.row.len() + 1, expected }));
        }
        for (position, (cell, column)) in self.row.iter().zip(columns).enumerate() {
            let value = writer.make_cell_writer();
            if matches!(cell, Cell::Null) {
                if position < NUM_KEY_COLUMNS {
                    return Err(SerializationError::new(BindError::NullKey(column.name.clone())));
                }
                // Unset, not null: a null would be stored as a tombstone, which every read has to skip.
                value.set_unset();
                continue;
            }
            write_value(column.kind, cell, &self.group.data, value)
                .map_err(|error| SerializationError::new(BindError::of(error, column)))?;
        }
        let timestamp_us = write_timestamp_us(self.row);
        writer.make_cell_writer().set_value(&timestamp_us.to_be_bytes()).map_err(SerializationError::new)?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl BoundRow<'_> {
    /// The values in the order of the statement's markers: all columns, write timestamp, time to live; of a deletion the
    /// write timestamp, then the key.
    fn serialize_routed(
        &self,
        routed: &Routed,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), BindError> {
        let table = &self.group.table;
        let (num_keys, has_timestamp) = (table.key.len(), routed.timestamp == WriteTime::Cell);
        let num_values = match self.group.op {
            RowOp::Upsert => table.row_len(),
            RowOp::Delete => num_keys + usize::from(has_timestamp),
        };
        let expected = context.columns().len();
        if num_values != expected || self.row.len() != table.row_len() {
            return Err(BindError::WrongCount { actual: num_values, expected });
        }
        let (cells, _) = self.row.split_at(table.columns.len());
        let mut columns = table.columns.iter().zip(cells);
        if self.group.op == RowOp::Delete {
            self.write_timestamp(writer)?;
        }
        for (column, cell) in columns.by_ref().take(num_keys) {
            if matches!(cell, Cell::Null | Cell::Clear) {
                return Err(BindError::NullKey(column.name.clone()));
            }
            self.write_cell(column, cell, writer.make_cell_writer())?;
        }
        if self.group.op == RowOp::Delete {
            return Ok(());
        }
        for (column, cell) in columns {
            let value = writer.make_cell_writer();
            match cell {
                Cell::Null => _ = value.set_unset(),
                Cell::Clear => _ = value.set_null(),
                cell => self.write_cell(column, cell, value)?,
            }
        }
        self.write_timestamp(writer)?;
        let Some(cell) = table.ttl_cell().map(|ttl| &self.row[ttl]) else { return Ok(()) };
        let ttl = writer.make_cell_writer();
        match cell {
            // Unset leaves it to the table, on every server that takes unset values at all.
            Cell::Null => _ = ttl.set_unset(),
            Cell::Int(seconds) => _ = ttl.set_value(&seconds.to_be_bytes()).map_err(|_| BindError::NoTtl)?,
            _ => return Err(BindError::NoTtl),
        }
        Ok(())
    }

    fn write_cell(&self, column: &Column, cell: &Cell, writer: CellWriter<'_>) -> Result<(), BindError> {
        write_value(column.kind, cell, &self.group.data, writer).map_err(|error| BindError::of(error, column))
    }

    /// A row that should have a timestamp and has none would get the server's, and be another row each time.
    fn write_timestamp(&self, writer: &mut RowWriter<'_>) -> Result<(), BindError> {
        let Some(place) = self.group.table.timestamp_cell() else { return Ok(()) };
        let Cell::Long(timestamp_us) = &self.row[place] else { return Err(BindError::NoTimestamp) };
        let written = writer.make_cell_writer().set_value(&timestamp_us.to_be_bytes());
        written.map(drop).map_err(|_| BindError::NoTimestamp)
    }
}

// === impl BoundGroup ===

impl BatchValues for BoundGroup<'_> {
    type BatchValuesIter<'r>
        = BoundRows<'r>
    where
        Self: 'r;

    fn batch_values_iter(&self) -> Self::BatchValuesIter<'_> {
        BoundRows { group: self.0, row_len: self.0.table.row_len(), rest: &self.0.cells }
    }
}

// === impl BoundRows ===

impl<'a> BoundRows<'a> {
    fn next_row(&mut self) -> Option<BoundRow<'a>> {
        let (row, rest) = self.rest.split_at_checked(self.row_len)?;
        self.rest = rest;
        Some(BoundRow { group: self.group, row })
    }
}

impl<'a> BatchValuesIterator<'a> for BoundRows<'a> {
    fn serialize_next(
        &mut self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Option<Result<(), SerializationError>> {
        self.next_row().map(|row| row.serialize(context, writer))
    }

    fn is_empty_next(&mut self) -> Option<bool> {
        self.next_row().map(|_| false)
    }

    fn skip_next(&mut self) -> Option<()> {
        self.next_row().map(|_| ())
    }
}

// === impl BindError ===

impl BindError {
    fn of(error: ValueError, column: &Column) -> Self {
        let name = column.name.clone();
        match error {
            ValueError::WrongKind => Self::WrongKind(name),
            ValueError::OutOfRange => Self::OutOfRange(name),
            ValueError::TooLarge => Self::TooLarge(name),
        }
    }
}
#[cfg(test)]
mod tests;
