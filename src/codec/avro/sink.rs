//! Where records are written: the one place that knows how values become Avro bytes.
//!
//! [`bits`](crate::codec::bits) and [`json`](crate::codec::json) read values each in their own way and write them here, so
//! that the same value makes the same bytes, whoever sent it.

use super::varint::write_unsigned;
pub(crate) use super::varint::{write_bytes, write_long};
use crate::protocol::message::Identity;
use crate::schema::identity::{IdentityColumn, RECORD_FIELDS};
use crate::schema::{DefaultValue, EnumShape, FieldShape, Shape};

/// Bytes of the branches of `["null", T]`, as zigzag.
pub(crate) const NULL: u8 = 0;
pub(crate) const VALUE: u8 = 2;

/// What a number becomes in Avro; wider than its own kind if another version has it wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberType {
    /// An int or a long: the same bytes.
    Long,
    Unsigned,
    Float,
    Double,
}

// === impl NumberType ===

impl NumberType {
    /// What a number of this shape becomes. What is no number has none, and takes the first.
    pub(crate) fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Unsigned => Self::Unsigned,
            Shape::Float => Self::Float,
            Shape::Double => Self::Double,
            Shape::Int
            | Shape::Long
            | Shape::TimestampMillis
            | Shape::TimestampMicros
            | Shape::Bool
            | Shape::Bytes
            | Shape::Text
            | Shape::Enum(_)
            | Shape::Array(_)
            | Shape::Record(_) => Self::Long,
        }
    }
}

/// Appends the fields that every record starts with.
#[inline]
pub(crate) fn write_identity(identity: &Identity<'_>, out: &mut Vec<u8>) {
    // One by one and not in a loop: so each is chosen when this is compiled, and none for each record.
    let [first, second, third, fourth, fifth] = RECORD_FIELDS;
    write_identity_field(first, identity, out);
    write_identity_field(second, identity, out);
    write_identity_field(third, identity, out);
    write_identity_field(fourth, identity, out);
    write_identity_field(fifth, identity, out);
}

#[inline(always)]
fn write_identity_field(field: IdentityColumn, identity: &Identity<'_>, out: &mut Vec<u8>) {
    match field {
        IdentityColumn::DeviceId => write_bytes(identity.device_id.as_bytes(), out),
        IdentityColumn::Bucket => unreachable!("a record has no bucket, its row has"),
        IdentityColumn::EventTime => write_long(as_long(identity.header.event_time_ms), out),
        IdentityColumn::Sequence => write_long(i64::from(identity.header.sequence), out),
        IdentityColumn::ReceivedAt => write_long(as_long(identity.received_at_us), out),
        IdentityColumn::Version => write_long(i64::from(identity.header.version), out),
    }
}

/// Appends an unsigned integer as what it becomes in Avro.
#[inline]
pub(crate) fn write_uint(value: u64, into: NumberType, out: &mut Vec<u8>) {
    match into {
        NumberType::Long => write_long(value as i64, out),
        NumberType::Unsigned => write_unsigned(value, out),
        NumberType::Float => out.extend_from_slice(&(value as f32).to_le_bytes()),
        NumberType::Double => out.extend_from_slice(&(value as f64).to_le_bytes()),
    }
}

/// Appends a signed integer as what it becomes in Avro.
#[inline]
pub(crate) fn write_int(value: i64, into: NumberType, out: &mut Vec<u8>) {
    match into {
        NumberType::Float => out.extend_from_slice(&(value as f32).to_le_bytes()),
        NumberType::Double => out.extend_from_slice(&(value as f64).to_le_bytes()),
        NumberType::Long | NumberType::Unsigned => write_long(value, out),
    }
}

/// Appends a single as what it becomes in Avro.
#[inline]
pub(crate) fn write_f32(value: f32, into: NumberType, out: &mut Vec<u8>) {
    match into {
        NumberType::Double => write_f64(value.into(), out),
        _ => out.extend_from_slice(&value.to_le_bytes()),
    }
}

/// Appends a double.
#[inline]
pub(crate) fn write_f64(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends the number of items before the first of them: one block for all, or none.
#[inline]
pub(crate) fn begin_array(num_items: u32, out: &mut Vec<u8>) {
    if num_items > 0 {
        write_long(i64::from(num_items), out);
    }
}

/// Appends the end of an array.
#[inline]
pub(crate) fn end_array(out: &mut Vec<u8>) {
    out.push(0);
}

/// The position of a symbol among those of all versions, which is its number in Avro.
pub(crate) fn symbol_index(merged: &EnumShape, name: &str) -> i64 {
    let Some(index) = merged.symbols.iter().position(|symbol| &**symbol == name) else {
        unreachable!("{name} is a symbol of a version, and these are the symbols of all")
    };
    index as i64
}

/// What a record holds for a field that its version lacks: the default, otherwise null.
pub(crate) fn missing(field: &FieldShape) -> Box<[u8]> {
    let Some(default) = &field.default else { return [NULL].into() };
    let mut out = Vec::new();
    match (default, &field.shape) {
        (DefaultValue::Bool(bool), _) => out.push(u8::from(*bool)),
        (DefaultValue::Int(int), Shape::Double) => write_f64(*int as f64, &mut out),
        (DefaultValue::Int(int), _) => write_long(*int, &mut out),
        (DefaultValue::Double(double), Shape::Float) => write_f32(*double as f32, NumberType::Float, &mut out),
        (DefaultValue::Double(double), _) => write_f64(*double, &mut out),
        (DefaultValue::Text(symbol), Shape::Enum(merged)) => write_long(symbol_index(merged, symbol), &mut out),
        (DefaultValue::Text(text), _) => write_bytes(text.as_bytes(), &mut out),
    }
    out.into()
}

/// Saturates: a clock beyond the year 292,000 is wrong in any case.
fn as_long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
