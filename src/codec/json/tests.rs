//! JSON against the device protocol: the same values make the same record.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::Codecs;
use crate::codec::bits::Layout;
use crate::codec::bits::testing::{codecs, values_of};
use crate::protocol::message::{Identity, MessageHeader};
use crate::schema::{Field, Kind, Value};

const RECEIVED_AT_US: u64 = 1_700_000_000_999_000;

fn identity(version: u8) -> Identity<'static> {
    let header = MessageHeader { type_id: 7, version, sequence: 42, event_time_ms: 1_700_000_000_123 };
    Identity { device_id: "truck-7", header, received_at_us: RECEIVED_AT_US }
}

/// The members of a group as `"name":value`, absent ones left out or null.
fn members(fields: &[Field], values: &[Value], with_nulls: bool) -> Vec<String> {
    let fields = fields.iter().filter(|field| !field.kind.is_reserved());
    fields
        .zip(values)
        .filter(|(_, value)| with_nulls || **value != Value::Null)
        .map(|(field, value)| format!("{:?}:{}", field.name, json(&field.kind, value, with_nulls)))
        .collect()
}

fn json(kind: &Kind, value: &Value, with_nulls: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Int(value) | Value::Timestamp(value) => value.to_string(),
        Value::Float(value) => serde_json::to_string(&f64::from(*value)).unwrap(),
        Value::Double(value) => serde_json::to_string(value).unwrap(),
        Value::Symbol(value) => serde_json::to_string(&**value).unwrap(),
        Value::Text(value) => serde_json::to_string(value).unwrap(),
        Value::Bytes(value) => format!("\"{}\"", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        Value::Group(values) => {
            let Kind::Group { fields } = kind else { panic!("{kind:?}") };
            format!("{{{}}}", members(fields, values, with_nulls).join(" ,"))
        }
        Value::Array(values) => {
            let Kind::Array { item, .. } = kind else { panic!("{kind:?}") };
            let items: Vec<_> = values.iter().map(|value| json(&item.kind, value, with_nulls)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn event(layout: &Layout, values: &[Value], with_nulls: bool) -> Vec<String> {
    let own = ["\"device_id\":\"truck-7\"", "\"event_time\":1700000000123", "\"sequence\":42"];
    let fields = members(layout.fields(), values, with_nulls);
    own.iter().map(|text| text.to_string()).chain(fields).collect()
}

fn record_of(codecs: &Codecs, json: &[u8]) -> Result<Vec<u8>, EventFault> {
    let plan = &codecs.types()[0].json;
    let mut reader = EventReader::default();
    let event = reader.read(plan, json)?;
    let mut record = Vec::new();
    reader.write(plan, &event.identity(plan, 0, RECEIVED_AT_US), &mut record);
    Ok(record)
}

fn message() -> impl Strategy<Value = (Arc<Codecs>, Vec<Value>)> {
    codecs().prop_flat_map(|codecs| {
        let values = values_of(codecs.layout(7, 2).unwrap().fields());
        (Just(Arc::new(codecs)), values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn test_json_makes_the_record_that_the_bits_make(
        (codecs, values) in message(),
        with_nulls in any::<bool>(),
        order in any::<u64>(),
    ) {
        let layout = codecs.layout(7, 2).unwrap();
        let (mut body, mut expected) = (Vec::new(), Vec::new());
        layout.encode_fields(&values, &mut body).unwrap();
        layout.transcode(&identity(2), &body, &mut expected).unwrap();

        let mut members = event(layout, &values, with_nulls);
        let in_order = format!("{{{}}}", members.join(","));
        prop_assert_eq!(record_of(&codecs, in_order.as_bytes()).map_err(|fault| fault.to_string()), Ok(expected.clone()));
        let len = members.len() as u64;
        for step in 0..len {
            members.swap(step as usize, (order.rotate_left(step as u32) % len) as usize);
        }
        let shuffled = format!(" {{{}}}", members.join(" , "));
        prop_assert_eq!(record_of(&codecs, shuffled.as_bytes()).map_err(|fault| fault.to_string()), Ok(expected));

        // Without any one of its members it is refused by that name, unless the field is optional.
        for (left_out, member) in members.iter().enumerate() {
            let rest: Vec<_> = members.iter().enumerate().filter(|(index, _)| *index != left_out).collect();
            let rest = rest.iter().map(|(_, member)| member.as_str()).collect::<Vec<_>>().join(",");
            let name = member.split('"').nth(1).unwrap();
            match record_of(&codecs, format!("{{{rest}}}").as_bytes()) {
                Ok(_) => {
                    let is_optional = layout.fields().iter().any(|field| field.name == name && field.optional);
                    prop_assert!(is_optional || name == "sequence", "{}", name);
                }
                Err(fault) => {
                    prop_assert_eq!(fault.reason, FaultReason::MissingField);
                    prop_assert_eq!(fault.path, format!("$.{name}"));
                }
            }
        }
    }

    #[test]
    fn test_damaged_events_never_panic(
        (codecs, values) in message(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"{}[],:\"\\ 019.eE-+ntf\x00\xff".to_vec()),
    ) {
        let layout = codecs.layout(7, 2).unwrap();
        let mut json = format!("{{{}}}", event(layout, &values, true).join(",")).into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(record) = record_of(&codecs, &json) {
            prop_assert!(crate::codec::avro::RecordIdentity::peek(&record).is_some());
        }
        prop_assert!(record_of(&codecs, &json[..at]).is_err());
    }

    #[test]
    fn test_arbitrary_bytes_never_panic(codecs in codecs(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = record_of(&codecs, &bytes);
    }
}

fn position(members: &str) -> String {
    format!(
        r#"{{"device_id":"t","event_time":1760000000000,"sequence":1,"latitude":1,"longitude":2,"altitude":3,"speed":4,"heading":5,"hdop":6,"satellites":7,"fix":"rtk","ignition":true,"fix_time":1760000000000{members}}}"#
    )
}

fn fault(type_name: &str, json: &str) -> (String, FaultReason, String) {
    let codecs = Codecs::builtin().unwrap();
    let plan = &codecs.by_name(type_name).unwrap().json;
    let fault = EventReader::default().read(plan, json.as_bytes()).unwrap_err();
    (fault.path, fault.reason, fault.detail)
}

#[test]
fn test_faults_are_named_by_path_and_reason() {
    use FaultReason as Reason;
    let cases = [
        ("\"speed\":4", "\"speed\":1200.1", "$.speed", Reason::OutOfRange),
        ("\"speed\":4", "\"speed\":\"fast\"", "$.speed", Reason::WrongKind),
        ("\"speed\":4", "\"speed\":null", "$.speed", Reason::WrongKind),
        ("\"speed\":4", "\"speed\":{}", "$.speed", Reason::WrongKind),
        ("\"speed\":4", "\"speed\":4,\"speed\":4", "$.speed", Reason::RepeatedField),
        ("\"speed\":4", "\"sped\":4", "$.sped", Reason::UnknownField),
        ("\"speed\":4,", "", "$.speed", Reason::MissingField),
        ("\"satellites\":7", "\"satellites\":7.5", "$.satellites", Reason::WrongKind),
        ("\"satellites\":7", "\"satellites\":-7", "$.satellites", Reason::OutOfRange),
        ("\"satellites\":7", "\"satellites\":99999999999999999999", "$.satellites", Reason::OutOfRange),
        ("\"rtk\"", "\"galileo\"", "$.fix", Reason::UnknownSymbol),
        ("\"ignition\":true", "\"ignition\":1", "$.ignition", Reason::WrongKind),
        ("\"fix_time\":1760000000000", "\"fix_time\":1", "$.fix_time", Reason::OutOfRange),
        ("\"fix_time\":1760000000000", "\"fix_time\":\"today\"", "$.fix_time", Reason::WrongKind),
        ("\"device_id\":\"t\"", "\"device_id\":\"a b\"", "$.device_id", Reason::BadDeviceId),
        ("\"device_id\":\"t\"", "\"device_id\":7", "$.device_id", Reason::WrongKind),
        ("\"device_id\":\"t\",", "", "$.device_id", Reason::MissingField),
        ("\"event_time\":1760000000000", "\"event_time\":-1", "$.event_time", Reason::EventTimeOutOfRange),
        ("\"sequence\":1", "\"sequence\":4294967296", "$.sequence", Reason::OutOfRange),
        ("\"sequence\":1", "\"sequence\":1,\"sequence\":null", "$.sequence", Reason::RepeatedField),
        ("\"speed\":4", "\"speed\":4,", "$", Reason::Malformed),
        ("\"speed\":4", "\"speed\":04", "$.speed", Reason::Malformed),
    ];
    for (part, replacement, path, reason) in cases {
        let json = position("").replace(part, replacement);
        let (found_path, found_reason, detail) = fault("position", &json);
        assert_eq!((found_path.as_str(), found_reason), (path, reason), "{replacement}: {detail}");
    }
    assert_eq!(fault("position", "[1]").1, FaultReason::WrongKind);
    assert_eq!(fault("position", &format!("{}x", position(""))).1, FaultReason::Malformed);
    let (_, reason, detail) = fault("position", &position(&format!(",\"driver\":\"{}\"", "x".repeat(25))));
    assert_eq!((reason, detail.as_str()), (FaultReason::WrongLength, "25 bytes; allowed are at most 24"));
}

#[test]
fn test_text_that_is_not_utf8_is_told_by_its_first_byte() {
    let json = position("");
    let place = json.find("\"rtk\"").unwrap() + 2;
    let mut bytes = json.into_bytes();
    bytes[place] = 0xff;
    let EventFault { reason, path, detail } = record_of(&Codecs::builtin().unwrap(), &bytes).unwrap_err();
    assert_eq!((reason, path.as_str()), (FaultReason::Malformed, "$"));
    assert_eq!(detail, format!("not UTF-8 from its byte {place} on"));
}

#[test]
fn test_faults_within_arrays_and_groups_have_the_whole_path() {
    let event = |trace: &str| {
        format!(
            r#"{{"device_id":"t","event_time":1,"sequence":1,"event":"braking","severity":1,"duration":1,"speed_before":1,"speed_after":1,"peak":{{"x":0,"y":0,"z":0}},"sample_rate":10,"trace":[{trace}]}}"#
        )
    };
    let good = r#"{"x":1,"y":2,"z":3}"#;
    let (path, reason, _) = fault("harsh_event", &event(&format!("{good},{}", good.replace("3", "103"))));
    assert_eq!((path.as_str(), reason), ("$.trace[1].z", FaultReason::OutOfRange));
    let (path, reason, _) = fault("harsh_event", &event(&format!("{good},7")));
    assert_eq!((path.as_str(), reason), ("$.trace[1]", FaultReason::WrongKind));
    let (path, reason, _) = fault("harsh_event", &event(&vec![good; 401].join(",")));
    assert_eq!((path.as_str(), reason), ("$.trace", FaultReason::WrongLength));
    let (path, reason, _) = fault("harsh_event", &event("").replace("\"y\":0,", ""));
    assert_eq!((path.as_str(), reason), ("$.peak.y", FaultReason::MissingField));
}

#[test]
fn test_times_may_be_texts_and_integers_may_have_a_zero_fraction() {
    let codecs = Codecs::builtin().unwrap();
    let plan = &codecs.by_name("position").unwrap().json;
    let mut reader = EventReader::default();
    let mut record = |json: &str| {
        let event = reader.read(plan, json.as_bytes()).unwrap();
        let mut record = Vec::new();
        reader.write(plan, &event.identity(plan, 9, 1), &mut record);
        record
    };
    let plain = record(&position(""));
    let texts = position("")
        .replace("\"event_time\":1760000000000", "\"event_time\":\"2025-10-09T08:53:20Z\"")
        .replace("\"fix_time\":1760000000000", "\"fix_time\":\"2025-10-09T08:53:20.000Z\"")
        .replace("\"satellites\":7", "\"satellites\":7.0")
        .replace("\"sequence\":1", "\"sequence\":1e0")
        .replace("\"device_id\":\"t\"", "\"device_id\":\"\\u0074\"");
    assert_eq!(record(&texts), plain);
    // Without a sequence of its own an event has the one that it is given.
    assert_ne!(record(&position("").replace("\"sequence\":1,", "")), plain);
    assert_eq!(
        record(&position("").replace("\"sequence\":1", "\"sequence\":9")),
        record(&position("").replace("\"sequence\":1,", "\"sequence\":null,"))
    );
}

#[test]
fn test_a_number_in_doubt_may_be_followed_by_anything() {
    for rest in ["-", "+1", ".5", "-1e5", "-,", "--"] {
        let event = format!("{{\"latitude\":1.00000005000000000{rest}}}");
        let (_, reason, detail) = fault("position", &event);
        assert!(matches!(reason, FaultReason::Malformed | FaultReason::MissingField), "{event}: {detail}");
    }
}

#[test]
fn test_long_texts_of_clients_are_quoted_in_part() {
    let (path, _, detail) = fault("position", &format!("{{\"{}\":1}}", "ü".repeat(5000)));
    assert!(path.len() < 100, "{path}");
    let (_, _, said) = fault("position", &format!("{{\"speed\":\"{}\"}}", "ü".repeat(5000)));
    assert!(said.len() < 250 && detail.len() < 250, "{said}");
}

#[test]
fn test_schema_has_every_field_with_its_bounds() {
    let codecs = Codecs::builtin().unwrap();
    let codec = codecs.by_name("engine_health").unwrap();
    let schema = event_schema(&codec.message_type, &codec.json);
    let properties = &schema["properties"];
    assert_eq!(properties["engine_load"]["maximum"], 100);
    assert_eq!(properties["rpm"]["maximum"], 12000.0);
    assert_eq!(properties["fuel_level"]["anyOf"][1]["type"], "null");
    assert_eq!(properties["battery"]["properties"]["voltage"]["maximum"], 36.0);
    assert_eq!(properties["trouble_codes"]["items"]["maxLength"], 7);
    assert_eq!(schema["additionalProperties"], false);
    let required: Vec<&str> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(required[..3], ["device_id", "event_time", "rpm"]);
    assert!(!required.contains(&"fuel_level") && !required.contains(&"sequence"));
}
