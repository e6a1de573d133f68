//! Any schema with any datum, written and read back by the `apache-avro` crate: what it reads is what we read.

use std::collections::HashMap;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Days, Decimal, Duration, Millis, Months, Schema};
use num_bigint::BigInt;
use proptest::prelude::*;
use serde_json::json;

use super::{path, walker};
use crate::codec::value::{Path, PathStep, Value};

/// A type, to be written as a schema.
#[derive(Debug, Clone)]
enum Type {
    /// A primitive type with its logical type, if any.
    Plain(&'static str, &'static str),
    Fixed(usize, &'static str),
    /// Of bytes, or of so many.
    Decimal(Option<usize>, u32),
    Enum,
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(Vec<Type>),
}

const PLAIN: [(&str, &str); 21] = [
    ("null", ""),
    ("boolean", ""),
    ("int", ""),
    ("long", ""),
    ("float", ""),
    ("double", ""),
    ("bytes", ""),
    ("string", ""),
    ("int", "date"),
    ("int", "time-millis"),
    ("long", "time-micros"),
    ("long", "timestamp-millis"),
    ("long", "timestamp-micros"),
    ("long", "timestamp-nanos"),
    ("long", "local-timestamp-millis"),
    ("long", "local-timestamp-micros"),
    ("long", "local-timestamp-nanos"),
    ("string", "uuid"),
    // What has no meaning is left out.
    ("int", "uuid"),
    ("string", "date"),
    ("long", "no-such-type"),
];
const SYMBOLS: [&str; 3] = ["RED", "GREEN", "blue_3"];

fn types() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        8 => prop::sample::select(PLAIN.to_vec()).prop_map(|(base, logical)| Type::Plain(base, logical)),
        1 => (0usize..20).prop_map(|size| Type::Fixed(size, "")),
        1 => Just(Type::Fixed(12, "duration")),
        1 => Just(Type::Fixed(16, "uuid")),
        1 => (0u32..6).prop_map(|scale| Type::Decimal(None, scale)),
        1 => (10usize..17, 0u32..6).prop_map(|(size, scale)| Type::Decimal(Some(size), scale)),
        1 => Just(Type::Enum),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Type::Array(Box::new(item))),
            inner.clone().prop_map(|value| Type::Map(Box::new(value))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|branches| {
                let mut kinds = Vec::new();
                let mut distinct = branches;
                distinct.retain(|branch| {
                    let kind = branch.union_kind();
                    let is_new = kind.is_some() && !kinds.contains(&kind);
                    kinds.push(kind);
                    is_new
                });
                if distinct.is_empty() {
                    distinct.push(Type::Plain("null", ""));
                }
                Type::Union(distinct)
            }),
            prop::collection::vec(inner, 0..5).prop_map(Type::Record),
        ]
    })
}

impl Type {
    /// What no other branch of a union may be, too; unions are in no union.
    fn union_kind(&self) -> Option<&'static str> {
        Some(match self {
            Type::Plain(base, _) => base,
            Type::Fixed(..) | Type::Decimal(Some(_), _) => "fixed",
            Type::Decimal(None, _) => "bytes",
            Type::Enum => "enum",
            Type::Array(_) => "array",
            Type::Map(_) => "map",
            Type::Union(_) => return None,
            Type::Record(_) => "record",
        })
    }

    fn schema(&self, num_named: &mut u32) -> serde_json::Value {
        let mut name = || {
            *num_named += 1;
            format!("T{num_named}")
        };
        match self {
            Type::Plain(base, "") => json!(base),
            Type::Plain(base, logical) => json!({"type": base, "logicalType": logical}),
            Type::Fixed(size, "") => json!({"type": "fixed", "name": name(), "size": size}),
            Type::Fixed(size, logical) => {
                json!({"type": "fixed", "name": name(), "size": size, "logicalType": logical})
            }
            Type::Decimal(None, scale) => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": scale})
            }
            Type::Decimal(Some(size), scale) => json!({"type": "fixed", "name": name(), "size": size,
                "logicalType": "decimal", "precision": 20, "scale": scale}),
            Type::Enum => json!({"type": "enum", "name": name(), "symbols": SYMBOLS}),
            Type::Array(item) => json!({"type": "array", "items": item.schema(num_named)}),
            Type::Map(value) => json!({"type": "map", "values": value.schema(num_named)}),
            Type::Union(branches) => branches.iter().map(|branch| branch.schema(num_named)).collect(),
            Type::Record(fields) => {
                let name = name();
                let field = |(index, field): (usize, &Type)| json!({"name": format!("f{index}"), "type": field.schema(num_named)});
                let fields: Vec<_> = fields.iter().enumerate().map(field).collect();
                json!({"type": "record", "name": name, "namespace": "a.b", "fields": fields})
            }
        }
    }

    fn values(&self) -> BoxedStrategy<Avro> {
        let days = |(months, days, millis)| Duration::new(Months::new(months), Days::new(days), Millis::new(millis));
        match self.clone() {
            Type::Plain("null", _) => Just(Avro::Null).boxed(),
            Type::Plain("boolean", _) => any::<bool>().prop_map(Avro::Boolean).boxed(),
            Type::Plain("int", "date") => any::<i32>().prop_map(Avro::Date).boxed(),
            Type::Plain("int", "time-millis") => any::<i32>().prop_map(Avro::TimeMillis).boxed(),
            Type::Plain("int", _) => any::<i32>().prop_map(Avro::Int).boxed(),
            Type::Plain("long", "time-micros") => any::<i64>().prop_map(Avro::TimeMicros).boxed(),
            // As many milliseconds as can be counted in microseconds.
            Type::Plain("long", "timestamp-millis") => {
                (i64::MIN / 1000..=i64::MAX / 1000).prop_map(Avro::TimestampMillis).boxed()
            }
            Type::Plain("long", "local-timestamp-millis") => {
                (i64::MIN / 1000..=i64::MAX / 1000).prop_map(Avro::LocalTimestampMillis).boxed()
            }
            Type::Plain("long", "timestamp-micros") => any::<i64>().prop_map(Avro::TimestampMicros).boxed(),
            Type::Plain("long", "local-timestamp-micros") => any::<i64>().prop_map(Avro::LocalTimestampMicros).boxed(),
            Type::Plain("long", "timestamp-nanos") => any::<i64>().prop_map(Avro::TimestampNanos).boxed(),
            Type::Plain("long", "local-timestamp-nanos") => any::<i64>().prop_map(Avro::LocalTimestampNanos).boxed(),
            Type::Plain("long", _) => any::<i64>().prop_map(Avro::Long).boxed(),
            Type::Plain("float", _) => any::<f32>().prop_map(Avro::Float).boxed(),
            Type::Plain("double", _) => any::<f64>().prop_map(Avro::Double).boxed(),
            Type::Plain("bytes", _) => prop::collection::vec(any::<u8>(), 0..9).prop_map(Avro::Bytes).boxed(),
            Type::Plain("string", "uuid") | Type::Fixed(_, "uuid") => {
                any::<u128>().prop_map(|bits| Avro::Uuid(uuid::Uuid::from_u128(bits))).boxed()
            }
            Type::Plain(..) => any::<String>().prop_map(Avro::String).boxed(),
            Type::Fixed(_, "duration") => {
                any::<(u32, u32, u32)>().prop_map(move |parts| Avro::Duration(days(parts))).boxed()
            }
            Type::Fixed(size, _) => {
                prop::collection::vec(any::<u8>(), size).prop_map(move |bytes| Avro::Fixed(size, bytes)).boxed()
            }
            Type::Decimal(size, _) => any::<i64>()
                .prop_map(move |unscaled| {
                    let mut bytes = BigInt::from(unscaled).to_signed_bytes_be();
                    while size.is_some_and(|size| bytes.len() < size) {
                        bytes.insert(0, if unscaled < 0 { 0xff } else { 0 });
                    }
                    Avro::Decimal(Decimal::from(bytes))
                })
                .boxed(),
            Type::Enum => {
                (0..SYMBOLS.len()).prop_map(|index| Avro::Enum(index as u32, SYMBOLS[index].to_owned())).boxed()
            }
            Type::Array(item) => prop::collection::vec(item.values(), 0..4).prop_map(Avro::Array).boxed(),
            Type::Map(value) => {
                prop::collection::hash_map("[a-c]{0,2}", value.values(), 0..4).prop_map(Avro::Map).boxed()
            }
            Type::Union(branches) => (0..branches.len())
                .prop_flat_map(move |index| (Just(index), branches[index].values()))
                .prop_map(|(index, value)| Avro::Union(index as u32, Box::new(value)))
                .boxed(),
            Type::Record(fields) => {
                let fields: Vec<_> = fields.iter().map(Type::values).collect();
                let named = |(index, value)| (format!("f{index}"), value);
                fields.prop_map(move |values| Avro::Record(values.into_iter().enumerate().map(named).collect())).boxed()
            }
        }
    }
}

/// What we should read of a value of this type.
fn expected(of: &Type, value: &Avro) -> Value<'static> {
    match (of, value) {
        (_, Avro::Null) => Value::Null,
        (_, Avro::Boolean(value)) => Value::Bool(*value),
        (_, Avro::Int(value)) => Value::Long((*value).into()),
        (_, Avro::Long(value)) => Value::Long(*value),
        (_, Avro::Float(value)) => Value::Float(*value),
        (_, Avro::Double(value)) => Value::Double(*value),
        (_, Avro::Bytes(bytes) | Avro::Fixed(_, bytes)) => Value::Bytes(bytes.clone().leak()),
        (_, Avro::String(text) | Avro::Enum(_, text)) => Value::Text(text.clone().into()),
        (_, Avro::Date(days)) => Value::Day(*days),
        (_, Avro::TimeMillis(millis)) => Value::TimeOfDay(i64::from(*millis) * 1000),
        (_, Avro::TimeMicros(micros)) => Value::TimeOfDay(*micros),
        (_, Avro::TimestampMillis(millis) | Avro::LocalTimestampMillis(millis)) => Value::Instant(millis * 1000),
        (_, Avro::TimestampMicros(micros) | Avro::LocalTimestampMicros(micros)) => Value::Instant(*micros),
        (_, Avro::TimestampNanos(nanos) | Avro::LocalTimestampNanos(nanos)) => Value::Instant(nanos.div_euclid(1000)),
        (_, Avro::Uuid(uuid)) => Value::Uuid(uuid.into_bytes()),
        (_, Avro::Duration(_)) => Value::Text(duration(value).into()),
        (Type::Decimal(_, scale), Avro::Decimal(decimal)) => Value::Decimal(decimal.clone().into(), *scale as i32),
        (Type::Union(branches), Avro::Union(index, inner)) => expected(&branches[*index as usize], inner),
        (_, Avro::Array(_) | Avro::Map(_) | Avro::Record(_)) => Value::Json(as_json(of, value).to_string().into()),
        other => panic!("{other:?}"),
    }
}

fn duration(value: &Avro) -> String {
    let Avro::Duration(duration) = value else { panic!("{value:?}") };
    let (months, days, millis) = (duration.months(), duration.days(), duration.millis());
    let parts = [(u32::from(months), "mo"), (u32::from(days), "d"), (u32::from(millis), "ms")];
    let parts: Vec<_> = parts.iter().filter(|part| part.0 != 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if parts.is_empty() { "0ms".to_owned() } else { parts.join("") }
}

fn as_json(of: &Type, value: &Avro) -> serde_json::Value {
    let hex = |bytes: &[u8]| json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    match (of, value) {
        (_, Avro::Date(int) | Avro::TimeMillis(int)) => json!(int),
        (_, Avro::Bytes(bytes) | Avro::Fixed(_, bytes)) => hex(bytes),
        (_, Avro::Float(float)) => serde_json::from_str(&serde_json::to_string(float).unwrap()).unwrap(),
        (_, Avro::Double(double)) => json!(double),
        (_, Avro::Uuid(uuid)) => json!(uuid.to_string()),
        (Type::Decimal(_, scale), Avro::Decimal(decimal)) => {
            let unscaled: BigInt = decimal.clone().into();
            let exponent = if *scale == 0 { String::new() } else { format!("e-{scale}") };
            serde_json::from_str(&format!("{unscaled}{exponent}")).unwrap()
        }
        (Type::Union(branches), Avro::Union(index, inner)) => as_json(&branches[*index as usize], inner),
        (Type::Array(item), Avro::Array(values)) => values.iter().map(|value| as_json(item, value)).collect(),
        (Type::Map(of), Avro::Map(values)) => {
            values.iter().map(|(key, value)| (key.clone(), as_json(of, value))).collect()
        }
        (Type::Record(types), Avro::Record(fields)) => {
            types.iter().zip(fields).map(|(of, (name, value))| (name.clone(), as_json(of, value))).collect()
        }
        _ => match expected(of, value) {
            Value::Null => json!(null),
            Value::Bool(value) => json!(value),
            Value::Text(text) => json!(text),
            Value::Long(value) => json!(value),
            Value::TimeOfDay(_) | Value::Instant(_) => match value {
                Avro::TimeMicros(long)
                | Avro::TimestampMillis(long)
                | Avro::TimestampMicros(long)
                | Avro::TimestampNanos(long)
                | Avro::LocalTimestampMillis(long)
                | Avro::LocalTimestampMicros(long)
                | Avro::LocalTimestampNanos(long) => json!(long),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
    }
}

/// Every path that the value has something at, with that.
fn paths(of: &Type, value: &Avro, here: &Path, found: &mut Vec<(Path, Value<'static>)>) {
    let step = |step| Path { steps: here.steps.iter().cloned().chain([step]).collect() };
    match (of, value) {
        (Type::Union(branches), Avro::Union(index, inner)) => {
            return paths(&branches[*index as usize], inner, here, found);
        }
        (Type::Array(item), Avro::Array(values)) => {
            values.iter().enumerate().for_each(|(i, value)| paths(item, value, &step(PathStep::Item(i)), found));
        }
        (Type::Map(of), Avro::Map(values)) => {
            values.iter().for_each(|(key, value)| paths(of, value, &step(PathStep::Member(key.as_str().into())), found))
        }
        (Type::Record(types), Avro::Record(fields)) => types.iter().zip(fields).for_each(|(of, (name, value))| {
            paths(of, value, &step(PathStep::Member(name.as_str().into())), found);
        }),
        _ => {}
    }
    found.push((here.clone(), expected(of, value)));
}

/// JSON with its members in one order, and numbers as one form.
fn normal(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Json(text) => {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            Value::Json(json.to_string().into())
        }
        other => other,
    }
}

fn written() -> impl Strategy<Value = (Type, String, Vec<u8>)> {
    types().prop_flat_map(|of| (of.values(), Just(of))).prop_map(|(value, of)| {
        let schema = of.schema(&mut 0).to_string();
        let parsed = Schema::parse_str(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let writer = GenericDatumWriter::builder(&parsed).build().unwrap();
        let datum = writer.write_value_to_vec(value).unwrap_or_else(|error| panic!("{schema}: {error}"));
        (of, schema, datum)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn test_every_value_is_what_the_avro_crate_reads((of, schema, datum) in written()) {
        let parsed = Schema::parse_str(&schema).unwrap();
        let reader = GenericDatumReader::builder(&parsed).build().unwrap();
        let theirs = reader.read_value(&mut &datum[..]).unwrap();
        let mut found = Vec::new();
        paths(&of, &theirs, &Path::default(), &mut found);
        found.push((path("$.f0.none"), Value::Absent));
        found.push((path("$.no_such_field"), Value::Absent));
        let all: Vec<Path> = found.iter().map(|(path, _)| path.clone()).collect();
        let mut values = Vec::new();
        walker(&schema, &all).read(&datum, &mut values).unwrap();
        for ((path, expected), value) in found.into_iter().zip(values) {
            prop_assert_eq!(normal(value), normal(expected), "{} in {}", path, schema);
        }
        // One path alone gives what all of them together give.
        for (index, path) in all.iter().enumerate().take(4) {
            let mut alone = Vec::new();
            walker(&schema, std::slice::from_ref(path)).read(&datum, &mut alone).unwrap();
            let mut together = Vec::new();
            walker(&schema, &all).read(&datum, &mut together).unwrap();
            prop_assert_eq!(&alone[0], &together[index]);
        }
    }

    #[test]
    fn test_a_datum_that_is_cut_or_has_more_at_its_end_is_malformed((_, schema, datum) in written(), at in any::<prop::sample::Index>()) {
        let walker = walker(&schema, &[Path::default(), path("$.f0"), path("$[0].f1")]);
        let mut values = Vec::new();
        if !datum.is_empty() {
            prop_assert!(walker.read(&datum[..at.index(datum.len())], &mut values).is_err());
        }
        let longer = [&datum[..], &[0]].concat();
        prop_assert!(walker.read(&longer, &mut values).is_err());
    }

    #[test]
    fn test_damage_ends_in_an_answer((_, schema, mut datum) in written(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        for (at, byte) in changes {
            if !datum.is_empty() {
                let at = at.index(datum.len());
                datum[at] = byte;
            }
        }
        let mut values = Vec::new();
        let walker = walker(&schema, &[Path::default(), path("$.f0"), path("$.f1.f0"), path("$[0]")]);
        if walker.read(&datum, &mut values).is_ok() {
            prop_assert_eq!(values.len(), 4);
        }
    }

    #[test]
    fn test_any_bytes_end_in_an_answer(of in types(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let schema = of.schema(&mut 0).to_string();
        let _ = walker(&schema, &[Path::default(), path("$.f0"), path("$.f0.f0")]).read(&bytes, &mut Vec::new());
    }
}

#[test]
fn test_the_test_itself_meets_every_kind_of_value() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut met: HashMap<std::mem::Discriminant<Value<'static>>, u32> = HashMap::new();
    for _ in 0..400 {
        let (of, value) =
            types().prop_flat_map(|of| (Just(of.clone()), of.values())).new_tree(&mut runner).unwrap().current();
        let mut found = Vec::new();
        paths(&of, &value, &Path::default(), &mut found);
        found.iter().for_each(|(_, value)| *met.entry(std::mem::discriminant(value)).or_default() += 1);
    }
    // All but Absent and Number.
    assert_eq!(met.len(), 13, "{met:?}");
}
