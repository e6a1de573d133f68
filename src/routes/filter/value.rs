//! Values of records as values of CEL. Texts are borrowed; only objects and arrays are built.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;

use crate::codec::value::Value;
use crate::routes::functions::Got;
use crate::schema::time as forms;

type Boxed<'v> = Box<dyn Val + 'v>;

/// The value of CEL for a value that is there. Times are milliseconds since the Unix epoch; days, times of day and UUIDs are text.
/// `None` for JSON that cannot be read.
pub(super) fn of(value: Got<'_>) -> Option<Boxed<'_>> {
    let text = |text: String| -> Boxed<'static> { Box::new(CelString::from(text)) };
    let borrowed = match value {
        Cow::Borrowed(Value::Text(text)) => return Some(Box::new(CelString::from(&**text))),
        Cow::Borrowed(&Value::Bytes(bytes)) | Cow::Owned(Value::Bytes(bytes)) => return Some(of_bytes(bytes)),
        Cow::Owned(Value::Text(Cow::Borrowed(text))) => return Some(Box::new(CelString::from(text))),
        other => other,
    };
    Some(match &*borrowed {
        Value::Absent => return None,
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(digits) => of_number(digits),
        Value::Long(number) => Box::new(CelInt::from(*number)),
        Value::Float(number) => Box::new(CelDouble::from(f64::from(*number))),
        Value::Double(number) => Box::new(CelDouble::from(*number)),
        Value::Decimal(unscaled, scale) => of_number(&match scale {
            0 => unscaled.to_string(),
            scale => format!("{unscaled}e{}", -i64::from(*scale)),
        }),
        Value::Text(owned) => text(owned.to_string()),
        Value::Json(json) => of_json(&serde_json::from_str(json).ok()?),
        Value::Instant(time) => Box::new(CelInt::from(time.div_euclid(1000))),
        Value::Day(day) => text(forms::date((*day).into())),
        Value::TimeOfDay(time) => text(forms::clock(*time)),
        Value::Uuid(uuid) => text(uuid::Uuid::from_bytes(*uuid).to_string()),
        Value::Bytes(_) => unreachable!("bytes were taken above"),
    })
}

/// Text if it is text.
pub(super) fn of_bytes(bytes: &[u8]) -> Boxed<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Box::new(CelString::from(text)),
        Err(_) => Box::new(CelBytes::from(bytes)),
    }
}

fn of_number(digits: &str) -> Boxed<'static> {
    if let Ok(number) = digits.parse::<i64>() {
        return Box::new(CelInt::from(number));
    }
    match digits.parse::<u64>() {
        Ok(number) => Box::new(CelUInt::from(number)),
        Err(_) => Box::new(CelDouble::from(digits.parse::<f64>().unwrap_or(f64::NAN))),
    }
}

fn of_json(value: &serde_json::Value) -> Boxed<'static> {
    match value {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(value) => Box::new(CelBool::from(*value)),
        serde_json::Value::Number(number) => of_number(&number.to_string()),
        serde_json::Value::String(text) => Box::new(CelString::from(text.clone())),
        serde_json::Value::Array(items) => {
            Box::new(CelList::from(items.iter().map(of_json).collect::<Vec<Boxed<'static>>>()))
        }
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (CelMapKey::from(name.clone()), of_json(value)));
            Box::new(CelMap::from(members.collect::<HashMap<CelMapKey<'static>, Boxed<'static>>>()))
        }
    }
}
