//! Dead letters as they are read, also those of earlier schemas.

use thiserror::Error;

use super::super::node::{Cursor, RowError};
use super::super::single_object::{NotSingleObject, split_single_object};
use super::schema::Era;
use crate::schema::{TypeId, Version};

/// A dead letter as read; fields as in [`DeadLetter`](super::DeadLetter).
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
    pub trace: Option<String>,
    /// Key and headers are in the first part only.
    pub source: Option<OwnedSource>,
}

/// The record that a letter was, as read; fields as in [`Source`](super::Source).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OwnedSource {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<OwnedHeader>,
    pub has_value: bool,
}

/// The name and the value of a header.
pub type OwnedHeader = (String, Option<Vec<u8>>);

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

// === impl OwnedDeadLetter ===

impl OwnedDeadLetter {
    /// Reads what [`DeadLetter::encode`](super::DeadLetter::encode) wrote, and what earlier builds wrote.
    pub fn decode(bytes: &[u8]) -> Result<OwnedDeadLetter, NotDeadLetter> {
        let (found, datum) = split_single_object(bytes)?;
        let era = Era::of(found).ok_or(NotDeadLetter::OtherSchema)?;
        let mut cursor = Cursor::new(datum);
        let mut letter = OwnedDeadLetter {
            device_id: cursor.text()?.to_owned(),
            reason_code: cursor.text()?.to_owned(),
            detail: cursor.text()?.to_owned(),
            origin: cursor.text()?.to_owned(),
            at_us: number(cursor.long()?)?,
            type_id: read_number(&mut cursor)?,
            version: read_number(&mut cursor)?,
            sequence: read_number(&mut cursor)?,
            event_time_ms: read_number(&mut cursor)?,
            payload: cursor.bytes()?.to_owned(),
            part: 1,
            num_parts: 1,
            payload_bytes: 0,
            whole: String::new(),
            trace: None,
            source: None,
        };
        letter.payload_bytes = letter.payload.len() as u64;
        if era >= Era::Parts {
            letter.part = number(cursor.long()?)?;
            letter.num_parts = number(cursor.long()?)?;
            letter.payload_bytes = read_number(&mut cursor)?.unwrap_or(letter.payload_bytes);
            letter.whole = cursor.text()?.to_owned();
        }
        if era >= Era::Sources {
            letter.trace = optional(&mut cursor, |cursor| Ok(cursor.text()?.to_owned()))?;
            letter.source = read_source(&mut cursor)?;
        }
        match cursor.num_left() {
            0 => Ok(letter),
            num_left => Err(RowError::TrailingBytes(num_left).into()),
        }
    }
}

fn read_source(cursor: &mut Cursor<'_>) -> Result<Option<OwnedSource>, RowError> {
    let topic = optional(cursor, |cursor| Ok(cursor.text()?.to_owned()))?;
    let (partition, offset) = (read_number(cursor)?, read_number(cursor)?);
    let timestamp_ms = read_number(cursor)?;
    let key = optional(cursor, |cursor| Ok(cursor.bytes()?.to_owned()))?;
    let headers = optional(cursor, read_headers)?.unwrap_or_default();
    let has_value = cursor.bool()?;
    match (topic, partition, offset) {
        (None, None, None) => Ok(None),
        (Some(topic), Some(partition), Some(offset)) => {
            Ok(Some(OwnedSource { topic, partition, offset, timestamp_ms, key, headers, has_value }))
        }
        _ => Err(RowError::Malformed("a record with half of its place")),
    }
}

/// An array, in one block or several.
fn read_headers(cursor: &mut Cursor<'_>) -> Result<Vec<OwnedHeader>, RowError> {
    let mut headers = Vec::new();
    loop {
        let num_headers = match cursor.long()? {
            0 => return Ok(headers),
            num_headers @ 1.. => num_headers,
            // Such a block says how many bytes it has, too.
            negative => {
                cursor.long()?;
                negative.checked_neg().ok_or(RowError::DoesNotFit)?
            }
        };
        for _ in 0..num_headers {
            let name = cursor.text()?.to_owned();
            headers.push((name, optional(cursor, |cursor| Ok(cursor.bytes()?.to_owned()))?));
        }
    }
}

fn optional<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, RowError>,
) -> Result<Option<T>, RowError> {
    match cursor.long()? {
        0 => Ok(None),
        1 => read(cursor).map(Some),
        _ => Err(RowError::Malformed("a branch that the union does not have")),
    }
}

fn read_number<T: TryFrom<i64>>(cursor: &mut Cursor<'_>) -> Result<Option<T>, RowError> {
    optional(cursor, |cursor| number(cursor.long()?))
}

fn number<T: TryFrom<i64>>(value: i64) -> Result<T, RowError> {
    T::try_from(value).map_err(|_| RowError::DoesNotFit)
}
