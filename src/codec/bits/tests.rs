//! Arbitrary layouts and bodies: what is packed is unpacked the same, Avro's own reader reads what the transcoder
//! wrote, rows hold the same values, and no bytes whatever make any of it panic.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use proptest::prelude::*;

use super::testing::{codecs, values_of};
use super::{BodyError, Layout};
use crate::codec::Codecs;
use crate::codec::avro::{HEADER_LEN, RowPlan, split_single_object};
use crate::protocol::message::{Identity, MessageHeader};
use crate::schema::Version;
use crate::schema::row::{Cell, ColumnKind};
use crate::schema::{Bucket, Field, Kind, Value};

fn identity(version: Version) -> Identity<'static> {
    let header = MessageHeader { type_id: 7, version, sequence: u32::MAX, event_time_ms: 1_700_000_000_123 };
    Identity { device_id: "truck-7", header, received_at_us: 1_700_000_000_999_999 }
}

/// Codecs, one version, and values for that version.
fn message() -> impl Strategy<Value = (std::sync::Arc<Codecs>, Version, Vec<Value>)> {
    (codecs(), 1u8..=2).prop_flat_map(|(codecs, version)| {
        let codecs = std::sync::Arc::new(codecs);
        let values = values_of(codecs.layout(7, version).unwrap().fields());
        (Just(codecs), Just(version), values)
    })
}

/// Whether what Avro read is what was packed.
fn assert_same(kind: &Kind, value: &Value, avro: &Avro) {
    match (value, avro) {
        (Value::Null, Avro::Union(0, inner)) => assert_eq!(**inner, Avro::Null),
        (value, Avro::Union(1, inner)) => assert_same(kind, value, inner),
        (Value::Bool(value), Avro::Boolean(read)) => assert_eq!(value, read),
        (Value::Uint(value), Avro::Int(read)) => assert_eq!(i128::from(*value), i128::from(*read)),
        (Value::Uint(value), Avro::Long(read)) => assert_eq!(i128::from(*value), i128::from(*read)),
        (Value::Uint(value), Avro::Decimal(read)) => {
            let bytes = Vec::<u8>::try_from(read).unwrap();
            assert!(bytes[0] < 0x80);
            assert_eq!(bytes.iter().fold(0u128, |value, byte| (value << 8) | u128::from(*byte)), u128::from(*value));
        }
        (Value::Int(value), Avro::Int(read)) => assert_eq!(*value, i64::from(*read)),
        (Value::Int(value), Avro::Long(read)) => assert_eq!(value, read),
        (Value::Float(value), Avro::Float(read)) => assert_eq!(value, read),
        (Value::Double(value), Avro::Double(read)) => assert_eq!(value, read),
        (Value::Symbol(value), Avro::Enum(_, read)) => assert_eq!(&**value, read),
        (Value::Timestamp(value), Avro::TimestampMillis(read) | Avro::TimestampMicros(read)) => assert_eq!(value, read),
        (Value::Bytes(value), Avro::Bytes(read)) => assert_eq!(value, read),
        (Value::Text(value), Avro::String(read)) => assert_eq!(value, read),
        (Value::Group(values), Avro::Record(read)) => {
            let Kind::Group { fields } = kind else { panic!("{kind:?}") };
            assert_same_fields(fields, values, read);
        }
        (Value::Array(values), Avro::Array(read)) => {
            let Kind::Array { item, .. } = kind else { panic!("{kind:?}") };
            assert_eq!(values.len(), read.len());
            values.iter().zip(read).for_each(|(value, read)| assert_same(&item.kind, value, read));
        }
        (value, avro) => panic!("{value:?} was read as {avro:?}"),
    }
}

fn assert_same_fields(fields: &[Field], values: &[Value], read: &[(String, Avro)]) {
    let fields = fields.iter().filter(|field| !field.kind.is_reserved());
    for (field, value) in fields.zip(values) {
        let (_, read) = read.iter().find(|(name, _)| *name == field.name).unwrap();
        assert_same(&field.kind, value, read);
    }
}

/// Whether the cells of the top-level scalar fields hold what was packed.
fn assert_cells(layout: &Layout, values: &[Value], cells: &[Cell], codecs: &Codecs, data: &[u8]) {
    let table = &codecs.by_name("t").unwrap().message_type.table;
    let fields = layout.fields().iter().filter(|field| !field.kind.is_reserved());
    for (field, value) in fields.zip(values) {
        let Some(column) = table.columns.iter().position(|column| column.name == field.name) else { continue };
        match (value, &cells[column]) {
            (Value::Null, cell) => assert_eq!(*cell, Cell::Null),
            (Value::Bool(value), Cell::Bool(cell)) => assert_eq!(value, cell),
            (Value::Uint(value), Cell::Unsigned(cell)) => assert_eq!(value, cell),
            (Value::Uint(value), Cell::Int(cell)) => assert_eq!(*value as i64, i64::from(*cell)),
            (Value::Uint(value), Cell::Long(cell)) => assert_eq!(*value as i64, *cell),
            (Value::Int(value), Cell::Int(cell)) => assert_eq!(*value, i64::from(*cell)),
            (Value::Int(value) | Value::Timestamp(value), Cell::Long(cell)) => assert_eq!(value, cell),
            (Value::Timestamp(value), Cell::Timestamp(cell)) => assert_eq!(value, cell),
            (Value::Float(value), Cell::Float(cell)) => assert_eq!(value, cell),
            (Value::Double(value), Cell::Double(cell)) => assert_eq!(value, cell),
            (Value::Symbol(value), Cell::Symbol(cell)) => assert_eq!(value, cell),
            (Value::Text(value), Cell::Text(span)) => assert_eq!(value, span.text_of(data)),
            (Value::Bytes(value), Cell::Bytes(span)) => assert_eq!(value, span.of(data)),
            (Value::Array(values), Cell::List(list)) => assert_eq!(values.len(), list.len()),
            (Value::Array(values), Cell::Json(json)) => {
                assert_eq!(table.columns[column].kind, ColumnKind::Json);
                let json: serde_json::Value = serde_json::from_str(json).unwrap();
                assert_eq!(json.as_array().unwrap().len(), values.len());
            }
            (value, cell) => panic!("{value:?} became {cell:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn test_arbitrary_messages_survive_every_way((codecs, version, values) in message()) {
        let codec = codecs.by_name("t").unwrap();
        let table = &codec.message_type.table;
        let layout = codecs.layout(7, version).unwrap();
        let mut body = Vec::new();
        layout.encode_fields(&values, &mut body).unwrap();
        prop_assert!(body.len() <= layout.max_body_len());
        prop_assert_eq!(layout.decode(&body), Ok(Value::Group(values.clone())));

        let mut record = vec![1, 2, 3];
        layout.transcode(&identity(version), &body, &mut record).unwrap();
        let reader = GenericDatumReader::builder(&codec.schema).build().unwrap();
        let mut rest = &record[3 + HEADER_LEN..];
        let Avro::Record(read) = reader.read_value(&mut rest).unwrap() else { panic!("no record") };
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&read[0].1, &Avro::String("truck-7".into()));
        prop_assert_eq!(&read[1].1, &Avro::TimestampMillis(1_700_000_000_123));
        prop_assert_eq!(&read[4].1, &Avro::Int(version.into()));
        assert_same_fields(layout.fields(), &values, &read);
        if version == 1 {
            let of = |name: &str| &read.iter().find(|(field, _)| field == name).unwrap().1;
            prop_assert_eq!(of("added"), &Avro::Union(0, Box::new(Avro::Null)));
            prop_assert_eq!(of("defaulted"), &Avro::String("none".into()));
        }

        let (fingerprint, datum) = split_single_object(&record[3..]).unwrap();
        prop_assert_eq!(fingerprint, codec.fingerprint);
        let plan = RowPlan::compile(&codec.schema, table, Bucket::Hour).unwrap();
        let mut cells = vec![Cell::Null];
        plan.decode(datum, 3 + HEADER_LEN as u32, &mut cells).unwrap();
        prop_assert_eq!(cells.len(), 1 + table.columns.len());
        prop_assert_eq!(&cells[2], &Cell::Timestamp(1_700_000_000_123 / 3_600_000 * 3_600_000));
        prop_assert_eq!(&cells[5], &Cell::Timestamp(1_700_000_000_999));
        assert_cells(layout, &values, &cells[1..], &codecs, &record);

        // Cut off anywhere, nothing is read and nothing is left behind.
        for len in 0..body.len() {
            prop_assert!(layout.decode(&body[..len]).is_err());
            let mut out = vec![9];
            prop_assert!(layout.transcode(&identity(version), &body[..len], &mut out).is_err());
            prop_assert_eq!(&out, &[9]);
        }
        for len in 0..datum.len() {
            prop_assert!(plan.decode(&datum[..len], 0, &mut cells).is_err());
        }
        prop_assert_eq!(cells.len(), 1 + table.columns.len());
        body.push(0);
        let trailing = matches!(layout.decode(&body), Err(BodyError::TrailingBytes { .. }));
        prop_assert!(trailing);
    }

    #[test]
    fn test_arbitrary_bytes_never_panic(codecs in codecs(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let codec = codecs.by_name("t").unwrap();
        let table = &codec.message_type.table;
        let plan = RowPlan::compile(&codec.schema, table, Bucket::Day).unwrap();
        // The last place of a buffer that it can lie in.
        let _ = plan.decode(&bytes, u32::MAX - bytes.len() as u32, &mut Vec::new());
        for version in [1, 2] {
            let layout = codecs.layout(7, version).unwrap();
            let mut out = Vec::new();
            let decoded = layout.decode(&bytes);
            let transcoded = layout.transcode(&identity(version), &bytes, &mut out);
            // As text, because a float that is no number is out of every range and equals nothing, itself included.
            let said = |error: Option<&BodyError>| format!("{error:?}");
            prop_assert_eq!(said(decoded.as_ref().err()), said(transcoded.as_ref().err()));
            if transcoded.is_ok() {
                prop_assert!(plan.decode(&out[HEADER_LEN..], 0, &mut Vec::new()).is_ok());
            }
        }
    }
}

/// What the columns of a database do not all hold is no value: a field that is not optional would become NULL.
#[test]
fn test_numbers_that_are_none_are_out_of_range_in_both_directions() {
    let kinds = [("f32", 32), ("f64", 64)];
    let fields = kinds.map(|(kind, _)| format!("{{ name = \"{kind}_value\", kind = \"{kind}\", doc = \"d\" }}"));
    let text =
        format!("type = \"t\"\nid = 7\ndoc = \"d\"\n[[version]]\nversion = 1\nfields = [{}]\n", fields.join(","));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("t.toml"), text).unwrap();
    let catalog = Codecs::load(directory.path()).unwrap();
    let layout = catalog.layout(7, 1).unwrap();
    let values = |single: f32, double: f64| Value::Group(vec![Value::Float(single), Value::Double(double)]);
    let body = |single: f32, double: f64| [&single.to_be_bytes()[..], &double.to_be_bytes()].concat();
    for (single, double) in [(f32::MAX, f64::MIN), (-0.0, 5e-324)] {
        assert_eq!(layout.decode(&body(single, double)).unwrap(), values(single, double));
    }
    for (single, double) in [(f32::NAN, 0.0), (0.0, f64::NAN), (f32::INFINITY, 0.0), (0.0, f64::NEG_INFINITY)] {
        let error = layout.decode(&body(single, double)).unwrap_err();
        assert!(matches!(error, BodyError::OutOfRange { .. }), "{error}");
        assert!(layout.encode(&values(single, double), &mut Vec::new()).is_err(), "{single} {double}");
    }
}
