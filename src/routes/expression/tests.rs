use proptest::prelude::*;

use super::*;
use crate::codec::value::PathStep;

fn parsed(text: &str) -> Expression {
    Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn member(name: &str) -> PathStep {
    PathStep::Member(name.into())
}

fn path(steps: &[PathStep]) -> Expression {
    Expression::Path(Path { steps: steps.to_vec() })
}

fn call(function: Function, arguments: &[Expression]) -> Expression {
    Expression::Call(function, arguments.to_vec())
}

#[test]
fn test_every_form_is_read() {
    let a = path(&[member("a")]);
    for (text, expected) in [
        ("$", path(&[])),
        (" $.a.b[0] ", path(&[member("a"), member("b"), PathStep::Item(0)])),
        ("$['a b']['it''s'].ü-1", path(&[member("a b"), member("it's"), member("ü-1")])),
        ("key", Expression::Key),
        ("header.trace-id.x", Expression::Header("trace-id.x".into())),
        ("header['a b']", Expression::Header("a b".into())),
        ("kafka.timestamp", Expression::Kafka(KafkaField::Timestamp)),
        ("kafka.topic", Expression::Kafka(KafkaField::Topic)),
        ("kafka.partition", Expression::Kafka(KafkaField::Partition)),
        ("kafka.offset", Expression::Kafka(KafkaField::Offset)),
        ("''", Expression::Text("".into())),
        ("'it''s'", Expression::Text("it's".into())),
        ("-1.5e+3", Expression::Number("-1.5e+3".into())),
        ("0", Expression::Number("0".into())),
        ("true", Expression::Bool(true)),
        ("false", Expression::Bool(false)),
        ("json($.a)", call(Function::Json, std::slice::from_ref(&a))),
        ("timestamp($.a)", call(Function::Timestamp(TimeForm::Any), std::slice::from_ref(&a))),
        ("timestamp($.a, 's')", call(Function::Timestamp(TimeForm::Seconds), std::slice::from_ref(&a))),
        ("timestamp( $.a ,'ms' )", call(Function::Timestamp(TimeForm::Millis), std::slice::from_ref(&a))),
        ("timestamp($.a,'us')", call(Function::Timestamp(TimeForm::Micros), std::slice::from_ref(&a))),
        ("timestamp($.a,'rfc3339')", call(Function::Timestamp(TimeForm::Text), std::slice::from_ref(&a))),
        ("uuid(key)", call(Function::Uuid, &[Expression::Key])),
        ("timeuuid($.a)", call(Function::TimeUuid, std::slice::from_ref(&a))),
        ("number($.a)", call(Function::Number, std::slice::from_ref(&a))),
        ("bucket('day', at)", call(Function::Bucket(Bucket::Day), &[Expression::Column("at".into())])),
        ("bucket('hour', $.a)", call(Function::Bucket(Bucket::Hour), std::slice::from_ref(&a))),
        (
            "concat(lower($.a), '-', 5)",
            call(
                Function::Concat,
                &[
                    call(Function::Lower, std::slice::from_ref(&a)),
                    Expression::Text("-".into()),
                    Expression::Number("5".into()),
                ],
            ),
        ),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn test_a_mistake_is_told_with_its_column_and_what_is_allowed() {
    for (text, expected) in [
        (
            "",
            "at column 1: found the end; expected a path such as $.a.b, key, header.NAME, kafka.NAME, 'text', a number, true, false, or a function",
        ),
        ("user.id", "at column 5: found '.'; expected the end"),
        (
            " id",
            "at column 2: \"id\" is no expression; write $.id for what the record has there, or 'id' for this text",
        ),
        ("$.a b", "at column 5: found 'b'; expected the end"),
        ("$.ä.", "at column 5: found the end; expected a name, or ['a name'] if it has other letters"),
        ("$[a]", "at column 3: found 'a'; expected 'a name' or the number of an item, from 0"),
        ("$[99999999999]", "at column 3: no array has so many items"),
        ("$[0", "at column 4: found the end; expected ]"),
        ("'abc", "at column 1: a text begins here and does not end; expected another '"),
        ("01", "at column 1: \"01\" is not a number as JSON has them"),
        ("1.", "at column 1: \"1.\" is not a number as JSON has them"),
        ("-", "at column 1: \"-\" is not a number as JSON has them"),
        ("header", "at column 7: found the end; expected . and the name of a header"),
        (
            "kafka.time",
            "at column 7: \"time\" is not one of kafka.timestamp, kafka.topic, kafka.partition, kafka.offset",
        ),
        (
            "upper($.a)",
            "at column 1: \"upper\" is not a function (there are json, timestamp, uuid, timeuuid, number, bucket, lower, concat)",
        ),
        ("timestamp($.a, 'ns')", "at column 16: found 'ns'; expected one of 's', 'ms', 'us', 'rfc3339'"),
        ("bucket(day, $.a)", "at column 8: found 'd'; expected one of 'day', 'hour'"),
        ("bucket('day')", "at column 13: found ')'; expected , and a time: the name of a column, or an expression"),
        ("lower($.a, $.b)", "at column 10: found ','; expected )"),
        (
            "uuid()",
            "at column 6: found ')'; expected a path such as $.a.b, key, header.NAME, kafka.NAME, 'text', a number, true, false, or a function",
        ),
        ("$.a + 1", "at column 5: found '+'; expected the end"),
    ] {
        assert_eq!(Expression::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn test_depth_length_and_steps_have_limits() {
    let nested = |depth: usize| format!("{}$.a{}", "lower(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(16)).is_ok());
    let error = Expression::parse(&nested(17)).unwrap_err().to_string();
    assert_eq!(error, "at column 97: more than 16 functions are inside one another");
    assert!(Expression::parse(&format!("${}", ".a".repeat(32))).is_ok());
    let error = Expression::parse(&format!("${}", ".a".repeat(33))).unwrap_err().to_string();
    assert_eq!(error, "at column 66: the path has more than 32 steps");
    assert!(Expression::parse(&format!("'{}'", "a".repeat(4094))).is_ok());
    let error = Expression::parse(&format!("'{}'", "a".repeat(4095))).unwrap_err().to_string();
    assert_eq!(error, "at column 1: the expression has 4097 bytes; allowed are 4096");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn test_no_text_makes_the_parser_panic(
        text in proptest::collection::vec(
            prop_oneof![
                Just("$"), Just(".a"), Just("["), Just("]"), Just("'"), Just("("), Just(")"), Just(","), Just("lower"),
                Just("concat("), Just("bucket('day',"), Just("kafka."), Just("header"), Just("key"), Just("ü"), Just(" "),
                Just("-1"), Just("e5"), Just("true"),
            ],
            0..12,
        ),
        any in ".{0,20}",
    ) {
        for text in [text.concat(), any] {
            if let Err(error) = Expression::parse(&text) {
                prop_assert!(error.column <= text.chars().count() + 1, "{error}");
            }
        }
    }

    #[test]
    fn test_a_text_is_read_back(text in ".{0,40}") {
        let written = Expression::Text(text.clone().into()).to_string();
        prop_assert_eq!(parsed(&written), Expression::Text(text.into()));
    }
}
