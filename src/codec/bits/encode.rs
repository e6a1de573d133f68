//! Values to bits, by the same plan that reads them: for tests, the simulator and tools.

use std::sync::Arc;

use super::bit_io::BitWriter;
use super::body_error::EncodeError;
use super::plan::{ArrayOp, FieldIndex, Op};
use crate::schema::Count;
use crate::schema::Value;
use crate::schema::number::to_resolution;

/// Packs values by the steps of one layout.
pub(super) struct Encoder<'a> {
    pub writer: BitWriter<'a>,
    pub paths: &'a [Arc<str>],
}

// === impl Encoder ===

impl Encoder<'_> {
    /// Packs one value for each field of `ops`, taken from the front of `values`.
    pub(super) fn write<'v>(
        &mut self,
        ops: &[Op],
        values: &mut std::slice::Iter<'v, Value>,
    ) -> Result<(), EncodeError> {
        let mut next = 0;
        let mut present = None;
        while let Some(op) = ops.get(next) {
            next += 1;
            match op {
                Op::Reserved { bits, .. } => {
                    for _ in 0..bits / 64 {
                        self.writer.write(0, 64);
                    }
                    self.writer.write(0, bits % 64);
                    continue;
                }
                Op::Emit(_) => continue,
                Op::Reordered(group) => {
                    self.write(&group.ops, values)?;
                    continue;
                }
                // All others take a value.
                _ => {}
            }
            let Some(value) = present.take().or_else(|| values.next()) else {
                unreachable!("the number of values was compared with the number of fields")
            };
            match op {
                Op::Optional { num_ops, .. } => {
                    let is_present = *value != Value::Null;
                    self.writer.write(is_present.into(), 1);
                    if is_present {
                        present = Some(value);
                    } else {
                        next += *num_ops as usize;
                    }
                }
                Op::Group { field, num_ops, num_values } => {
                    let Value::Group(values) = value else { return Err(self.wrong(*field, "a group")) };
                    let end = next + *num_ops as usize;
                    self.write_group(*field, &ops[next..end], *num_values as usize, values)?;
                    next = end;
                }
                Op::Array(array) => self.write_array(array, value)?,
                scalar => self.write_scalar(scalar, value)?,
            }
        }
        Ok(())
    }

    fn write_group(
        &mut self,
        field: FieldIndex,
        ops: &[Op],
        expected: usize,
        values: &[Value],
    ) -> Result<(), EncodeError> {
        if values.len() != expected {
            return Err(EncodeError::WrongNumber { field: self.path(field), found: values.len(), expected });
        }
        self.write(ops, &mut values.iter())
    }

    fn write_array(&mut self, array: &ArrayOp, value: &Value) -> Result<(), EncodeError> {
        let Value::Array(items) = value else { return Err(self.wrong(array.field, "an array")) };
        match array.count {
            Count::Fixed(count) if items.len() == count as usize => {}
            Count::Counted { bits, max } if items.len() <= max as usize => self.writer.write(items.len() as u64, bits),
            _ => return Err(self.invalid(array.field, "the number of items is not allowed")),
        }
        self.write_items(array, items)
    }

    fn write_items(&mut self, array: &ArrayOp, items: &[Value]) -> Result<(), EncodeError> {
        let mut items = items.iter();
        while items.len() > 0 {
            self.write(&array.item_ops, &mut items)?;
        }
        Ok(())
    }

    fn write_scalar(&mut self, op: &Op, value: &Value) -> Result<(), EncodeError> {
        const RANGE: &str = "it is outside the range";
        match op {
            Op::Uint { field, bits, min, max, .. } => {
                let value = match value {
                    Value::Uint(value) => *value,
                    Value::Int(value) => u64::try_from(*value).map_err(|_| self.invalid(*field, RANGE))?,
                    _ => return Err(self.wrong(*field, "an unsigned integer")),
                };
                self.check(*field, (*min..=*max).contains(&value), RANGE)?;
                self.writer.write(value, *bits);
            }
            Op::Int { field, bits, min, max, .. } => {
                let value = match value {
                    Value::Int(value) => *value,
                    Value::Uint(value) => i64::try_from(*value).map_err(|_| self.invalid(*field, RANGE))?,
                    _ => return Err(self.wrong(*field, "an integer")),
                };
                self.check(*field, (*min..=*max).contains(&value), RANGE)?;
                self.writer.write(value as u64, *bits);
            }
            Op::Fixed { field, bits, min, max, scale, .. } => {
                let Value::Double(value) = value else { return Err(self.wrong(*field, "a double")) };
                self.check(*field, value.is_finite(), RANGE)?;
                let raw = scale.raw(*value);
                self.check(*field, (*min..=*max).contains(&raw), RANGE)?;
                self.writer.write(raw as u64, *bits);
            }
            Op::F32 { field, min, max, .. } => {
                let Value::Float(value) = value else { return Err(self.wrong(*field, "a float")) };
                self.check(*field, (*min..=*max).contains(&f64::from(*value)), RANGE)?;
                self.writer.write(value.to_bits().into(), 32);
            }
            Op::F64 { field, min, max } => {
                let Value::Double(value) = value else { return Err(self.wrong(*field, "a double")) };
                self.check(*field, (*min..=*max).contains(value), RANGE)?;
                self.writer.write(value.to_bits(), 64);
            }
            Op::Bool { field } => {
                let Value::Bool(value) = value else { return Err(self.wrong(*field, "true or false")) };
                self.writer.write(u64::from(*value), 1);
            }
            Op::Enum { field, bits, symbols } => {
                let name = match value {
                    Value::Symbol(name) => &**name,
                    Value::Text(name) => name,
                    _ => return Err(self.wrong(*field, "a symbol")),
                };
                let number = symbols.by_name(name).map(|entry| entry.number);
                self.writer.write(number.ok_or_else(|| self.invalid(*field, "there is no such symbol"))?, *bits);
            }
            Op::Timestamp { field, bits, epoch, resolution } => {
                let Value::Timestamp(value) = value else { return Err(self.wrong(*field, "a timestamp")) };
                let units = resolution.units_per_tick();
                let ticks = to_resolution(*value, units).div_euclid(units).checked_sub(*epoch);
                let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok());
                let ticks = ticks.filter(|ticks| *ticks <= u64::MAX >> (64 - bits));
                self.writer.write(ticks.ok_or_else(|| self.invalid(*field, RANGE))?, *bits);
            }
            Op::Bytes { field, length_bits, max } => {
                let Value::Bytes(bytes) = value else { return Err(self.wrong(*field, "bytes")) };
                self.write_bytes(*field, bytes, *length_bits, *max)?;
            }
            Op::Text { field, length_bits, max } => {
                let Value::Text(text) = value else { return Err(self.wrong(*field, "text")) };
                self.write_bytes(*field, text.as_bytes(), *length_bits, *max)?;
            }
            Op::Reserved { .. }
            | Op::Optional { .. }
            | Op::Group { .. }
            | Op::Array(_)
            | Op::Emit(_)
            | Op::Reordered(_) => unreachable!("{op:?} is no single value"),
        }
        Ok(())
    }

    fn write_bytes(&mut self, field: FieldIndex, bytes: &[u8], length_bits: u32, max: u32) -> Result<(), EncodeError> {
        self.check(field, bytes.len() <= max as usize, "it is too long")?;
        self.writer.write(bytes.len() as u64, length_bits);
        self.writer.write_bytes(bytes);
        Ok(())
    }

    fn check(&self, field: FieldIndex, is_valid: bool, problem: &'static str) -> Result<(), EncodeError> {
        if is_valid { Ok(()) } else { Err(self.invalid(field, problem)) }
    }

    fn path(&self, field: FieldIndex) -> Arc<str> {
        self.paths[usize::from(field)].clone()
    }

    fn wrong(&self, field: FieldIndex, expected: &'static str) -> EncodeError {
        EncodeError::WrongKind { field: self.path(field), expected }
    }

    fn invalid(&self, field: FieldIndex, problem: &'static str) -> EncodeError {
        EncodeError::Invalid { field: self.path(field), problem }
    }
}
