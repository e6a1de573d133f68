//! Dead letters: what could not become a record or a row, with the reason, kept so that nothing is lost unseen.

mod within;

use std::sync::OnceLock;

use apache_avro::Schema;
use serde_json::{Value, json};
use thiserror::Error;

use super::canonical::{earlier_fingerprint, fingerprint};
use super::node::{Cursor, RowError};
use super::schema::NAMESPACE;
use super::single_object::{Fingerprint, NotSingleObject, header, split_single_object};
use super::varint::{write_bytes, write_long};
use crate::schema::identity::{DEVICE_ID, EVENT_TIME, SEQUENCE, VERSION};
use crate::schema::{TypeId, Version};

/// The schema before letters could come in parts.
fn first_schema() -> Value {
    let null_or = |schema: Value| json!(["null", schema]);
    json!({
        "type": "record", "name": "dead_letter", "namespace": NAMESPACE,
        "doc": "What could not become a record or a row, with the reason",
        "fields": [
            {"name": DEVICE_ID, "type": "string", "doc": "the device that sent it"},
            {"name": "reason_code", "type": "string", "doc": "why it was refused, one word, for counting"},
            {"name": "detail", "type": "string", "doc": "why it was refused, for people"},
            {"name": "origin", "type": "string",
             "doc": "who refused it: the decoder, or the writer with topic, partition and offset"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "when it was refused"},
            {"name": "type_id", "type": null_or(json!("int")), "default": null, "doc": "the message type, if known"},
            {"name": VERSION, "type": null_or(json!("int")), "default": null,
             "doc": "the version of the type, if known"},
            {"name": SEQUENCE, "type": null_or(json!("long")), "default": null,
             "doc": "the device's own counter, if known"},
            {"name": EVENT_TIME, "type": null_or(json!({"type": "long", "logicalType": "timestamp-millis"})),
             "default": null, "doc": "when the event happened, if known"},
            {"name": "payload", "type": "bytes", "doc": "the body or the record as it was"},
        ],
    })
}

/// The schema that dead letters are written with.
fn schema() -> Value {
    let mut schema = first_schema();
    let Some(Value::Array(fields)) = schema.get_mut("fields") else { unreachable!("a record has fields") };
    fields.extend([
        json!({"name": "part", "type": "int", "default": 1,
               "doc": "which part this is of a letter that is larger than its topic takes, from 1"}),
        json!({"name": "num_parts", "type": "int", "default": 1, "doc": "how many parts the letter has"}),
        json!({"name": "payload_bytes", "type": ["null", "long"], "default": null,
               "doc": "bytes of the whole payload, if this is not all of it"}),
        json!({"name": "whole", "type": "string", "default": "",
               "doc": "the same, with at, in all parts of one letter; empty of one that is whole"}),
    ]);
    schema
}

/// A dead letter to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The device that sent it.
    pub device_id: &'a str,
    /// Why it was refused, one word, for counting.
    pub reason_code: &'a str,
    /// Why it was refused, for people.
    pub detail: &'a str,
    /// Who refused it: `decoder`, or `writer telemetry/3@1234`.
    pub origin: &'a str,
    /// When it was refused, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// The message type, if known.
    pub type_id: Option<TypeId>,
    /// The version of the type, if known.
    pub version: Option<Version>,
    /// The device's own counter, if known.
    pub sequence: Option<u32>,
    /// When the event happened, if known, in milliseconds since the Unix epoch.
    pub event_time_ms: Option<u64>,
    /// The body or the record as it was.
    pub payload: &'a [u8],
}

/// A dead letter as read; fields as in [`DeadLetter`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OwnedDeadLetter {
    pub device_id: String,
    pub reason_code: String,
    pub detail: String,
    pub origin: String,
    pub at_us: u64,
    pub type_id: Option<TypeId>,
    pub version: Option<Version>,
    pub sequence: Option<u32>,
    pub event_time_ms: Option<u64>,
    pub payload: Vec<u8>,
    /// Which part this is, from 1, and how many there are.
    pub part: u32,
    pub num_parts: u32,
    /// Bytes of the whole payload: more than `payload` has if this is a part, or was cut.
    pub payload_bytes: u64,
    /// The same in all parts of one letter that were written at one time; empty of a letter that is whole.
    pub whole: String,
}

/// What a letter that does not fit into one record has beside its fields.
#[derive(Clone, Copy, Default)]
struct PartOf<'a> {
    part: usize,
    num_parts: usize,
    payload_bytes: usize,
    whole: &'a str,
}

/// Bytes that are no dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotDeadLetter {
    /// They are no single-object record.
    #[error(transparent)]
    NotSingleObject(#[from] NotSingleObject),
    /// They were written with another schema.
    #[error("the record has another schema than dead letters have")]
    OtherSchema,
    /// They do not follow the schema.
    #[error(transparent)]
    Malformed(#[from] RowError),
}

/// The fingerprints that dead letters of a schema were written with.
#[derive(Clone, Copy)]
struct Fingerprints {
    now: Fingerprint,
    /// By builds before fingerprints were those of Avro's specification.
    earlier: Fingerprint,
}

/// The fingerprint of the schema that dead letters are written with, worked out once.
pub fn dead_letter_fingerprint() -> Fingerprint {
    fingerprints().now
}

fn fingerprints() -> Fingerprints {
    static FINGERPRINTS: OnceLock<Fingerprints> = OnceLock::new();
    *FINGERPRINTS.get_or_init(|| Fingerprints::of(&schema()))
}

fn first_fingerprints() -> Fingerprints {
    static FINGERPRINTS: OnceLock<Fingerprints> = OnceLock::new();
    *FINGERPRINTS.get_or_init(|| Fingerprints::of(&first_schema()))
}

// === impl Fingerprints ===

impl Fingerprints {
    fn of(schema: &Value) -> Self {
        let (Some(now), Ok(schema)) = (fingerprint(&schema.to_string()), Schema::parse(schema)) else {
            unreachable!("the schemas of dead letters are schemas")
        };
        Self { now, earlier: earlier_fingerprint(&schema) }
    }

    fn have(self, found: Fingerprint) -> bool {
        found == self.now || found == self.earlier
    }
}

// === impl DeadLetter ===

impl DeadLetter<'_> {
    /// Appends the letter as an Avro single-object record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_part(PartOf::default(), out);
    }

    fn encode_part(&self, of: PartOf<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&header(dead_letter_fingerprint()));
        for text in [self.device_id, self.reason_code, self.detail, self.origin] {
            write_bytes(text.as_bytes(), out);
        }
        write_long(as_long(self.at_us), out);
        write_optional(self.type_id.map(i64::from), out);
        write_optional(self.version.map(i64::from), out);
        write_optional(self.sequence.map(i64::from), out);
        write_optional(self.event_time_ms.map(as_long), out);
        write_bytes(self.payload, out);
        // Sizes of what is in memory: the casts are exact.
        write_long(of.part.max(1) as i64, out);
        write_long(of.num_parts.max(1) as i64, out);
        let is_all = of.payload_bytes <= self.payload.len();
        write_optional((!is_all).then_some(of.payload_bytes as i64), out);
        write_bytes(of.whole.as_bytes(), out);
    }
}

// === impl OwnedDeadLetter ===

impl OwnedDeadLetter {
    /// Reads what [`DeadLetter::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<OwnedDeadLetter, NotDeadLetter> {
        let (found, datum) = split_single_object(bytes)?;
        let has_parts = match found {
            _ if fingerprints().have(found) => true,
            _ if first_fingerprints().have(found) => false,
            _ => return Err(NotDeadLetter::OtherSchema),
        };
        let mut cursor = Cursor::new(datum);
        let mut letter = OwnedDeadLetter {
            device_id: cursor.text()?.to_owned(),
            reason_code: cursor.text()?.to_owned(),
            detail: cursor.text()?.to_owned(),
            origin: cursor.text()?.to_owned(),
            at_us: number(cursor.long()?)?,
            type_id: read_optional(&mut cursor)?,
            version: read_optional(&mut cursor)?,
            sequence: read_optional(&mut cursor)?,
            event_time_ms: read_optional(&mut cursor)?,
            payload: cursor.bytes()?.to_owned(),
            part: 1,
            num_parts: 1,
            payload_bytes: 0,
            whole: String::new(),
        };
        letter.payload_bytes = letter.payload.len() as u64;
        if has_parts {
            letter.part = number(cursor.long()?)?;
            letter.num_parts = number(cursor.long()?)?;
            letter.payload_bytes = read_optional(&mut cursor)?.unwrap_or(letter.payload_bytes);
            letter.whole = cursor.text()?.to_owned();
        }
        match cursor.num_left() {
            0 => Ok(letter),
            num_left => Err(RowError::TrailingBytes(num_left).into()),
        }
    }
}

fn write_optional(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        None => write_long(0, out),
        Some(value) => {
            write_long(1, out);
            write_long(value, out);
        }
    }
}

fn read_optional<T: TryFrom<i64>>(cursor: &mut Cursor<'_>) -> Result<Option<T>, RowError> {
    match cursor.long()? {
        0 => Ok(None),
        1 => number(cursor.long()?).map(Some),
        _ => Err(RowError::Malformed("a branch that the union does not have")),
    }
}

fn number<T: TryFrom<i64>>(value: i64) -> Result<T, RowError> {
    T::try_from(value).map_err(|_| RowError::DoesNotFit)
}

/// Saturates: a clock beyond the year 292,000 is wrong in any case.
fn as_long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use apache_avro::reader::datum::GenericDatumReader;
    use apache_avro::types::Value as Avro;

    use super::*;

    pub(super) const LETTER: DeadLetter<'_> = DeadLetter {
        device_id: "truck-7",
        reason_code: "out_of_range",
        detail: "field speed is 4096, outside its range",
        origin: "decoder",
        at_us: 1_760_000_000_000_000,
        type_id: Some(1),
        version: Some(2),
        sequence: Some(u32::MAX),
        event_time_ms: None,
        payload: &[0, 255, 1],
    };

    #[test]
    fn test_dead_letter_round_trips() {
        let mut bytes = Vec::new();
        LETTER.encode(&mut bytes);
        let read = OwnedDeadLetter::decode(&bytes).unwrap();
        assert_eq!(read.device_id, "truck-7");
        assert_eq!(read.version, Some(2));
        assert_eq!(read.sequence, Some(u32::MAX));
        assert_eq!(read.event_time_ms, None);
        assert_eq!(read.payload, [0, 255, 1]);
        for len in 0..bytes.len() {
            assert!(OwnedDeadLetter::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn test_dead_letter_is_read_by_avro() {
        let schema = Schema::parse(&schema()).unwrap();
        let mut bytes = Vec::new();
        LETTER.encode(&mut bytes);
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let Avro::Record(fields) = reader.read_value(&mut &bytes[10..]).unwrap() else { panic!("no record") };
        assert_eq!(fields[4].1, Avro::TimestampMicros(1_760_000_000_000_000));
        assert_eq!(fields[9].1, Avro::Bytes(vec![0, 255, 1]));
    }

    #[test]
    fn test_letters_of_before_there_were_parts_are_read() {
        let mut bytes = Vec::new();
        LETTER.encode(&mut bytes);
        // The new fields are the last four: 1, 1, null, "".
        bytes.truncate(bytes.len() - 4);
        bytes[..10].copy_from_slice(&header(first_fingerprints().earlier));
        let read = OwnedDeadLetter::decode(&bytes).unwrap();
        assert_eq!((read.part, read.num_parts, read.payload_bytes, read.payload.as_slice()), (1, 1, 3, LETTER.payload));
    }

    #[test]
    fn test_letters_of_builds_with_other_fingerprints_are_read() {
        let mut bytes = Vec::new();
        LETTER.encode(&mut bytes);
        let now = OwnedDeadLetter::decode(&bytes).unwrap();
        // As those builds had it.
        let earlier = 0x68df_9b5f_e132_09cc_u64.to_be_bytes();
        assert_eq!(earlier, fingerprints().earlier);
        // As fastavro 1.13.1 has it.
        assert_eq!(bytes[2..10], 0x826b_3632_476b_173d_u64.to_be_bytes());
        bytes[2..10].copy_from_slice(&earlier);
        assert_eq!(OwnedDeadLetter::decode(&bytes), Ok(now));
    }

    #[test]
    fn test_the_schema_reads_what_the_first_one_wrote() {
        let [first, now] = [first_schema(), schema()].map(|json| Schema::parse(&json).unwrap());
        apache_avro::schema_compatibility::SchemaCompatibility::can_read(&first, &now).unwrap();
        assert_ne!(first_fingerprints().now, dead_letter_fingerprint());
    }
}
