use super::*;
use crate::routes::testing::{Record, described, json, route, rows};
use crate::routes::{Format, Made, RouteSpec, TopicRoutes};
use crate::schema::row::ColumnPlace;

fn record() -> Record {
    Record {
        key: Some("k-1".into()),
        headers: vec![("kind", Some("a")), ("bin", None)],
        partition: 3,
        offset: 10,
        ..Record::of(
            r#"{"type":"login","n":5,"f":1.5,"big":18446744073709551615,"no":null,"least":-9223372036854775808,"is":true,"esc":"a\"b",
                "user":{"id":"u","tags":["x","y"],"a b":1},"items":[{"q":1},{"q":2}]}"#,
        )
    }
}

/// What a filter says of a record.
fn said(filter: &str, record: &Record) -> Result<bool, String> {
    let spec = RouteSpec { filter: Some(filter.to_owned()), ..route(&[("id", "kafka.topic")]) };
    let described = described(&[("id", "text", ColumnPlace::Partition(0))]);
    let routes = TopicRoutes::compile(Format::Json, &[spec], |_| Some(described.clone()), json);
    let mut routes = routes.map_err(|problems| problems[0].reason.clone())?;
    match rows(&mut routes, record).swap_remove(0).0 {
        Made::Row(_) => Ok(true),
        Made::Nothing(_) => Ok(false),
        Made::Rejected(reject) => {
            assert_eq!(reject.code, "filter_failed");
            Err(reject.detail)
        }
    }
}

#[test]
fn test_filters_read_what_a_record_has() {
    for (filter, expected) in [
        ("true", true),
        ("value.type == 'login'", true),
        ("value['type'] != 'login'", false),
        ("value.n > 4 && value.n < 6", true),
        ("value.n == 5.0", true),
        ("value.f > 1", true),
        ("value.big > 18446744073709551614u", true),
        ("value.no == null", true),
        ("value.is", true),
        ("!value.is", false),
        ("value.esc == 'a\"b'", true),
        ("value.user.id in ['u', 'v']", true),
        ("value.user['a b'] == 1", true),
        ("'x' in value.user.tags", true),
        ("size(value.user.tags) == 2", true),
        ("value.user.tags[1] == 'y'", true),
        ("value.items.exists(item, item.q == 2)", true),
        ("value.items.all(item, item.q > 1)", false),
        ("value.items[0].q == 1", true),
        ("'user' in value", true),
        ("value.user == {'id': 'u', 'tags': ['x', 'y'], 'a b': 1}", true),
        ("has(value.type)", true),
        ("has(value.user.id)", true),
        ("has(value.none)", false),
        ("has(value.none.deeper)", false),
        ("has(value.no)", true),
        ("has(value.none) && value.none > 1", false),
        ("key == 'k-1'", true),
        ("key.startsWith('k-')", true),
        ("headers.kind == 'a'", true),
        ("headers['kind'] == 'a'", true),
        ("has(headers.kind)", true),
        ("has(headers.bin) || has(headers.none)", false),
        ("size(headers) == 2", true),
        ("kafka.partition < 10 && kafka.offset == 10 && kafka.topic == 'app'", true),
        ("kafka.timestamp == 0", true),
        ("value.type.matches('^log')", true),
        ("type(value.n) == int", true),
        ("value.type == 'login' ? true : false", true),
    ] {
        assert_eq!(said(filter, &record()), Ok(expected), "{filter}");
    }
}

#[test]
fn test_a_filter_that_fails_on_a_record_says_why() {
    for (filter, expected) in [
        ("value.none == 1", "filter: the record has no value.none; has(value.none) tells"),
        ("value.user.none == 1", "filter: the record has no value.user.none; has(value.user.none) tells"),
        ("headers.none == 'a'", "filter: the record has no headers.none; has(headers.none) tells"),
        ("value.n", "filter: it says \"int\", neither true nor false"),
        ("value.type > 1", "filter: found no matching overload for '_>_' applied to '(string, int)'"),
        ("value.least / -1 == 1", "filter: Overflow from binary operator 'div': Int(-9223372036854775808), Int(-1)"),
        ("value.user.tags[-1] == 'x'", "filter: "),
        ("value.user.tags[5] == 'x'", "filter: "),
        ("value.type.matches('(')", "filter: "),
        ("value.n / 0 == 1", "filter: Division by zero of Int(5)"),
    ] {
        let found = said(filter, &record()).unwrap_err();
        assert!(found.starts_with(expected) && found != "filter: CEL panicked", "{filter}: {found}");
    }
}

#[test]
fn test_a_wrong_filter_is_refused_when_it_is_compiled() {
    let deep = format!("{}1{} == 1", "-(".repeat(200), ")".repeat(200));
    let long = format!("value.a == '{}'", "a".repeat(5000));
    let wide = format!("value.a == 1{}", " + 1".repeat(900));
    for (filter, expected) in [
        ("value.a ==", "at column "),
        (
            "val.a == 1",
            "there is no val (there are value, key, headers, kafka); write value.val for what the record has",
        ),
        ("value.a.nope()", "there is no function nope"),
        ("nope(value.a)", "there is no function nope"),
        ("kafka.time > 1", "kafka has no time (it has timestamp, topic, partition, offset)"),
        ("kafka == 1", "write one of kafka.timestamp, kafka.topic, kafka.partition, kafka.offset"),
        ("has(kafka.topic)", "has() is for value.… and headers.NAME, not for kafka"),
        ("[[1]].all(x, x.all(y, y == 1))", "a loop (all, exists, map, filter) is inside another"),
        ("value.a.all(x, x in value.b)", "value is read within a loop (all, exists, map, filter), once for each item"),
        ("value.a.map(x, headers.h + x) == []", "headers is read within a loop"),
        (&deep, "at column "),
        (&long, "it has 5013 bytes; allowed are 4096"),
        (&wide, "more than 96 expressions are inside one another"),
    ] {
        let error = check_filter(filter).err().unwrap_or_else(|| panic!("{filter}"));
        assert!(error.starts_with(expected), "{filter}: {error}");
        let told = said(filter, &record()).unwrap_err();
        assert_eq!(told, format!("filter: {error}"));
    }
}

#[test]
fn test_a_variable_of_a_loop_hides_what_the_record_has() {
    assert_eq!(said("value.items.all(value, value.q > 0)", &record()), Ok(true));
    assert_eq!(said("value.items.map(key, key.q) == [1, 2]", &record()), Ok(true));
}
