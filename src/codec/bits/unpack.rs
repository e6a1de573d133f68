//! Single values out of a body, checked: what decoding and transcoding share.

use super::bit_io::{BitReader, OutOfBits};
use super::body_error::Fault;
use super::plan::ArrayOp;
use crate::schema::Scale;
use crate::schema::{Count, Resolution};

#[inline]
pub(super) fn uint(reader: &mut BitReader<'_>, bits: u32, min: u64, max: u64) -> Result<u64, Fault> {
    let value = reader.read(bits)?;
    if value < min || value > max { Err(Fault::OutOfRange(value as f64)) } else { Ok(value) }
}

#[inline]
pub(super) fn int(reader: &mut BitReader<'_>, bits: u32, min: i64, max: i64) -> Result<i64, Fault> {
    let value = reader.read_signed(bits)?;
    if value < min || value > max { Err(Fault::OutOfRange(value as f64)) } else { Ok(value) }
}

#[inline]
pub(super) fn fixed(
    reader: &mut BitReader<'_>,
    bits: u32,
    signed: bool,
    (min, max): (i64, i64),
    scale: &Scale,
) -> Result<f64, Fault> {
    let raw = if signed { reader.read_signed(bits)? } else { reader.read(bits)? as i64 };
    let physical = scale.physical(raw);
    if raw < min || raw > max { Err(Fault::OutOfRange(physical)) } else { Ok(physical) }
}

#[inline]
pub(super) fn f32(reader: &mut BitReader<'_>, min: f64, max: f64) -> Result<f32, Fault> {
    let value = f32::from_bits(reader.read(32)? as u32);
    if (min..=max).contains(&f64::from(value)) { Ok(value) } else { Err(Fault::OutOfRange(value.into())) }
}

#[inline]
pub(super) fn f64(reader: &mut BitReader<'_>, min: f64, max: f64) -> Result<f64, Fault> {
    let value = f64::from_bits(reader.read(64)?);
    if (min..=max).contains(&value) { Ok(value) } else { Err(Fault::OutOfRange(value)) }
}

#[inline]
pub(super) fn bool(reader: &mut BitReader<'_>) -> Result<bool, Fault> {
    Ok(reader.read(1)? == 1)
}

/// Milliseconds or microseconds since the Unix epoch. Cannot overflow: the layout's width was checked for it.
#[inline]
pub(super) fn timestamp(
    reader: &mut BitReader<'_>,
    bits: u32,
    epoch: i64,
    resolution: Resolution,
) -> Result<i64, Fault> {
    let ticks = reader.read(bits)? as i64;
    Ok(ticks.wrapping_add(epoch).wrapping_mul(resolution.units_per_tick()))
}

/// The length before bytes or text, which the rest of the body is known to hold.
#[inline]
pub(super) fn length(reader: &mut BitReader<'_>, length_bits: u32, max: u32) -> Result<usize, Fault> {
    let length = reader.read(length_bits)? as u32;
    if length > max {
        return Err(Fault::TooLong { length, max });
    }
    if length as usize * 8 > reader.num_left() {
        return Err(Fault::TooShort);
    }
    Ok(length as usize)
}

/// The number of items, which the rest of the body is known to be able to hold.
#[inline]
pub(super) fn count(reader: &mut BitReader<'_>, array: &ArrayOp) -> Result<u32, Fault> {
    let count = match array.count {
        Count::Fixed(count) => count,
        Count::Counted { bits, max } => {
            let count = reader.read(bits)? as u32;
            if count > max {
                return Err(Fault::TooLong { length: count, max });
            }
            count
        }
    };
    if u64::from(count).saturating_mul(array.min_item_bits) > reader.num_left() as u64 {
        return Err(Fault::TooShort);
    }
    Ok(count)
}

#[inline]
pub(super) fn reserved(reader: &mut BitReader<'_>, bits: u32) -> Result<(), OutOfBits> {
    reader.skip(bits as usize)
}
