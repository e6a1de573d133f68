//! Numbers for columns of numbers. A number of JSON is the decimal that is written: whole numbers and decimals are taken exactly or
//! not at all, floats are the ones next to it.

use num_bigint::BigInt;

use crate::codec::value::Value;
use crate::routes::reject::{Fault, NOT_WHOLE, OUT_OF_RANGE, WRONG_TYPE};
use crate::schema::number::{Decimal, Whole};
use crate::schema::row::DecimalValue;

/// The most digits of a number for a column that holds any: enough for every use, and little to compute with.
const MAX_DIGITS: usize = 1000;
/// The furthest that the point of such a number may be from its digits.
const MAX_SCALE: i64 = 1000;

/// Whether a text is a number by the grammar of JSON.
pub(in crate::routes) fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let text = text.strip_prefix('-').unwrap_or(text);
    let num_whole = digits(text);
    if num_whole == 0 || (num_whole > 1 && text.starts_with('0')) {
        return false;
    }
    let mut rest = &text[num_whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        match digits(fraction) {
            0 => return false,
            count => rest = &fraction[count..],
        }
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// The whole number that a value is.
pub(in crate::routes) fn whole(value: &Value<'_>, needed: &str) -> Result<i128, Fault> {
    match value {
        Value::Long(number) => Ok((*number).into()),
        Value::Number(text) => match short_integer(text) {
            Some(number) => Ok(number.into()),
            None => whole_of_text(text, value, needed),
        },
        Value::Float(number) => whole_of_double(f64::from(*number), value, needed),
        Value::Double(number) => whole_of_double(*number, value, needed),
        Value::Decimal(unscaled, scale) => whole_of_text(&format!("{unscaled}e{}", -i64::from(*scale)), value, needed),
        _ => Err(Fault::of(WRONG_TYPE, value, needed)),
    }
}

/// Nearly all integers: digits alone, few enough that they fit.
#[inline]
fn short_integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let number = digits.bytes().try_fold(0i64, |sum, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| sum * 10 + i64::from(digit))
    })?;
    Some(if is_negative { -number } else { number })
}

fn whole_of_text(text: &str, value: &Value<'_>, needed: &str) -> Result<i128, Fault> {
    match Decimal::parse(text).map(|decimal| decimal.whole()) {
        Some(Whole::Integer(number)) => Ok(number),
        Some(Whole::Fraction) => Err(Fault::of(NOT_WHOLE, value, needed)),
        Some(Whole::Above | Whole::Below) => Err(Fault::of(OUT_OF_RANGE, value, needed)),
        None => Err(Fault::of(WRONG_TYPE, value, needed)),
    }
}

fn whole_of_double(number: f64, value: &Value<'_>, needed: &str) -> Result<i128, Fault> {
    if !number.is_finite() || number.abs() >= 1e38 {
        return Err(Fault::of(OUT_OF_RANGE, value, needed));
    }
    if number.fract() != 0.0 {
        return Err(Fault::of(NOT_WHOLE, value, needed));
    }
    Ok(number as i128)
}

/// The whole number that a value is, within the range of a type.
pub(super) fn integer<T: TryFrom<i128>>(value: &Value<'_>, needed: &str) -> Result<T, Fault> {
    T::try_from(whole(value, needed)?).map_err(|_| Fault::of(OUT_OF_RANGE, value, needed))
}

/// The double next to a value.
pub(super) fn double(value: &Value<'_>) -> Result<f64, Fault> {
    let number = match value {
        Value::Number(text) => text.parse::<f64>().ok(),
        Value::Decimal(unscaled, scale) => format!("{unscaled}e{}", -i64::from(*scale)).parse().ok(),
        Value::Long(number) => Some(*number as f64),
        // NaN and the infinities are values of these.
        Value::Float(number) => return Ok((*number).into()),
        Value::Double(number) => return Ok(*number),
        _ => None,
    };
    finite(number, value, f64::is_finite, "a number that a double holds")
}

/// The single next to a value.
pub(super) fn single(value: &Value<'_>) -> Result<f32, Fault> {
    let number = match value {
        Value::Number(text) => text.parse::<f32>().ok(),
        Value::Decimal(unscaled, scale) => format!("{unscaled}e{}", -i64::from(*scale)).parse().ok(),
        Value::Long(number) => Some(*number as f32),
        Value::Float(number) => return Ok(*number),
        Value::Double(number) if !number.is_finite() => return Ok(*number as f32),
        Value::Double(number) => Some(*number as f32),
        _ => None,
    };
    finite(number, value, f32::is_finite, "a number that a float holds")
}

fn finite<T: Copy>(number: Option<T>, value: &Value<'_>, is_finite: fn(T) -> bool, needed: &str) -> Result<T, Fault> {
    match number {
        Some(number) if is_finite(number) => Ok(number),
        Some(_) => Err(Fault::of(OUT_OF_RANGE, value, needed)),
        None => Err(Fault::of(WRONG_TYPE, value, needed)),
    }
}

/// The decimal that a value is. Of a text or a number its scale is that which is written: 1.50 has two digits behind the point.
pub(in crate::routes) fn decimal(value: &Value<'_>) -> Result<DecimalValue, Fault> {
    let of_text = |text: &str| match is_json_number(text) {
        true => written(text).ok_or_else(|| too_long(value)),
        false => Err(Fault::of(WRONG_TYPE, value, "a decimal number")),
    };
    let of_float = |text: Option<String>| match text {
        Some(text) => written(&text).ok_or_else(|| too_long(value)),
        None => Err(Fault::of(OUT_OF_RANGE, value, "a decimal number")),
    };
    match value {
        Value::Number(text) => of_text(text),
        Value::Text(text) => of_text(text),
        Value::Long(number) => Ok(DecimalValue { unscaled: (*number).into(), scale: 0 }),
        Value::Decimal(unscaled, scale) => Ok(DecimalValue { unscaled: unscaled.clone(), scale: *scale }),
        Value::Float(number) => of_float(number.is_finite().then(|| format!("{number}"))),
        Value::Double(number) => of_float(number.is_finite().then(|| format!("{number}"))),
        _ => Err(Fault::of(WRONG_TYPE, value, "a decimal number")),
    }
}

/// The integer of any size that a value is.
pub(super) fn varint(value: &Value<'_>) -> Result<BigInt, Fault> {
    const NEEDED: &str = "a whole number";
    if let Value::Long(number) = value {
        return Ok((*number).into());
    }
    if let Value::Number(text) = value
        && let Some(number) = short_integer(text)
    {
        return Ok(number.into());
    }
    let DecimalValue { unscaled, scale } = decimal(value).map_err(|fault| match fault.code {
        WRONG_TYPE => Fault::of(WRONG_TYPE, value, NEEDED),
        _ => fault,
    })?;
    if i64::from(scale).abs() > MAX_SCALE {
        return Err(too_long(value));
    }
    let power = BigInt::from(10).pow(scale.unsigned_abs());
    if scale <= 0 {
        return Ok(unscaled * power);
    }
    let whole = &unscaled / &power;
    if &whole * power == unscaled { Ok(whole) } else { Err(Fault::of(NOT_WHOLE, value, NEEDED)) }
}

fn too_long(value: &Value<'_>) -> Fault {
    let needed =
        format!("a number of at most {MAX_DIGITS} digits, with the point at most {MAX_SCALE} places from them");
    Fault::of(OUT_OF_RANGE, value, &needed)
}

/// The digits and the scale of a number as JSON has them, as they are written; `None` if there are too many.
fn written(text: &str) -> Option<DecimalValue> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let scale = (fraction.len() as i64).checked_sub(exponent).filter(|scale| scale.abs() <= MAX_SCALE)?;
    let unscaled = format!("{whole}{fraction}").parse().ok()?;
    Some(DecimalValue { unscaled, scale: scale as i32 })
}
