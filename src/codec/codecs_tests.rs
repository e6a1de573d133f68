//! The shipped layouts, what layout files are refused for, and what may change between versions.

use super::avro::{HEADER_LEN, RowPlan, check_reads};
use super::bits::BodyError;
use super::{Codecs, UnknownLayout};
use crate::protocol::message::{Identity, MessageHeader};
use crate::schema::row::{Cell, ColumnKind, ScalarKind};
use crate::schema::{Bucket, Value};

fn with_fields(versions: &[&str]) -> Result<Codecs, String> {
    let mut text = "type = 't'\nid = 7\ndoc = 'd'\n".to_owned();
    for (position, fields) in versions.iter().enumerate() {
        text += &format!("[[version]]\nversion = {}\nfields = [{fields}]\n", position + 1);
    }
    Codecs::from_sources([("t.toml", text)]).map_err(|error| error.to_string())
}

fn assert_refused(versions: &[&str], words: &[&str]) {
    let error = with_fields(versions).map(drop).unwrap_err();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

fn transcode(codecs: &Codecs, version: u8, values: &[Value]) -> Vec<u8> {
    let header = MessageHeader { type_id: 7, version, sequence: 1, event_time_ms: 0 };
    let (mut body, mut record) = (Vec::new(), Vec::new());
    let layout = codecs.layout(7, version).unwrap();
    layout.encode_fields(values, &mut body).unwrap();
    layout.transcode(&Identity { device_id: "d", header, received_at_us: 0 }, &body, &mut record).unwrap();
    record
}

#[test]
fn test_builtin_fleet_is_found_by_number_and_by_name() {
    let codecs = Codecs::builtin().unwrap();
    assert_eq!(codecs.types().len(), 4);
    assert_eq!(codecs.by_id(1).unwrap().message_type.name, "position");
    assert_eq!(codecs.by_name("harsh_event").unwrap().message_type.id, 2);
    assert_eq!(codecs.layout(1, 2).unwrap().version(), 2);
    assert_eq!(codecs.layout(9, 1).unwrap_err(), UnknownLayout::Type(9));
    assert_eq!(codecs.layout(1, 3).unwrap_err(), UnknownLayout::Version(1, 3));
    let kind = |table: &str, column: &str| {
        let table = &codecs.by_name(table).unwrap().message_type.table;
        table.columns.iter().find(|found| found.name == column).unwrap().kind
    };
    assert_eq!(kind("engine_health", "battery_voltage"), ColumnKind::Scalar(ScalarKind::Double));
    assert_eq!(kind("engine_health", "trouble_codes"), ColumnKind::List(ScalarKind::Text));
    assert_eq!(kind("harsh_event", "trace"), ColumnKind::Json);
}

#[test]
fn test_layout_errors_name_the_place_and_what_is_allowed() {
    assert_refused(
        &["{ name = 'g', kind = 'group', fields = [{ name = 'a', kind = 'uint', bits = 65 }] }"],
        &["t.toml", "type t", "version 1", "field g.a", "bits is 65", "1 to 64"],
    );
    assert_refused(&["{ name = 'a', kind = 'integer' }"], &["field a", "\"integer\"", "uint"]);
    assert_refused(&["{ name = 'a', kind = 'bool', scale = 2 }"], &["scale", "bool"]);
    assert_refused(&["{ name = 'a', kind = 'bool', colour = 2 }"], &["colour"]);
    assert_refused(&["{ name = 'A', kind = 'bool' }"], &["snake case"]);
    assert_refused(&["{ name = 'a', kind = 'bool' }, { name = 'a', kind = 'bool' }"], &["twice"]);
    assert_refused(&[""], &["no fields"]);
    assert_refused(&["{ name = 'a', kind = 'uint', bits = 8, min = 9, max = 3 }"], &["no value is valid"]);
    assert_refused(&["{ name = 'a', kind = 'enum', bits = 1, symbols = ['x', 'y', 'z'] }"], &["symbol z", "0 to 1"]);
    assert_refused(&["{ name = 'version', kind = 'bool' }"], &["column version"]);
    assert_refused(
        &["{ name = 'a', kind = 'group', fields = [{ name = 'b', kind = 'bool' }] }, { name = 'a_b', kind = 'bool' }"],
        &["column a_b"],
    );
    let huge = "{ name = 'a', kind = 'array', count_bits = 16, item = { kind = 'bytes', length_bits = 16 } }";
    assert_refused(&[huge], &["a body may take"]);
    assert_refused(&["{ name = 'a', kind = 'timestamp', bits = 64, resolution = 's' }"], &["fewer bits"]);
}

#[test]
fn test_types_share_neither_name_nor_id() {
    let text = |name: &str, id: u16| {
        format!(
            "type = '{name}'\nid = {id}\ndoc = ''\n[[version]]\nversion = 1\nfields = [{{ name = 'a', kind = 'bool' }}]"
        )
    };
    let error = |first: String, second: String| Codecs::from_sources([("1", first), ("2", second)]).unwrap_err();
    assert!(error(text("a", 1), text("b", 1)).to_string().contains("id"));
    assert!(error(text("a", 1), text("a", 2)).to_string().contains("name"));
}

#[test]
fn test_values_outside_the_declaration_are_refused_with_their_field() {
    let codecs = with_fields(&[
        "{ name = 'a', kind = 'fixed', bits = 8, scale = 0.1, max = 20 }, { name = 'e', kind = 'enum', bits = 4, symbols = ['x'] }, \
         { name = 't', kind = 'text', length_bits = 4, max = 3 }",
    ])
    .unwrap();
    let layout = codecs.layout(7, 1).unwrap();
    assert_eq!(layout.decode(&[201, 0]), Err(BodyError::OutOfRange { field: "a".into(), value: 20.1 }));
    assert_eq!(layout.decode(&[200, 0x50]), Err(BodyError::UnknownSymbol { field: "e".into(), number: 5 }));
    assert_eq!(layout.decode(&[200, 0x04]), Err(BodyError::TooLong { field: "t".into(), length: 4, max: 3 }));
    assert_eq!(layout.decode(&[200, 0x01, 0xff]), Err(BodyError::BadText { field: "t".into() }));
    assert_eq!(layout.decode(&[200, 0x01]), Err(BodyError::TooShort { field: "t".into() }));
    assert_eq!(layout.decode(&[200, 0x00, 0]), Err(BodyError::TrailingBytes { num_bits: 8 }));
}

#[test]
fn test_versions_may_add_leave_out_and_widen() {
    let codecs = with_fields(&[
        "{ name = 'a', kind = 'uint', bits = 8 }, { name = 'e', kind = 'enum', bits = 2, symbols = ['x', 'y'] }",
        "{ name = 'a', kind = 'int', bits = 40 }, { name = 'b', kind = 'bool' }, { name = 'e', kind = 'enum', bits = 3, symbols = ['x', 'y', 'z'] }",
        "{ name = 'a', kind = 'fixed', bits = 8, scale = 0.5 }",
    ])
    .unwrap();
    let codec = codecs.by_name("t").unwrap();
    let plan = RowPlan::compile(&codec.schema, &codec.message_type.table, Bucket::Day).unwrap();
    let row = |version, values: &[Value]| {
        let mut cells = Vec::new();
        plan.decode(&transcode(&codecs, version, values)[HEADER_LEN..], 0, &mut cells).unwrap();
        cells.split_off(6)
    };
    let symbol = |name: &str| Value::Symbol(name.into());
    assert_eq!(row(1, &[Value::Uint(200), symbol("y")]), [Cell::Double(200.0), Cell::Symbol("y".into()), Cell::Null]);
    assert_eq!(
        row(2, &[Value::Int(-5), Value::Bool(true), symbol("z")]),
        [Cell::Double(-5.0), Cell::Symbol("z".into()), Cell::Bool(true)]
    );
    assert_eq!(row(3, &[Value::Double(0.5)]), [Cell::Double(0.5), Cell::Null, Cell::Null]);
}

#[test]
fn test_versions_may_not_change_what_a_field_means() {
    let uint = "{ name = 'a', kind = 'uint', bits = 8, unit = 'm' }";
    assert_refused(&[uint, "{ name = 'a', kind = 'text', length_bits = 3 }"], &["field a", "version 1 to 2"]);
    assert_refused(&[uint, "{ name = 'a', kind = 'uint', bits = 8, unit = 'km' }"], &["unit", "m to km"]);
    assert_refused(&[uint, "{ name = 'a', kind = 'uint', bits = 64 }"], &["63 bits"]);
    assert_refused(
        &[uint, "{ name = 'a', kind = 'array', count = 2, item = { kind = 'uint', bits = 8 } }"],
        &["array"],
    );
    assert_refused(&[uint, "{ name = 'a', kind = 'uint', bits = 8, default = 3 }"], &["default changed"]);
    let time =
        |resolution: &str| format!("{{ name = 'a', kind = 'timestamp', bits = 40, resolution = '{resolution}' }}");
    assert_refused(&[&time("ms"), &time("us")], &["milliseconds", "microseconds"]);
    let symbols = |list: &str| format!("{{ name = 'a', kind = 'enum', bits = 4, symbols = {list} }}");
    assert_refused(&[&symbols("['x', 'y']"), &symbols("['y', 'x']")], &["changed its number"]);
    assert_refused(&[&symbols("['x', 'y']"), &symbols("['x', 'z']")], &["number 1 was y and is z"]);
}

#[test]
fn test_registered_schemas_must_stay_readable() {
    let schema = |fields: &str| {
        let codecs = with_fields(&[fields]).unwrap();
        let codec = codecs.by_name("t").unwrap();
        (codec.schema.clone(), codec.schema_json.clone())
    };
    let (_, old) = schema("{ name = 'a', kind = 'uint', bits = 8, unit = 'm' }");
    let reads = |fields: &str| check_reads(&schema(fields).0, &old).is_ok();
    assert!(reads("{ name = 'a', kind = 'uint', bits = 40, unit = 'm' }"));
    assert!(reads("{ name = 'a', kind = 'uint', bits = 8, unit = 'm', optional = true }"));
    assert!(reads("{ name = 'b', kind = 'uint', bits = 8, optional = true }"));
    assert!(!reads("{ name = 'b', kind = 'uint', bits = 8 }"));
    assert!(!reads("{ name = 'a', kind = 'uint', bits = 8, unit = 'km' }"));
    assert!(!reads("{ name = 'a', kind = 'bool' }"));
}

#[test]
fn test_rows_of_a_newer_and_an_older_writer_are_read() {
    let old_fields = "{ name = 'a', kind = 'uint', bits = 8 }";
    let old = with_fields(&[old_fields]).unwrap();
    let new_fields = "{ name = 'g', kind = 'group', optional = true, fields = [{ name = 'x', kind = 'text', length_bits = 3 }] }, \
         { name = 'a', kind = 'uint', bits = 40 }";
    let new = with_fields(&[old_fields, new_fields]).unwrap();
    let (old_type, new_type) = (old.by_name("t").unwrap(), new.by_name("t").unwrap());
    let group = Value::Group(vec![Value::Text("hi".into())]);

    let plan = RowPlan::compile(&new_type.schema, &old_type.message_type.table, Bucket::Day).unwrap();
    let mut cells = Vec::new();
    let record = transcode(&new, 2, &[group.clone(), Value::Uint(9)]);
    plan.decode(&record[HEADER_LEN..], 0, &mut cells).unwrap();
    assert_eq!(cells[6..], [Cell::Int(9)]);
    let too_wide = transcode(&new, 2, &[group, Value::Uint(1 << 39)]);
    assert!(plan.decode(&too_wide[HEADER_LEN..], 0, &mut cells).is_err());
    assert_eq!(cells.len(), 7);

    let plan = RowPlan::compile(&old_type.schema, &new_type.message_type.table, Bucket::Day).unwrap();
    cells.clear();
    plan.decode(&transcode(&old, 1, &[Value::Uint(9)])[HEADER_LEN..], 0, &mut cells).unwrap();
    assert_eq!(cells[6..], [Cell::Long(9), Cell::Null]);
}
