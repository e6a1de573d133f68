//! Cells as text: for stores that have no type of their own for a kind, and for people.
//!
//! Each kind is written as CQL and its tools write it: numbers of any size by their digits, days as `2026-11-30`, times of
//! day as `13:05:00.000000000`, durations as `1mo2d3h`, UUIDs and addresses in their usual form. Collections are JSON.

use std::fmt;

use num_bigint::{BigInt, Sign};

use super::row::{Cell, DecimalValue};
use super::time::date;

const SECOND_NS: i64 = 1_000_000_000;

/// A cell with the data that its spans point into; shown as its text. No value is empty text, null is `null`.
#[derive(Debug, Clone, Copy)]
pub struct CellText<'a> {
    /// The value.
    pub cell: &'a Cell,
    /// The group's data.
    pub data: &'a [u8],
}

/// Bytes in lower-case hexadecimal.
struct Hex<'a>(&'a [u8]);

// === impl CellText ===

impl fmt::Display for CellText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cell {
            Cell::Null => Ok(()),
            Cell::Clear => f.write_str("null"),
            Cell::Bool(value) => write!(f, "{value}"),
            Cell::Int(value) => write!(f, "{value}"),
            Cell::Long(value) => write!(f, "{value}"),
            Cell::Unsigned(value) => write!(f, "{value}"),
            Cell::Float(value) => write!(f, "{value:?}"),
            Cell::Double(value) => write!(f, "{value:?}"),
            Cell::Text(span) => f.write_str(span.text_of(self.data)),
            Cell::Symbol(symbol) => f.write_str(symbol),
            Cell::OwnText(text) => f.write_str(text),
            Cell::Json(text) => f.write_str(text),
            Cell::Bytes(span) => write!(f, "0x{}", Hex(span.of(self.data))),
            Cell::OwnBytes(bytes) => write!(f, "0x{}", Hex(bytes)),
            Cell::Timestamp(time_ms) => {
                let (day, ms) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
                write!(f, "{}T", date(day))?;
                write_clock(f, ms / 1000)?;
                write!(f, ".{:03}Z", ms % 1000)
            }
            Cell::Varint(value) => write!(f, "{value}"),
            Cell::Decimal(value) => write_decimal(f, value),
            Cell::Uuid(bytes) => write_uuid(f, bytes),
            Cell::Inet(address) => write!(f, "{address}"),
            Cell::Date(day) => f.write_str(&date(i64::from(*day))),
            Cell::Time(time_ns) => {
                write_clock(f, time_ns / SECOND_NS)?;
                write!(f, ".{:09}", time_ns % SECOND_NS)
            }
            Cell::Duration { months, days, nanoseconds } => write_duration(f, *months, *days, *nanoseconds),
            Cell::List(_) | Cell::Map(_) => write!(f, "{}", json_of(self.cell, self.data)),
        }
    }
}

/// A cell as JSON. Bytes become hexadecimal text, floats that JSON cannot hold become null, a map an object with its keys as
/// text; what JSON has no kind for becomes its text, numbers of any size among them.
pub fn json_of(cell: &Cell, data: &[u8]) -> serde_json::Value {
    match cell {
        Cell::Null | Cell::Clear => serde_json::Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Int(value) => (*value).into(),
        Cell::Long(value) | Cell::Timestamp(value) => (*value).into(),
        Cell::Unsigned(value) => (*value).into(),
        Cell::Float(value) => (*value).into(),
        Cell::Double(value) => (*value).into(),
        Cell::Bytes(span) => hex(span.of(data)).into(),
        Cell::OwnBytes(bytes) => hex(bytes).into(),
        Cell::List(items) => items.iter().map(|item| json_of(item, data)).collect(),
        Cell::Map(pairs) => {
            let pair = |(key, value): &(Cell, Cell)| (key_text(key, data), json_of(value, data));
            serde_json::Value::Object(pairs.iter().map(pair).collect())
        }
        Cell::Text(_)
        | Cell::Symbol(_)
        | Cell::OwnText(_)
        | Cell::Json(_)
        | Cell::Varint(_)
        | Cell::Decimal(_)
        | Cell::Uuid(_)
        | Cell::Inet(_)
        | Cell::Date(_)
        | Cell::Time(_)
        | Cell::Duration { .. } => CellText { cell, data }.to_string().into(),
    }
}

/// The key of a map as the name of a member: as the value would be, but as text.
fn key_text(cell: &Cell, data: &[u8]) -> String {
    match json_of(cell, data) {
        serde_json::Value::String(text) => text,
        // Floats that JSON cannot hold are told apart as keys.
        serde_json::Value::Null => CellText { cell, data }.to_string(),
        other => other.to_string(),
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

/// As Java's BigDecimal has it, and so the tools of Cassandra: `12.50`, `1E+3`, `1.2E-10`.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: &DecimalValue) -> fmt::Result {
    let DecimalValue { unscaled, scale } = value;
    if unscaled.sign() == Sign::Minus {
        f.write_str("-")?;
    }
    let digits = BigInt::from(unscaled.magnitude().clone()).to_string();
    // Of the first digit.
    let exponent = digits.len() as i64 - 1 - i64::from(*scale);
    if *scale >= 0 && exponent >= -6 {
        let num_fraction = *scale as usize;
        let padded = format!("{digits:0>width$}", width = num_fraction + 1);
        let (whole, fraction) = padded.split_at(padded.len() - num_fraction);
        f.write_str(whole)?;
        return if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") };
    }
    let (first, rest) = digits.split_at(1);
    f.write_str(first)?;
    if !rest.is_empty() {
        write!(f, ".{rest}")?;
    }
    write!(f, "E{exponent:+}")
}

fn write_uuid(f: &mut fmt::Formatter<'_>, bytes: &[u8; 16]) -> fmt::Result {
    bytes.iter().enumerate().try_for_each(|(index, byte)| {
        let before = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(f, "{before}{byte:02x}")
    })
}

fn write_clock(f: &mut fmt::Formatter<'_>, seconds: i64) -> fmt::Result {
    write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn write_duration(f: &mut fmt::Formatter<'_>, months: i32, days: i32, nanoseconds: i64) -> fmt::Result {
    if months < 0 || days < 0 || nanoseconds < 0 {
        f.write_str("-")?;
    }
    let (months, days, mut rest) = (months.unsigned_abs(), days.unsigned_abs(), nanoseconds.unsigned_abs());
    if (months, days, rest) == (0, 0, 0) {
        return f.write_str("0s");
    }
    for (count, unit) in [(months / 12, "y"), (months % 12, "mo"), (days, "d")] {
        if count > 0 {
            write!(f, "{count}{unit}")?;
        }
    }
    const UNITS: [(&str, u64); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
        ("ns", 1),
    ];
    for (unit, size) in UNITS {
        if rest >= size {
            write!(f, "{}{unit}", rest / size)?;
            rest %= size;
        }
    }
    Ok(())
}

// === impl Hex ===

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::Span;

    fn text(cell: Cell) -> String {
        CellText { cell: &cell, data: b"z\xc3\xb6" }.to_string()
    }

    fn decimal(unscaled: i64, scale: i32) -> Cell {
        Cell::Decimal(Box::new(DecimalValue { unscaled: unscaled.into(), scale }))
    }

    #[test]
    fn test_each_kind_has_its_usual_text() {
        let span = Span { start: 0, end: 3 };
        let duration = |months, days, nanoseconds| Cell::Duration { months, days, nanoseconds };
        let uuid = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
        let cases = [
            (Cell::Null, ""),
            (Cell::Clear, "null"),
            (Cell::Bool(true), "true"),
            (Cell::Long(i64::MIN), "-9223372036854775808"),
            (Cell::Float(0.1), "0.1"),
            (Cell::Double(f64::NAN), "NaN"),
            (Cell::Double(-0.0), "-0.0"),
            (Cell::Double(1e300), "1e300"),
            (Cell::Text(span), "zö"),
            (Cell::Bytes(span), "0x7ac3b6"),
            (Cell::Timestamp(0), "1970-01-01T00:00:00.000Z"),
            (Cell::Timestamp(-1), "1969-12-31T23:59:59.999Z"),
            (
                Cell::Varint(Box::new("-123456789012345678901234567890".parse().unwrap())),
                "-123456789012345678901234567890",
            ),
            (decimal(1250, 2), "12.50"),
            (decimal(-5, 3), "-0.005"),
            (decimal(0, 0), "0"),
            (decimal(0, 2), "0.00"),
            (decimal(1, 6), "0.000001"),
            (decimal(1, 7), "1E-7"),
            (decimal(-12, 11), "-1.2E-10"),
            (decimal(1, -3), "1E+3"),
            (decimal(0, -3), "0E+3"),
            (decimal(7, i32::MIN), "7E+2147483648"),
            (decimal(7, i32::MAX), "7E-2147483647"),
            (Cell::Uuid(uuid), "01234567-89ab-cdef-0123-456789abcdef"),
            (Cell::Inet("::ffff:1.2.3.4".parse().unwrap()), "::ffff:1.2.3.4"),
            (Cell::Date(0), "1970-01-01"),
            (Cell::Date(-1), "1969-12-31"),
            (Cell::Date(20_787), "2026-11-30"),
            (Cell::Date(11_016), "2000-02-29"),
            (Cell::Date(-719_528), "0000-01-01"),
            (Cell::Date(-719_529), "-0001-12-31"),
            (Cell::Date(i32::MAX), "5881580-07-11"),
            (Cell::Date(i32::MIN), "-5877641-06-23"),
            (Cell::Time(47_100_000_000_007), "13:05:00.000000007"),
            (Cell::Time(86_399_999_999_999), "23:59:59.999999999"),
            (duration(0, 0, 0), "0s"),
            (duration(14, 3, 3_600_000_000_001), "1y2mo3d1h1ns"),
            (duration(-1, 0, -1_001_000), "-1mo1ms1us"),
            (duration(0, 0, i64::MIN), "-2562047h47m16s854ms775us808ns"),
        ];
        for (cell, expected) in cases {
            assert_eq!(text(cell.clone()), expected, "{cell:?}");
        }
    }

    #[test]
    fn test_collections_are_json() {
        let list = Cell::List(vec![Cell::OwnText("a\"".into()), decimal(15, 1), Cell::OwnBytes([0, 255].into())]);
        assert_eq!(text(list), r#"["a\"","1.5","00ff"]"#);
        let numbers = Cell::List(vec![Cell::Int(-1), Cell::Double(f64::NAN), Cell::Float(1.5), Cell::Bool(false)]);
        assert_eq!(text(numbers), "[-1,null,1.5,false]");
        let by_day = Cell::Map(vec![(Cell::Date(0), Cell::Long(1)), (Cell::Date(1), Cell::Long(2))]);
        assert_eq!(text(by_day), r#"{"1970-01-01":1,"1970-01-02":2}"#);
        let keys = [Cell::Int(7), Cell::Bool(true), Cell::Double(f64::INFINITY), Cell::OwnBytes([1].into())];
        let map = Cell::Map(keys.into_iter().map(|key| (key, Cell::Int(0))).collect());
        assert_eq!(text(map), r#"{"01":0,"7":0,"inf":0,"true":0}"#);
        assert_eq!(text(Cell::List(vec![])), "[]");
    }
}
