//! Passing over values, within bounds: whatever the bytes say, the work stays proportional to their number.

use super::types::{Blob, Kind, TypeId, Types};
use crate::codec::avro::node::{Cursor, RowError};

/// The deepest nesting of values; a type that contains itself could go on for as long as there are bytes.
const MAX_DEPTH: usize = 64;
/// Items and records that need not have bytes of their own (nulls, records of nulls), in addition to one for each byte.
const FREE_STEPS: usize = 65_536;

/// Where reading is, and how much work may follow.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub cursor: Cursor<'a>,
    steps_left: usize,
    depth: usize,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(datum), steps_left: datum.len().saturating_add(FREE_STEPS), depth: 0 }
    }

    /// Another reader at the same place, for a value that is read twice.
    pub(super) fn fork(&self) -> Self {
        Self { cursor: self.cursor.fork(), steps_left: self.steps_left, depth: self.depth }
    }

    /// Reads what lies one level deeper.
    pub(super) fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, RowError>) -> Result<T, RowError> {
        if self.depth == MAX_DEPTH {
            return Err(RowError::Malformed("values nested deeper than 64"));
        }
        self.step()?;
        self.depth += 1;
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    fn step(&mut self) -> Result<(), RowError> {
        let left = self.steps_left.checked_sub(1);
        self.steps_left = left.ok_or(RowError::Malformed("more items than a record of its size may have"))?;
        Ok(())
    }

    /// Calls `each` with the position of every item of an array or map, whose blocks come with their counts.
    pub(super) fn items(
        &mut self,
        mut each: impl FnMut(usize, &mut Self) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        self.within(|reader| {
            let mut position = 0;
            loop {
                let count = reader.cursor.long()?;
                if count == 0 {
                    return Ok(());
                }
                // A negative count is followed by the block's size in bytes.
                if count < 0 && reader.cursor.long()? < 0 {
                    return Err(RowError::Malformed("a block of negative size"));
                }
                for _ in 0..count.unsigned_abs() {
                    reader.step()?;
                    each(position, reader)?;
                    position += 1;
                }
            }
        })
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, RowError> {
        i32::try_from(self.cursor.long()?).map_err(|_| RowError::Malformed("an int of more than 32 bits"))
    }

    #[inline]
    pub(super) fn blob(&mut self, blob: Blob) -> Result<&'a [u8], RowError> {
        match blob {
            Blob::Counted => self.cursor.bytes(),
            Blob::Fixed(size) => self.cursor.take(size),
        }
    }
}

// === impl Types ===

impl Types {
    /// Passes over one value.
    pub(super) fn skip(&self, id: TypeId, reader: &mut Reader<'_>) -> Result<(), RowError> {
        match self.kind(id) {
            Kind::Null => {}
            Kind::Bool => drop(reader.cursor.bool()?),
            Kind::Int | Kind::Date | Kind::TimeMillis | Kind::Enum(_) => drop(reader.int()?),
            Kind::Long | Kind::TimeMicros | Kind::Timestamp(_) => drop(reader.cursor.long()?),
            Kind::Float => drop(reader.cursor.take(4)?),
            Kind::Double => drop(reader.cursor.take(8)?),
            Kind::Bytes | Kind::Text | Kind::UuidText | Kind::BigDecimal => drop(reader.cursor.bytes()?),
            Kind::Decimal(blob, _) | Kind::UuidBytes(blob) => drop(reader.blob(*blob)?),
            Kind::Fixed(size) => drop(reader.cursor.take(*size)?),
            Kind::Duration => drop(reader.cursor.take(12)?),
            Kind::Array(item) => reader.items(|_, reader| self.skip(*item, reader))?,
            Kind::Map(value) => reader.items(|_, reader| {
                reader.cursor.bytes()?;
                self.skip(*value, reader)
            })?,
            Kind::Union(branches) => self.skip(branch(branches, reader)?, reader)?,
            Kind::Record(fields) => {
                reader.within(|reader| fields.iter().try_for_each(|field| self.skip(field.kind, reader)))?;
            }
        }
        Ok(())
    }
}

/// The branch of a union that a value takes.
pub(super) fn branch(branches: &[TypeId], reader: &mut Reader<'_>) -> Result<TypeId, RowError> {
    let index = usize::try_from(reader.cursor.long()?).ok();
    let branch = index.and_then(|index| branches.get(index));
    branch.copied().ok_or(RowError::Malformed("a branch that the union does not have"))
}
