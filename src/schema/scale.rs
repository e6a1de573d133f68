//! From raw integers to physical values and back.
//!
//! Multiplying by 1e-7 turns 123456789 into 12.345678899999999. Scales are decimal fractions in all but odd cases, so
//! the arithmetic is done in integers and divided once: the result is the double closest to the true value, and prints
//! as what a person expects.

/// The largest numerator for which dividing, and multiplying back, finds the same integer.
const MAX_NUMERATOR: i128 = 1 << 50;

/// Denominators are powers of ten up to this exponent.
const MAX_EXPONENT: u32 = 15;

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
    /// As written, in doubles.
    Float,
}

// === impl Scale ===

impl Scale {
    /// A scale for raw values from `raw_min` to `raw_max`. `scale` and `offset` must be finite, `scale` above zero.
    pub fn new(scale: f64, offset: f64, raw_min: i64, raw_max: i64) -> Scale {
        let arithmetic =
            (0..=MAX_EXPONENT).find_map(|exponent| decimal(scale, offset, exponent)).filter(|arithmetic| {
                let Arithmetic::Decimal { step, offset, .. } = *arithmetic else { return false };
                [raw_min, raw_max]
                    .iter()
                    .all(|&raw| (i128::from(raw) * i128::from(step) + i128::from(offset)).abs() <= MAX_NUMERATOR)
            });
        Scale { scale, offset, arithmetic: arithmetic.unwrap_or(Arithmetic::Float) }
    }

    /// The physical value of `raw`, which must lie in the range that the scale was made for.
    #[inline]
    pub fn physical(&self, raw: i64) -> f64 {
        match self.arithmetic {
            Arithmetic::Decimal { step, offset, denominator } => {
                raw.wrapping_mul(step).wrapping_add(offset) as f64 / denominator
            }
            Arithmetic::Float => raw as f64 * self.scale + self.offset,
        }
    }

    /// The raw value closest to `physical`; saturates, and is zero for what is not a number.
    pub fn raw(&self, physical: f64) -> i64 {
        match self.arithmetic {
            Arithmetic::Decimal { step, offset, denominator } => {
                let numerator = (physical * denominator).round() - offset as f64;
                (numerator / step as f64).round() as i64
            }
            Arithmetic::Float => ((physical - self.offset) / self.scale).round() as i64,
        }
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

fn decimal(scale: f64, offset: f64, exponent: u32) -> Option<Arithmetic> {
    let denominator = 10f64.powi(exponent as i32);
    let step = as_integer(scale, denominator)?;
    let offset = as_integer(offset, denominator)?;
    (step > 0).then_some(Arithmetic::Decimal { step, offset, denominator })
}

/// The integer that, divided by `denominator`, is exactly the double `value`.
fn as_integer(value: f64, denominator: f64) -> Option<i64> {
    let integer = (value * denominator).round();
    let is_exact = integer.abs() <= MAX_NUMERATOR as f64 && integer / denominator == value;
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

    proptest! {
        #[test]
        fn test_raw_of_physical_is_the_same_raw(raw in any::<i32>(), exponent in 0u32..8, step in 1u32..500, offset in -1000i32..1000) {
            let unit = 10f64.powi(exponent as i32);
            let scale = Scale::new(f64::from(step) / unit, f64::from(offset) / unit, i32::MIN.into(), i32::MAX.into());
            prop_assert_eq!(scale.raw(scale.physical(raw.into())), i64::from(raw));
        }
    }
}
