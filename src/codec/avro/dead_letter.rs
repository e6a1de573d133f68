//! Dead letters: what could not become a record or a row, with the reason, kept so that nothing is lost unseen.

mod carried;
mod read;
mod schema;
mod within;

pub use read::{NotDeadLetter, OwnedDeadLetter, OwnedHeader, OwnedSource};
pub use schema::dead_letter_fingerprint;

use super::single_object::header;
use super::varint::{write_bytes, write_long};
use crate::schema::{TypeId, Version};

/// What a letter has of its end if it is of no record: no topic, partition, offset, timestamp, key or headers, and a value.
const NO_SOURCE: [u8; 7] = [0, 0, 0, 0, 0, 0, 1];

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
    /// The W3C `traceparent` that it came with.
    pub trace: Option<&'a str>,
    /// The record that it was, if it was one.
    pub source: Option<Source<'a>>,
}

/// A record that became a dead letter, beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition there.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// Its own timestamp, if known, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key; `None` if it had none, or if the letter's `device_id` is all of it.
    pub key: Option<&'a [u8]>,
    /// Its headers in their order, as far as they are known; a value may be absent.
    pub headers: &'a [Header<'a>],
    /// Whether it had a value; an empty one is one.
    pub has_value: bool,
}

/// The name and the value of a header.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// What a letter that does not fit into one record has beside its fields.
#[derive(Clone, Copy, Default)]
struct PartOf<'a> {
    part: usize,
    num_parts: usize,
    payload_bytes: usize,
    whole: &'a str,
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
        write_optional_bytes(self.trace.map(str::as_bytes), out);
        match &self.source {
            None => out.extend_from_slice(&NO_SOURCE),
            Some(source) => source.encode(out),
        }
    }
}

// === impl Source ===

impl Source<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        write_optional_bytes(Some(self.topic.as_bytes()), out);
        write_optional(Some(i64::from(self.partition)), out);
        write_optional(Some(as_long(self.offset)), out);
        write_optional(self.timestamp_ms, out);
        write_optional_bytes(self.key, out);
        if self.headers.is_empty() {
            write_long(0, out);
        } else {
            write_long(1, out);
            write_long(self.headers.len() as i64, out);
            for (name, value) in self.headers {
                write_bytes(String::from_utf8_lossy(name).as_bytes(), out);
                write_optional_bytes(*value, out);
            }
            // No block follows.
            write_long(0, out);
        }
        out.push(u8::from(self.has_value));
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

fn write_optional_bytes(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => write_long(0, out),
        Some(value) => {
            write_long(1, out);
            write_bytes(value, out);
        }
    }
}

/// Saturates: a clock beyond the year 292,000 is wrong in any case.
fn as_long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
