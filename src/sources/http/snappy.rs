//! Snappy bodies: one block, or the framing format (chunks of at most 64 KiB, each with a checksum).
//!
//! `Content-Encoding: snappy` stands for both in practice. No block begins with what begins the framing format: read as a
//! block, the third element of that would copy from before the start.

use thiserror::Error;

/// What the framing format begins with.
const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// Bytes in front of a chunk: kind and length.
const CHUNK_HEADER_LEN: usize = 4;
const CHECKSUM_LEN: usize = 4;
/// The most that a chunk unpacks to.
const MAX_CHUNK: usize = 64 << 10;
/// The most bytes that a chunk takes: its checksum, and a block that grew by packing.
const MAX_PACKED_CHUNK: usize = CHECKSUM_LEN + 32 + MAX_CHUNK + MAX_CHUNK / 6;
/// Snappy's densest element stands for 64 bytes and takes 3.
const MAX_EXPANSION: usize = 22;

/// Bytes that are not Snappy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum NotSnappy {
    /// Neither a block nor a chunk.
    #[error("damaged")]
    Damaged,
    /// A block or chunk that claims too much.
    #[error("a block of {claimed} bytes, allowed are {limit}; send it in the framing format")]
    TooLarge {
        /// What it claims to unpack to.
        claimed: usize,
        /// The limit.
        limit: usize,
    },
    /// A block that claims more than Snappy can make of it.
    #[error("a block that claims {claimed} bytes, more than it can hold")]
    Expands {
        /// What it claims to unpack to.
        claimed: usize,
    },
    /// A chunk's checksum is not that of its content.
    #[error("a checksum does not fit")]
    Checksum,
}

/// Unpacks one body.
pub(super) struct Frames {
    max_block: usize,
    kind: Kind,
    /// What came and cannot be unpacked yet.
    pending: Vec<u8>,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// Too little came to tell.
    Unknown,
    Block,
    Framed,
}

// === impl Frames ===

impl Frames {
    pub(super) fn new(max_block: usize) -> Self {
        Self { max_block, kind: Kind::Unknown, pending: Vec::new() }
    }

    pub(super) fn num_held(&self) -> usize {
        match self.kind {
            // A block is unpacked at once when all of it is there.
            Kind::Block => {
                let claimed = snap::raw::decompress_len(&self.pending).unwrap_or(0);
                self.pending.len() + claimed.min(self.max_block).min(self.most_of_pending())
            }
            Kind::Unknown | Kind::Framed => self.pending.len(),
        }
    }

    pub(super) fn run(&mut self, input: &mut &[u8], out: &mut Vec<u8>, end: usize) -> Result<(), NotSnappy> {
        while !input.is_empty() && out.len() < end {
            match self.kind {
                Kind::Unknown => {
                    self.take(input, STREAM_IDENTIFIER.len());
                    if !STREAM_IDENTIFIER.starts_with(&self.pending) {
                        self.kind = Kind::Block;
                    } else if self.pending.len() == STREAM_IDENTIFIER.len() {
                        self.pending.clear();
                        self.kind = Kind::Framed;
                    }
                }
                Kind::Block => self.take_block(input)?,
                Kind::Framed => self.run_chunk(input, out)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), NotSnappy> {
        match self.kind {
            // An empty body is none at all.
            Kind::Unknown if self.pending.is_empty() => Ok(()),
            Kind::Framed if self.pending.is_empty() => Ok(()),
            Kind::Framed => Err(NotSnappy::Damaged),
            Kind::Unknown | Kind::Block => {
                let claimed = self.check_block()?;
                if claimed > self.most_of_pending() {
                    return Err(NotSnappy::Expands { claimed });
                }
                let block = snap::raw::Decoder::new().decompress_vec(&self.pending).map_err(|_| NotSnappy::Damaged)?;
                self.pending = Vec::new();
                self.kind = Kind::Framed;
                out.extend_from_slice(&block);
                Ok(())
            }
        }
    }

    /// Moves input to `pending` until that has `len` bytes.
    fn take(&mut self, input: &mut &[u8], len: usize) {
        let (taken, rest) = input.split_at(len.saturating_sub(self.pending.len()).min(input.len()));
        self.pending.extend_from_slice(taken);
        *input = rest;
    }

    fn take_block(&mut self, input: &mut &[u8]) -> Result<(), NotSnappy> {
        self.take(input, usize::MAX);
        // No block is longer than what it unpacks to and a sixth more.
        let most = 32 + self.max_block + self.max_block / 6;
        match self.pending.len() > most {
            true => Err(NotSnappy::TooLarge { claimed: self.pending.len(), limit: self.max_block }),
            // Its first bytes tell, so that a block too large is not collected first.
            false => match self.check_block() {
                Err(error) if self.pending.len() >= 5 => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// The most bytes that what is pending can unpack to.
    fn most_of_pending(&self) -> usize {
        self.pending.len().saturating_mul(MAX_EXPANSION)
    }

    /// What the block claims to unpack to.
    fn check_block(&self) -> Result<usize, NotSnappy> {
        let claimed = snap::raw::decompress_len(&self.pending).map_err(|_| NotSnappy::Damaged)?;
        match claimed > self.max_block {
            true => Err(NotSnappy::TooLarge { claimed, limit: self.max_block }),
            false => Ok(claimed),
        }
    }

    fn run_chunk(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), NotSnappy> {
        self.take(input, CHUNK_HEADER_LEN);
        let Some([kind, low, middle, high]) = self.pending.first_chunk().copied() else { return Ok(()) };
        let len = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        match kind {
            0x00 | 0x01 if (CHECKSUM_LEN..=MAX_PACKED_CHUNK).contains(&len) => {}
            0x80..=0xff => {}
            _ => return Err(NotSnappy::Damaged),
        }
        if kind >= 0x80 {
            self.pass_over(input, len);
            return Ok(());
        }
        self.take(input, CHUNK_HEADER_LEN + len);
        if self.pending.len() == CHUNK_HEADER_LEN + len {
            unpack_chunk(kind, self.pending.get(CHUNK_HEADER_LEN..).unwrap_or_default(), out)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Padding, chunks to be skipped, and further stream identifiers, without keeping them.
    fn pass_over(&mut self, input: &mut &[u8], len: usize) {
        let num_passed = len.min(input.len());
        *input = input.get(num_passed..).unwrap_or_default();
        let left = len - num_passed;
        if left == 0 {
            self.pending.clear();
        } else if let Some(length) = self.pending.get_mut(1..CHUNK_HEADER_LEN) {
            length.copy_from_slice(left.to_le_bytes().first_chunk::<3>().unwrap_or(&[0; 3]));
        }
    }
}

fn unpack_chunk(kind: u8, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), NotSnappy> {
    let (checksum, content) = chunk.split_first_chunk::<CHECKSUM_LEN>().ok_or(NotSnappy::Damaged)?;
    let start = out.len();
    if kind == 0x01 {
        if content.len() > MAX_CHUNK {
            return Err(NotSnappy::Damaged);
        }
        out.extend_from_slice(content);
    } else {
        let claimed = snap::raw::decompress_len(content).map_err(|_| NotSnappy::Damaged)?;
        if claimed > MAX_CHUNK || claimed > content.len().saturating_mul(MAX_EXPANSION) {
            return Err(NotSnappy::TooLarge { claimed, limit: MAX_CHUNK });
        }
        out.resize(start + claimed, 0);
        let unpacked = out.get_mut(start..).unwrap_or_default();
        snap::raw::Decoder::new().decompress(content, unpacked).map_err(|_| NotSnappy::Damaged)?;
    }
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    if masked.to_le_bytes() == *checksum { Ok(()) } else { Err(NotSnappy::Checksum) }
}
