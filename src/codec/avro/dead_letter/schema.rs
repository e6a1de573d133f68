//! The schemas that dead letters were written with so far, and their fingerprints. Letters of each stay readable.

use std::sync::OnceLock;

use apache_avro::Schema;
use serde_json::{Value, json};

use super::super::canonical::{earlier_fingerprint, fingerprint};
use super::super::schema::NAMESPACE;
use super::super::single_object::Fingerprint;
use crate::schema::identity::{DEVICE_ID, EVENT_TIME, SEQUENCE, VERSION};

/// What the letters of a schema have; each schema has the fields of the one before, and more behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Era {
    /// Before letters could come in parts.
    First,
    /// Before letters said where their record was from.
    Parts,
    /// As they are written now.
    Sources,
}

/// The fingerprints that dead letters of a schema were written with.
#[derive(Debug, Clone, Copy)]
struct Fingerprints {
    now: Fingerprint,
    /// By builds before fingerprints were those of Avro's specification.
    earlier: Fingerprint,
}

fn null_or(schema: Value) -> Value {
    json!(["null", schema])
}

fn first_fields() -> Vec<Value> {
    vec![
        json!({"name": DEVICE_ID, "type": "string", "doc": "the device that sent it"}),
        json!({"name": "reason_code", "type": "string", "doc": "why it was refused, one word, for counting"}),
        json!({"name": "detail", "type": "string", "doc": "why it was refused, for people"}),
        json!({"name": "origin", "type": "string",
         "doc": "who refused it: the decoder, or the writer with topic, partition and offset"}),
        json!({"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "when it was refused"}),
        json!({"name": "type_id", "type": null_or(json!("int")), "default": null, "doc": "the message type, if known"}),
        json!({"name": VERSION, "type": null_or(json!("int")), "default": null, "doc": "the version of the type, if known"}),
        json!({"name": SEQUENCE, "type": null_or(json!("long")), "default": null, "doc": "the device's own counter, if known"}),
        json!({"name": EVENT_TIME, "type": null_or(json!({"type": "long", "logicalType": "timestamp-millis"})),
         "default": null, "doc": "when the event happened, if known"}),
        json!({"name": "payload", "type": "bytes", "doc": "the body or the record as it was"}),
    ]
}

fn part_fields() -> Vec<Value> {
    vec![
        json!({"name": "part", "type": "int", "default": 1,
         "doc": "which part this is of a letter that is larger than its topic takes, from 1"}),
        json!({"name": "num_parts", "type": "int", "default": 1, "doc": "how many parts the letter has"}),
        json!({"name": "payload_bytes", "type": ["null", "long"], "default": null,
         "doc": "bytes of the whole payload, if this is not all of it"}),
        json!({"name": "whole", "type": "string", "default": "",
         "doc": "the same, with at, in all parts of one letter; empty of one that is whole"}),
    ]
}

fn source_fields() -> Vec<Value> {
    let header = json!({
        "type": "record", "name": "dead_letter__header",
        "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": null_or(json!("bytes"))}],
    });
    vec![
        json!({"name": "trace", "type": null_or(json!("string")), "default": null,
         "doc": "the W3C traceparent that it came with, if it had one"}),
        json!({"name": "source_topic", "type": null_or(json!("string")), "default": null,
         "doc": "the topic that the record was read from, if it was a record"}),
        json!({"name": "source_partition", "type": null_or(json!("int")), "default": null, "doc": "its partition there"}),
        json!({"name": "source_offset", "type": null_or(json!("long")), "default": null, "doc": "its offset there"}),
        json!({"name": "source_timestamp", "type": null_or(json!({"type": "long", "logicalType": "timestamp-millis"})),
         "default": null, "doc": "the record's own timestamp, if known"}),
        json!({"name": "key", "type": null_or(json!("bytes")), "default": null,
         "doc": "the record's key as it was; null if it had none, or if device_id is all of it"}),
        json!({"name": "headers", "type": null_or(json!({"type": "array", "items": header})), "default": null,
         "doc": "the record's headers in their order, as far as they are known; like key in the first of several parts only"}),
        json!({"name": "has_value", "type": "boolean", "default": true,
         "doc": "false: the record had no value, which is another thing than an empty payload"}),
    ]
}

// === impl Era ===

impl Era {
    pub(super) const ALL: [Era; 3] = [Era::First, Era::Parts, Era::Sources];
    /// The schema that letters are written with.
    const NOW: Era = Era::Sources;

    /// The schema that a record of this fingerprint was written with.
    pub(super) fn of(found: Fingerprint) -> Option<Self> {
        let is_of = |(_, known): &(Era, &Fingerprints)| found == known.now || found == known.earlier;
        // Most letters are of the newest schema.
        Self::ALL.into_iter().zip(fingerprints()).rev().find(is_of).map(|(era, _)| era)
    }

    pub(super) fn schema(self) -> Value {
        let fields = [first_fields(), part_fields(), source_fields()];
        json!({
            "type": "record", "name": "dead_letter", "namespace": NAMESPACE,
            "doc": "What could not become a record or a row, with the reason",
            "fields": fields.into_iter().take(self as usize + 1).flatten().collect::<Vec<Value>>(),
        })
    }
}

// === impl Fingerprints ===

impl Fingerprints {
    fn of(schema: &Value) -> Self {
        let (Some(now), Ok(schema)) = (fingerprint(&schema.to_string()), Schema::parse(schema)) else {
            unreachable!("the schemas of dead letters are schemas")
        };
        Self { now, earlier: earlier_fingerprint(&schema) }
    }
}

/// The fingerprint of the schema that dead letters are written with, worked out once.
pub fn dead_letter_fingerprint() -> Fingerprint {
    fingerprints()[Era::NOW as usize].now
}

fn fingerprints() -> &'static [Fingerprints; 3] {
    static FINGERPRINTS: OnceLock<[Fingerprints; 3]> = OnceLock::new();
    FINGERPRINTS.get_or_init(|| Era::ALL.map(|era| Fingerprints::of(&era.schema())))
}
