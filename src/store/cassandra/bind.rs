//! Cells into the driver's buffers, by position, without a value in between.

use scylla::errors::SerializationError;
use scylla::serialize::batch::{BatchValues, BatchValuesIterator};
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::{CellOverflowError, CellWriter, RowWriter};

use crate::schema::identity::{NUM_KEY_COLUMNS, write_timestamp_us};
use crate::schema::row::{Cell, ColumnKind, RowGroup, ScalarKind};

/// Why a row cannot be bound. It never can be: the row is at fault.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("key column {0} has no value")]
    NullKey(String),
    #[error("the value of column {0} is of another kind")]
    WrongKind(String),
    #[error("the value of column {0} is too large")]
    TooLarge(String),
    #[error("the row has {actual} columns but the statement {expected}")]
    WrongCount { actual: usize, expected: usize },
}

/// Why a value cannot be written. The column is named by the caller.
enum ValueError {
    WrongKind,
    TooLarge,
}

/// One row of a group, with its write timestamp as the last value.
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
    rest: &'a [Cell],
}

// === impl BoundRow ===

impl SerializeRow for BoundRow<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let columns = &self.group.table.columns;
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
            write_value(column.kind, cell, &self.group.data, value).map_err(|error| {
                SerializationError::new(match error {
                    ValueError::WrongKind => BindError::WrongKind(column.name.clone()),
                    ValueError::TooLarge => BindError::TooLarge(column.name.clone()),
                })
            })?;
        }
        let timestamp_us = write_timestamp_us(self.row);
        writer.make_cell_writer().set_value(&timestamp_us.to_be_bytes()).map_err(SerializationError::new)?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

// === impl BoundGroup ===

impl BatchValues for BoundGroup<'_> {
    type BatchValuesIter<'r>
        = BoundRows<'r>
    where
        Self: 'r;

    fn batch_values_iter(&self) -> Self::BatchValuesIter<'_> {
        BoundRows { group: self.0, rest: &self.0.cells }
    }
}

// === impl BoundRows ===

impl<'a> BoundRows<'a> {
    fn next_row(&mut self) -> Option<BoundRow<'a>> {
        let (row, rest) = self.rest.split_at_checked(self.group.table.columns.len())?;
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

// === impl ValueError ===

impl From<CellOverflowError> for ValueError {
    fn from(_: CellOverflowError) -> Self {
        Self::TooLarge
    }
}

/// Writes a value as the column's kind wants it. Kinds are compared here because the server sees only bytes: four
/// bytes of a float would pass for an integer.
fn write_value(kind: ColumnKind, cell: &Cell, data: &[u8], writer: CellWriter<'_>) -> Result<(), ValueError> {
    match (kind, cell) {
        (ColumnKind::Scalar(kind), cell) => write_scalar(kind, cell, data, writer),
        (ColumnKind::Json, Cell::Json(text)) => {
            writer.set_value(text.as_bytes())?;
            Ok(())
        }
        (ColumnKind::List(kind), Cell::List(items)) => {
            let mut list = writer.into_value_builder();
            let num_items = i32::try_from(items.len()).map_err(|_| ValueError::TooLarge)?;
            list.append_bytes(&num_items.to_be_bytes());
            for item in items {
                write_scalar(kind, item, data, list.make_sub_writer())?;
            }
            list.finish()?;
            Ok(())
        }
        _ => Err(ValueError::WrongKind),
    }
}

fn write_scalar(kind: ScalarKind, cell: &Cell, data: &[u8], writer: CellWriter<'_>) -> Result<(), ValueError> {
    match (kind, cell) {
        (ScalarKind::Bool, Cell::Bool(value)) => writer.set_value(&[u8::from(*value)])?,
        (ScalarKind::Int, Cell::Int(value)) => writer.set_value(&value.to_be_bytes())?,
        (ScalarKind::Long, Cell::Long(value)) | (ScalarKind::Timestamp, Cell::Timestamp(value)) => {
            writer.set_value(&value.to_be_bytes())?
        }
        (ScalarKind::Unsigned, Cell::Unsigned(value)) => writer.set_value(varint(&mut [0; 9], *value))?,
        (ScalarKind::Float, Cell::Float(value)) => writer.set_value(&value.to_be_bytes())?,
        (ScalarKind::Double, Cell::Double(value)) => writer.set_value(&value.to_be_bytes())?,
        (ScalarKind::Text, Cell::Text(span)) | (ScalarKind::Bytes, Cell::Bytes(span)) => {
            writer.set_value(span.of(data))?
        }
        (ScalarKind::Text, Cell::Symbol(symbol)) => writer.set_value(symbol.as_bytes())?,
        _ => return Err(ValueError::WrongKind),
    };
    Ok(())
}

/// A CQL varint: big-endian two's complement in as few bytes as hold the value and its sign.
fn varint(buffer: &mut [u8; 9], value: u64) -> &[u8] {
    buffer[1..].copy_from_slice(&value.to_be_bytes());
    let mut start = 0;
    while start < 8 && buffer[start] == 0 && buffer[start + 1] < 0x80 {
        start += 1;
    }
    &buffer[start..]
}

#[cfg(test)]
mod tests {
    use super::varint;

    #[test]
    fn test_varint_is_shortest_and_positive() {
        let cases: [(u64, &[u8]); 7] = [
            (0, &[0]),
            (127, &[127]),
            (128, &[0, 128]),
            (255, &[0, 255]),
            (256, &[1, 0]),
            (i64::MAX as u64, &[127, 255, 255, 255, 255, 255, 255, 255]),
            (u64::MAX, &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ];
        for (value, expected) in cases {
            assert_eq!(varint(&mut [0; 9], value), expected, "{value}");
        }
    }
}
