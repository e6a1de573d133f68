//! Whole routes: the example of the documents, what each rule does, and what is said of wrong ones.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::testing::{Record, columns, described, json, route, rows};
use super::*;
use crate::codec::raw::RawExtract;
use crate::codec::value::{Extract, Path};
use crate::schema::row::{Cell, ColumnPlace, RowOp, Span, TableDescription, TableName};

fn user_events() -> (RouteSpec, TableDescription) {
    let spec = RouteSpec {
        filter: Some("value.type != 'ping' && kafka.partition < 10".to_owned()),
        ..route(&[
            ("user_id", "$.user.id"),
            ("event_id", "uuid($.id)"),
            ("event_type", "lower($.type)"),
            ("payload", "json($.payload)"),
            ("timestamp", "timestamp($.ts, 'ms')"),
            ("source", "'app'"),
            ("day", "bucket('day', timestamp)"),
        ])
    };
    let described = described(&[
        ("user_id", "text", ColumnPlace::Partition(0)),
        ("event_id", "uuid", ColumnPlace::Clustering(0)),
        ("event_type", "text", ColumnPlace::Regular),
        ("payload", "text", ColumnPlace::Regular),
        ("timestamp", "timestamp", ColumnPlace::Regular),
        ("source", "text", ColumnPlace::Regular),
        ("day", "date", ColumnPlace::Regular),
        ("unused", "counter", ColumnPlace::Regular),
    ]);
    (spec, described)
}

const EVENT: &str = r#"{"id":"6f9619ff-8b86-d011-b42d-00c04fc964ff","type":"Login","user":{"id":"u-1","x":[]},
    "payload":{"a": [1, {"b":null}]},"ts":1795694400123}"#;

#[test]
fn test_the_example_of_the_documents_makes_its_row() {
    let (spec, described) = user_events();
    let mut routes = compile(&spec, &described).unwrap();
    let names: Vec<_> = routes.routes()[0].table.columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, ["user_id", "event_id", "event_type", "payload", "timestamp", "source", "day"]);
    let record = Record { value: Some(EVENT.into()), partition: 9, timestamp_ms: Some(1000), ..Record::default() };
    let rows = rows(&mut routes, &record);
    let [(made, cells)] = &*rows else { panic!("{rows:?}") };
    assert_eq!(*made, Made::Row(RowOp::Upsert));
    let data = record.data();
    let text = |cell: &Cell| match cell {
        Cell::Text(span) => span.text_of(&data).to_owned(),
        Cell::OwnText(text) => format!("own {text}"),
        Cell::Symbol(text) => format!("shared {text}"),
        other => format!("{other:?}"),
    };
    let shown: Vec<_> = cells.iter().map(text).collect();
    // What stands in the record is pointed to, objects too.
    let uuid = format!("{:?}", Cell::Uuid(uuid::uuid!("6f9619ff-8b86-d011-b42d-00c04fc964ff").into_bytes()));
    let expected = [
        "u-1",
        &*uuid,
        "own login",
        r#"{"a": [1, {"b":null}]}"#,
        "Timestamp(1795694400123)",
        "shared app",
        "Date(20783)",
        "Long(1000000)",
    ];
    assert_eq!(shown, expected);
}

fn compile(spec: &RouteSpec, described: &TableDescription) -> Result<TopicRoutes, Vec<String>> {
    let compiled = TopicRoutes::compile(Format::Json, std::slice::from_ref(spec), |_| Some(described.clone()), json);
    compiled.map_err(|problems| problems.into_iter().map(|problem| problem.to_string()).collect())
}

#[test]
fn test_what_the_filter_does_not_take_is_nothing() {
    let (spec, described) = user_events();
    let mut routes = compile(&spec, &described).unwrap();
    for (value, partition, expected) in [
        (EVENT.replace("Login", "ping"), 0, "Nothing(Filter)"),
        (EVENT.to_owned(), 10, "Nothing(Filter)"),
        (EVENT.replace("\"type\"", "\"kind\""), 0, "filter_failed"),
    ] {
        let made = rows(&mut routes, &Record { value: Some(value.into()), partition, ..Record::default() });
        assert!(format!("{made:?}").contains(expected), "{made:?}");
    }
}

/// The code of what a route with a text key and one other column makes of a record.
fn made_of(type_text: &str, from: &str, record: &Record) -> String {
    let spec = route(&[("id", "kafka.topic"), ("c", from)]);
    let described = described(&[("id", "text", ColumnPlace::Partition(0)), ("c", type_text, ColumnPlace::Regular)]);
    let mut routes = compile(&spec, &described).unwrap_or_else(|problems| panic!("{problems:?}"));
    match &*rows(&mut routes, record) {
        [(Made::Row(RowOp::Upsert), cells)] => format!("{:?}", cells[1]),
        [(Made::Rejected(reject), cells)] if cells.is_empty() => {
            assert!(REJECT_CODES.contains(&reject.code), "{reject:?}");
            reject.code.to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn test_absent_leaves_a_column_and_null_clears_it_unless_it_is_to_leave_it() {
    let described = described(&[("id", "text", ColumnPlace::Partition(0)), ("c", "int", ColumnPlace::Regular)]);
    for (value, rule, expected) in [
        (r#"{"id":"a"}"#, NullRule::Write, Cell::Null),
        (r#"{"id":"a","c":null}"#, NullRule::Write, Cell::Clear),
        (r#"{"id":"a","c":null}"#, NullRule::Unset, Cell::Null),
        (r#"{"id":"a","c":7}"#, NullRule::Unset, Cell::Int(7)),
    ] {
        let spec = RouteSpec { null: rule, ..route(&[("id", "$.id"), ("c", "$.c")]) };
        let mut routes = compile(&spec, &described).unwrap();
        let made = rows(&mut routes, &Record::of(value));
        assert_eq!(made[0].1[1], expected, "{value}");
    }
    for value in [r#"{"c":1}"#, r#"{"id":null,"c":1}"#] {
        let mut routes = compile(&route(&[("id", "$.id"), ("c", "$.c")]), &described).unwrap();
        let made = rows(&mut routes, &Record::of(value));
        let Made::Rejected(reject) = &made[0].0 else { panic!("{made:?}") };
        assert_eq!(reject.code, "key_missing");
        assert!(reject.detail.starts_with("column id (text): "), "{}", reject.detail);
    }
}

#[test]
fn test_a_record_without_a_value_deletes_its_row_if_the_key_is_there() {
    let described = described(&[
        ("id", "text", ColumnPlace::Partition(0)),
        ("at", "timestamp", ColumnPlace::Clustering(0)),
        ("c", "int", ColumnPlace::Regular),
    ]);
    let tombstone = Record { key: Some("k".into()), timestamp_ms: Some(5), ..Record::default() };
    let columns_of_key = [("id", "key"), ("at", "kafka.timestamp"), ("c", "$.c")];
    let mut routes = compile(&route(&columns_of_key), &described).unwrap();
    let made = rows(&mut routes, &tombstone);
    let [(Made::Row(RowOp::Delete), cells)] = &*made else { panic!("{made:?}") };
    assert!(matches!(&cells[..], [Cell::Text(_), Cell::Timestamp(5), Cell::Null, Cell::Long(5000)]), "{cells:?}");
    // An empty key is one, none is missing.
    let made = rows(&mut routes, &Record { key: None, ..tombstone.clone() });
    assert!(format!("{made:?}").contains("key_missing"), "{made:?}");

    let skip = RouteSpec { on_tombstone: Some(TombstoneRule::Skip), ..route(&columns_of_key) };
    let made = rows(&mut compile(&skip, &described).unwrap(), &tombstone);
    assert_eq!(made[0].0, Made::Nothing(Because::Tombstone));

    // A filter on the value has nothing to say of it, others have.
    for (filter, expected) in
        [("value.c > 1", Made::Row(RowOp::Delete)), ("key != 'k'", Made::Nothing(Because::Filter))]
    {
        let spec = RouteSpec { filter: Some(filter.to_owned()), ..route(&columns_of_key) };
        assert_eq!(rows(&mut compile(&spec, &described).unwrap(), &tombstone)[0].0, expected, "{filter}");
    }

    let by_value = route(&[("id", "$.id"), ("at", "kafka.timestamp"), ("c", "$.c")]);
    let mut routes = compile(&by_value, &described).unwrap();
    assert_eq!(rows(&mut routes, &tombstone)[0].0, Made::Nothing(Because::Tombstone));
    assert_eq!(routes.routes()[0].notes().len(), 1);
    let by_value = RouteSpec { on_tombstone: Some(TombstoneRule::Delete), ..by_value };
    let problems = compile(&by_value, &described).err().unwrap();
    assert!(problems[0].contains("on_tombstone = \"delete\" needs every column of the key"), "{problems:?}");
}

#[test]
fn test_a_time_to_live_is_given_to_the_row_and_what_is_over_is_not_written() {
    let described = described(&[("id", "text", ColumnPlace::Partition(0))]);
    let record =
        Record { now_ms: 10_000, ..Record::of(r#"{"ttl":60,"until":11500,"zero":0,"half":1.5,"past":10000}"#) };
    let until = |path: &str| TtlSpec::Until(format!("timestamp({path}, 'ms')"));
    for (ttl, expected) in [
        (TtlSpec::For(Duration::from_secs(30)), "Int(30)"),
        (TtlSpec::Seconds("$.ttl".to_owned()), "Int(60)"),
        (TtlSpec::Seconds("$.none".to_owned()), "Null"),
        (TtlSpec::Seconds("$.zero".to_owned()), "out_of_range"),
        (TtlSpec::Seconds("$.half".to_owned()), "not_whole"),
        (TtlSpec::Seconds("630720001".to_owned()), "out_of_range"),
        (until("$.until"), "Int(2)"),
        (until("$.past"), "Nothing(Expired)"),
        (until("$.none"), "Null"),
        (TtlSpec::Until("99999999999999".to_owned()), "out_of_range"),
    ] {
        let spec = RouteSpec { ttl: Some(ttl.clone()), ..route(&[("id", "kafka.topic")]) };
        let mut routes = compile(&spec, &described).unwrap();
        assert_eq!(routes.routes()[0].table.row_len(), 3);
        let made = rows(&mut routes, &record);
        let shown = match &made[0] {
            (Made::Row(_), cells) => format!("{:?}", cells[2]),
            (made, cells) => {
                assert!(cells.is_empty());
                format!("{made:?}")
            }
        };
        assert!(shown.contains(expected), "{ttl:?}: {shown}");
    }
}

#[test]
fn test_the_write_timestamp_is_the_records_or_that_of_an_expression_or_the_servers() {
    let described = described(&[("id", "text", ColumnPlace::Partition(0))]);
    let record = Record { timestamp_ms: Some(-7), ..Record::of(r#"{"s":1.5,"text":"1970-01-01T00:00:01.000002Z"}"#) };
    let from = |text: &str| TimestampSpec::From(text.to_owned());
    for (timestamp, expected) in [
        (TimestampSpec::Record, "[Long(-7000)]"),
        (TimestampSpec::Server, "[]"),
        (from("timestamp($.s, 's')"), "[Long(1500000)]"),
        (from("$.text"), "[Long(1000002)]"),
        (from("$.none"), "no_timestamp"),
        (from("5"), "[Long(5000)]"),
    ] {
        let spec = RouteSpec { timestamp: timestamp.clone(), ..route(&[("id", "kafka.topic")]) };
        let mut routes = compile(&spec, &described).unwrap();
        let made = rows(&mut routes, &record);
        let shown = match &made[0] {
            (Made::Row(_), cells) => format!("{:?}", &cells[1..]),
            (made, _) => format!("{made:?}"),
        };
        assert!(shown.contains(expected), "{timestamp:?}: {shown}");
    }
    let mut routes = compile(&route(&[("id", "kafka.topic")]), &described).unwrap();
    let made = rows(&mut routes, &Record { timestamp_ms: None, ..record });
    assert!(format!("{made:?}").contains("no_timestamp"), "{made:?}");
}

#[test]
fn test_key_headers_and_what_kafka_says_are_values() {
    let record = Record {
        key: Some("0e0b".into()),
        headers: vec![("h", Some("first")), ("h", Some("10")), ("none", None)],
        timestamp_ms: Some(1500),
        partition: 3,
        offset: 77,
        ..Record::of("{}")
    };
    let key = Span { start: 0, end: 4 };
    for (type_text, from, expected) in [
        ("text", "key", format!("{:?}", Cell::Text(key))),
        ("blob", "key", format!("{:?}", Cell::Bytes(key))),
        ("uuid", "key", "wrong_form".to_owned()),
        ("int", "number(header.h)", "Int(10)".to_owned()),
        ("text", "header.none", "Null".to_owned()),
        ("text", "header.other", "Null".to_owned()),
        ("timestamp", "kafka.timestamp", "Timestamp(1500)".to_owned()),
        ("smallint", "kafka.partition", "Int(3)".to_owned()),
        ("bigint", "kafka.offset", "Long(77)".to_owned()),
        ("text", "concat(kafka.topic, '/', kafka.partition, '/', kafka.offset)", "OwnText(\"app/3/77\")".to_owned()),
        ("text", "concat(key, header.other)", "Null".to_owned()),
        ("timestamp", "bucket('hour', kafka.timestamp)", "Timestamp(0)".to_owned()),
    ] {
        assert_eq!(made_of(type_text, from, &record), expected, "{from}");
    }
    let binary = Record { key: Some(Bytes::from_static(&[0xff; 16])), ..Record::of("{}") };
    assert_eq!(made_of("text", "key", &binary), "not_utf8");
    assert_eq!(made_of("uuid", "key", &binary), format!("{:?}", Cell::Uuid([0xff; 16])));
    assert_eq!(made_of("timeuuid", "key", &binary), "wrong_form");
}

#[test]
fn test_a_record_that_is_not_of_its_format_is_rejected_by_every_route() {
    let (spec, described) = user_events();
    let specs = [spec.clone(), RouteSpec { name: "other".to_owned(), ..spec }];
    let mut routes = TopicRoutes::compile(Format::Json, &specs, |_| Some(described.clone()), json).unwrap();
    let made = rows(&mut routes, &Record::of("{\"id\":"));
    assert_eq!(made.len(), 2);
    for (made, cells) in made {
        assert!(matches!(made, Made::Rejected(RouteReject { code: "malformed", .. })), "{made:?}");
        assert!(cells.is_empty());
    }
    // The next one is not touched by it.
    let made = rows(&mut routes, &Record { timestamp_ms: Some(1), ..Record::of(EVENT) });
    assert!(made.iter().all(|(made, _)| *made == Made::Row(RowOp::Upsert)), "{made:?}");
}

#[test]
fn test_each_problem_names_the_column_its_type_and_what_to_do() {
    let table = [
        ("id", "text", ColumnPlace::Partition(0)),
        ("seq", "int", ColumnPlace::Clustering(0)),
        ("n", "int", ColumnPlace::Regular),
        ("day", "date", ColumnPlace::Regular),
        ("list", "list<int>", ColumnPlace::Regular),
        ("tu", "timeuuid", ColumnPlace::Regular),
        ("c", "counter", ColumnPlace::Regular),
    ];
    let described = described(&table);
    for (columns, expected) in [
        (
            vec![("id", "$.id")],
            "column seq (int) of the key of app.t is not filled; add seq = … to the route's columns",
        ),
        (
            vec![("nn", "$.n")],
            "column nn is not in app.t (it has id, seq, n, day, list, tu, c); add it to the table, or leave it out of the route",
        ),
        (vec![("n", "'5'")], "column n is int and gets text ('5'); number(…) reads digits"),
        (vec![("n", "5.5")], "column n is int: the number 55e-1 is not a whole number from -2147483648 to 2147483647"),
        (vec![("n", "key")], "column n is int and gets text or bytes (key); number(…) reads digits"),
        (
            vec![("n", "timestamp($.x)")],
            "column n is int and gets a time (timestamp()); take another expression or another column",
        ),
        (
            vec![("day", "timestamp($.x)")],
            "column day is date and gets a time (timestamp()); bucket('day', …) makes a day of it",
        ),
        (vec![("list", "json($.x)")], "column list is list<int> and gets JSON as text (json()); leave json() out"),
        (vec![("tu", "uuid($.x)")], "column tu is timeuuid and gets a UUID (uuid()); write timeuuid(…)"),
        (
            vec![("c", "$.c")],
            "column c is counter, which routes do not write (they write scalar types, and lists, sets and maps of these); leave it out",
        ),
        (
            vec![("n", "$.")],
            "column n: at column 3: found the end; expected a name, or ['a name'] if it has other letters",
        ),
        (
            vec![("day", "bucket('day', x)")],
            "column day: \"x\" is not a column of the route; write $.x for what the record has there, or 'x' for this text",
        ),
        (
            vec![("day", "bucket('day', tu)"), ("tu", "timeuuid(n)"), ("n", "$.n")],
            "column day: column tu is made of a column itself; write its expression here",
        ),
    ] {
        let columns: Vec<_> = match columns[0].0 {
            "id" => columns,
            _ => [("id", "$.id"), ("seq", "$.seq")].into_iter().chain(columns).collect(),
        };
        let problems = compile(&route(&columns), &described).err().unwrap_or_default();
        assert_eq!(problems, [format!("route r: {expected}")]);
    }
    let specs = [route(&[("id", "$.id")])];
    let missing = TopicRoutes::compile(Format::Json, &specs, |_| None, json);
    let expected = "route r: table app.t does not exist; create it, or let the route create it: give it a key, and each column a type";
    assert_eq!(missing.err().unwrap()[0].to_string(), expected);
}

#[test]
fn test_a_route_with_a_key_describes_the_table_that_it_creates() {
    let typed =
        |from: &str, type_text: &str| ColumnSpec { from: from.to_owned(), type_text: Some(type_text.to_owned()) };
    let spec = RouteSpec {
        key: Some((vec!["id".to_owned()], vec!["at".to_owned()])),
        columns: BTreeMap::from([
            ("at".to_owned(), typed("kafka.timestamp", "timestamp")),
            ("id".to_owned(), typed("$.id", "text")),
            ("a".to_owned(), typed("$.a", "set<text>")),
        ]),
        table: TableName { keyspace: None, name: "t".to_owned() },
        ..route(&[])
    };
    let routes = TopicRoutes::compile(Format::Json, std::slice::from_ref(&spec), |_| None, json).unwrap();
    let table = &routes.routes()[0].table;
    let names: Vec<_> = table.columns.iter().map(|column| &*column.name).collect();
    assert_eq!((names, table.key.num_partition, table.key.num_clustering), (vec!["id", "at", "a"], 1, 1));
    assert!(table.routed.as_ref().unwrap().is_created);

    // What is there has to be what is declared.
    let other = described(&[
        ("id", "uuid", ColumnPlace::Partition(0)),
        ("at", "timestamp", ColumnPlace::Regular),
        ("a", "set<text>", ColumnPlace::Regular),
    ]);
    let problems = compile(&spec, &other).err().unwrap();
    assert!(
        problems[1].contains("column at is no part of the key in the database and column 1 of the clustering key"),
        "{problems:?}"
    );
    assert!(problems.iter().any(|problem| problem.contains("column id is uuid in the database and text in the route")));
    let untyped = RouteSpec { columns: columns(&[("id", "$.id"), ("at", "$.at")]), ..spec };
    let problems = TopicRoutes::compile(Format::Json, &[untyped], |_| None, json).err().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn test_raw_records_have_no_paths() {
    let described = described(&[("id", "blob", ColumnPlace::Partition(0))]);
    let compile = |from: &str| {
        let spec = route(&[("id", from)]);
        let extract = |paths: &[Path]| Box::new(RawExtract::new(paths)) as Box<dyn Extract>;
        TopicRoutes::compile(Format::Raw, &[spec], |_| Some(described.clone()), extract).map(|_| ())
    };
    assert_eq!(compile("$"), Ok(()));
    assert!(compile("$.id").unwrap_err()[0].reason.starts_with("raw records have no $.id"));
}

#[test]
fn test_it_is_said_what_writing_twice_changes() {
    let table = described(&[
        ("id", "text", ColumnPlace::Partition(0)),
        ("l", "list<int>", ColumnPlace::Regular),
        ("f", "frozen<list<int>>", ColumnPlace::Regular),
        ("s", "set<int>", ColumnPlace::Regular),
    ]);
    let of = |spec: RouteSpec| compile(&spec, &table).unwrap().routes()[0].idempotence();
    let same = of(route(&[("id", "$.id"), ("f", "$.f"), ("s", "$.s")]));
    assert_eq!(same, Idempotence { same: true, reasons: vec![] });
    let list = of(route(&[("id", "$.id"), ("l", "$.l")]));
    assert!(!list.same && list.reasons[0].contains("column l is a list"), "{list:?}");
    let server = of(RouteSpec { timestamp: TimestampSpec::Server, ..route(&[("id", "$.id")]) });
    assert!(!server.same && server.reasons[0].contains("timestamp = \"server\""), "{server:?}");
    let until = TtlSpec::Until("$.x".to_owned());
    assert!(of(RouteSpec { ttl: Some(until), ..route(&[("id", "$.id")]) }).same);
    let ttl = Some(TtlSpec::For(Duration::from_secs(5)));
    assert!(!of(RouteSpec { ttl, ..route(&[("id", "$.id")]) }).same);
}

proptest! {
    #[test]
    fn test_no_record_makes_a_route_panic(value in any_json(), key in proptest::option::of(".*"), offset in any::<u32>()) {
        let all = ["text", "ascii", "int", "bigint", "varint", "decimal", "float", "double", "boolean", "timestamp", "date",
            "time", "duration", "uuid", "timeuuid", "inet", "blob", "list<int>", "set<text>", "map<int, text>"];
        for type_text in all {
            let spec = RouteSpec {
                filter: Some("value.a == 1 || has(value.b) || size(value) > 1".to_owned()),
                ttl: Some(TtlSpec::Until("$.a".to_owned())),
                ..route(&[("id", "concat(key, $.a)"), ("c", "$.a")])
            };
            let described = described(&[("id", "text", ColumnPlace::Partition(0)), ("c", type_text, ColumnPlace::Regular)]);
            let mut routes = compile(&spec, &described).unwrap();
            let record = Record {
                key: key.clone().map(Bytes::from),
                timestamp_ms: Some(i64::from(offset)),
                offset: offset.into(),
                ..Record::of(&format!("{{\"a\":{value}}}"))
            };
            for (made, cells) in rows(&mut routes, &record) {
                let len = if matches!(made, Made::Row(_)) { 4 } else { 0 };
                prop_assert_eq!(cells.len(), len);
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("JSON has it", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        ".*".prop_map(|text| serde_json::Value::from(text).to_string()),
        Just("\"2026-11-30\"".to_owned()),
        Just("1e400".to_owned()),
        Just("-1e-400".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((".{0,3}", inner), 0..4).prop_map(|members| {
                let members =
                    members.into_iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

mod of_types {
    use super::*;
    use crate::schema::row::{Column, ColumnKind, ScalarKind, Table};

    /// The table of a message type, and a row of it.
    fn own() -> (Table, Vec<Cell>) {
        let scalar = |name: &str, kind| Column { name: name.to_owned(), kind: ColumnKind::Scalar(kind) };
        let columns = vec![
            scalar("device_id", ScalarKind::Text),
            scalar("bucket", ScalarKind::Timestamp),
            scalar("event_time", ScalarKind::Timestamp),
            scalar("sequence", ScalarKind::Long),
            scalar("received_at", ScalarKind::Timestamp),
            scalar("version", ScalarKind::Int),
            scalar("speed", ScalarKind::Float),
            scalar("kind", ScalarKind::Text),
            Column { name: "axles".to_owned(), kind: ColumnKind::List(ScalarKind::Int) },
            scalar("note", ScalarKind::Text),
        ];
        let cells = vec![
            Cell::Text(Span { start: 0, end: 3 }),
            Cell::Timestamp(0),
            Cell::Timestamp(3_600_001),
            Cell::Long(7),
            Cell::Timestamp(3_600_500),
            Cell::Int(1),
            Cell::Float(1.5),
            Cell::Symbol("three_d".into()),
            Cell::List(vec![Cell::Int(1), Cell::Int(2)]),
            Cell::Null,
        ];
        (Table::of_type("position", columns), cells)
    }

    fn latest() -> (RouteSpec, TableDescription) {
        let spec = RouteSpec {
            from: Source::Types(vec!["position".to_owned()]),
            filter: Some("value.kind == 'three_d' && value.speed > 1.0 && !has(value.note)".to_owned()),
            ..route(&[
                ("device", "$.device_id"),
                ("at", "$.event_time"),
                ("hour", "bucket('hour', at)"),
                ("kind", "$.kind"),
                ("axles", "$.axles"),
                ("axles_text", "json($.axles)"),
                ("speed", "$.speed"),
                ("note", "$.note"),
            ])
        };
        let described = described(&[
            ("device", "text", ColumnPlace::Partition(0)),
            ("at", "timestamp", ColumnPlace::Regular),
            ("hour", "timestamp", ColumnPlace::Regular),
            ("kind", "text", ColumnPlace::Regular),
            ("axles", "set<bigint>", ColumnPlace::Regular),
            ("axles_text", "text", ColumnPlace::Regular),
            ("speed", "double", ColumnPlace::Regular),
            ("note", "text", ColumnPlace::Regular),
        ]);
        (spec, described)
    }

    fn apply(routes: &mut TopicRoutes, cells: &[Cell]) -> Vec<(Made, Vec<Cell>)> {
        let data = Bytes::from_static(b"d-1");
        let mut made = Vec::new();
        let record = RecordView { topic: "telemetry", ..RecordView::empty(&data) };
        routes.apply_row(&record, cells, |_, what, cells| made.push((what, std::mem::take(cells))));
        made
    }

    #[test]
    fn test_a_row_of_a_type_becomes_a_row_of_another_table() {
        let (own, cells) = own();
        let (spec, described) = latest();
        let mut routes = TopicRoutes::compile_type(&own, &[spec], |_| Some(described.clone())).unwrap();
        let expected = vec![
            Cell::Text(Span { start: 0, end: 3 }),
            Cell::Timestamp(3_600_001),
            Cell::Timestamp(3_600_000),
            Cell::Symbol("three_d".into()),
            Cell::List(vec![Cell::Long(1), Cell::Long(2)]),
            Cell::OwnText("[1,2]".into()),
            Cell::Double(1.5),
            // The message has left it out, which is null.
            Cell::Clear,
            // The event time decides which row is the newer one.
            Cell::Long(3_600_001_000),
        ];
        assert_eq!(apply(&mut routes, &cells), [(Made::Row(RowOp::Upsert), expected)]);
        let slow: Vec<Cell> = [&cells[..6], &[Cell::Float(0.5)], &cells[7..]].concat();
        assert_eq!(apply(&mut routes, &slow), [(Made::Nothing(Because::Filter), vec![])]);
    }

    #[test]
    fn test_kinds_of_fields_are_compared_with_those_of_columns() {
        let (own, _) = own();
        for (column, type_text, from, expected) in [
            ("c", "int", "$.kind", "column c is int and gets text ($.kind); number(…) reads digits"),
            (
                "c",
                "date",
                "$.event_time",
                "column c is date and gets timestamp ($.event_time); bucket('day', …) makes a day of it",
            ),
            ("c", "text", "$.axles", "column c is text and gets frozen<list<int>> ($.axles); write json(…)"),
            (
                "c",
                "list<text>",
                "$.axles",
                "column c is list<text> and gets frozen<list<int>> ($.axles); take another expression or another column",
            ),
            (
                "c",
                "timestamp",
                "kafka.timestamp",
                "column c: records of message types have no headers and no time of Kafka; their times are $.event_time and $.received_at (kafka.timestamp)",
            ),
            (
                "c",
                "text",
                "$.none",
                "column c: message type position has no $.none (there are device_id, bucket, event_time, sequence, received_at, version, speed, kind, axles, note)",
            ),
        ] {
            let spec = route(&[("id", "$.device_id"), (column, from)]);
            let described =
                described(&[("id", "text", ColumnPlace::Partition(0)), (column, type_text, ColumnPlace::Regular)]);
            let problems = TopicRoutes::compile_type(&own, &[spec], |_| Some(described.clone())).err().unwrap();
            assert_eq!(problems[0].reason, expected);
        }
    }
}
