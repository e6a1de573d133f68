//! Cells as CQL's binary protocol has them.
//!
//! Kinds are compared here because the server sees only bytes: four bytes of a float would pass for an integer.

use std::net::IpAddr;

use scylla::serialize::writers::{CellOverflowError, CellValueBuilder, CellWriter};

use crate::schema::row::{Cell, Collection, ColumnKind, Items, ScalarKind};

/// Nanoseconds of a day, the bound of a time of day.
const DAY_NANOS: i64 = 86_400_000_000_000;

/// Day 0 of a CQL date is this many days before 1970-01-01.
const EPOCH_OF_DATES: u32 = 1 << 31;

/// Why a value cannot be written. The column is named by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueError {
    WrongKind,
    OutOfRange,
    TooLarge,
}

/// Writes a value as the column's kind wants it.
pub(super) fn write_value(
    kind: ColumnKind,
    cell: &Cell,
    data: &[u8],
    writer: CellWriter<'_>,
) -> Result<(), ValueError> {
    match (kind, cell) {
        (ColumnKind::Scalar(kind), cell) => write_scalar(kind, cell, data, writer),
        (ColumnKind::Json, Cell::Json(text)) => {
            writer.set_value(text.as_bytes())?;
            Ok(())
        }
        (ColumnKind::List(kind), Cell::List(items)) => write_items(kind, items, data, writer),
        (ColumnKind::Collection(Collection { items, .. }), cell) => write_collection(items, cell, data, writer),
        _ => Err(ValueError::WrongKind),
    }
}

/// Items of collections cannot be null.
fn write_items(kind: ScalarKind, items: &[Cell], data: &[u8], writer: CellWriter<'_>) -> Result<(), ValueError> {
    let mut list = counted(items.len(), writer)?;
    for item in items {
        write_scalar(kind, item, data, list.make_sub_writer())?;
    }
    list.finish()?;
    Ok(())
}

/// Sets and maps may come in any order: the server sorts them, and keeps one of equals.
fn write_collection(items: Items, cell: &Cell, data: &[u8], writer: CellWriter<'_>) -> Result<(), ValueError> {
    match (items, cell) {
        (Items::List(kind) | Items::Set(kind), Cell::List(items)) => write_items(kind, items, data, writer),
        (Items::Map(key_kind, kind), Cell::Map(entries)) => {
            let mut map = counted(entries.len(), writer)?;
            for (key, value) in entries {
                write_scalar(key_kind, key, data, map.make_sub_writer())?;
                write_scalar(kind, value, data, map.make_sub_writer())?;
            }
            map.finish()?;
            Ok(())
        }
        _ => Err(ValueError::WrongKind),
    }
}

/// The beginning of a collection.
fn counted(len: usize, writer: CellWriter<'_>) -> Result<CellValueBuilder<'_>, ValueError> {
    let len = i32::try_from(len).map_err(|_| ValueError::TooLarge)?;
    let mut builder = writer.into_value_builder();
    builder.append_bytes(&len.to_be_bytes());
    Ok(builder)
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
        _ => return write_of_routes(kind, cell, data, writer),
    };
    Ok(())
}

/// The kinds and cells that only rows of routes have.
fn write_of_routes(kind: ScalarKind, cell: &Cell, data: &[u8], writer: CellWriter<'_>) -> Result<(), ValueError> {
    match (kind, cell) {
        (ScalarKind::Text, Cell::OwnText(text)) => writer.set_value(text.as_bytes())?,
        (ScalarKind::Bytes, Cell::OwnBytes(bytes)) => writer.set_value(bytes)?,
        (ScalarKind::Ascii, Cell::Text(span)) => writer.set_value(ascii(span.of(data))?)?,
        (ScalarKind::Ascii, Cell::OwnText(text)) => writer.set_value(ascii(text.as_bytes())?)?,
        (ScalarKind::Ascii, Cell::Symbol(symbol)) => writer.set_value(ascii(symbol.as_bytes())?)?,
        (ScalarKind::TinyInt, Cell::Int(value)) => {
            writer.set_value(&i8::try_from(*value).map_err(|_| ValueError::OutOfRange)?.to_be_bytes())?
        }
        (ScalarKind::SmallInt, Cell::Int(value)) => {
            writer.set_value(&i16::try_from(*value).map_err(|_| ValueError::OutOfRange)?.to_be_bytes())?
        }
        (ScalarKind::Varint, Cell::Varint(value)) => writer.set_value(&value.to_signed_bytes_be())?,
        (ScalarKind::Decimal, Cell::Decimal(value)) => {
            let mut decimal = writer.into_value_builder();
            decimal.append_bytes(&value.scale.to_be_bytes());
            decimal.append_bytes(&value.unscaled.to_signed_bytes_be());
            decimal.finish()?
        }
        (ScalarKind::Uuid | ScalarKind::TimeUuid, Cell::Uuid(bytes)) => writer.set_value(bytes)?,
        (ScalarKind::Inet, Cell::Inet(IpAddr::V4(address))) => writer.set_value(&address.octets())?,
        (ScalarKind::Inet, Cell::Inet(IpAddr::V6(address))) => writer.set_value(&address.octets())?,
        (ScalarKind::Date, Cell::Date(days)) => {
            // All days that an i32 has are dates: the sign only moves the first of them to zero.
            writer.set_value(&EPOCH_OF_DATES.wrapping_add_signed(*days).to_be_bytes())?
        }
        (ScalarKind::Time, Cell::Time(nanos)) => {
            let nanos = (0..DAY_NANOS).contains(nanos).then_some(nanos).ok_or(ValueError::OutOfRange)?;
            writer.set_value(&nanos.to_be_bytes())?
        }
        (ScalarKind::Duration, Cell::Duration { months, days, nanoseconds }) => {
            let mut buffer = VintBuffer::default();
            [i64::from(*months), i64::from(*days), *nanoseconds].into_iter().for_each(|part| buffer.push(part));
            writer.set_value(buffer.bytes())?
        }
        _ => return Err(ValueError::WrongKind),
    };
    Ok(())
}

fn ascii(bytes: &[u8]) -> Result<&[u8], ValueError> {
    bytes.is_ascii().then_some(bytes).ok_or(ValueError::OutOfRange)
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

/// Up to three `vint`s, of which a duration consists.
#[derive(Default)]
struct VintBuffer {
    bytes: [u8; 27],
    len: usize,
}

// === impl VintBuffer ===

impl VintBuffer {
    /// The sign goes into the lowest bit; then the first byte has a one for each byte that follows, in front of the value.
    fn push(&mut self, value: i64) {
        let value = ((value << 1) ^ (value >> 63)) as u64;
        // 7 bits of the value for each of up to 8 bytes; in the ninth all 64.
        let num_bits = 64 - value.leading_zeros() as usize;
        let num_bytes = num_bits.div_ceil(7).clamp(1, 9);
        let num_extra = num_bytes - 1;
        let mut bytes = [0; 9];
        bytes[1..].copy_from_slice(&value.to_be_bytes());
        let bytes = &mut bytes[9 - num_bytes..];
        bytes[0] |= !(0xff_u16 >> num_extra) as u8;
        self.bytes[self.len..self.len + num_bytes].copy_from_slice(bytes);
        self.len += num_bytes;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

// === impl ValueError ===

impl From<CellOverflowError> for ValueError {
    fn from(_: CellOverflowError) -> Self {
        Self::TooLarge
    }
}

#[cfg(test)]
mod tests;
