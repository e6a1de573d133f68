//! The vectors of docs/protocol.md, whose bytes come from `tests/vectors/generate.py` and not from our own encoder,
//! checked in both directions: what is read means what they say, and what is written is the same bytes.

use bytes::{Bytes, BytesMut};
use serde_json::Value as Json;
use surgetank::codec::Codecs;
use surgetank::protocol::device_id::DeviceId;
use surgetank::protocol::frame::{self, Frame, PackageFrame};
use surgetank::protocol::hello::{Credential, Goodbye, Hello, Pong, Refused, Welcome};
use surgetank::protocol::message::MessageHeader;
use surgetank::protocol::package::{self, Builder, Duplicates, Entry, Message, Messages, PackageLimits, Repeat};
use surgetank::protocol::reason::{GoodbyeReason, RefusalReason, RejectReason};
use surgetank::protocol::receipt::{Exception, Outcome, Receipt, Verdict};
use surgetank::schema::{Field, Kind, TypeVersion, Value};

const MAX_FRAME: usize = 1 << 20;

fn vectors(name: &str) -> Json {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json[key].as_array().unwrap_or_else(|| panic!("{key} is no list"))
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {json}"))
}

fn number<T: TryFrom<u64>>(json: &Json, key: &str) -> T {
    let number = json[key].as_u64().unwrap_or_else(|| panic!("{key} is no number in {json}"));
    T::try_from(number).unwrap_or_else(|_| panic!("{key} is too large in {json}"))
}

fn hex(json: &Json, key: &str) -> Vec<u8> {
    let digits = text(json, key);
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn named<R: Copy>(all: &[R], name_of: fn(R) -> &'static str, name: &str) -> R {
    *all.iter().find(|reason| name_of(**reason) == name).unwrap_or_else(|| panic!("no reason {name}"))
}

fn reject_reason(json: &Json) -> RejectReason {
    named(RejectReason::ALL, RejectReason::name, text(json, "reason"))
}

fn frame_of(kind: &str, fields: &Json) -> Frame {
    match kind {
        "hello" => Frame::Hello(Hello {
            device_id: DeviceId::new(text(fields, "device_id")).unwrap(),
            credential: Credential::new(hex(fields, "credential_hex").into()).unwrap(),
        }),
        "welcome" => Frame::Welcome(Welcome {
            max_frame: number(fields, "max_frame"),
            max_package: number(fields, "max_package"),
            max_messages: number(fields, "max_messages"),
            max_unacknowledged: number(fields, "max_unacknowledged"),
            idle_timeout_ms: number(fields, "idle_timeout_ms"),
            server_time_ms: number(fields, "server_time_ms"),
        }),
        "refused" => Frame::Refused(Refused {
            reason: named(RefusalReason::ALL, RefusalReason::name, text(fields, "reason")),
            retry_after_ms: number(fields, "retry_after_ms"),
            text: text(fields, "text").to_owned(),
        }),
        "package" => Frame::Package(PackageFrame {
            package_id: number(fields, "package_id"),
            block: hex(fields, "block_hex").into(),
        }),
        "receipt" => Frame::Receipt(receipt_of(fields)),
        "ping" => Frame::Ping { nonce: number(fields, "nonce") },
        "pong" => {
            Frame::Pong(Pong { nonce: number(fields, "nonce"), server_time_ms: number(fields, "server_time_ms") })
        }
        "goodbye" => Frame::Goodbye(Goodbye {
            reason: named(GoodbyeReason::ALL, GoodbyeReason::name, text(fields, "reason")),
            reconnect_after_ms: number(fields, "reconnect_after_ms"),
        }),
        other => panic!("no frame {other}"),
    }
}

fn receipt_of(fields: &Json) -> Receipt {
    let package_id = number(fields, "package_id");
    let exception = |json: &Json| Exception {
        index: number(json, "index"),
        outcome: match text(json, "outcome") {
            "duplicate" => Outcome::Duplicate,
            "rejected" => Outcome::Rejected(reject_reason(json)),
            "retry_later" => Outcome::RetryLater,
            other => panic!("no outcome {other}"),
        },
    };
    match text(fields, "verdict") {
        "rejected" => Receipt::rejected(package_id, reject_reason(fields)),
        "retry_later" => Receipt::retry_later(package_id, number(fields, "retry_after_ms")),
        _ => Receipt {
            package_id,
            verdict: Verdict::PerMessage {
                num_messages: number(fields, "num_messages"),
                exceptions: list(fields, "exceptions").iter().map(exception).collect(),
                retry_after_ms: number(fields, "retry_after_ms"),
            },
        },
    }
}

#[test]
fn test_vectors_of_checksums() {
    for vector in list(&vectors("checksums"), "checksums") {
        let expected = u32::from_str_radix(text(vector, "crc32c"), 16).unwrap();
        assert_eq!(package::checksum(&hex(vector, "hex")), expected, "{}", vector["name"]);
    }
}

#[test]
fn test_vectors_of_frames_in_both_directions() {
    for vector in list(&vectors("frames"), "frames") {
        let name = text(vector, "name");
        let bytes = hex(vector, "hex");
        let frame = frame_of(text(vector, "kind"), &vector["fields"]);
        let mut encoded = BytesMut::new();
        frame.encode(&mut encoded);
        assert_eq!(encoded, bytes, "{name}");
        let mut buf = BytesMut::from(&bytes[..]);
        assert_eq!(frame::decode(&mut buf, MAX_FRAME), Ok(Some(frame)), "{name}");
        assert!(buf.is_empty(), "{name}");
    }
}

#[test]
fn test_vectors_of_frames_that_are_refused() {
    for vector in list(&vectors("frames"), "refusals") {
        let mut buf = BytesMut::from(&hex(vector, "hex")[..]);
        let error = frame::decode(&mut buf, number(vector, "limit")).unwrap_err();
        assert_eq!(error.refusal().name(), text(vector, "refusal"), "{}: {error}", vector["name"]);
    }
}

fn limits(json: &Json) -> PackageLimits {
    PackageLimits {
        max_bytes: number(&json["limits"], "max_bytes"),
        max_messages: number(&json["limits"], "max_messages"),
    }
}

fn header_of(json: &Json) -> MessageHeader {
    MessageHeader {
        type_id: number(json, "type_id"),
        version: number(json, "version"),
        sequence: number(json, "sequence"),
        event_time_ms: number(json, "event_time_ms"),
    }
}

fn check_message(message: &Message<'_>, expected: &Json, duplicate_of: Option<u16>, name: &str) {
    assert_eq!(u64::from(message.index), expected["index"].as_u64().unwrap(), "{name}");
    assert_eq!(message.header, header_of(expected), "{name}");
    assert_eq!(message.body, hex(expected, "body_hex"), "{name}");
    assert_eq!(message.crc_ok, expected["crc_ok"].as_bool().unwrap(), "{name}");
    assert_eq!(duplicate_of.map(u64::from), expected["duplicate_of"].as_u64(), "{name}");
}

#[test]
fn test_vectors_of_packages_in_both_directions() {
    let all = vectors("packages");
    let limits = limits(&all);
    let mut scratch = Vec::new();
    let mut duplicates = Duplicates::default();
    for vector in list(&all, "packages") {
        let name = text(vector, "name");
        let plain = hex(vector, "plain_hex");
        package::decompress(&hex(vector, "block_hex"), limits, &mut scratch).unwrap();
        assert_eq!(scratch, plain, "{name}");

        let messages = Messages::new(&plain, limits).unwrap();
        duplicates.begin(messages.num_messages());
        let mut expected = list(vector, "entries").iter();
        let mut tail = None;
        for entry in messages {
            match entry {
                Entry::Message(message) => {
                    let repeat = duplicates.first_of(&plain, &message);
                    let duplicate_of = repeat.map(|(Repeat::Bytes(first) | Repeat::Identity(first))| first);
                    check_message(&message, expected.next().unwrap(), duplicate_of, name);
                }
                Entry::Tail(found) => tail = Some(found),
            }
        }
        assert!(expected.next().is_none(), "{name}");
        assert_eq!(tail.is_some(), vector["tail"].is_object(), "{name}");
        if let Some(tail) = tail {
            assert_eq!(tail.first_index, number::<u16>(&vector["tail"], "first_index"), "{name}");
            assert_eq!(tail.raw, hex(&vector["tail"], "hex"), "{name}");
        }

        let is_whole = list(vector, "entries").iter().all(|entry| entry["crc_ok"] == true) && vector["tail"].is_null();
        if is_whole {
            let mut builder = Builder::new(limits);
            for entry in list(vector, "entries") {
                builder.push(&header_of(entry), &hex(entry, "body_hex")).unwrap();
            }
            assert_eq!(builder.plain(), plain, "{name}");
            // Compressed bytes differ between encoders; what comes out of them must not.
            let block: Bytes = builder.finish().unwrap();
            package::decompress(&block, limits, &mut scratch).unwrap();
            assert_eq!(scratch, plain, "{name}");
        }
    }
}

#[test]
fn test_vectors_of_packages_that_are_rejected() {
    let all = vectors("packages");
    let limits = limits(&all);
    let mut scratch = Vec::new();
    for vector in list(&all, "rejected") {
        let decompressed = package::decompress(&hex(vector, "block_hex"), limits, &mut scratch);
        let error = decompressed.and_then(|()| Messages::new(&scratch, limits).map(|_| ())).unwrap_err();
        assert_eq!(error.reason(), reject_reason(vector), "{}", vector["name"]);
    }
}

/// A vector's value as the layout's field takes it.
fn value_of(field: &Field, json: &Json) -> Value {
    if json.is_null() {
        return Value::Null;
    }
    match &field.kind {
        Kind::Uint { .. } => Value::Uint(json.as_u64().unwrap()),
        Kind::Int { .. } => Value::Int(json.as_i64().unwrap()),
        Kind::Bool => Value::Bool(json.as_bool().unwrap()),
        Kind::Enum { .. } => Value::Symbol(json.as_str().unwrap().into()),
        Kind::Fixed { .. } | Kind::F64 { .. } => Value::Double(json.as_f64().unwrap()),
        Kind::F32 { .. } => Value::Float(json.as_f64().unwrap() as f32),
        Kind::Timestamp { .. } => Value::Timestamp(json.as_i64().unwrap()),
        Kind::Bytes { .. } => Value::Bytes(hex(&serde_json::json!({ "value": json }), "value")),
        Kind::Text { .. } => Value::Text(json.as_str().unwrap().to_owned()),
        Kind::Group { fields } => group_of(fields, json),
        Kind::Array { item, .. } => {
            Value::Array(json.as_array().unwrap().iter().map(|json| value_of(item, json)).collect())
        }
        Kind::Reserved { .. } => panic!("reserved bits have no value"),
    }
}

fn group_of(fields: &[Field], json: &Json) -> Value {
    let fields = fields.iter().filter(|field| !field.kind.is_reserved());
    Value::Group(fields.map(|field| value_of(field, &json[&field.name])).collect())
}

#[test]
fn test_vectors_of_bodies_in_both_directions() {
    let codecs = Codecs::builtin().unwrap();
    let all = vectors("bodies");
    for vector in list(&all, "bodies") {
        let name = format!("{} {}: {}", vector["type"], vector["version"], vector["name"]);
        let codec = codecs.by_name(text(vector, "type")).unwrap();
        assert_eq!(codec.message_type.id, number::<u16>(vector, "type_id"), "{name}");
        let layout = codec.layout(number(vector, "version")).unwrap();
        let bytes = hex(vector, "hex");
        let value = group_of(layout.fields(), &vector["values"]);
        assert_eq!(layout.decode(&bytes).unwrap(), value, "{name}");
        let mut encoded = Vec::new();
        layout.encode(&value, &mut encoded).unwrap();
        assert_eq!(encoded, bytes, "{name}");
    }
    for message_type in codecs.catalog().types() {
        for TypeVersion { number, .. } in &message_type.versions {
            let covered = list(&all, "bodies").iter().any(|vector| {
                vector["type"] == message_type.name.as_str() && vector["version"].as_u64() == Some((*number).into())
            });
            assert!(covered, "no vector for {} {number}", message_type.name);
        }
    }
}

#[test]
fn test_vectors_of_values_between_two_steps() {
    let catalog = Codecs::builtin().unwrap();
    for vector in list(&vectors("bodies"), "rounded") {
        let layout = catalog.by_name(text(vector, "type")).unwrap().layout(number(vector, "version")).unwrap();
        let mut encoded = Vec::new();
        layout.encode(&group_of(layout.fields(), &vector["values"]), &mut encoded).unwrap();
        assert_eq!(encoded, hex(vector, "hex"), "{}", vector["name"]);
    }
}

#[test]
fn test_vectors_of_bodies_that_are_refused() {
    let codecs = Codecs::builtin().unwrap();
    for vector in list(&vectors("bodies"), "refused") {
        let codec = codecs.by_name(text(vector, "type")).unwrap();
        let layout = codec.layout(number(vector, "version")).unwrap();
        let error = layout.decode(&hex(vector, "hex")).unwrap_err();
        assert_eq!(error.code(), text(vector, "error"), "{}: {error}", vector["name"]);
    }
}
