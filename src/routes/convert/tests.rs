use std::net::{Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;
use crate::schema::cql;
use crate::schema::row::DecimalValue;

/// The cell of a JSON text for a type of CQL, or the code of its fault.
fn made(json: &str, type_text: &str) -> Result<Cell, &'static str> {
    let kind = cql::parse_type(type_text).unwrap_or_else(|| panic!("{type_text}"));
    cell(&testing_item(json), kind, json.as_bytes()).map_err(|fault| fault.code)
}

fn of(value: Value<'_>, type_text: &str) -> Result<Cell, &'static str> {
    cell(&value, cql::parse_type(type_text).unwrap(), &[]).map_err(|fault| fault.code)
}

fn text(text: &str) -> Result<Cell, &'static str> {
    Ok(Cell::OwnText(text.into()))
}

#[test]
fn test_whole_numbers_are_taken_exactly_within_their_range() {
    for (type_text, min, max) in [
        ("tinyint", i64::from(i8::MIN), i64::from(i8::MAX)),
        ("smallint", i64::from(i16::MIN), i64::from(i16::MAX)),
        ("int", i64::from(i32::MIN), i64::from(i32::MAX)),
        ("bigint", i64::MIN, i64::MAX),
    ] {
        let expected = |number: i64| match type_text {
            "bigint" => Ok(Cell::Long(number)),
            _ => Ok(Cell::Int(number as i32)),
        };
        for number in [min, max, 0, -1, 5] {
            assert_eq!(made(&number.to_string(), type_text), expected(number), "{type_text}");
            assert_eq!(made(&format!("{number}.000"), type_text), expected(number), "{type_text}");
            assert_eq!(made(&format!("{number}0e-1"), type_text), expected(number), "{type_text}");
            assert_eq!(of(Value::Long(number), type_text), expected(number), "{type_text}");
            assert_eq!(of(Value::Decimal(BigInt::from(number) * 100, 2), type_text), expected(number));
        }
        for number in [i128::from(min) - 1, i128::from(max) + 1] {
            assert_eq!(made(&number.to_string(), type_text), Err(OUT_OF_RANGE), "{type_text}");
        }
        assert_eq!(made("1e400", type_text), Err(OUT_OF_RANGE));
        assert_eq!(made("5.5", type_text), Err("not_whole"));
        assert_eq!(made("1e-400", type_text), Err("not_whole"));
        assert_eq!(made("-0", type_text), expected(0));
        assert_eq!(of(Value::Double(5.0), type_text), expected(5));
        assert_eq!(of(Value::Double(f64::NAN), type_text), Err(OUT_OF_RANGE));
        assert_eq!(of(Value::Float(0.5), type_text), Err("not_whole"));
        for json in ["\"5\"", "true", "[]", "{}"] {
            assert_eq!(made(json, type_text), Err(WRONG_TYPE), "{json} {type_text}");
        }
    }
}

#[test]
fn test_floats_are_those_next_to_the_number() {
    assert_eq!(made("0.1", "double"), Ok(Cell::Double(0.1)));
    assert_eq!(made("1e400", "double"), Err(OUT_OF_RANGE));
    assert_eq!(made("1e-400", "double"), Ok(Cell::Double(0.0)));
    assert_eq!(made("0.1", "float"), Ok(Cell::Float(0.1)));
    assert_eq!(made("1e39", "float"), Err(OUT_OF_RANGE));
    // Rounded once: through a double it would be the single below.
    assert_eq!(made("1.000000059604644775390625000001", "float"), Ok(Cell::Float(1.000_000_1)));
    assert_eq!(made("\"1\"", "double"), Err(WRONG_TYPE));
    assert_eq!(of(Value::Long(3), "double"), Ok(Cell::Double(3.0)));
    assert_eq!(of(Value::Double(1e39), "float"), Err(OUT_OF_RANGE));
    // Values of formats that have them.
    assert!(matches!(of(Value::Double(f64::NAN), "float"), Ok(Cell::Float(number)) if number.is_nan()));
    assert_eq!(of(Value::Double(f64::INFINITY), "double"), Ok(Cell::Double(f64::INFINITY)));
    assert_eq!(of(Value::Decimal(15.into(), 1), "double"), Ok(Cell::Double(1.5)));
}

#[test]
fn test_decimals_keep_their_digits_and_integers_of_any_size_are_whole() {
    let decimal =
        |unscaled: i64, scale: i32| Ok(Cell::Decimal(Box::new(DecimalValue { unscaled: unscaled.into(), scale })));
    for (json, expected) in [
        ("1.50", decimal(150, 2)),
        ("-1e3", decimal(-1, -3)),
        ("1.5E+2", decimal(15, -1)),
        ("\"1.50\"", decimal(150, 2)),
        ("\"1.50 \"", Err(WRONG_TYPE)),
        ("\"NaN\"", Err(WRONG_TYPE)),
        ("1e1001", Err(OUT_OF_RANGE)),
        ("1e99999999999999999999", Err(OUT_OF_RANGE)),
        ("true", Err(WRONG_TYPE)),
    ] {
        assert_eq!(made(json, "decimal"), expected, "{json}");
    }
    assert_eq!(made(&"9".repeat(1001), "decimal"), Err(OUT_OF_RANGE));
    assert_eq!(of(Value::Double(0.1), "decimal"), decimal(1, 1));
    assert_eq!(of(Value::Double(f64::NAN), "decimal"), Err(OUT_OF_RANGE));
    let varint = |text: &str| Ok(Cell::Varint(Box::new(text.parse().unwrap())));
    let long = "9".repeat(500);
    for (json, expected) in [
        ("5", varint("5")),
        ("-5.0", varint("-5")),
        ("1e3", varint("1000")),
        (&long, varint(&long)),
        ("5.5", Err("not_whole")),
        ("1e1001", Err(OUT_OF_RANGE)),
        ("\"123456789012345678901234567890\"", varint("123456789012345678901234567890")),
        ("\"x\"", Err(WRONG_TYPE)),
    ] {
        assert_eq!(made(json, "varint"), expected, "{json}");
    }
}

#[test]
fn test_texts_are_texts_and_point_to_the_record() {
    assert_eq!(made("\"abc\"", "text"), Ok(Cell::Text(Span { start: 1, end: 4 })));
    assert_eq!(made("\"\"", "text"), Ok(Cell::Text(Span { start: 0, end: 0 })));
    assert_eq!(made("\"a\\nb\"", "text"), text("a\nb"));
    for json in ["5", "true", "{}", "[]"] {
        assert_eq!(made(json, "text"), Err(WRONG_TYPE), "{json}");
        assert_eq!(made(json, "ascii"), Err(WRONG_TYPE), "{json}");
    }
    assert_eq!(made("\"abc\"", "ascii"), Ok(Cell::Text(Span { start: 1, end: 4 })));
    assert_eq!(made("\"ä\"", "ascii"), Err(NOT_ASCII));
    assert_eq!(of(Value::Bytes(b"ab"), "text"), text("ab"));
    assert_eq!(of(Value::Bytes(b"\xff"), "text"), Err(NOT_UTF8));
    assert_eq!(of(Value::Bytes(b"\xff"), "blob"), Ok(Cell::OwnBytes([0xff].into())));
    assert_eq!(made("\"ff\"", "blob"), Err(WRONG_TYPE));
    assert_eq!(made("true", "boolean"), Ok(Cell::Bool(true)));
    for json in ["1", "\"true\"", "[]"] {
        assert_eq!(made(json, "boolean"), Err(WRONG_TYPE), "{json}");
    }
}

#[test]
fn test_texts_in_standard_forms_become_what_they_are() {
    let uuid = |text: &str| Ok(Cell::Uuid(uuid::Uuid::parse_str(text).unwrap().into_bytes()));
    let v1 = "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d";
    for (type_text, json, expected) in [
        ("uuid", v1, uuid(v1)),
        ("uuid", "2C5EA4C0406711E98BAD9B1DEB4D3B7D", uuid(v1)),
        ("uuid", "{2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d}", Err(WRONG_FORM)),
        ("uuid", "2c5ea4c0", Err(WRONG_FORM)),
        ("timeuuid", v1, uuid(v1)),
        ("timeuuid", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", Err(WRONG_FORM)),
        ("inet", "127.0.0.1", Ok(Cell::Inet(Ipv4Addr::LOCALHOST.into()))),
        ("inet", "::1", Ok(Cell::Inet(Ipv6Addr::LOCALHOST.into()))),
        ("inet", "127.1", Err(WRONG_FORM)),
        ("inet", "host", Err(WRONG_FORM)),
        ("date", "1970-01-02", Ok(Cell::Date(1))),
        ("date", "1969-12-31", Ok(Cell::Date(-1))),
        ("date", "0000-01-01", Ok(Cell::Date(-719_528))),
        ("date", "2026-02-29", Err(WRONG_FORM)),
        ("date", "2026-1-1", Err(WRONG_FORM)),
        ("time", "00:00:00", Ok(Cell::Time(0))),
        ("time", "23:59:59.999999999", Ok(Cell::Time(86_399_999_999_999))),
        ("time", "23:59:59.9", Ok(Cell::Time(86_399_900_000_000))),
        ("time", "24:00:00", Err(WRONG_FORM)),
        ("time", "23:59", Err(WRONG_FORM)),
        ("time", "23:59:60", Err(WRONG_FORM)),
        ("time", "00:00:00.", Err(WRONG_FORM)),
        ("time", "00:00:00.1234567890", Err(WRONG_FORM)),
        ("duration", "P1Y2M3W4DT5H6M7S", Ok(duration(14, 25, 18_367_000_000_000))),
        ("duration", "-P1M", Ok(duration(-1, 0, 0))),
        ("duration", "PT1S", Ok(duration(0, 0, 1_000_000_000))),
        ("duration", "1y2mo3w4d5h6m7s8ms9us10ns", Ok(duration(14, 25, 18_367_008_009_010))),
        ("duration", "-1h", Ok(duration(0, 0, -3_600_000_000_000))),
        ("duration", "", Err(WRONG_FORM)),
        ("duration", "P", Err(WRONG_FORM)),
        ("duration", "PT", Err(WRONG_FORM)),
        ("duration", "P1D2Y", Err(WRONG_FORM)),
        ("duration", "1d1d", Err(WRONG_FORM)),
        ("duration", "1", Err(WRONG_FORM)),
        ("duration", "99999999999999999999y", Err(WRONG_FORM)),
        ("duration", "400000000y", Err(WRONG_FORM)),
    ] {
        assert_eq!(made(&format!("\"{json}\""), type_text), expected, "{type_text} {json}");
        let number = made("5", type_text);
        assert_eq!(number, Err(WRONG_TYPE), "{type_text}");
    }
    assert_eq!(of(Value::Uuid([1; 16]), "uuid"), Ok(Cell::Uuid([1; 16])));
    assert_eq!(of(Value::TimeOfDay(1), "time"), Ok(Cell::Time(1000)));
    assert_eq!(of(Value::TimeOfDay(86_400_000_000), "time"), Err(OUT_OF_RANGE));
    assert_eq!(of(Value::Day(-5), "date"), Ok(Cell::Date(-5)));
}

fn duration(months: i32, days: i32, nanoseconds: i64) -> Cell {
    Cell::Duration { months, days, nanoseconds }
}

#[test]
fn test_times_are_milliseconds_or_text_and_are_rounded() {
    for (json, expected) in [
        ("0", Ok(Cell::Timestamp(0))),
        ("-1", Ok(Cell::Timestamp(-1))),
        ("9223372036854775807", Ok(Cell::Timestamp(i64::MAX))),
        ("9223372036854775808", Err(OUT_OF_RANGE)),
        ("1.5", Err("not_whole")),
        ("\"1970-01-01T00:00:00.0005Z\"", Ok(Cell::Timestamp(1))),
        ("\"1969-12-31T23:59:59.9985+00:00\"", Ok(Cell::Timestamp(-1))),
        ("\"1970-01-01\"", Err(WRONG_FORM)),
        ("\"1970-01-01T23:59:60Z\"", Err(OUT_OF_RANGE)),
        ("true", Err(WRONG_TYPE)),
    ] {
        assert_eq!(made(json, "timestamp"), expected, "{json}");
    }
    assert_eq!(of(Value::Instant(1500), "timestamp"), Ok(Cell::Timestamp(2)));
    assert_eq!(of(Value::Instant(-1500), "timestamp"), Ok(Cell::Timestamp(-1)));
    assert_eq!(of(Value::Instant(i64::MAX), "timestamp"), Ok(Cell::Timestamp(9_223_372_036_854_775)));
    assert_eq!(of(Value::Day(1), "timestamp"), Ok(Cell::Timestamp(86_400_000)));
    assert_eq!(of(Value::Instant(-86_400_000_000), "date"), Ok(Cell::Date(-1)));
    assert_eq!(of(Value::Instant(1), "date"), Err(NOT_A_DAY));
    for (json, form, expected) in [
        ("1.5", TimeForm::Seconds, Ok(1_500_000)),
        ("1700000000.1234565", TimeForm::Seconds, Ok(1_700_000_000_123_457)),
        ("-0.0000005", TimeForm::Seconds, Ok(0)),
        ("-0.0000006", TimeForm::Seconds, Ok(-1)),
        ("1e-400", TimeForm::Seconds, Ok(0)),
        ("1.0006", TimeForm::Millis, Ok(1001)),
        ("7", TimeForm::Micros, Ok(7)),
        ("9223372036854775", TimeForm::Millis, Ok(9_223_372_036_854_775_000)),
        ("9223372036854776", TimeForm::Millis, Err(OUT_OF_RANGE)),
        ("1e400", TimeForm::Seconds, Err(OUT_OF_RANGE)),
        ("\"5\"", TimeForm::Seconds, Err(WRONG_TYPE)),
        ("5", TimeForm::Text, Err(WRONG_TYPE)),
        ("\"1970-01-01T00:00:00.0000015Z\"", TimeForm::Text, Ok(2)),
        ("true", TimeForm::Any, Err(WRONG_TYPE)),
    ] {
        let found = time::instant(&testing_item(json), form).map_err(|fault| fault.code);
        assert_eq!(found, expected, "{json} {form:?}");
    }
    assert_eq!(time::instant(&Value::Double(1.5), TimeForm::Seconds), Ok(1_500_000));
    assert_eq!(time::instant(&Value::Double(f64::NAN), TimeForm::Seconds).unwrap_err().code, OUT_OF_RANGE);
}

#[test]
fn test_collections_are_arrays_and_objects_of_single_values() {
    let ints = |numbers: &[i32]| Ok(Cell::List(numbers.iter().copied().map(Cell::Int).collect()));
    for (type_text, json, expected) in [
        ("list<int>", "[1, 2,1]", ints(&[1, 2, 1])),
        ("frozen<set<int>>", "[]", ints(&[])),
        ("list<int>", "[1,null]", Err("null_item")),
        ("list<int>", "[1,\"2\"]", Err(WRONG_TYPE)),
        ("list<int>", "[[1]]", Err(WRONG_TYPE)),
        ("list<int>", "{}", Err(WRONG_TYPE)),
        ("list<int>", "1", Err(WRONG_TYPE)),
        (
            "list<text>",
            "[\"a\",\"\\u00e4\"]",
            Ok(Cell::List(vec![Cell::Text(Span { start: 2, end: 3 }), Cell::OwnText("ä".into())])),
        ),
        ("map<text, int>", "[]", Err(WRONG_TYPE)),
        ("map<text, int>", "{\"a\":null}", Err("null_item")),
        ("map<int, int>", "{\"a\":1}", Err(WRONG_TYPE)),
        (
            "map<int, int>",
            "{\"1\":2,\"2\":3,\"1\":4}",
            Ok(Cell::Map(vec![(Cell::Int(1), Cell::Int(4)), (Cell::Int(2), Cell::Int(3))])),
        ),
        ("map<boolean, int>", "{\"true\":1}", Ok(Cell::Map(vec![(Cell::Bool(true), Cell::Int(1))]))),
        ("map<date, boolean>", "{\"1970-01-01\":true}", Ok(Cell::Map(vec![(Cell::Date(0), Cell::Bool(true))]))),
        (
            "map<text, double>",
            "{\"a\":1.5}",
            Ok(Cell::Map(vec![(Cell::Text(Span { start: 2, end: 3 }), Cell::Double(1.5))])),
        ),
    ] {
        assert_eq!(made(json, type_text), expected, "{type_text} {json}");
    }
}

#[test]
fn test_a_fault_shows_the_value_and_what_is_needed() {
    let long = format!("\"{}\"", "ä".repeat(100));
    for (json, type_text, expected) in [
        ("\"5\"", "int", "the text \"5\" is not a whole number from -2147483648 to 2147483647".to_owned()),
        ("[1,true]", "set<bigint>", "item 1: true is not a whole number from -2^63 to 2^63 - 1".to_owned()),
        (
            "{\"k\":{}}",
            "map<text, text>",
            "item \"k\": the JSON {} is not text; write json() to keep it as JSON".to_owned(),
        ),
        (&*long, "uuid", format!("the text \"{}…\" is not a UUID", "ä".repeat(40))),
    ] {
        let kind = cql::parse_type(type_text).unwrap();
        assert_eq!(cell(&testing_item(json), kind, &[]).unwrap_err().what, expected);
    }
}

/// Any number of JSON: its text, its digits as an integer, and the exponent that belongs to these.
fn any_number() -> impl Strategy<Value = (String, BigInt, i64)> {
    ("(0|[1-9][0-9]{0,25})", "[0-9]{0,20}", any::<bool>(), proptest::option::of(-40i64..40)).prop_map(
        |(whole, fraction, is_negative, exponent)| {
            let sign = if is_negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let power = exponent.map(|exponent| format!("e{exponent}")).unwrap_or_default();
            let text = format!("{sign}{whole}{point}{fraction}{power}");
            let digits = format!("{sign}{whole}{fraction}").parse().unwrap();
            (text, digits, exponent.unwrap_or(0) - fraction.len() as i64)
        },
    )
}

/// The integer that digits × 10^exponent is, by long arithmetic alone.
fn whole_of(digits: &BigInt, exponent: i64) -> Option<BigInt> {
    let power = BigInt::from(10).pow(exponent.unsigned_abs() as u32);
    if exponent >= 0 {
        return Some(digits * power);
    }
    (digits % &power == BigInt::ZERO).then(|| digits / power)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn test_any_number_agrees_with_long_arithmetic((text, digits, exponent) in any_number()) {
        let whole = whole_of(&digits, exponent);
        for (type_text, min, max) in [
            ("tinyint", i64::from(i8::MIN), i64::from(i8::MAX)),
            ("smallint", i64::from(i16::MIN), i64::from(i16::MAX)),
            ("int", i64::from(i32::MIN), i64::from(i32::MAX)),
            ("bigint", i64::MIN, i64::MAX),
        ] {
            let found = match made(&text, type_text) {
                Ok(Cell::Int(number)) => Ok(number.into()),
                Ok(Cell::Long(number)) => Ok(number),
                Ok(other) => panic!("{other:?}"),
                Err(code) => Err(code),
            };
            let expected = match &whole {
                None => Err("not_whole"),
                Some(whole) if (BigInt::from(min)..=BigInt::from(max)).contains(whole) => Ok(i64::try_from(whole).unwrap()),
                Some(_) => Err(OUT_OF_RANGE),
            };
            prop_assert_eq!(found, expected, "{} {}", text, type_text);
        }
        let varint = match made(&text, "varint") {
            Ok(Cell::Varint(number)) => Ok(*number),
            Ok(other) => panic!("{other:?}"),
            Err(code) => Err(code),
        };
        prop_assert_eq!(varint, whole.ok_or("not_whole"), "{}", &text);
        let decimal = DecimalValue { unscaled: digits.clone(), scale: -exponent as i32 };
        prop_assert_eq!(made(&text, "decimal"), Ok(Cell::Decimal(Box::new(decimal))), "{}", &text);
        // Floats: what the standard library reads, which rounds exactly.
        prop_assert_eq!(made(&text, "double"), Ok(Cell::Double(text.parse().unwrap())));
        let single: f32 = text.parse().unwrap();
        let expected = if single.is_finite() { Ok(Cell::Float(single)) } else { Err(OUT_OF_RANGE) };
        prop_assert_eq!(made(&text, "float"), expected);
        // Seconds: ⌊2 × digits × 10^(exponent + 6) + 1⌋ / 2, floored.
        let micros = match exponent + 6 {
            power @ 0.. => &digits * BigInt::from(10).pow(power as u32),
            power => {
                let unit = BigInt::from(10).pow(power.unsigned_abs() as u32);
                let (twice, double): (BigInt, BigInt) = (&digits * 2 + &unit, unit * 2);
                let quotient: BigInt = &twice / &double;
                if twice < BigInt::ZERO && &quotient * &double != twice { quotient - 1 } else { quotient }
            }
        };
        let expected = i64::try_from(&micros).map_err(|_| OUT_OF_RANGE);
        let found = time::instant(&Value::Number(&text), TimeForm::Seconds).map_err(|fault| fault.code);
        prop_assert_eq!(found, expected, "{}", &text);
    }

    #[test]
    fn test_numbers_are_told_from_other_texts(text in "[-+.eE0-9]{0,8}") {
        // A value that is passed over is read by the grammar alone: no double has to hold it.
        let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(number::is_json_number(&text), expected, "{}", text);
    }
}
