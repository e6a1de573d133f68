//! Cells of rows as people and programs read them.

use serde_json::{Map, Value};

use crate::schema::row::Cell;

const MS_PER_DAY: i64 = 86_400_000;

/// A cell as JSON; `None` if the column stays as it is. Numbers that JSON programs round, and what JSON has no form for, are
/// texts in the form of CQL. `data` is what spans point into.
pub(super) fn to_json(cell: &Cell, data: &[u8]) -> Option<Value> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Clear => Value::Null,
        Cell::Bool(value) => Value::from(*value),
        Cell::Int(value) => Value::from(*value),
        Cell::Long(value) => Value::from(*value),
        Cell::Unsigned(value) => Value::from(*value),
        Cell::Float(value) => float(f64::from(*value), value.to_string()),
        Cell::Double(value) => float(*value, value.to_string()),
        Cell::Text(span) => Value::from(span.text_of(data)),
        Cell::Symbol(text) => Value::from(&**text),
        Cell::OwnText(text) => Value::from(&**text),
        Cell::Json(text) => Value::from(text.as_str()),
        Cell::Bytes(span) => Value::from(blob(span.of(data))),
        Cell::OwnBytes(bytes) => Value::from(blob(bytes)),
        Cell::Timestamp(at_ms) => Value::from(timestamp(*at_ms)),
        Cell::Varint(value) => Value::from(value.to_string()),
        Cell::Decimal(value) => Value::from(match value.scale {
            0 => value.unscaled.to_string(),
            scale => format!("{}E{}", value.unscaled, -i64::from(scale)),
        }),
        Cell::Uuid(bytes) => Value::from(uuid::Uuid::from_bytes(*bytes).to_string()),
        Cell::Inet(address) => Value::from(address.to_string()),
        Cell::Date(days) => Value::from(date(i64::from(*days))),
        Cell::Time(nanoseconds) => Value::from(time(*nanoseconds)),
        Cell::Duration { months, days, nanoseconds } => Value::from(format!("{months}mo{days}d{nanoseconds}ns")),
        Cell::List(items) => items.iter().map(|item| to_json(item, data)).collect::<Option<Vec<_>>>()?.into(),
        Cell::Map(items) => {
            let entry = |(key, item): &(Cell, Cell)| Some((text(&to_json(key, data)?), to_json(item, data)?));
            Value::Object(items.iter().map(entry).collect::<Option<Map<_, _>>>()?)
        }
    })
}

/// A cell for a table.
pub(super) fn to_text(cell: &Cell, data: &[u8]) -> String {
    to_json(cell, data).map_or_else(|| "(unset)".to_owned(), |value| text(&value))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What JSON has no number for is text.
fn float(value: f64, text: String) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| Value::from(text), Value::Number)
}

fn blob(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}

fn timestamp(at_ms: i64) -> String {
    let ms = at_ms.rem_euclid(MS_PER_DAY);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", date(at_ms.div_euclid(MS_PER_DAY)))
}

fn time(nanoseconds: i64) -> String {
    let (seconds, nanoseconds) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    format!("{:02}:{:02}:{:02}.{nanoseconds:09}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Days since 1970-01-01 in the Gregorian calendar, also before it began.
fn date(days: i64) -> String {
    // Years from March on, so that the leap day is the last; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_days_are_those_of_the_calendar() {
        let days = [0, -1, 59, 60, 11_016, 11_017, 19_782, 20_787, -719_528, 2_932_896];
        let dates = [
            "1970-01-01",
            "1969-12-31",
            "1970-03-01",
            "1970-03-02",
            "2000-02-29",
            "2000-03-01",
            "2024-02-29",
            "2026-11-30",
            "0000-01-01",
            "9999-12-31",
        ];
        assert!(days.into_iter().map(date).eq(dates.into_iter().map(str::to_owned)));
    }

    #[test]
    fn test_cells_are_shown_as_the_database_has_them() {
        let shown = |cell: Cell| to_text(&cell, b"abc");
        assert_eq!(shown(Cell::Null), "(unset)");
        assert_eq!(shown(Cell::Clear), "null");
        assert_eq!(shown(Cell::Timestamp(-1)), "1969-12-31T23:59:59.999Z");
        assert_eq!(shown(Cell::Time(86_399_000_000_001)), "23:59:59.000000001");
        assert_eq!(shown(Cell::OwnBytes(Box::new([0, 255]))), "0x00ff");
        assert_eq!(shown(Cell::Double(f64::NAN)), "NaN");
        assert_eq!(shown(Cell::Long(i64::MAX)), "9223372036854775807");
        assert_eq!(shown(Cell::List(vec![Cell::Int(1), Cell::Int(2)])), "[1,2]");
        let entry = (Cell::OwnText("a".into()), Cell::Int(1));
        assert_eq!(shown(Cell::Map(vec![entry])), "{\"a\":1}");
        assert_eq!(shown(Cell::Uuid([0x11; 16])), "11111111-1111-1111-1111-111111111111");
    }
}
