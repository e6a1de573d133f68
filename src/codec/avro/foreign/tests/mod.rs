mod random;

use std::sync::Arc;

use super::*;
use crate::codec::value::{Extract, Malformed, Path, PathStep, Unreadable, Value};

/// `$.a.b[0]`.
fn path(text: &str) -> Path {
    let steps = text.trim_start_matches('$').replace('[', ".[");
    let step = |step: &str| match step.strip_prefix('[') {
        Some(index) => PathStep::Item(index.trim_end_matches(']').parse().unwrap()),
        None => PathStep::Member(step.into()),
    };
    Path { steps: steps.split('.').skip(1).map(step).collect() }
}

fn walker(schema: &str, paths: &[Path]) -> Walker {
    Walker::compile(Arc::new(Types::parse(schema, &[]).unwrap()), paths).unwrap()
}

fn read<'a>(schema: &str, paths: &[&str], datum: &'a [u8]) -> Result<Vec<Value<'a>>, Malformed> {
    let paths: Vec<Path> = paths.iter().map(|text| path(text)).collect();
    let mut values = Vec::new();
    walker(schema, &paths).read(datum, &mut values).map(|()| values)
}

fn text(value: &str) -> Value<'_> {
    Value::Text(value.into())
}

const LIST: &str = r#"{"type": "record", "name": "a.Node", "fields": [
    {"name": "v", "type": "int"}, {"name": "next", "type": ["null", "Node"]}]}"#;

#[test]
fn test_text_and_bytes_are_borrowed() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "t", "type": ["null", "string"]}, {"name": "b", "type": "bytes"}]}"#;
    let datum = [2, 4, b'h', b'i', 2, 7];
    let values = read(schema, &["$.t", "$.b"], &datum).unwrap();
    let [Value::Text(std::borrow::Cow::Borrowed(found)), Value::Bytes(bytes)] = &values[..] else {
        panic!("{values:?}")
    };
    assert_eq!((found.as_ptr(), bytes.as_ptr()), (datum[2..].as_ptr(), datum[5..].as_ptr()));
}

#[test]
fn test_a_type_that_contains_itself_is_walked_as_deep_as_its_paths_lead() {
    let datum = [2, 2, 4, 2, 6, 0];
    let paths = ["$.v", "$.next.v", "$.next.next.v", "$.next.next.next.v", "$.next.next.next", "$.next.next"];
    let values = read(LIST, &paths, &datum).unwrap();
    let json = Value::Json(r#"{"v":3,"next":null}"#.into());
    assert_eq!(values, [Value::Long(1), Value::Long(2), Value::Long(3), Value::Absent, Value::Null, json]);
}

#[test]
fn test_what_nests_without_end_is_malformed() {
    let deep = [2, 2].repeat(10_000);
    for paths in [&["$.v"][..], &["$"], &["$.next.next.v", "$.next"]] {
        assert!(read(LIST, paths, &deep).unwrap_err().0.contains("nested deeper"));
    }
    // It has no datum at all.
    let endless = r#"{"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}"#;
    assert!(read(endless, &["$.r.r"], &[]).unwrap_err().0.contains("nested deeper"));
}

#[test]
fn test_work_without_bytes_is_bounded() {
    let nulls = r#"{"type": "array", "items": "null"}"#;
    let count = |num: i64| {
        let mut datum = Vec::new();
        crate::codec::avro::varint::write_long(num, &mut datum);
        datum.push(0);
        datum
    };
    assert_eq!(read(nulls, &["$"], &count(2)).unwrap(), [Value::Json("[null,null]".into())]);
    for paths in [&["$"][..], &[], &["$[3]"]] {
        assert!(read(nulls, paths, &count(i64::MAX)).unwrap_err().0.contains("more items"));
    }
    // Two of the next in each, forty times: a datum of no bytes with 2^40 records.
    let level = |i: u32| match i {
        0 => r#"{"type": "record", "name": "R0", "fields": []}"#.to_owned(),
        i => format!(
            r#"{{"type": "record", "name": "R{i}", "fields": [{{"name": "a", "type": "R{0}"}}, {{"name": "b", "type": "R{0}"}}]}}"#,
            i - 1
        ),
    };
    let references: Vec<String> = (0..40).map(level).collect();
    let types = Arc::new(Types::parse(&level(40), &references).unwrap());
    for paths in [&[][..], &[Path::default()]] {
        let error = Walker::compile(Arc::clone(&types), paths).unwrap().read(&[], &mut Vec::new()).unwrap_err();
        assert!(error.0.contains("more items"), "{error}");
    }
    let symbol = "X".repeat(60_000);
    let symbols = format!(r#"{{"type": "array", "items": {{"type": "enum", "name": "E", "symbols": ["{symbol}"]}}}}"#);
    let mut datum = Vec::new();
    crate::codec::avro::varint::write_long(50_000, &mut datum);
    datum.resize(datum.len() + 50_001, 0);
    assert!(read(&symbols, &[], &datum).is_ok());
    assert!(read(&symbols, &["$"], &datum).unwrap_err().0.contains("16 MiB"));
}

#[test]
fn test_blocks_with_their_size_are_read_as_those_without() {
    let schema = r#"{"type": "map", "values": "long"}"#;
    let plain = [4, 2, b'a', 2, 2, b'b', 4, 0];
    // -1 and the size in bytes of each of two blocks.
    let sized = [1, 6, 2, b'a', 2, 1, 6, 2, b'b', 4, 0];
    for datum in [&plain[..], &sized[..]] {
        let values = read(schema, &["$.b", "$.c", "$", "$[0]"], datum).unwrap();
        assert_eq!(values, [Value::Long(2), Value::Absent, Value::Json(r#"{"a":1,"b":2}"#.into()), Value::Absent]);
    }
    assert!(read(schema, &[], &[1, 1, 2, b'a', 2, 0]).is_err(), "a block of negative size");
}

#[test]
fn test_damage_is_said_with_its_place() {
    for (schema, datum, said) in [
        (r#""string""#, &[8, b'a'][..], "ends within a value (at byte 1)"),
        (r#""string""#, &[1], "a negative length"),
        (r#""string""#, &[2, 0xff], "not UTF-8"),
        (r#""boolean""#, &[2], "neither true nor false"),
        (r#""int""#, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f], "more than 32 bits"),
        (r#"["null", "int"]"#, &[4], "a branch that the union does not have"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, &[2], "a symbol that the enum does not have"),
        (r#""null""#, &[0], "1 bytes are left after the last field"),
        (r#"{"type": "long", "logicalType": "timestamp-millis"}"#, &[0xff; 9].map(|byte: u8| byte), "ends within"),
    ] {
        let error = read(schema, &["$"], datum).unwrap_err().0;
        assert!(error.contains(said), "{schema}: {error}");
    }
}

#[test]
fn test_times_beyond_what_can_be_counted_are_malformed_only_where_they_are_asked_for() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "i", "type": "int"}]}"#;
    let mut datum = Vec::new();
    crate::codec::avro::varint::write_long(i64::MAX, &mut datum);
    datum.push(2);
    assert_eq!(read(schema, &["$.i"], &datum).unwrap(), [Value::Long(1)]);
    assert!(read(schema, &["$.t"], &datum).unwrap_err().0.contains("292,000"));
    assert_eq!(
        read(r#"{"type": "long", "logicalType": "timestamp-nanos"}"#, &["$"], &[1]).unwrap(),
        [Value::Instant(-1)]
    );
}

#[test]
fn test_a_renamed_field_is_found_by_its_earlier_name_unless_another_has_it() {
    let field = |name: &str, alias: &str| format!(r#"{{"name": "{name}", "type": "int", "aliases": ["{alias}"]}}"#);
    let schema = format!(
        r#"{{"type": "record", "name": "R", "fields": [{}, {}]}}"#,
        field("user_id", "uid"),
        field("other", "user_id")
    );
    let values = read(&schema, &["$.uid", "$.user_id", "$.other"], &[2, 4]).unwrap();
    assert_eq!(values, [Value::Long(1), Value::Long(1), Value::Long(2)]);
}

#[test]
fn test_paths_lead_through_unions_of_several_records() {
    let schema = r#"["null", {"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}]},
        {"type": "record", "name": "B", "fields": [{"name": "y", "type": "string"}, {"name": "x", "type": "string"}]}]"#;
    assert_eq!(read(schema, &["$.x", "$.y"], &[2, 6]).unwrap(), [Value::Long(3), Value::Absent]);
    assert_eq!(read(schema, &["$.x", "$.y"], &[4, 2, b'a', 2, b'b']).unwrap(), [text("b"), text("a")]);
    assert_eq!(read(schema, &["$.x", "$"], &[0]).unwrap(), [Value::Absent, Value::Null]);
}

#[test]
fn test_decimals_as_json_have_all_their_digits() {
    let array = |scale: u32| {
        format!(
            r#"{{"type": "array", "items": {{"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": {scale}}}}}"#
        )
    };
    let datum = [10, 2, 5, 2, 0xff, 4, 0x30, 0x39, 0, 18, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
    let json = |scale| read(&array(scale), &["$"], &datum).unwrap().remove(0);
    assert_eq!(json(0), Value::Json("[5,-1,12345,0,2361183241434822606847]".into()));
    assert_eq!(json(3), Value::Json("[0.005,-0.001,12.345,0.000,2361183241434822606.847]".into()));
    let big = r#"{"type": "array", "items": {"type": "bytes", "logicalType": "big-decimal"}}"#;
    // 7 with a scale of -2, 7 with one of 1.
    let datum = [4, 6, 2, 7, 3, 6, 2, 7, 2, 0];
    assert_eq!(read(big, &["$"], &datum).unwrap(), [Value::Json("[700,0.7]".into())]);
    assert_eq!(read(big, &["$[0]"], &datum).unwrap(), [Value::Decimal(7.into(), -2)]);
}

#[test]
fn test_what_is_no_uuid_stays_text() {
    let schema = r#"{"type": "string", "logicalType": "uuid"}"#;
    assert_eq!(read(schema, &["$"], &[2, b'x']).unwrap(), [text("x")]);
}

#[test]
fn test_schemas_that_are_sloppy_where_it_changes_no_byte_are_taken() {
    let schema = r#"{"type": "record", "name": "com.acme.Outer$Inner", "connect.name": "x", "fields": [
        {"name": "a-b", "type": {"type": "string", "avro.java.string": "String"}, "default": 7},
        {"name": "c", "type": {"type": {"type": "int"}}}, {"name": "again", "type": ["null", "Outer$Inner"]}]}"#;
    assert_eq!(read(schema, &["$.a-b", "$.c"], &[2, b'x', 2, 0]).unwrap(), [text("x"), Value::Long(1)]);
    // As the specification and Java's library have it, and with a primitive type's name without quotes.
    assert!(Types::parse("string", &[]).is_ok());
}

#[test]
fn test_schemas_that_cannot_be_used_say_why() {
    for (schema, said) in [
        ("{", "not JSON"),
        ("7", "7 is no type"),
        (r#"{"name": "R"}"#, "has no type"),
        (r#"{"type": "array"}"#, "an array has no items"),
        (r#"{"type": "record", "name": "R"}"#, "has no fields"),
        (
            r#"{"type": "record", "name": "R", "fields": [{"name": "f", "type": "S"}]}"#,
            "field f: the type S is not defined",
        ),
        (r#"{"type": "fixed", "name": "F"}"#, "has no size"),
        (r#"[{"type": "fixed", "name": "F", "size": 1}, {"type": "fixed", "name": "F", "size": 2}]"#, "defined twice"),
    ] {
        let error = Types::parse(schema, &[]).unwrap_err();
        assert!(error.contains(said), "{schema}: {error}");
    }
    let deep = format!("{}\"int\"{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(Types::parse(&deep, &[]).is_err());
}

#[test]
fn test_references_are_found_by_name() {
    let references = [
        r#"{"type": "record", "name": "a.Point", "fields": [{"name": "x", "type": "int"}]}"#.to_owned(),
        r#"{"type": "record", "name": "a.Line", "fields": [{"name": "from", "type": "Point"}, {"name": "to", "type": "a.Point"}]}"#.to_owned(),
    ];
    let schema = r#"{"type": "record", "name": "b.R", "fields": [{"name": "line", "type": "a.Line"}]}"#;
    let types = Types::parse(schema, &references).unwrap();
    let walker = Walker::compile(Arc::new(types), &[path("$.line.to.x")]).unwrap();
    let mut values = Vec::new();
    walker.read(&[2, 4], &mut values).unwrap();
    assert_eq!(values, [Value::Long(2)]);
}

#[test]
fn test_records_are_read_by_the_schema_of_their_frame() {
    let schemas = Arc::new(RegistrySchemas::default());
    let field = |fields: &str| format!(r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#);
    schemas.learn(7, &field(r#"{"name": "a", "type": "int"}"#), &[]).unwrap();
    schemas.learn(300, &field(r#"{"name": "b", "type": "string"}, {"name": "a", "type": "long"}"#), &[]).unwrap();
    schemas.learn(8, "no schema", &[]).unwrap_err();
    schemas.refuse(9, "schema 9 is Protobuf".to_owned());
    let mut extractor = RegistryExtractor::new(&[path("$.a"), path("$.b")], Arc::clone(&schemas));
    let mut values = Vec::new();
    extractor.extract(&[0, 0, 0, 0, 7, 2], &mut values).unwrap();
    assert_eq!(values, [Value::Long(1), Value::Absent]);
    extractor.extract(&[0, 0, 0, 1, 44, 2, b'x', 4], &mut values).unwrap();
    assert_eq!(values, [Value::Long(2), text("x")]);
    extractor.extract(&[0, 0, 0, 0, 7, 3], &mut values).unwrap();
    assert_eq!(values, [Value::Long(-2), Value::Absent]);
    for (record, said) in [
        (&[0, 0, 0, 0, 8][..], "schema 8 cannot be used: it is not JSON"),
        (&[0, 0, 0, 0, 9, 1], "schema 9 is Protobuf"),
        (&[0, 0, 0, 0, 10, 1], "schema 10 was not learnt"),
        (&[0, 0, 0, 0], "does not start with"),
        (b"{\"a\":1}", "does not start with"),
        (&[], "does not start with"),
    ] {
        let mut values = Vec::new();
        let error = extractor.extract(record, &mut values).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(
            matches!(extractor.extract(record, &mut Vec::new()), Err(Unreadable::Malformed(_))),
            said.starts_with("does not")
        );
    }
    // Learnt after all.
    schemas.learn(10, r#""null""#, &[]).unwrap();
    let mut values = Vec::new();
    extractor.extract(&[0, 0, 0, 0, 10], &mut values).unwrap();
    assert_eq!(values, [Value::Absent, Value::Absent]);
}

#[test]
fn test_a_schema_that_the_registry_does_not_have_is_known_until_it_is_doubted() {
    let schemas = RegistrySchemas::default();
    schemas.miss(5, "http://registry");
    assert!(schemas.knows(5) && !schemas.is_usable(5));
    schemas.doubt(5);
    assert!(!schemas.knows(5));
    let mut extractor = RegistryExtractor::new(&[], Arc::new(schemas));
    let said = extractor.extract(&[0, 0, 0, 0, 5], &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(said, "the registry http://registry has no schema 5");
}
