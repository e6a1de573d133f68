//! Records, arrays and maps as JSON text, for paths that end at one.
//!
//! A record is an object with its fields in their order, a map an object, an enum its symbol, a union the value of its
//! branch without a word of which one it is. Bytes are hexadecimal text, decimals are numbers with all their digits, UUIDs
//! and durations text. Dates, times and timestamps are the integers that the record has. NaN and infinity are null.

use num_bigint::{BigInt, Sign};

use super::types::{Kind, TypeId, Types};
use super::value::{big_decimal, duration};
use super::walk::{Reader, branch};
use crate::codec::avro::json::{push, push_hex, separate};
use crate::codec::avro::node::{RowError, symbol};

/// The longest text, in bytes: what no database takes in one cell. A short record can be a long text: a symbol of 100
/// letters is one byte.
const MAX_TEXT: usize = 16 << 20;
/// The most zeros that a scale may add to a decimal.
const MAX_ZEROS: u32 = 1_000;

/// Appends one value.
pub(super) fn write(types: &Types, id: TypeId, reader: &mut Reader<'_>, out: &mut String) -> Result<(), RowError> {
    if out.len() > MAX_TEXT {
        return Err(RowError::Malformed("more than 16 MiB of JSON in one value"));
    }
    match types.kind(id) {
        Kind::Null => out.push_str("null"),
        Kind::Bool => out.push_str(if reader.cursor.bool()? { "true" } else { "false" }),
        Kind::Int | Kind::Date | Kind::TimeMillis => push(&reader.int()?, out),
        Kind::Long | Kind::TimeMicros | Kind::Timestamp(_) => push(&reader.cursor.long()?, out),
        Kind::Float => push(&f32::from_le_bytes(reader.cursor.chunk()?), out),
        Kind::Double => push(&f64::from_le_bytes(reader.cursor.chunk()?), out),
        Kind::Bytes => push_hex(reader.cursor.bytes()?, out),
        Kind::Fixed(size) => push_hex(reader.cursor.take(*size)?, out),
        Kind::Text | Kind::UuidText => push(reader.cursor.text()?, out),
        Kind::Enum(symbols) => push(&**symbol(symbols, &mut reader.cursor)?, out),
        Kind::Decimal(blob, scale) => {
            push_decimal(&BigInt::from_signed_bytes_be(reader.blob(*blob)?), *scale, out)?;
        }
        Kind::BigDecimal => {
            let (unscaled, scale) = big_decimal(reader.cursor.bytes()?)?;
            push_decimal(&unscaled, scale, out)?;
        }
        Kind::UuidBytes(blob) => {
            let bytes = reader.blob(*blob)?;
            match uuid::Uuid::from_slice(bytes) {
                Ok(uuid) => push(uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()), out),
                Err(_) => push_hex(bytes, out),
            }
        }
        Kind::Duration => push(&duration(reader.cursor.chunk()?), out),
        Kind::Array(item) => {
            out.push('[');
            let mut is_first = true;
            reader.items(|_, reader| {
                separate(&mut is_first, out);
                write(types, *item, reader, out)
            })?;
            out.push(']');
        }
        Kind::Map(value) => {
            out.push('{');
            let mut is_first = true;
            reader.items(|_, reader| {
                separate(&mut is_first, out);
                push(reader.cursor.text()?, out);
                out.push(':');
                write(types, *value, reader, out)
            })?;
            out.push('}');
        }
        Kind::Union(branches) => write(types, branch(branches, reader)?, reader, out)?,
        Kind::Record(fields) => reader.within(|reader| {
            out.push('{');
            let mut is_first = true;
            for field in fields {
                separate(&mut is_first, out);
                push(&*field.name, out);
                out.push(':');
                write(types, field.kind, reader, out)?;
            }
            out.push('}');
            Ok(())
        })?,
    }
    Ok(())
}

/// unscaled × 10^-scale with all digits.
fn push_decimal(unscaled: &BigInt, scale: i32, out: &mut String) -> Result<(), RowError> {
    if scale.unsigned_abs() > MAX_ZEROS {
        return Err(RowError::Malformed("a decimal with a scale of more than 1,000"));
    }
    let digits = unscaled.magnitude().to_string();
    if unscaled.sign() == Sign::Minus {
        out.push('-');
    }
    match usize::try_from(scale) {
        Ok(0) => out.push_str(&digits),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            out.extend([whole, ".", fraction]);
        }
        Err(_) => {
            out.push_str(&digits);
            if unscaled.sign() != Sign::NoSign {
                out.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
            }
        }
    }
    Ok(())
}
