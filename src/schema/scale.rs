//! From raw integers to physical values and back.
//!
//! Multiplying by 1e-7 turns 123456789 into 12.345678899999999. Scales are decimal fractions in all but odd cases, so
//! the arithmetic is done in integers and divided once: the result is the double closest to the true value, and prints
//! as what a person expects. On the way back the raw step closest to the decimal is found, ties going up; doubles
//! suffice for that unless the value is next to a tie. See [`number`](super::number).

use std::io::Write;

use num_bigint::{BigInt, Sign};

use super::number::Decimal;

/// The largest integer up to which doubles hold every one.
const MAX_EXACT: i128 = 1 << 53;

/// The largest step and offset in units of the denominator: more digits than doubles tell apart are no decimal fraction
/// that a person has written.
const MAX_TERM: f64 = 1e15;

/// Denominators are powers of ten up to this exponent, all of which doubles hold exactly.
const MAX_EXPONENT: u32 = 22;

/// By how much, of the values that go into it, a quotient of doubles may be off: four roundings, and as much again. A
/// divisor below `f64::MIN_POSITIVE` has fewer bits and may be off by more.
const DOUBT: f64 = 8.0 * f64::EPSILON;

/// physical = raw × scale + offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// What one raw step is worth. Above zero.
    pub scale: f64,
    /// The physical value of raw zero.
    pub offset: f64,
    arithmetic: Arithmetic,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Arithmetic {
    /// (raw × step + offset) / denominator, in integers until the division.
    Decimal { step: i64, offset: i64, denominator: f64 },
    /// The same where the numerator may be more than a double holds: (raw × step + offset) / 10^exponent.
    Wide { step: i64, offset: i64, exponent: u32 },
    /// As written, in doubles.
    Float,
}

// === impl Scale ===

impl Scale {
    /// A scale for raw values from `raw_min` to `raw_max`. `scale` and `offset` must be finite, `scale` above zero.
    pub fn new(scale: f64, offset: f64, raw_min: i64, raw_max: i64) -> Scale {
        let arithmetic = (0..=MAX_EXPONENT).find_map(|exponent| {
            let denominator = 10f64.powi(exponent as i32);
            let step = as_integer(scale, denominator).filter(|step| *step > 0)?;
            let offset = as_integer(offset, denominator)?;
            let numerator = |raw: i64| i128::from(raw) * i128::from(step) + i128::from(offset);
            let is_exact = [raw_min, raw_max].iter().all(|raw| numerator(*raw).abs() <= MAX_EXACT);
            Some(match is_exact {
                true => Arithmetic::Decimal { step, offset, denominator },
                false => Arithmetic::Wide { step, offset, exponent },
            })
        });
        // Neither has a short decimal form, so that no person has a decimal result in mind.
        Scale { scale, offset, arithmetic: arithmetic.unwrap_or(Arithmetic::Float) }
    }

    /// The physical value of `raw`, which must lie in the range that the scale was made for.
    #[inline]
    pub fn physical(&self, raw: i64) -> f64 {
        match self.arithmetic {
            Arithmetic::Decimal { step, offset, denominator } => {
                raw.wrapping_mul(step).wrapping_add(offset) as f64 / denominator
            }
            Arithmetic::Wide { step, offset, exponent } => {
                wide(i128::from(raw) * i128::from(step) + i128::from(offset), exponent)
            }
            Arithmetic::Float => raw as f64 * self.scale + self.offset,
        }
    }

    /// The raw value closest to `physical`, the higher one of two; saturates. `physical` has to be finite, and stands for
    /// the shortest decimal that reads back as it.
    #[inline]
    pub fn raw(&self, physical: f64) -> i64 {
        match self.raw_in_doubles(physical) {
            Some(raw) => raw,
            None => self.raw_of(&Decimal::of_double(physical)),
        }
    }

    /// The raw value closest to every decimal that reads as `physical`; `None` if they may have different ones.
    #[inline]
    pub fn raw_in_doubles(&self, physical: f64) -> Option<i64> {
        let steps = (physical - self.offset) / self.scale;
        let floor = floor(steps);
        // How far the next tie is away, in the unit of the value.
        let to_tie = (steps - floor as f64 - 0.5) * self.scale;
        let is_sure = to_tie.abs() > (physical.abs() + self.offset.abs()) * DOUBT && self.scale >= f64::MIN_POSITIVE;
        // Far outside of what an integer holds nothing is sure, so that adding one cannot overflow.
        is_sure.then(|| if to_tie > 0.0 { floor.saturating_add(1) } else { floor })
    }

    /// The raw value closest to a decimal, the higher one of two; saturates.
    #[cold]
    pub fn raw_of(&self, physical: &Decimal) -> i64 {
        let steps = physical.steps_from(&Decimal::of_double(self.offset), &Decimal::of_double(self.scale));
        saturated(&steps)
    }

    /// The smallest raw value whose physical value is at least `min`, looked for next to the closest one.
    pub fn raw_at_least(&self, min: f64) -> i64 {
        let raw = self.raw(min);
        if self.physical(raw) < min { raw.saturating_add(1) } else { raw }
    }

    /// The largest raw value whose physical value is at most `max`, looked for next to the closest one.
    pub fn raw_at_most(&self, max: f64) -> i64 {
        let raw = self.raw(max);
        if self.physical(raw) > max { raw.saturating_sub(1) } else { raw }
    }
}

/// The next integer below; saturates. The standard library's is a call on processors without an instruction for it.
#[inline]
fn floor(value: f64) -> i64 {
    let cut = value as i64;
    cut.saturating_sub(i64::from(cut as f64 > value))
}

fn saturated(value: &BigInt) -> i64 {
    let end = if value.sign() == Sign::Minus { i64::MIN } else { i64::MAX };
    // Only what an integer does not hold fails to become one.
    i64::try_from(value).unwrap_or(end)
}

/// The double next to numerator / 10^exponent. Reading decimal text rounds right whatever its length; none is allocated.
#[cold]
fn wide(numerator: i128, exponent: u32) -> f64 {
    let mut text = [0; 48];
    let mut rest = &mut text[..];
    let written = write!(rest, "{numerator}e-{exponent}");
    let num_left = rest.len();
    let text = text.get(..text.len() - num_left).and_then(|text| std::str::from_utf8(text).ok());
    let value = text.filter(|_| written.is_ok()).and_then(|text| text.parse().ok());
    let Some(value) = value else { panic!("{numerator}e-{exponent} has 44 characters at most and is a number") };
    value
}

/// The integer that, divided by `denominator`, is exactly the double `value`.
fn as_integer(value: f64, denominator: f64) -> Option<i64> {
    let integer = (value * denominator).round();
    let is_exact = integer.abs() <= MAX_TERM && integer / denominator == value;
    is_exact.then_some(integer as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_physical_prints_as_the_decimal_that_is_meant() {
        let scale = Scale::new(1e-7, 0.0, i32::MIN.into(), i32::MAX.into());
        assert_eq!(scale.physical(123_456_789).to_string(), "12.3456789");
        let scale = Scale::new(0.1, -40.0, 0, 4095);
        assert_eq!(scale.physical(1234).to_string(), "83.4");
        let scale = Scale::new(0.3, 0.0, 0, 255);
        assert_eq!(scale.physical(3).to_string(), "0.9");
        let scale = Scale::new(250.0, 1.5, 0, 255);
        assert_eq!(scale.physical(2).to_string(), "501.5");
    }

    #[test]
    fn test_scale_without_decimal_form_is_plain_arithmetic() {
        let scale = Scale::new(std::f64::consts::PI, 1.0, 0, 255);
        assert_eq!(scale.arithmetic, Arithmetic::Float);
        assert_eq!(scale.physical(2), 2.0 * std::f64::consts::PI + 1.0);
    }

    #[test]
    fn test_a_step_with_fewer_bits_than_a_double_is_not_divided_by_in_doubles() {
        // The value is half a step above a raw one; the double of the step is off by more than that after 10^14 of them.
        let scale = Scale::new(7.1119880733241e-310, 9.227465429294243e-309, -(1 << 52), 1 << 52);
        assert_eq!(scale.raw(1.1423437599137615e-295), 160_622_282_846_398);
    }

    proptest! {
        #[test]
        fn test_raw_of_physical_is_the_same_raw(raw in any::<i32>(), exponent in 0u32..8, step in 1u32..500, offset in -1000i32..1000) {
            let unit = 10f64.powi(exponent as i32);
            let scale = Scale::new(f64::from(step) / unit, f64::from(offset) / unit, i32::MIN.into(), i32::MAX.into());
            prop_assert_eq!(scale.raw(scale.physical(raw.into())), i64::from(raw));
        }
    }
}
