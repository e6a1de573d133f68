//! Tests of the values that paths lead to in JSON records.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::JsonExtract;
use crate::codec::value::{Extract, Malformed, Path, PathStep, Unreadable, Value};

/// `a.b[0]` as a path; the empty text is `$`.
fn path(text: &str) -> Path {
    let step = |part: &str| match part.parse() {
        Ok(index) => PathStep::Item(index),
        Err(_) => PathStep::Member(part.into()),
    };
    let parts = text.split(['.', '[', ']']).filter(|part| !part.is_empty());
    Path { steps: parts.map(step).collect() }
}

fn extract<'a>(json: &'a [u8], paths: &[&str]) -> Result<Vec<Value<'a>>, Malformed> {
    let paths: Vec<Path> = paths.iter().map(|text| path(text)).collect();
    let mut values = vec![Value::Null];
    match JsonExtract::new(&paths).extract(json, &mut values) {
        Ok(()) => Ok(values),
        Err(Unreadable::Malformed(malformed)) => Err(malformed),
        Err(other) => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn json(text: &str) -> Value<'_> {
    Value::Json(text.into())
}

#[test]
fn test_each_kind_of_value_is_taken_as_it_stands() {
    let record = r#" { "t" : "x", "e": "a\n\ud83d\ude00\"", "n":-0.10e+2,"big":123456789012345678901234567890,"huge":1e400,
        "yes":true, "no":false,"nil" : null, "o": {"a": [1, 2] } , "l":[ "x" ], "empty":"" } "#;
    let paths = ["t", "e", "n", "big", "huge", "yes", "no", "nil", "o", "l", "empty", "none"];
    let values = extract(record.as_bytes(), &paths).unwrap();
    let expected = [
        text("x"),
        text("a\n😀\""),
        Value::Number("-0.10e+2"),
        Value::Number("123456789012345678901234567890"),
        Value::Number("1e400"),
        Value::Bool(true),
        Value::Bool(false),
        Value::Null,
        json(r#"{"a": [1, 2] }"#),
        json(r#"[ "x" ]"#),
        text(""),
        Value::Absent,
    ];
    assert_eq!(values, expected);
    // What stands in the record is borrowed from it.
    let is_within = |text: &str| record.as_bytes().as_ptr_range().contains(&text.as_ptr());
    for (value, path) in values.iter().zip(paths) {
        match value {
            Value::Text(Cow::Borrowed(text)) | Value::Json(Cow::Borrowed(text)) | Value::Number(text) => {
                assert!(is_within(text), "{path}");
            }
            Value::Text(Cow::Owned(_)) => assert_eq!(path, "e"),
            Value::Json(Cow::Owned(_)) => panic!("{path}"),
            _ => {}
        }
    }
}

#[test]
fn test_paths_end_on_the_way_of_others_and_twice() {
    let record = br#"{"a":{"b":{"c":1},"l":[[0],[10,11,{"x":"y"}]]},"z":2}"#;
    let paths = ["a.b.c", "a", "", "a.b", "a.l[1][2].x", "a.l[1]", "z", "a.b.c", "a.l[0][0]", "a.l[7]", "a.b"];
    let values = extract(record, &paths).unwrap();
    let a = r#"{"b":{"c":1},"l":[[0],[10,11,{"x":"y"}]]}"#;
    let expected = [
        Value::Number("1"),
        json(a),
        json(std::str::from_utf8(record).unwrap()),
        json(r#"{"c":1}"#),
        text("y"),
        json(r#"[10,11,{"x":"y"}]"#),
        Value::Number("2"),
        Value::Number("1"),
        Value::Number("0"),
        Value::Absent,
        json(r#"{"c":1}"#),
    ];
    assert_eq!(values, expected);
}

#[test]
fn test_a_step_that_meets_another_kind_leads_to_nothing() {
    for other in ["1", "1e400", "-7", "2.5", "\"text\"", r#""\ud800""#, "null", "true", "[]", "[{\"b\":1}]", "{}"] {
        let record = format!(r#"{{"a":{other},"c":3}}"#);
        assert_eq!(extract(record.as_bytes(), &["a.b", "c"]).unwrap(), [Value::Absent, Value::Number("3")], "{other}");
    }
    for other in ["1", "1e400", "\"text\"", "null", "[]", "{\"0\":1}"] {
        let record = format!(r#"{{"a":{other},"c":3}}"#);
        assert_eq!(extract(record.as_bytes(), &["a[0]", "c"]).unwrap(), [Value::Absent, Value::Number("3")], "{other}");
    }
    for whole in ["1", "1e400", "\"a\"", "[1]"] {
        assert_eq!(extract(whole.as_bytes(), &["a"]).unwrap(), [Value::Absent], "{whole}");
    }
    assert_eq!(extract(b"[3,1e400]", &["a", "[1]"]).unwrap(), [Value::Absent, Value::Number("1e400")]);
}

#[test]
fn test_a_byte_order_mark_is_passed_over() {
    assert_eq!(extract(b"\xef\xbb\xbf{\"a\":1}", &["a"]).unwrap(), [Value::Number("1")]);
}

#[test]
fn test_what_is_wrong_is_said_with_its_place() {
    let cases: [(&[u8], &str); 16] = [
        (b"", "not JSON: EOF while parsing a value at its byte 0"),
        (b"{\"a\":1} x", "not JSON: trailing characters at its byte 9"),
        (b"{\"a\":1}{}", "not JSON: trailing characters at its byte 8"),
        (b"{\"a\":01}", "not JSON: invalid number at its byte 7"),
        (b"{\"a\":1.}", "not JSON: invalid number at its byte 8"),
        (b"{\"a\":NaN}", "not JSON: expected value at its byte 6"),
        (b"{\"z\":tru}", "not JSON: expected ident at its byte 9"),
        (b"{\"a\":1,}", "not JSON: key must be a string at its byte 8"),
        (b"{'a':1}", "not JSON: key must be a string at its byte 2"),
        (b"{\n\"a\":\n\n[1 2]}", "not JSON: expected `,` or `]` at its byte 12"),
        (
            b"{\"a\":\"\x01\"}",
            "not JSON: control character (\\u0000-\\u001F) found while parsing a string at its byte 6",
        ),
        (b"{\"a\":\"\xff\"}", "not UTF-8 from its byte 6 on"),
        (br#"{"z":1, "a":"x\ud800y"}"#, "not JSON: unexpected end of hex escape at its byte 21"),
        (br#"{"b":{"c":1,"c":2},"a":1}"#, "$.b.c is there twice"),
        (br#"{"a":1,"b":{},"\u0061":2}"#, "$.a is there twice"),
        (br#"{"b":{"c":1},"b":{"d":1}}"#, "$.b is there twice"),
    ];
    let said = |record| extract(record, &["a", "b.c", "b.d"]).map_err(|Malformed(said)| said);
    let all_said: Vec<_> = cases.iter().map(|(record, _)| (record.escape_ascii().to_string(), said(record))).collect();
    let expected = cases.map(|(record, said)| (record.escape_ascii().to_string(), Err(said.to_owned())));
    assert_eq!(all_said, expected);
    // Of no interest: a member twice where no path goes, halves of pairs in texts that are passed over.
    let record = br#"{"x":1,"a":5,"x":2,"y":{"k":1,"k":2},"z":"\udc00"}"#;
    assert_eq!(extract(record, &["a"]).unwrap(), [Value::Number("5")]);
}

#[test]
fn test_nesting_has_no_limit() {
    let depth = 100_000;
    let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let record = format!(r#"{{"x":{deep},"a":{deep},"b":{{"c":{deep}}}}}"#);
    let values = extract(record.as_bytes(), &["a", "b.c"]).unwrap();
    assert_eq!(values, [json(&deep), json(&deep)]);
    // Along a path, too.
    let steps = 300;
    let record = format!("{}7{}", "{\"a\":".repeat(steps), "}".repeat(steps));
    let way = vec!["a"; steps].join(".");
    assert_eq!(extract(record.as_bytes(), &[&way]).unwrap(), [Value::Number("7")]);
}

#[test]
fn test_members_come_in_any_order_from_record_to_record() {
    let paths: Vec<Path> = ["b", "a", "c"].map(path).into();
    let mut extract = JsonExtract::new(&paths);
    let mut values = Vec::new();
    for record in
        [r#"{"a":1,"b":2,"c":3}"#, r#"{"c":3,"b":2,"a":1}"#, r#"{"z":0,"b":2,"zz":0,"a":1,"c":3}"#, "{\"c\":3}"]
    {
        for _ in 0..3 {
            extract.extract(record.as_bytes(), &mut values).unwrap();
            let expected = if record.contains('a') {
                [Value::Number("2"), Value::Number("1"), Value::Number("3")]
            } else {
                [Value::Absent, Value::Absent, Value::Number("3")]
            };
            assert_eq!(values, expected, "{record}");
        }
    }
}

// === Random documents and paths ===

const NAMES: [&str; 5] = ["a", "b", "ab", "ä\"\\", ""];

fn documents() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
        "[\"\\\\a\n😀]{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner, 0..5)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

fn paths() -> impl Strategy<Value = Vec<Path>> {
    let step = prop_oneof![
        3 => prop::sample::select(&NAMES[..]).prop_map(|name| PathStep::Member(name.into())),
        1 => (0..4_usize).prop_map(PathStep::Item),
    ];
    prop::collection::vec(prop::collection::vec(step, 0..5).prop_map(|steps| Path { steps }), 0..10)
}

/// JSON with every character beyond ASCII escaped.
fn escaped(document: &Json) -> String {
    let mut out = String::new();
    for c in document.to_string().chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}

fn at<'d>(document: &'d Json, path: &Path) -> Option<&'d Json> {
    path.steps.iter().try_fold(document, |at, step| match step {
        PathStep::Member(name) => at.as_object()?.get(&**name),
        PathStep::Item(index) => at.as_array()?.get(*index),
    })
}

fn is_same(value: &Value<'_>, expected: Option<&Json>) -> bool {
    match (value, expected) {
        (Value::Absent, None) | (Value::Null, Some(Json::Null)) => true,
        (Value::Bool(value), Some(Json::Bool(expected))) => value == expected,
        (Value::Number(text), Some(Json::Number(expected))) => {
            serde_json::from_str::<serde_json::Number>(text).unwrap() == *expected
        }
        (Value::Text(text), Some(Json::String(expected))) => text == expected,
        (Value::Json(text), Some(expected @ (Json::Object(_) | Json::Array(_)))) => {
            serde_json::from_str::<Json>(text).unwrap() == *expected
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn the_values_are_those_of_the_document((document, other) in (documents(), documents()), paths in paths()) {
        let mut extract = JsonExtract::new(&paths);
        let mut values = Vec::new();
        let pretty = serde_json::to_string_pretty(&document).unwrap();
        let texts = [document.to_string(), other.to_string(), escaped(&document), pretty];
        for (text, document) in texts.iter().zip([&document, &other, &document, &document]) {
            extract.extract(text.as_bytes(), &mut values).unwrap();
            prop_assert_eq!(values.len(), paths.len());
            for (value, path) in values.iter().zip(&paths) {
                prop_assert!(is_same(value, at(document, path)), "{} of {}: {:?}", path, text, value);
            }
        }
    }

    #[test]
    fn only_json_is_taken(
        document in documents(),
        paths in paths(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"\"\\{}[],:0e.-u\xff\x80 "[..])), 1..4),
    ) {
        let mut bytes = document.to_string().into_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let is_json = serde_json::from_slice::<&RawValue>(&bytes).is_ok();
        let mut values = Vec::new();
        match JsonExtract::new(&paths).extract(&bytes, &mut values) {
            Ok(()) => prop_assert!(is_json),
            // What JSON allows and is no value all the same.
            Err(Unreadable::Malformed(Malformed(said))) => {
                let is_known = said.ends_with("is there twice") || said.contains("hex escape");
                prop_assert!(!is_json || is_known, "{}", said);
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}
