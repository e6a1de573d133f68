//! What a value is for routes.

use std::borrow::Cow;

use num_bigint::BigInt;
use uuid::Uuid;

use super::json;
use super::types::{Kind, TypeId, Types, Unit};
use super::walk::{Reader, branch};
use crate::codec::avro::node::{Cursor, RowError, symbol};
use crate::codec::value::Value;

// === impl Types ===

impl Types {
    /// Reads one value.
    pub(super) fn value<'a>(&self, id: TypeId, reader: &mut Reader<'a>) -> Result<Value<'a>, RowError> {
        Ok(match self.kind(id) {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(reader.cursor.bool()?),
            Kind::Int => Value::Long(reader.int()?.into()),
            Kind::Long => Value::Long(reader.cursor.long()?),
            Kind::Float => Value::Float(f32::from_le_bytes(reader.cursor.chunk()?)),
            Kind::Double => Value::Double(f64::from_le_bytes(reader.cursor.chunk()?)),
            Kind::Bytes => Value::Bytes(reader.cursor.bytes()?),
            Kind::Fixed(size) => Value::Bytes(reader.cursor.take(*size)?),
            Kind::Text => Value::Text(Cow::Borrowed(reader.cursor.text()?)),
            Kind::Enum(symbols) => Value::Text(Cow::Owned(symbol(symbols, &mut reader.cursor)?.as_ref().to_owned())),
            Kind::Date => Value::Day(reader.int()?),
            Kind::TimeMillis => Value::TimeOfDay(i64::from(reader.int()?) * 1000),
            Kind::TimeMicros => Value::TimeOfDay(reader.cursor.long()?),
            Kind::Timestamp(unit) => Value::Instant(micros(*unit, reader.cursor.long()?)?),
            Kind::Decimal(blob, scale) => Value::Decimal(BigInt::from_signed_bytes_be(reader.blob(*blob)?), *scale),
            Kind::BigDecimal => {
                let (unscaled, scale) = big_decimal(reader.cursor.bytes()?)?;
                Value::Decimal(unscaled, scale)
            }
            Kind::UuidText => {
                let text = reader.cursor.text()?;
                // Writers do not check it. What it is good for then is for the column to say.
                Uuid::try_parse(text).map_or(Value::Text(Cow::Borrowed(text)), |uuid| Value::Uuid(uuid.into_bytes()))
            }
            Kind::UuidBytes(blob) => {
                let bytes = reader.blob(*blob)?;
                bytes.try_into().map_or(Value::Bytes(bytes), Value::Uuid)
            }
            Kind::Duration => Value::Text(Cow::Owned(duration(reader.cursor.chunk()?))),
            Kind::Array(_) | Kind::Map(_) | Kind::Record(_) => {
                let mut text = String::new();
                json::write(self, id, reader, &mut text)?;
                Value::Json(Cow::Owned(text))
            }
            Kind::Union(branches) => {
                let branch = branch(branches, reader)?;
                self.value(branch, reader)?
            }
        })
    }
}

/// In microseconds, as far as they can be counted in 64 bits.
fn micros(unit: Unit, count: i64) -> Result<i64, RowError> {
    match unit {
        Unit::Millis => count.checked_mul(1000).ok_or(RowError::Malformed("a timestamp beyond the year 292,000")),
        Unit::Micros => Ok(count),
        Unit::Nanos => Ok(count.div_euclid(1000)),
    }
}

/// Unscaled bytes after their length, then the scale.
pub(super) fn big_decimal(bytes: &[u8]) -> Result<(BigInt, i32), RowError> {
    let mut cursor = Cursor::new(bytes);
    let unscaled = BigInt::from_signed_bytes_be(cursor.bytes()?);
    let scale = i32::try_from(cursor.long()?).map_err(|_| RowError::Malformed("a decimal whose scale has no end"))?;
    match cursor.num_left() {
        0 => Ok((unscaled, scale)),
        _ => Err(RowError::Malformed("a decimal with bytes after its scale")),
    }
}

/// As CQL writes it: `1mo2d3ms`.
pub(super) fn duration(bytes: [u8; 12]) -> String {
    let [m0, m1, m2, m3, d0, d1, d2, d3, t0, t1, t2, t3] = bytes;
    let months = u32::from_le_bytes([m0, m1, m2, m3]);
    let days = u32::from_le_bytes([d0, d1, d2, d3]);
    let millis = u32::from_le_bytes([t0, t1, t2, t3]);
    let parts = [(months, "mo"), (days, "d"), (millis, "ms")];
    let text: String =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0ms".to_owned() } else { text }
}
