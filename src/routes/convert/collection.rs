//! Lists, sets and maps from JSON arrays and objects of single values. An item has the rules of a column of its kind; null is none.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::number::is_json_number;
use super::scalar;
use crate::codec::value::Value;
use crate::routes::reject::{Fault, MALFORMED, NULL_ITEM, OUT_OF_RANGE, WRONG_TYPE};
use crate::schema::row::{Cell, Items, ScalarKind};

/// The most items of a collection.
const MAX_ITEMS: usize = 65_535;

/// The cell of a collection.
pub(super) fn collection(value: &Value<'_>, items: Items, data: &[u8]) -> Result<Cell, Fault> {
    match items {
        Items::List(kind) => list(value, kind, data, "a list"),
        Items::Set(kind) => list(value, kind, data, "a set"),
        Items::Map(keys, values) => map(value, keys, values, data),
    }
}

/// The cell of a list or a set.
pub(super) fn list(value: &Value<'_>, kind: ScalarKind, data: &[u8], needed: &str) -> Result<Cell, Fault> {
    let text = match value {
        Value::Json(text) if text.trim_start().starts_with('[') => text,
        _ => return Err(Fault::of(WRONG_TYPE, value, &format!("an array for {needed}"))),
    };
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(malformed)?;
    check_len(items.len())?;
    let cell = |(index, item): (usize, &&RawValue)| {
        item_cell(item.get(), kind, data).map_err(|fault| fault.at(&format!("item {index}")))
    };
    items.iter().enumerate().map(cell).collect::<Result<_, _>>().map(Cell::List)
}

fn map(value: &Value<'_>, keys: ScalarKind, values: ScalarKind, data: &[u8]) -> Result<Cell, Fault> {
    let text = match value {
        Value::Json(text) if text.trim_start().starts_with('{') => text,
        _ => return Err(Fault::of(WRONG_TYPE, value, "an object for a map")),
    };
    let Members(members) =
        serde_json::Deserializer::from_str(text).deserialize_map(MembersVisitor).map_err(malformed)?;
    check_len(members.len())?;
    let entry = |(name, item): (Cow<'_, str>, &RawValue)| {
        let key = key_cell(&name, keys, data);
        let cells = key.and_then(|key| Ok((key, item_cell(item.get(), values, data)?)));
        cells.map_err(|fault| fault.at(&format!("item {name:?}")))
    };
    members.into_iter().map(entry).collect::<Result<_, _>>().map(Cell::Map)
}

/// Each item takes far more memory as a cell than it has bytes, and databases read no larger collections well.
fn check_len(len: usize) -> Result<(), Fault> {
    if len <= MAX_ITEMS {
        return Ok(());
    }
    Err(Fault::new(OUT_OF_RANGE, format!("{len} items; a collection has at most {MAX_ITEMS}")))
}

/// A name of JSON is always text: for a map by numbers it is the number that it spells.
fn key_cell(name: &str, kind: ScalarKind, data: &[u8]) -> Result<Cell, Fault> {
    let is_number = matches!(
        kind,
        ScalarKind::Int
            | ScalarKind::Long
            | ScalarKind::Unsigned
            | ScalarKind::TinyInt
            | ScalarKind::SmallInt
            | ScalarKind::Float
            | ScalarKind::Double
            | ScalarKind::Varint
            | ScalarKind::Decimal
    );
    match (kind, name) {
        (ScalarKind::Bool, "true") => Ok(Cell::Bool(true)),
        (ScalarKind::Bool, "false") => Ok(Cell::Bool(false)),
        _ if is_number && is_json_number(name) => scalar(&Value::Number(name), kind, data),
        _ => scalar(&Value::Text(Cow::Borrowed(name)), kind, data),
    }
}

fn item_cell(text: &str, kind: ScalarKind, data: &[u8]) -> Result<Cell, Fault> {
    match item(text)? {
        Value::Null => Err(Fault::new(NULL_ITEM, "null is no item of a collection")),
        value => scalar(&value, kind, data),
    }
}

/// The value of a JSON text.
pub(in crate::routes) fn item(text: &str) -> Result<Value<'_>, Fault> {
    Ok(match text.as_bytes().first() {
        Some(b'"') => match text[1..].find(['"', '\\']).filter(|end| text.as_bytes()[1 + end] == b'"') {
            Some(end) => Value::Text(Cow::Borrowed(&text[1..1 + end])),
            None => Value::Text(serde_json::from_str::<String>(text).map_err(malformed)?.into()),
        },
        Some(b'{' | b'[') => Value::Json(Cow::Borrowed(text)),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => Value::Number(text),
    })
}

fn malformed(error: serde_json::Error) -> Fault {
    Fault::new(MALFORMED, format!("not JSON: {error}"))
}

/// The members of an object; of those with one name the last, as most readers of JSON have it.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

struct MembersVisitor;

/// A name as it stands in the text, if it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &RawValue)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
            match places.insert(name.clone(), members.len()) {
                Some(place) => {
                    places.insert(name, place);
                    members[place].1 = value;
                }
                None => members.push((name, value)),
            }
        }
        Ok(Members(members))
    }
}
