//! Writes packages, for devices. Reusable: buffers stay allocated from one package to the next.

use std::fmt;

use bytes::{BufMut, Bytes};

use super::{CHECKSUM_LEN, COUNT_LEN, EVENT_TIME_END_MS, EVENT_TIME_LEN, MESSAGE_OVERHEAD, PackageLimits, checksum};
use crate::protocol::message::MessageHeader;

/// Collects messages and compresses them into a Package frame's block.
pub struct Builder {
    limits: PackageLimits,
    num_messages: u16,
    plain: Vec<u8>,
    encoder: snap::raw::Encoder,
}

/// Why a message was not added. The package is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The package has no room for it: finish, then add it to the next one.
    #[error("package is full")]
    Full,
    /// It does not fit even an empty package.
    #[error("body of {0} bytes fits no package")]
    BodyTooLong(usize),
    /// The event time needs more than 48 bits.
    #[error("event time {0} ms does not fit 48 bits")]
    EventTime(u64),
}

// === impl Builder ===

impl Builder {
    /// An empty package that stays within `limits`, which are those of Welcome.
    pub fn new(limits: PackageLimits) -> Self {
        Self { limits, num_messages: 0, plain: vec![0; COUNT_LEN], encoder: snap::raw::Encoder::new() }
    }

    /// Forgets every message and stays within other limits from now on: those of another connection.
    pub fn begin(&mut self, limits: PackageLimits) {
        self.clear();
        self.limits = limits;
    }

    /// Adds a message.
    pub fn push(&mut self, header: &MessageHeader, body: &[u8]) -> Result<(), PushError> {
        if header.event_time_ms >= EVENT_TIME_END_MS {
            return Err(PushError::EventTime(header.event_time_ms));
        }
        let largest_body = self.limits.max_bytes.saturating_sub(COUNT_LEN + MESSAGE_OVERHEAD);
        let body_len = match u16::try_from(body.len()) {
            Ok(body_len) if body.len() <= largest_body => body_len,
            _ => return Err(PushError::BodyTooLong(body.len())),
        };
        let size_after = self.plain.len() + MESSAGE_OVERHEAD + body.len();
        if self.num_messages >= self.limits.max_messages || size_after > self.limits.max_bytes {
            return Err(PushError::Full);
        }

        let start = self.plain.len();
        self.plain.put_u32(0);
        self.plain.put_u16(header.type_id);
        self.plain.put_u8(header.version);
        self.plain.put_u32(header.sequence);
        self.plain.put_uint(header.event_time_ms, EVENT_TIME_LEN);
        self.plain.put_u16(body_len);
        self.plain.put_slice(body);
        let covered_start = start + CHECKSUM_LEN;
        let crc = checksum(&self.plain[covered_start..]);
        self.plain[start..covered_start].copy_from_slice(&crc.to_be_bytes());
        self.num_messages += 1;
        Ok(())
    }

    /// How many messages were added.
    pub fn num_messages(&self) -> u16 {
        self.num_messages
    }

    /// Bytes of the package so far, before compression.
    pub fn size(&self) -> usize {
        self.plain.len()
    }

    /// The package before compression, its count of messages filled in.
    pub fn plain(&mut self) -> &[u8] {
        self.plain[..COUNT_LEN].copy_from_slice(&self.num_messages.to_be_bytes());
        &self.plain
    }

    /// The compressed block; the builder is empty afterwards.
    ///
    /// `None` only for packages of more than 4 GiB, which Snappy does not know.
    pub fn finish(&mut self) -> Option<Bytes> {
        self.plain();
        let block = self.encoder.compress_vec(&self.plain).ok().map(Bytes::from);
        self.clear();
        block
    }

    /// Forgets every message.
    pub fn clear(&mut self) {
        self.plain.truncate(COUNT_LEN);
        self.num_messages = 0;
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("limits", &self.limits)
            .field("num_messages", &self.num_messages)
            .field("size", &self.plain.len())
            .finish_non_exhaustive()
    }
}
