//! How a number becomes a value: the one definition for JSON, for what devices pack, for layouts and for test vectors.
//!
//! - A number is the decimal that is written. A double stands for the shortest decimal that reads back as that double.
//! - A whole number is taken exactly, however it is written (5, 5.0, 50e-1), or not at all.
//! - A fixed-point number is the raw step next to the decimal; a tie goes to the higher raw step, [`Scale`] has the rule.
//! - A time is rounded to its resolution in the same way, see [`to_resolution`].
//! - A float is the single or double next to the decimal. What is no number and what is infinite is no value.
//! - The range is checked after rounding.
//!
//! Nearly all numbers are decided in doubles. Where a double could decide otherwise than the decimal, and only there,
//! the decimal is looked at, in integers of any size.
//!
//! [`Scale`]: super::scale::Scale

use std::ops::RangeInclusive;

use num_bigint::{BigInt, BigUint, Sign};

/// Decimals with at most so many digits are told apart by doubles: two of them never become the same double.
pub const DOUBLE_DIGITS: usize = 15;

/// Digits that are kept of a number. The numbers that one is compared with have fewer; of what is cut off it only
/// matters whether it is zero.
const MAX_DIGITS: usize = 1200;

/// The first digit of a number is at most so many places before or behind the point: all beyond is out of every range,
/// or next to nothing. Doubles end at 308 and -324.
const MAX_PLACES: i64 = 400;

/// A number exactly as it is written: digits × 10^exponent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    /// ASCII digits, the first and the last of them not 0. None for zero.
    digits: Vec<u8>,
    exponent: i64,
}

/// What a number is where only whole ones are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// This integer.
    Integer(i128),
    /// An integer below all of 128 bits.
    Below,
    /// An integer above all of 128 bits.
    Above,
    /// It has a fraction.
    Fraction,
}

/// The range of a float as declared, `None` for no range, within what `kind` holds: so NaN and the infinities are never
/// in it.
pub fn double_range(range: Option<&RangeInclusive<f64>>) -> (f64, f64) {
    within(range, f64::MAX)
}

/// The same for singles. Bounds are singles too, so that a bound of 0.1 takes the single that is written as 0.1.
pub fn single_range(range: Option<&RangeInclusive<f64>>) -> (f64, f64) {
    let (min, max) = within(range, f32::MAX.into());
    (f64::from(min as f32), f64::from(max as f32))
}

fn within(range: Option<&RangeInclusive<f64>>, most: f64) -> (f64, f64) {
    let (min, max) = range.map_or((-most, most), |range| (*range.start(), *range.end()));
    (min.clamp(-most, most), max.clamp(-most, most))
}

/// Whether the single next to `double` could differ from the one next to the decimal that `double` was read from.
#[inline]
pub fn is_single_in_doubt(double: f64) -> bool {
    // Between two singles: 29 bits are cut off, the first of them set and no other. Singles next to zero have fewer bits.
    const CUT: u64 = (1 << 29) - 1;
    double.to_bits() & CUT == 1 << 28 || (double.abs() < f64::from(f32::MIN_POSITIVE) && double != 0.0)
}

/// Rounds to a multiple of `units`, ties up; saturates.
#[inline]
pub fn to_resolution(value: i64, units: i64) -> i64 {
    if units <= 1 {
        return value;
    }
    value.saturating_add(units / 2).div_euclid(units).saturating_mul(units)
}

// === impl Decimal ===

impl Decimal {
    /// The number of a text as JSON and Rust write numbers: digits, a point, an exponent. `None` for other texts.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let exponent = exponent.saturating_sub(fraction.len() as i64);
        Some(Self::new(is_negative, &digits, exponent))
    }

    /// The shortest decimal that reads back as this double, which has to be finite.
    pub fn of_double(value: f64) -> Self {
        assert!(value.is_finite(), "a decimal of {value}");
        let Some(decimal) = Self::parse(&format!("{value:e}")) else { panic!("{value:e} is not a decimal") };
        decimal
    }

    fn new(is_negative: bool, digits: &[u8], mut exponent: i64) -> Self {
        let start = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(start, |last| last + 1);
        exponent = exponent.saturating_add((digits.len() - end) as i64);
        let mut digits = digits.iter().take(end).skip(start).copied().collect::<Vec<u8>>();
        if digits.is_empty() {
            return Self { is_negative: false, digits, exponent: 0 };
        }
        if digits.len() > MAX_DIGITS {
            exponent = exponent.saturating_add((digits.len() - MAX_DIGITS - 1) as i64);
            digits.truncate(MAX_DIGITS);
            digits.push(b'1');
        }
        // Beyond all that it is compared with: only on which side matters.
        let places = exponent.saturating_add(digits.len() as i64);
        if places.abs() > MAX_PLACES {
            digits = vec![b'1'];
            exponent = places.signum() * MAX_PLACES;
        }
        Self { is_negative, digits, exponent }
    }

    /// The integer that this is, if it is one.
    pub fn whole(&self) -> Whole {
        if self.exponent < 0 {
            return Whole::Fraction;
        }
        let magnitude = self
            .digits
            .iter()
            .copied()
            .chain(std::iter::repeat_n(b'0', self.exponent as usize))
            .try_fold(0i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0')));
        match magnitude {
            Some(magnitude) => Whole::Integer(if self.is_negative { -magnitude } else { magnitude }),
            None if self.is_negative => Whole::Below,
            None => Whole::Above,
        }
    }

    /// ⌊(self − offset) / step + ½⌋, with `step` above zero.
    pub(super) fn steps_from(&self, offset: &Self, step: &Self) -> BigInt {
        let exponent = self.exponent.min(offset.exponent).min(step.exponent);
        let [value, offset, step] = [self, offset, step].map(|decimal| decimal.in_units_of(exponent));
        // With 2(value − offset) + step over 2 step nothing is halved.
        let numerator: BigInt = (value - offset) * 2 + &step;
        let denominator: BigInt = step * 2;
        let quotient: BigInt = &numerator / &denominator;
        let is_cut_up = numerator.sign() == Sign::Minus && &quotient * &denominator != numerator;
        if is_cut_up { quotient - 1 } else { quotient }
    }

    /// ⌊self × 10^`places` + ½⌋, if 64 bits hold it.
    pub fn times_power(&self, places: u8) -> Option<i64> {
        let step = Self { is_negative: false, digits: vec![b'1'], exponent: -i64::from(places) };
        let zero = Self { is_negative: false, digits: Vec::new(), exponent: 0 };
        i64::try_from(self.steps_from(&zero, &step)).ok()
    }

    /// The integer that this is in units of 10^`exponent`, which is at most its own.
    fn in_units_of(&self, exponent: i64) -> BigInt {
        // Zero has no digits.
        let magnitude = BigUint::parse_bytes(&self.digits, 10).unwrap_or_default();
        let shift = u32::try_from(self.exponent - exponent);
        let Ok(shift) = shift else { panic!("10^{exponent} is no unit of a number in 10^{}", self.exponent) };
        let sign = if self.is_negative { Sign::Minus } else { Sign::Plus };
        BigInt::from_biguint(sign, magnitude * BigUint::from(10u8).pow(shift))
    }
}

/// An exponent; saturates, because what is beyond 64 bits is beyond every range.
fn parse_exponent(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let exponent = digits.bytes().fold(0i64, |sum, digit| sum.saturating_mul(10).saturating_add((digit - b'0').into()));
    Some(if is_negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scale::Scale;
    use super::*;

    /// A fraction of integers: arithmetic that shares nothing with the code.
    #[derive(Clone)]
    struct Fraction(BigInt, BigInt);

    impl Fraction {
        /// The value of a decimal text, digit by digit.
        fn of(text: &str) -> Self {
            let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let numerator: BigInt = format!("{whole}{fraction}").parse().unwrap();
            let exponent = exponent.parse::<i32>().unwrap() - fraction.len() as i32;
            let power = BigInt::from(10).pow(exponent.unsigned_abs());
            if exponent < 0 { Self(numerator, power) } else { Self(numerator * power, BigInt::from(1)) }
        }

        fn integer(value: i64) -> Self {
            Self(value.into(), 1.into())
        }

        fn plus(&self, other: &Self) -> Self {
            Self(&self.0 * &other.1 + &other.0 * &self.1, &self.1 * &other.1)
        }

        fn times(&self, other: &Self) -> Self {
            Self(&self.0 * &other.0, &self.1 * &other.1)
        }

        fn is_less(&self, other: &Self) -> bool {
            &self.0 * &other.1 < &other.0 * &self.1
        }
    }

    /// Whether `raw` is the step next to the value: from half a step below, included, to half a step above, excluded.
    fn is_next(raw: i64, value: &Fraction, scale: &str, offset: &str) -> bool {
        let half = Fraction(1.into(), 2.into());
        let minus_half = Fraction((-1).into(), 2.into());
        let at = |steps: Fraction| steps.times(&Fraction::of(scale)).plus(&Fraction::of(offset));
        let (low, high) = (at(Fraction::integer(raw).plus(&minus_half)), at(Fraction::integer(raw).plus(&half)));
        !value.is_less(&low) && value.is_less(&high)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn test_the_raw_step_is_the_one_next_to_the_decimal_half_up(
            step in 1u32..1000, offset in -100_000i64..100_000, exponent in 0usize..9,
            raw in -(1i64 << 40)..1 << 40, digits in 0usize..5, more in 0u32..1_000_000,
        ) {
            // Half a step from a raw one, and at times a little beside it.
            let (scale, offset) = (format!("{step}e-{exponent}"), format!("{offset}e-{exponent}"));
            let tie = BigInt::from(raw) * 2 * i64::from(step) + i64::from(step) + 2 * offset.split('e').next().unwrap().parse::<i64>().unwrap();
            let little = more % 10u32.pow(digits as u32);
            let text = format!("{}e-{}", tie * 5 * 10i64.pow(digits as u32) + little, exponent + 1 + digits);
            let made = Scale::new(scale.parse().unwrap(), offset.parse().unwrap(), -(1 << 52), 1 << 52);
            let found = made.raw_of(&Decimal::parse(&text).unwrap());
            prop_assert!(is_next(found, &Fraction::of(&text), &scale, &offset), "{text} -> {found}");
            // What doubles decide is the same.
            let double: f64 = text.parse().unwrap();
            if let Some(quick) = made.raw_in_doubles(double) {
                prop_assert_eq!(quick, found, "{} in doubles", text);
            }
            let shortest = format!("{double:e}");
            prop_assert!(is_next(made.raw(double), &Fraction::of(&shortest), &scale, &offset), "{double}");
        }

        #[test]
        fn test_any_double_has_the_raw_step_next_to_it(
            scale in any::<f64>().prop_filter("above zero", |scale| scale.is_finite() && *scale > 0.0),
            offset in any::<f64>().prop_filter("finite", |offset| offset.is_finite()),
            steps in -1e15f64..1e15,
        ) {
            let value = steps * scale + offset;
            prop_assume!(value.is_finite());
            let made = Scale::new(scale, offset, -(1 << 52), 1 << 52);
            let raw = made.raw(value);
            if raw.unsigned_abs() < 1 << 62 {
                let texts = [value, scale, offset].map(|double| format!("{double:e}"));
                prop_assert!(is_next(raw, &Fraction::of(&texts[0]), &texts[1], &texts[2]), "{texts:?} -> {raw}");
            }
        }

        #[test]
        fn test_physical_is_the_double_next_to_the_decimal(
            step in 1u32..1000, offset in -100_000i64..100_000, exponent in 0usize..16, raw in -(1i64 << 52)..1 << 52,
        ) {
            let made = Scale::new(
                format!("{step}e-{exponent}").parse().unwrap(), format!("{offset}e-{exponent}").parse().unwrap(),
                -(1 << 52), 1 << 52,
            );
            let exact = BigInt::from(raw) * i64::from(step) + offset;
            let expected: f64 = format!("{exact}e-{exponent}").parse().unwrap();
            prop_assert_eq!(made.physical(raw), expected);
        }

        #[test]
        fn test_whole_numbers_are_whole_however_they_are_written(integer in any::<i64>(), zeros in 0usize..30, point in 0usize..30) {
            let plain = format!("{integer}{}", "0".repeat(zeros));
            let text = format!("{plain}e-{zeros}");
            prop_assert_eq!(Decimal::parse(&text).unwrap().whole(), Whole::Integer(integer.into()));
            let text = format!("{integer}.{}1", "0".repeat(point));
            prop_assert_eq!(Decimal::parse(&text).unwrap().whole(), Whole::Fraction);
        }
    }

    #[test]
    fn test_numbers_beyond_everything_are_neither_long_work_nor_wrong() {
        let digits = "9".repeat(100_000);
        assert_eq!(Decimal::parse(&digits).unwrap().whole(), Whole::Above);
        assert_eq!(Decimal::parse(&format!("-{digits}")).unwrap().whole(), Whole::Below);
        assert_eq!(Decimal::parse("1e999999999999999999999").unwrap().whole(), Whole::Above);
        assert_eq!(Decimal::parse("1e-999999999999999999999").unwrap().whole(), Whole::Fraction);
        assert_eq!(Decimal::parse("-0.000e7").unwrap().whole(), Whole::Integer(0));
        let scale = Scale::new(0.5, 0.0, 0, 255);
        assert_eq!(scale.raw_of(&Decimal::parse(&format!("0.24{digits}")).unwrap()), 0);
        assert_eq!(scale.raw_of(&Decimal::parse(&format!("0.25{}1", "0".repeat(5000))).unwrap()), 1);
        assert_eq!(scale.raw_of(&Decimal::parse("1e400").unwrap()), i64::MAX);
        assert_eq!(scale.raw_of(&Decimal::parse("-1e400").unwrap()), i64::MIN);
        for text in ["", "-", ".", "e5", "1e", "1e+", "1x", "0x1", "inf", "NaN"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn test_ties_go_up_on_both_sides_of_zero() {
        let scale = Scale::new(0.5, -1000.0, 0, 65_535);
        assert_eq!(scale.physical(scale.raw(-0.25)), 0.0);
        assert_eq!(scale.physical(scale.raw(0.25)), 0.5);
        assert_eq!(scale.physical(scale.raw(-0.2500001)), -0.5);
        let times = [(1499, 1000), (1500, 2000), (-1500, -1000), (-1501, -2000), (i64::MAX, 9_223_372_036_854_775_000)];
        for (time, expected) in times {
            assert_eq!(to_resolution(time, 1000), expected, "{time}");
        }
    }

    #[test]
    fn test_floats_have_ranges_without_infinities() {
        assert_eq!(double_range(None), (-f64::MAX, f64::MAX));
        assert_eq!(single_range(Some(&(0.1..=f64::INFINITY))), (f64::from(0.1f32), f32::MAX.into()));
    }
}
