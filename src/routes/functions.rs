//! Evaluates expressions on a record.

use std::borrow::Cow;

use num_bigint::BigInt;

use super::compile::RecordView;
use super::convert::number::is_json_number;
use super::convert::{self, number, text_of};
use super::expression::{Function, KafkaField, TimeForm};
use super::reject::{Fault, NOT_UTF8, OUT_OF_RANGE, WRONG_FORM, WRONG_TYPE};
use crate::codec::value::Value;
use crate::schema::Bucket;
use crate::schema::row::{Cell, Span};
use crate::schema::time as forms;

/// An expression, ready for records of one source.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// The value of this number among those that were extracted.
    Slot(usize),
    /// The cell of this number of a decoded row.
    Cell(usize),
    /// The record's key.
    Key,
    /// The last header of this name.
    Header(Box<str>),
    /// What Kafka says of the record.
    Kafka(KafkaField),
    /// The same for all records.
    Constant(Value<'static>),
    /// A function of others.
    Call(Function, Vec<Node>),
}

/// What expressions are evaluated on.
#[derive(Clone, Copy)]
pub(super) struct Input<'v> {
    /// The record.
    pub record: &'v RecordView<'v>,
    /// The values at the paths of the routes; empty for a record without a value, and for rows.
    pub values: &'v [Value<'v>],
    /// The cells of a decoded row of a message type; empty for records of others.
    pub cells: &'v [Cell],
}

/// A value: of the record, or made by a function.
pub(super) type Got<'v> = Cow<'v, Value<'v>>;

static ABSENT: Value<'static> = Value::Absent;

// === impl Node ===

impl Node {
    /// The value of the expression.
    pub fn value<'v>(&'v self, input: &Input<'v>) -> Result<Got<'v>, Fault> {
        let record = input.record;
        Ok(match self {
            Self::Slot(slot) => Cow::Borrowed(input.values.get(*slot).unwrap_or(&ABSENT)),
            Self::Cell(index) => Cow::Owned(of_cell(&input.cells[*index], record.data)?),
            Self::Key => Cow::Owned(record.key.map_or(Value::Absent, |key| Value::Bytes(key.of(record.data)))),
            Self::Header(name) => Cow::Owned(record.headers.last(name.as_bytes()).map_or(Value::Absent, Value::Bytes)),
            Self::Kafka(field) => Cow::Owned(of_kafka(*field, record)?),
            Self::Constant(value) => Cow::Borrowed(value),
            Self::Call(function, arguments) => return call(*function, arguments, input),
        })
    }
}

fn of_kafka<'v>(field: KafkaField, record: &'v RecordView<'v>) -> Result<Value<'v>, Fault> {
    Ok(match field {
        KafkaField::Timestamp => match record.timestamp_ms {
            Some(time) => Value::Instant(micros(time)?),
            None => Value::Absent,
        },
        KafkaField::Topic => Value::Text(Cow::Borrowed(record.topic)),
        KafkaField::Partition => Value::Long(record.partition.into()),
        // Kafka's offsets have 63 bits.
        KafkaField::Offset => Value::Long(record.offset as i64),
    })
}

/// Milliseconds as microseconds.
pub(super) fn micros(time_ms: i64) -> Result<i64, Fault> {
    let too_large = || Fault::new(OUT_OF_RANGE, format!("the time {time_ms} ms is beyond 64 bits of microseconds"));
    time_ms.checked_mul(1000).ok_or_else(too_large)
}

/// The value of a cell of a message type. A field that a message does not have is absent.
fn of_cell<'v>(cell: &'v Cell, data: &'v [u8]) -> Result<Value<'v>, Fault> {
    let text = |span: &Span| Value::Text(Cow::Borrowed(span.text_of(data)));
    Ok(match cell {
        // What a message leaves out is null in its own table, too.
        Cell::Null | Cell::Clear => Value::Null,
        Cell::Bool(value) => Value::Bool(*value),
        Cell::Int(number) => Value::Long((*number).into()),
        Cell::Long(number) => Value::Long(*number),
        Cell::Unsigned(number) => match i64::try_from(*number) {
            Ok(number) => Value::Long(number),
            Err(_) => Value::Decimal((*number).into(), 0),
        },
        Cell::Float(number) => Value::Float(*number),
        Cell::Double(number) => Value::Double(*number),
        Cell::Text(span) => text(span),
        Cell::Symbol(symbol) => Value::Text(Cow::Borrowed(symbol)),
        Cell::OwnText(text) => Value::Text(Cow::Borrowed(text)),
        Cell::Bytes(span) => Value::Bytes(span.of(data)),
        Cell::OwnBytes(bytes) => Value::Bytes(bytes),
        Cell::Timestamp(time) => Value::Instant(micros(*time)?),
        Cell::Json(json) => Value::Json(Cow::Borrowed(json)),
        Cell::List(items) => {
            let items = items.iter().map(|item| of_cell(item, data).and_then(|item| json(&item)));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            Value::Json(Cow::Owned(format!("[{}]", items.join(","))))
        }
        Cell::Uuid(uuid) => Value::Uuid(*uuid),
        Cell::Date(day) => Value::Day(*day),
        Cell::Time(nanoseconds) => Value::TimeOfDay(nanoseconds / 1000),
        Cell::Varint(number) => Value::Decimal(BigInt::clone(number), 0),
        Cell::Decimal(decimal) => Value::Decimal(decimal.unscaled.clone(), decimal.scale),
        Cell::Inet(_) | Cell::Duration { .. } | Cell::Map(_) => unreachable!("no message type has a field of {cell:?}"),
    })
}

fn call<'v>(function: Function, arguments: &'v [Node], input: &Input<'v>) -> Result<Got<'v>, Fault> {
    if function == Function::Concat {
        return concat(arguments, input).map(Cow::Owned);
    }
    let [argument] = arguments else { unreachable!("{} has one expression", function.name()) };
    let value = argument.value(input)?;
    if matches!(*value, Value::Absent | Value::Null) {
        return Ok(value);
    }
    let made = match function {
        Function::Json => as_json(value),
        Function::Timestamp(form) => convert::time::instant(&value, form).map(Value::Instant),
        Function::Uuid => convert::uuid(&value, "a UUID").map(Value::Uuid),
        Function::TimeUuid => convert::time_uuid(&value).map(Value::Uuid),
        Function::Number => as_number(value),
        Function::Bucket(bucket) => convert::time::instant(&value, TimeForm::Any).and_then(|time| start(bucket, time)),
        Function::Lower => into_text(value).map(|text| Value::Text(lower(text))),
        Function::Concat => unreachable!("it has been called above"),
    };
    made.map(Cow::Owned).map_err(|fault| fault.at(&format!("{}()", function.name())))
}

fn start(bucket: Bucket, time_us: i64) -> Result<Value<'static>, Fault> {
    let len = match bucket {
        Bucket::Hour => 3_600_000_000,
        Bucket::Day => 86_400_000_000,
    };
    let start = time_us.div_euclid(len).checked_mul(len);
    start.map(Value::Instant).ok_or_else(|| Fault::new(OUT_OF_RANGE, "the time is at the end of what 64 bits hold"))
}

/// Texts as they are, numbers as they are written.
fn concat<'v>(arguments: &'v [Node], input: &Input<'v>) -> Result<Value<'v>, Fault> {
    let mut joined = String::new();
    for argument in arguments {
        let value = argument.value(input)?;
        match &*value {
            Value::Absent => return Ok(Value::Absent),
            Value::Null => return Ok(Value::Null),
            Value::Text(_) | Value::Bytes(_) => joined.push_str(&text_of(&value)?),
            Value::Json(_) => {
                return Err(Fault::of(WRONG_TYPE, &value, "text; write json() to keep it as JSON").at("concat()"));
            }
            Value::Uuid(uuid) => joined.push_str(&uuid::Uuid::from_bytes(*uuid).to_string()),
            Value::Instant(time) => joined.push_str(&forms::rfc3339(*time)),
            Value::Day(day) => joined.push_str(&forms::date((*day).into())),
            Value::TimeOfDay(time) => joined.push_str(&forms::clock(*time)),
            other => joined.push_str(&json(other)?),
        }
    }
    Ok(Value::Text(Cow::Owned(joined)))
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        true => Cow::Owned(text.to_lowercase()),
        false => text,
    }
}

fn into_text(value: Got<'_>) -> Result<Cow<'_, str>, Fault> {
    match value {
        Cow::Borrowed(value) => text_of(value),
        Cow::Owned(Value::Text(text)) => Ok(text),
        Cow::Owned(Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => Err(Fault::of(NOT_UTF8, &Value::Bytes(bytes), "UTF-8 text")),
        },
        Cow::Owned(value) => Err(Fault::of(WRONG_TYPE, &value, "text")),
    }
}

fn as_number(value: Got<'_>) -> Result<Value<'_>, Fault> {
    match &*value {
        Value::Text(_) | Value::Bytes(_) => {}
        Value::Number(_) | Value::Long(_) | Value::Float(_) | Value::Double(_) | Value::Decimal(..) => {
            return Ok(value.into_owned());
        }
        other => return Err(Fault::of(WRONG_TYPE, other, "a text or a number")),
    }
    let text = into_text(value)?;
    if !is_json_number(&text) {
        return Err(Fault::of(WRONG_FORM, &Value::Text(text), "a number"));
    }
    match text {
        Cow::Borrowed(text) => Ok(Value::Number(text)),
        Cow::Owned(text) => {
            let decimal = number::decimal(&Value::Number(&text))?;
            Ok(Value::Decimal(decimal.unscaled, decimal.scale))
        }
    }
}

/// JSON text: a part of the record as it stands there.
fn as_json(value: Got<'_>) -> Result<Value<'_>, Fault> {
    match value {
        Cow::Borrowed(Value::Json(text)) => Ok(Value::Text(Cow::Borrowed(text))),
        Cow::Owned(Value::Json(text)) => Ok(Value::Text(text)),
        Cow::Borrowed(&Value::Number(text)) | Cow::Owned(Value::Number(text)) => Ok(Value::Text(Cow::Borrowed(text))),
        value => json(&value).map(|text| Value::Text(Cow::Owned(text))),
    }
}

fn json(value: &Value<'_>) -> Result<String, Fault> {
    let finite = |is_finite: bool, text: String| match is_finite {
        true => Ok(text),
        false => Err(Fault::of(OUT_OF_RANGE, value, "a number that JSON has")),
    };
    let quoted = |text: String| Ok(format!("\"{text}\""));
    match value {
        Value::Absent | Value::Null => Ok("null".to_owned()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(text) => Ok((*text).to_owned()),
        Value::Long(number) => Ok(number.to_string()),
        Value::Float(number) => finite(number.is_finite(), number.to_string()),
        Value::Double(number) => finite(number.is_finite(), number.to_string()),
        Value::Decimal(unscaled, 0) => Ok(unscaled.to_string()),
        Value::Decimal(unscaled, scale) => Ok(format!("{unscaled}e{}", -i64::from(*scale))),
        Value::Text(text) => Ok(serde_json::Value::from(&**text).to_string()),
        Value::Json(text) => Ok(text.clone().into_owned()),
        Value::Bytes(_) => Err(Fault::of(WRONG_TYPE, value, "a value that JSON has")),
        Value::Instant(time) => quoted(forms::rfc3339(*time)),
        Value::Day(day) => quoted(forms::date((*day).into())),
        Value::TimeOfDay(time) => quoted(forms::clock(*time)),
        Value::Uuid(uuid) => quoted(uuid::Uuid::from_bytes(*uuid).to_string()),
    }
}
