//! Avro's single-object encoding: two marker bytes, the fingerprint of the writer's schema, the datum.

use thiserror::Error;

/// CRC-64-AVRO of a schema's parsing canonical form, least significant byte first.
pub type Fingerprint = [u8; 8];

/// Bytes before the datum.
pub const HEADER_LEN: usize = 10;

const MARKER: [u8; 2] = [0xc3, 0x01];

/// Bytes that are no single-object encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a single-object record: it does not start with C3 01 and a fingerprint of 8 bytes")]
pub struct NotSingleObject;

/// The fingerprint of the writer's schema, and the datum.
pub fn split_single_object(bytes: &[u8]) -> Result<(Fingerprint, &[u8]), NotSingleObject> {
    let rest = bytes.strip_prefix(&MARKER).ok_or(NotSingleObject)?;
    let (fingerprint, datum) = rest.split_first_chunk::<8>().ok_or(NotSingleObject)?;
    Ok((*fingerprint, datum))
}

/// What comes before the datum of a record written with the schema of this fingerprint.
pub(crate) fn header(fingerprint: Fingerprint) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    for (to, from) in header.iter_mut().zip(MARKER.iter().chain(&fingerprint)) {
        *to = *from;
    }
    header
}
