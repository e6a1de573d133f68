//! From a value of a record to what a column holds.
//!
//! Nothing is guessed: a text is no number, a number is no text, and what does not fit exactly is refused. Texts are taken where a
//! kind has a standard form of text. docs/routes.md has the table of it.

mod collection;
pub(super) mod number;
#[cfg(test)]
mod tests;
pub(super) mod text;
pub(super) mod time;

use std::borrow::Cow;

use super::expression::TimeForm;
use super::reject::{Fault, NOT_A_DAY, NOT_ASCII, NOT_UTF8, OUT_OF_RANGE, WRONG_FORM, WRONG_TYPE};
use crate::codec::value::Value;
use crate::schema::row::{Cell, ColumnKind, ScalarKind, Span};
use crate::schema::time as forms;

/// The cell of a value, which is neither absent nor null, for a column. Text and bytes that stand in `data` are pointed to.
///
/// # Errors
/// If the column does not take the value.
pub(super) fn cell(value: &Value<'_>, kind: ColumnKind, data: &[u8]) -> Result<Cell, Fault> {
    match kind {
        ColumnKind::Scalar(kind) => scalar(value, kind, data),
        ColumnKind::List(kind) => collection::list(value, kind, data, "a list"),
        ColumnKind::Collection(collection) => collection::collection(value, collection.items, data),
        ColumnKind::Json => match value {
            Value::Json(text) => Ok(Cell::Json(text.clone().into_owned())),
            _ => Err(Fault::of(WRONG_TYPE, value, "JSON; write json() of it")),
        },
    }
}

/// The cell of a single value.
pub(super) fn scalar(value: &Value<'_>, kind: ScalarKind, data: &[u8]) -> Result<Cell, Fault> {
    match kind {
        ScalarKind::Text => match value {
            Value::Text(text) => Ok(text_cell(text, data)),
            Value::Bytes(_) => Ok(text_cell(&text_of(value)?, data)),
            Value::Json(_) => Err(Fault::of(WRONG_TYPE, value, "text; write json() to keep it as JSON")),
            _ => Err(Fault::of(WRONG_TYPE, value, "text")),
        },
        ScalarKind::Long => number::integer(value, "a whole number from -2^63 to 2^63 - 1").map(Cell::Long),
        ScalarKind::Int => number::integer(value, "a whole number from -2147483648 to 2147483647").map(Cell::Int),
        ScalarKind::SmallInt => {
            number::integer::<i16>(value, "a whole number from -32768 to 32767").map(|number| Cell::Int(number.into()))
        }
        ScalarKind::TinyInt => {
            number::integer::<i8>(value, "a whole number from -128 to 127").map(|number| Cell::Int(number.into()))
        }
        ScalarKind::Unsigned => number::integer(value, "a whole number from 0 to 2^64 - 1").map(Cell::Unsigned),
        ScalarKind::Varint => number::varint(&*decoded(value)?).map(|number| Cell::Varint(Box::new(number))),
        ScalarKind::Decimal => number::decimal(&*decoded(value)?).map(|number| Cell::Decimal(Box::new(number))),
        ScalarKind::Float => number::single(value).map(Cell::Float),
        ScalarKind::Double => number::double(value).map(Cell::Double),
        ScalarKind::Bool => match value {
            Value::Bool(value) => Ok(Cell::Bool(*value)),
            _ => Err(Fault::of(WRONG_TYPE, value, "true or false")),
        },
        ScalarKind::Timestamp => timestamp(value),
        ScalarKind::Ascii => {
            let text = text_of(value)?;
            match text.is_ascii() {
                true => Ok(text_cell(&text, data)),
                false => Err(Fault::of(NOT_ASCII, value, "ASCII text")),
            }
        }
        ScalarKind::Bytes => match value {
            Value::Bytes(bytes) => Ok(bytes_cell(bytes, data)),
            _ => Err(Fault::of(WRONG_TYPE, value, "bytes")),
        },
        ScalarKind::Uuid => uuid(value, "a UUID").map(Cell::Uuid),
        ScalarKind::TimeUuid => time_uuid(value).map(Cell::Uuid),
        ScalarKind::Inet => of_text(value, "an address of IPv4 or IPv6", |text| text.parse().ok()).map(Cell::Inet),
        ScalarKind::Date => match value {
            Value::Day(day) => Ok(Cell::Date(*day)),
            Value::Instant(time) => match time::day(*time) {
                Some(day) => Ok(Cell::Date(day)),
                None => Err(Fault::new(NOT_A_DAY, "a time within a day is not a day; write bucket('day', …)")),
            },
            _ => of_text(value, "a day such as 2026-11-30", forms::day).map(Cell::Date),
        },
        ScalarKind::Time => match value {
            Value::TimeOfDay(time) if (0..86_400_000_000).contains(time) => Ok(Cell::Time(time * 1000)),
            Value::TimeOfDay(_) => Err(Fault::of(OUT_OF_RANGE, value, "within a day")),
            _ => of_text(value, "a time of day such as 23:59:59.5", forms::time_of_day).map(Cell::Time),
        },
        ScalarKind::Duration => {
            let form = "a duration such as P1DT2H or 1d2h";
            let (months, days, nanoseconds) = of_text(value, form, text::duration)?;
            Ok(Cell::Duration { months, days, nanoseconds })
        }
    }
}

fn timestamp(value: &Value<'_>) -> Result<Cell, Fault> {
    let millis = match value {
        // Milliseconds as they are: that has a wider range than microseconds.
        Value::Number(_) | Value::Long(_) => number::integer(value, "a whole number of milliseconds")?,
        Value::Float(_) | Value::Double(_) | Value::Decimal(..) => {
            number::integer(value, "a whole number of milliseconds")?
        }
        _ => time::millis(time::instant(value, TimeForm::Any)?),
    };
    Ok(Cell::Timestamp(millis))
}

/// The UUID that a value is.
pub(super) fn uuid(value: &Value<'_>, needed: &str) -> Result<[u8; 16], Fault> {
    match value {
        Value::Uuid(uuid) => Ok(*uuid),
        Value::Bytes(bytes) => match <[u8; 16]>::try_from(*bytes) {
            Ok(uuid) => Ok(uuid),
            Err(_) => of_text(value, needed, text::uuid),
        },
        _ => of_text(value, needed, text::uuid),
    }
}

/// The UUID of version 1 that a value is.
pub(super) fn time_uuid(value: &Value<'_>) -> Result<[u8; 16], Fault> {
    const NEEDED: &str = "a UUID of version 1";
    let uuid = uuid(value, NEEDED)?;
    if text::is_time_uuid(&uuid) { Ok(uuid) } else { Err(Fault::of(WRONG_FORM, value, NEEDED)) }
}

/// The text that a value is: text, or bytes of UTF-8.
pub(super) fn text_of<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, Fault> {
    match value {
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => Err(Fault::of(NOT_UTF8, value, "UTF-8 text")),
        },
        _ => Err(Fault::of(WRONG_TYPE, value, "text")),
    }
}

/// Bytes as text, all else as it is.
fn decoded<'v>(value: &'v Value<'_>) -> Result<Cow<'v, Value<'v>>, Fault> {
    match value {
        Value::Bytes(_) => Ok(Cow::Owned(Value::Text(text_of(value)?))),
        _ => Ok(Cow::Borrowed(value)),
    }
}

fn of_text<T>(value: &Value<'_>, needed: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Fault> {
    let text = match value {
        Value::Text(_) | Value::Bytes(_) => text_of(value)?,
        _ => return Err(Fault::of(WRONG_TYPE, value, needed)),
    };
    parse(&text).ok_or_else(|| Fault::of(WRONG_FORM, &Value::Text(Cow::Borrowed(&text)), needed))
}

/// A cell of text: a part of `data`, if it lies there.
pub(super) fn text_cell(text: &str, data: &[u8]) -> Cell {
    match span_in(text.as_bytes(), data) {
        Some(span) => Cell::Text(span),
        None => Cell::OwnText(text.into()),
    }
}

fn bytes_cell(bytes: &[u8], data: &[u8]) -> Cell {
    match span_in(bytes, data) {
        Some(span) => Cell::Bytes(span),
        None => Cell::OwnBytes(bytes.into()),
    }
}

/// Where a part lies in the buffer, by its address. Other memory never has an address within it.
#[inline]
fn span_in(part: &[u8], data: &[u8]) -> Option<Span> {
    if part.is_empty() {
        return Some(Span { start: 0, end: 0 });
    }
    let start = part.as_ptr().addr().checked_sub(data.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|end| *end <= data.len())?;
    Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
}

/// The value of a JSON text, for a test's reader of JSON.
#[cfg(test)]
fn testing_item(text: &str) -> Value<'_> {
    collection::item(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}
