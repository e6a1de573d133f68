//! Bits straight to Avro: no value is built in between, nothing is allocated but the growth of the output.

use super::bit_io::BitReader;
use super::body_error::{Fault, FieldFault};
use super::plan::{ArrayOp, Op, Piece, ReorderedOp};
use super::unpack;
use crate::codec::avro::sink::{self, NULL, VALUE, write_f32, write_f64, write_int, write_long, write_uint};
use crate::schema::MAX_FIELDS;

/// The ends of the fields of a reordered group while it is written. More fields than this do not occur, see
/// `check::MAX_FIELDS`.
type Ends = [u32; MAX_FIELDS];

/// Appends what `ops` read.
pub(super) fn write_body(ops: &[Op], reader: &mut BitReader<'_>, out: &mut Vec<u8>) -> Result<(), FieldFault> {
    let mut next = 0;
    while let Some(op) = ops.get(next) {
        next += 1;
        match op {
            Op::Uint { field, bits, min, max, into } => {
                let value = unpack::uint(reader, *bits, *min, *max).map_err(|fault| (*field, fault))?;
                write_uint(value, *into, out);
            }
            Op::Int { field, bits, min, max, into } => {
                let value = unpack::int(reader, *bits, *min, *max).map_err(|fault| (*field, fault))?;
                write_int(value, *into, out);
            }
            Op::Fixed { field, bits, signed, min, max, scale } => {
                let value = unpack::fixed(reader, *bits, *signed, (*min, *max), scale);
                write_f64(value.map_err(|fault| (*field, fault))?, out);
            }
            Op::F32 { field, min, max, into } => {
                let value = unpack::f32(reader, *min, *max).map_err(|fault| (*field, fault))?;
                write_f32(value, *into, out);
            }
            Op::F64 { field, min, max } => {
                let value = unpack::f64(reader, *min, *max).map_err(|fault| (*field, fault))?;
                write_f64(value, out);
            }
            Op::Bool { field } => out.push(unpack::bool(reader).map_err(|fault| (*field, fault))?.into()),
            Op::Enum { field, bits, symbols } => {
                let number = reader.read(*bits).map_err(|end| (*field, end.into()))?;
                let entry = symbols.by_number(number).ok_or((*field, Fault::UnknownSymbol(number)))?;
                write_long(entry.avro_index, out);
            }
            Op::Timestamp { field, bits, epoch, resolution } => {
                let value = unpack::timestamp(reader, *bits, *epoch, *resolution).map_err(|fault| (*field, fault))?;
                write_long(value, out);
            }
            Op::Bytes { field, length_bits, max } => {
                copy_bytes(reader, *length_bits, *max, out).map_err(|fault| (*field, fault))?;
            }
            Op::Text { field, length_bits, max } => {
                let start = copy_bytes(reader, *length_bits, *max, out).map_err(|fault| (*field, fault))?;
                std::str::from_utf8(&out[start..]).map_err(|_| (*field, Fault::BadText))?;
            }
            Op::Reserved { field, bits } => unpack::reserved(reader, *bits).map_err(|end| (*field, end.into()))?,
            Op::Optional { field, num_ops } => {
                if unpack::bool(reader).map_err(|fault| (*field, fault))? {
                    out.push(VALUE);
                } else {
                    out.push(NULL);
                    next += *num_ops as usize;
                }
            }
            // Avro has nothing around a group: its steps follow.
            Op::Group { .. } => {}
            Op::Array(array) => write_array(array, reader, out)?,
            Op::Emit(bytes) => out.extend_from_slice(bytes),
            Op::Reordered(reordered) => write_reordered(reordered, reader, out)?,
        }
    }
    Ok(())
}

fn write_array(array: &ArrayOp, reader: &mut BitReader<'_>, out: &mut Vec<u8>) -> Result<(), FieldFault> {
    let count = unpack::count(reader, array).map_err(|fault| (array.field, fault))?;
    sink::begin_array(count, out);
    for _ in 0..count {
        write_body(&array.item_ops, reader, out)?;
    }
    sink::end_array(out);
    Ok(())
}

/// Writes the fields as the bits have them, then again in Avro's order, and drops the first copy.
#[inline(never)]
fn write_reordered(group: &ReorderedOp, reader: &mut BitReader<'_>, out: &mut Vec<u8>) -> Result<(), FieldFault> {
    let start = out.len();
    let mut ends: Ends = [0; MAX_FIELDS];
    let mut first_op = 0;
    for (end, end_op) in ends.iter_mut().zip(&group.ends) {
        write_body(&group.ops[first_op..*end_op], reader, out)?;
        first_op = *end_op;
        *end = (out.len() - start) as u32;
    }
    let end = out.len();
    for piece in &group.pieces {
        match piece {
            Piece::Constant(bytes) => out.extend_from_slice(bytes),
            Piece::Field(index) => {
                let before = index.checked_sub(1).map_or(0, |before| ends[before]);
                out.extend_from_within(start + before as usize..start + ends[*index] as usize);
            }
        }
    }
    out.drain(start..end);
    Ok(())
}

/// Copies what follows a length; where the copy starts in `out`.
fn copy_bytes(reader: &mut BitReader<'_>, length_bits: u32, max: u32, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let length = unpack::length(reader, length_bits, max)?;
    write_long(length as i64, out);
    let start = out.len();
    reader.read_bytes(length, out)?;
    Ok(start)
}
