//! Bits to values: for tests, the simulator and tools.

use super::bit_io::BitReader;
use super::body_error::{Fault, FieldFault};
use super::plan::{ArrayOp, Op};
use super::unpack;
use crate::schema::Value;

/// Appends one value for each field of `ops`.
pub(super) fn read_values(ops: &[Op], reader: &mut BitReader<'_>, values: &mut Vec<Value>) -> Result<(), FieldFault> {
    let mut next = 0;
    while let Some(op) = ops.get(next) {
        next += 1;
        match op {
            Op::Optional { field, num_ops } => {
                if !unpack::bool(reader).map_err(|fault| (*field, fault))? {
                    values.push(Value::Null);
                    next += *num_ops as usize;
                }
            }
            Op::Group { num_ops, num_values, .. } => {
                let end = next + *num_ops as usize;
                let mut group = Vec::with_capacity(*num_values as usize);
                read_values(&ops[next..end], reader, &mut group)?;
                values.push(Value::Group(group));
                next = end;
            }
            Op::Array(array) => values.push(read_array(array, reader)?),
            Op::Reserved { field, bits } => unpack::reserved(reader, *bits).map_err(|end| (*field, end.into()))?,
            // Avro alone has it.
            Op::Emit(_) => {}
            Op::Reordered(group) => read_values(&group.ops, reader, values)?,
            scalar => values.push(read_scalar(scalar, reader)?),
        }
    }
    Ok(())
}

fn read_array(array: &ArrayOp, reader: &mut BitReader<'_>) -> Result<Value, FieldFault> {
    let count = unpack::count(reader, array).map_err(|fault| (array.field, fault))?;
    let mut items = Vec::with_capacity(count as usize);
    for _ in 0..count {
        read_values(&array.item_ops, reader, &mut items)?;
    }
    Ok(Value::Array(items))
}

fn read_scalar(op: &Op, reader: &mut BitReader<'_>) -> Result<Value, FieldFault> {
    let (field, value) = match op {
        Op::Uint { field, bits, min, max, .. } => (field, unpack::uint(reader, *bits, *min, *max).map(Value::Uint)),
        Op::Int { field, bits, min, max, .. } => (field, unpack::int(reader, *bits, *min, *max).map(Value::Int)),
        Op::Fixed { field, bits, signed, min, max, scale } => {
            (field, unpack::fixed(reader, *bits, *signed, (*min, *max), scale).map(Value::Double))
        }
        Op::F32 { field, min, max, .. } => (field, unpack::f32(reader, *min, *max).map(Value::Float)),
        Op::F64 { field, min, max } => (field, unpack::f64(reader, *min, *max).map(Value::Double)),
        Op::Bool { field } => (field, unpack::bool(reader).map(Value::Bool)),
        Op::Enum { field, bits, symbols } => {
            let number = reader.read(*bits).map_err(|end| (*field, end.into()))?;
            let entry = symbols.by_number(number).ok_or(Fault::UnknownSymbol(number));
            (field, entry.map(|entry| Value::Symbol(entry.name.clone())))
        }
        Op::Timestamp { field, bits, epoch, resolution } => {
            (field, unpack::timestamp(reader, *bits, *epoch, *resolution).map(Value::Timestamp))
        }
        Op::Bytes { field, length_bits, max } => (field, read_bytes(reader, *length_bits, *max).map(Value::Bytes)),
        Op::Text { field, length_bits, max } => {
            let text = read_bytes(reader, *length_bits, *max)
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| Fault::BadText));
            (field, text.map(Value::Text))
        }
        Op::Reserved { .. }
        | Op::Optional { .. }
        | Op::Group { .. }
        | Op::Array(_)
        | Op::Emit(_)
        | Op::Reordered(_) => unreachable!("{op:?} is no single value"),
    };
    value.map_err(|fault| (*field, fault))
}

fn read_bytes(reader: &mut BitReader<'_>, length_bits: u32, max: u32) -> Result<Vec<u8>, Fault> {
    let length = unpack::length(reader, length_bits, max)?;
    let mut bytes = Vec::with_capacity(length);
    reader.read_bytes(length, &mut bytes)?;
    Ok(bytes)
}
