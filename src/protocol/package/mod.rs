//! Packages: what is inside a Package frame's Snappy block, walked without copying and without trust.
//!
//! Knows where each message begins and ends and whether its checksum holds; what a body means is the layout's
//! business. [`Messages`] reads, [`Builder`] writes, [`Duplicates`] finds repeated messages.

mod builder;
mod duplicates;

use bytes::Buf;

use super::message::MessageHeader;
use super::reason::RejectReason;

pub use builder::{Builder, PushError};
pub use duplicates::{Duplicates, Repeat};

/// Bytes of the count of messages in front of a package.
pub const COUNT_LEN: usize = 2;

/// Bytes of a message in front of its body: checksum, type, version, sequence, event time, body length.
pub const MESSAGE_OVERHEAD: usize = CHECKSUM_LEN + 2 + 1 + 4 + EVENT_TIME_LEN + 2;

/// The first event time that does not fit the 48 bits it has on the wire.
pub const EVENT_TIME_END_MS: u64 = 1 << (8 * EVENT_TIME_LEN);

const CHECKSUM_LEN: usize = 4;
const EVENT_TIME_LEN: usize = 6;

/// Snappy's densest element stands for 64 bytes and takes 3. No block can hold more than this many times its size.
const MAX_SNAPPY_EXPANSION: usize = 22;

/// Records take about this many times the bytes of small messages: they have the device and more times beside the body.
const RECORDS_PER_PLAIN: usize = 2;

/// How large a package may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageLimits {
    /// Bytes after decompression.
    pub max_bytes: usize,
    /// Messages.
    pub max_messages: u16,
}

/// Why a package is turned away as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Not a Snappy block, or one that claims more than it can hold.
    #[error("not a snappy block")]
    BadSnappy,
    /// The block claims more bytes than allowed. Nothing was allocated for it.
    #[error("package of {claimed} bytes after decompression, allowed are {limit}")]
    TooLarge {
        /// The size that the block claims.
        claimed: usize,
        /// The limit.
        limit: usize,
    },
    /// More messages than allowed.
    #[error("package of {claimed} messages, allowed are {limit}")]
    TooManyMessages {
        /// The count that the package claims.
        claimed: u16,
        /// The limit.
        limit: u16,
    },
    /// Too short for its count of messages, or bytes without a message.
    #[error("package of {bytes} bytes cannot be its {claimed} messages")]
    Malformed {
        /// The count that the package claims.
        claimed: u16,
        /// The package's size.
        bytes: usize,
    },
}

/// Walks the messages of a decompressed package in order.
///
/// Ends after the last message, or after the one [`Entry::Tail`] that takes the place of everything from the first
/// message that cannot be cut out.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    package: &'a [u8],
    count: u16,
    next_index: u16,
    offset: usize,
}

/// One entry of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// The structure is broken from here on.
    Tail(Tail<'a>),
}

/// A message as it came, its body not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its place in the package, from 0.
    pub index: u16,
    /// Where [`Self::raw`] begins in the package.
    pub offset: usize,
    /// The fixed part. Only to be believed if [`Self::crc_ok`].
    pub header: MessageHeader,
    /// The checksum that the message carries.
    pub crc: u32,
    /// Whether that is the checksum of the message's bytes.
    pub crc_ok: bool,
    /// The bit-packed body.
    pub body: &'a [u8],
    /// The whole message, checksum and all: what goes to the dead-letter topic.
    pub raw: &'a [u8],
}

/// What is left of a package when no further message can be cut out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail<'a> {
    /// The first message that is lost in these bytes; all messages from it up to the count are undecodable. Equal to
    /// the count if the package merely goes on after its last message.
    pub first_index: u16,
    /// The bytes, to be kept for the operator.
    pub raw: &'a [u8],
}

/// Decompresses a Package frame's block into `scratch`, whose content is replaced.
///
/// The size that the block claims is checked before anything is allocated, so `scratch` never grows beyond
/// `limits.max_bytes`. After an error the content of `scratch` is unspecified.
pub fn decompress(block: &[u8], limits: PackageLimits, scratch: &mut Vec<u8>) -> Result<(), PackageError> {
    let claimed = claimed_len(block, limits)?;
    // No `clear`: only growth has to be zeroed, the rest is overwritten anyway.
    scratch.resize(claimed, 0);
    let written = snap::raw::Decoder::new().decompress(block, scratch).map_err(|_| PackageError::BadSnappy)?;
    scratch.truncate(written);
    Ok(())
}

/// Bytes of memory that a package takes until it has its receipt, about: its block, and the records that are made of it. A
/// block that claims more than is allowed or possible takes only itself, since nothing is allocated for it.
pub fn weight(block: &[u8], limits: PackageLimits) -> usize {
    block.len() + RECORDS_PER_PLAIN * claimed_len(block, limits).unwrap_or(0)
}

fn claimed_len(block: &[u8], limits: PackageLimits) -> Result<usize, PackageError> {
    let claimed = snap::raw::decompress_len(block).map_err(|_| PackageError::BadSnappy)?;
    if claimed > limits.max_bytes {
        return Err(PackageError::TooLarge { claimed, limit: limits.max_bytes });
    }
    if claimed > block.len().saturating_mul(MAX_SNAPPY_EXPANSION) {
        return Err(PackageError::BadSnappy);
    }
    Ok(claimed)
}

/// CRC-32C (Castagnoli) of a message's bytes after its checksum field.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

// === impl PackageError ===

impl PackageError {
    /// What to tell the device.
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::BadSnappy => RejectReason::BadSnappy,
            Self::TooLarge { .. } => RejectReason::PackageTooLarge,
            Self::TooManyMessages { .. } => RejectReason::TooManyMessages,
            Self::Malformed { .. } => RejectReason::MalformedPackage,
        }
    }
}

// === impl Messages ===

impl<'a> Messages<'a> {
    /// Reads the count and checks it against the limit and against what the bytes can hold at most, so that the count
    /// can be trusted as a capacity.
    pub fn new(package: &'a [u8], limits: PackageLimits) -> Result<Self, PackageError> {
        let Some((count_bytes, messages)) = package.split_first_chunk::<COUNT_LEN>() else {
            return Err(PackageError::Malformed { claimed: 0, bytes: package.len() });
        };
        let claimed = u16::from_be_bytes(*count_bytes);
        if claimed > limits.max_messages {
            return Err(PackageError::TooManyMessages { claimed, limit: limits.max_messages });
        }
        // Bytes after the last message are told as a tail; after none, nobody would be told of them.
        let has_only_a_tail = claimed == 0 && !messages.is_empty();
        if has_only_a_tail || usize::from(claimed) * MESSAGE_OVERHEAD > messages.len() {
            return Err(PackageError::Malformed { claimed, bytes: package.len() });
        }
        Ok(Self { package, count: claimed, next_index: 0, offset: COUNT_LEN })
    }

    /// How many messages the package says it has: as many outcomes its receipt has.
    pub fn num_messages(&self) -> u16 {
        self.count
    }

    fn tail(&mut self) -> Option<Entry<'a>> {
        let raw = &self.package[self.offset..];
        let first_index = std::mem::replace(&mut self.next_index, self.count);
        self.offset = self.package.len();
        // A message may be missing without a byte left of it: its index still has to be told.
        if raw.is_empty() && first_index == self.count {
            return None;
        }
        Some(Entry::Tail(Tail { first_index, raw }))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.next_index == self.count {
            return self.tail();
        }
        let Some(message) = Message::parse(self.package, self.offset, self.next_index) else {
            return self.tail();
        };
        self.offset += message.raw.len();
        self.next_index += 1;
        Some(Entry::Message(message))
    }
}

// === impl Message ===

impl<'a> Message<'a> {
    /// `None` if the bytes from `offset` on end within the message.
    fn parse(package: &'a [u8], offset: usize, index: u16) -> Option<Self> {
        let rest = package.get(offset..)?;
        let mut fields = rest.get(..MESSAGE_OVERHEAD)?;
        let crc = fields.get_u32();
        let header = MessageHeader {
            type_id: fields.get_u16(),
            version: fields.get_u8(),
            sequence: fields.get_u32(),
            event_time_ms: fields.get_uint(EVENT_TIME_LEN),
        };
        let body_len = usize::from(fields.get_u16());
        let raw = rest.get(..MESSAGE_OVERHEAD + body_len)?;
        let crc_ok = checksum(&raw[CHECKSUM_LEN..]) == crc;
        Some(Self { index, offset, header, crc, crc_ok, body: &raw[MESSAGE_OVERHEAD..], raw })
    }
}

#[cfg(test)]
mod tests;
