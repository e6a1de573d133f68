//! Cells of rows as people and programs read them.

use serde_json::{Map, Value};

use crate::schema::cell_text::CellText;
use crate::schema::row::Cell;

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
        Cell::List(items) => items.iter().map(|item| to_json(item, data)).collect::<Option<Vec<_>>>()?.into(),
        Cell::Map(items) => {
            let entry = |(key, item): &(Cell, Cell)| Some((text(&to_json(key, data)?), to_json(item, data)?));
            Value::Object(items.iter().map(entry).collect::<Option<Map<_, _>>>()?)
        }
        other => Value::from(CellText { cell: other, data }.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;

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
