//! The identity of a record, read from its first fields without knowing the rest.

use super::single_object::split_single_object;
use super::varint::read_long;
use crate::schema::Version;
use crate::schema::identity::{IdentityColumn, RECORD_FIELDS};

/// What the first fields of every record say, whatever its type and writer schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordIdentity {
    /// Event time in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// The device's sequence number.
    pub sequence: u32,
    /// The version of the message that the record was made from.
    pub version: Version,
}

impl RecordIdentity {
    /// Reads the identity of a single-object encoded record; `None` if these bytes have none.
    pub fn peek(record: &[u8]) -> Option<Self> {
        let (_, datum) = split_single_object(record).ok()?;
        let mut identity = Self { event_time_ms: 0, sequence: 0, version: 0 };
        RECORD_FIELDS.iter().try_fold(datum, |rest, field| identity.read(*field, rest))?;
        Some(identity)
    }

    /// Reads one of [`RECORD_FIELDS`] from the front of `datum`; what is behind it.
    fn read<'a>(&mut self, field: IdentityColumn, datum: &'a [u8]) -> Option<&'a [u8]> {
        // A number, or the length of the text that follows.
        let (number, rest) = read_long(datum)?;
        match field {
            IdentityColumn::DeviceId => return rest.get(usize::try_from(number).ok()?..),
            IdentityColumn::Bucket => unreachable!("a record has no bucket, its row has"),
            IdentityColumn::EventTime => self.event_time_ms = number.try_into().ok()?,
            IdentityColumn::Sequence => self.sequence = number.try_into().ok()?,
            IdentityColumn::ReceivedAt => {}
            IdentityColumn::Version => self.version = number.try_into().ok()?,
        }
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codecs;
    use crate::protocol::message::{Identity, MessageHeader};

    #[test]
    fn test_record_identity_is_what_the_record_was_written_with() {
        let codecs = Codecs::builtin().unwrap();
        let codec = codecs.by_name("position").unwrap();
        let layout = codec.layout(1).unwrap();
        let body =
            (0..=layout.max_body_len()).map(|len| vec![0; len]).find(|body| layout.decode(body).is_ok()).unwrap();
        let header = MessageHeader {
            type_id: codec.message_type.id,
            version: 1,
            sequence: 77,
            event_time_ms: 1_800_000_000_123,
        };
        let identity = Identity { device_id: "truck-7", header, received_at_us: 1 };
        let mut record = Vec::new();
        layout.transcode(&identity, &body, &mut record).unwrap();
        let expected = RecordIdentity { event_time_ms: 1_800_000_000_123, sequence: 77, version: 1 };
        assert_eq!(RecordIdentity::peek(&record), Some(expected));
        assert_eq!(RecordIdentity::peek(&record[..12]), None);
    }
}
