//! Points in time. Inside they are microseconds since the Unix epoch; what a column holds is rounded from that, ties up.

use crate::codec::value::Value;
use crate::routes::convert::number::whole;
use crate::routes::convert::text_of;
use crate::routes::expression::TimeForm;
use crate::routes::reject::{Fault, OUT_OF_RANGE, WRONG_FORM, WRONG_TYPE};
use crate::schema::number::{Decimal, to_resolution};
use crate::schema::time::{Instant, NO_LEAP_SECONDS, nanoseconds};

const DAY_US: i64 = 86_400_000_000;

/// The time that a value is, in microseconds since the Unix epoch.
pub(in crate::routes) fn instant(value: &Value<'_>, form: TimeForm) -> Result<i64, Fault> {
    match (value, form) {
        (Value::Instant(time), _) => Ok(*time),
        (Value::Day(day), _) => Ok(i64::from(*day) * DAY_US),
        (Value::Text(text), TimeForm::Any | TimeForm::Text) => of_text(text),
        (Value::Bytes(_), TimeForm::Any | TimeForm::Text) => of_text(&text_of(value)?),
        (Value::Number(_) | Value::Long(_) | Value::Float(_) | Value::Double(_) | Value::Decimal(..), form) => {
            of_number(value, form)
        }
        (_, TimeForm::Any) => Err(Fault::of(WRONG_TYPE, value, "a time as a number or as RFC 3339 text")),
        (_, TimeForm::Text) => Err(Fault::of(WRONG_TYPE, value, "a time as RFC 3339 text")),
        _ => Err(Fault::of(WRONG_TYPE, value, "a time as a number")),
    }
}

fn of_text(text: &str) -> Result<i64, Fault> {
    let value = || Value::Text(text.into());
    match nanoseconds(text) {
        // Years have four digits: that fits.
        Some(Instant::Nanoseconds(time)) => Ok((time + 500).div_euclid(1000) as i64),
        Some(Instant::LeapSecond) => Err(Fault::new(OUT_OF_RANGE, format!("{text:?}: {NO_LEAP_SECONDS}"))),
        None => Err(Fault::of(WRONG_FORM, &value(), "a time in RFC 3339 with Z or an offset")),
    }
}

fn of_number(value: &Value<'_>, form: TimeForm) -> Result<i64, Fault> {
    // 10^places microseconds.
    let places: u8 = match form {
        TimeForm::Seconds => 6,
        TimeForm::Any | TimeForm::Millis => 3,
        TimeForm::Micros => 0,
        TimeForm::Text => return Err(Fault::of(WRONG_TYPE, value, "a time as RFC 3339 text")),
    };
    let too_large = || Fault::of(OUT_OF_RANGE, value, "a time that 64 bits of microseconds hold");
    match whole(value, "a number") {
        Ok(number) => number
            .checked_mul(10i128.pow(places.into()))
            .and_then(|time| i64::try_from(time).ok())
            .ok_or_else(too_large),
        Err(_) => {
            // With a fraction, as seconds often have.
            let decimal = match value {
                Value::Number(text) => Decimal::parse(text),
                Value::Double(number) if number.is_finite() => Some(Decimal::of_double(*number)),
                Value::Float(number) if number.is_finite() => Some(Decimal::of_double(f64::from(*number))),
                Value::Decimal(unscaled, scale) => Decimal::parse(&format!("{unscaled}e{}", -i64::from(*scale))),
                _ => None,
            };
            let decimal = decimal.ok_or_else(too_large)?;
            decimal.times_power(places).ok_or_else(too_large)
        }
    }
}

/// The milliseconds of a time, rounded.
pub(super) fn millis(time_us: i64) -> i64 {
    to_resolution(time_us, 1000).div_euclid(1000)
}

/// The day that a time begins, if it is midnight.
pub(super) fn day(time_us: i64) -> Option<i32> {
    (time_us.rem_euclid(DAY_US) == 0).then(|| i32::try_from(time_us / DAY_US).ok()).flatten()
}
