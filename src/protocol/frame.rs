//! Frames: how bytes on a connection are cut into frames, and which kinds of frame there are.
//!
//! Works on buffers only; reading from and writing to sockets is the business of connections. An incomplete frame is
//! a value, not an error.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};

use super::device_id::BadDeviceId;
use super::hello::{Goodbye, Hello, Pong, Refused, Welcome};
use super::reason::RefusalReason;
use super::receipt::{Receipt, ReceiptError};

/// Bytes of the length field in front of every frame.
pub const LENGTH_LEN: usize = 4;

/// The frame limit for both sides until Welcome: enough for the longest Hello and Refused, and so small that garbage
/// read as a length is refused at once.
pub const HANDSHAKE_FRAME_LIMIT: usize = 1024;

const KIND_HELLO: u8 = 1;
const KIND_WELCOME: u8 = 2;
const KIND_REFUSED: u8 = 3;
const KIND_PACKAGE: u8 = 4;
const KIND_RECEIPT: u8 = 5;
const KIND_PING: u8 = 6;
const KIND_PONG: u8 = 7;
const KIND_GOODBYE: u8 = 8;

/// One frame of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Device to server, first.
    Hello(Hello),
    /// Server to device: go ahead, within these limits.
    Welcome(Welcome),
    /// Server to device, last: why the connection ends.
    Refused(Refused),
    /// Device to server: messages.
    Package(PackageFrame),
    /// Server to device: what became of a package.
    Receipt(Receipt),
    /// Asks for a Pong with this nonce.
    Ping {
        /// Any number.
        nonce: u64,
    },
    /// The answer to a Ping.
    Pong(Pong),
    /// Either side, before it leaves in order.
    Goodbye(Goodbye),
}

/// Messages under way, still compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFrame {
    /// The device's choice; the receipt repeats it.
    pub package_id: u32,
    /// A raw Snappy block: a part of the buffer that was read, not a copy. See [`super::package`].
    pub block: Bytes,
}

/// Why bytes are not a frame. The connection cannot go on after any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length of 0: there is not even a kind.
    #[error("frame of length 0")]
    Empty,
    /// Longer than allowed; found before anything of it was buffered.
    #[error("frame of {length} bytes, allowed are {limit}")]
    TooLarge {
        /// The frame's length field.
        length: u32,
        /// The limit at this point of the connection.
        limit: usize,
    },
    /// No frame has this kind.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A Hello that does not begin with the magic bytes.
    #[error("not a surgetank hello")]
    BadMagic,
    /// A version of the protocol that this program does not speak.
    #[error("protocol version {0} is not supported")]
    UnsupportedVersion(u8),
    /// A Hello with an unusable device id.
    #[error(transparent)]
    BadDeviceId(#[from] BadDeviceId),
    /// The payload ends before its last field.
    #[error("frame ends in the middle of a field")]
    Truncated,
    /// The payload goes on after its last field.
    #[error("{0} unexpected bytes at the end of the frame")]
    Trailing(usize),
    /// A Refused or Goodbye with reason 0.
    #[error("frame without a reason")]
    NoReason,
    /// A Receipt that contradicts itself.
    #[error(transparent)]
    BadReceipt(#[from] ReceiptError),
}

/// Takes the next frame out of `buf`, or returns `None` and leaves `buf` as it is until more bytes have arrived.
///
/// `limit` bounds the length field and is checked as soon as that field is complete. Nothing is reserved for the
/// bytes that a length announces: memory follows what has arrived, not what was claimed. After an error `buf` is in
/// no defined state and the connection has to end.
pub fn decode(buf: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some((length_bytes, after_length)) = buf.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length_bytes);
    if length == 0 {
        return Err(FrameError::Empty);
    }
    let length_usize = length as usize;
    if length_usize > limit {
        return Err(FrameError::TooLarge { length, limit });
    }
    let Some(&kind) = after_length.first() else {
        return Ok(None);
    };
    if !(KIND_HELLO..=KIND_GOODBYE).contains(&kind) {
        return Err(FrameError::UnknownKind(kind));
    }
    if after_length.len() < length_usize {
        return Ok(None);
    }
    buf.advance(LENGTH_LEN + 1);
    decode_payload(kind, buf.split_to(length_usize - 1).freeze()).map(Some)
}

fn decode_payload(kind: u8, mut payload: Bytes) -> Result<Frame, FrameError> {
    let frame = match kind {
        KIND_HELLO => Frame::Hello(Hello::decode(&mut payload)?),
        KIND_WELCOME => Frame::Welcome(Welcome::decode(&mut payload)?),
        KIND_REFUSED => Frame::Refused(Refused::decode(&mut payload)?),
        KIND_PACKAGE => {
            let package_id = payload.try_get_u32()?;
            Frame::Package(PackageFrame { package_id, block: std::mem::take(&mut payload) })
        }
        KIND_RECEIPT => Frame::Receipt(Receipt::decode(&mut payload)?),
        KIND_PING => Frame::Ping { nonce: payload.try_get_u64()? },
        KIND_PONG => Frame::Pong(Pong::decode(&mut payload)?),
        KIND_GOODBYE => Frame::Goodbye(Goodbye::decode(&mut payload)?),
        unknown => return Err(FrameError::UnknownKind(unknown)),
    };
    if payload.has_remaining() {
        return Err(FrameError::Trailing(payload.remaining()));
    }
    Ok(frame)
}

// === impl Frame ===

impl Frame {
    /// Appends the frame to `out`. The caller keeps packages within the limits of Welcome.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        match self {
            Self::Hello(hello) => {
                out.put_u8(KIND_HELLO);
                hello.encode(out);
            }
            Self::Welcome(welcome) => {
                out.put_u8(KIND_WELCOME);
                welcome.encode(out);
            }
            Self::Refused(refused) => {
                out.put_u8(KIND_REFUSED);
                refused.encode(out);
            }
            Self::Package(package) => {
                out.put_u8(KIND_PACKAGE);
                out.put_u32(package.package_id);
                out.put_slice(&package.block);
            }
            Self::Receipt(receipt) => {
                out.put_u8(KIND_RECEIPT);
                receipt.encode(out);
            }
            Self::Ping { nonce } => {
                out.put_u8(KIND_PING);
                out.put_u64(*nonce);
            }
            Self::Pong(pong) => {
                out.put_u8(KIND_PONG);
                pong.encode(out);
            }
            Self::Goodbye(goodbye) => {
                out.put_u8(KIND_GOODBYE);
                goodbye.encode(out);
            }
        }
        // A package's block is bounded by Welcome's 32-bit limit, everything else by constants: the cast is exact.
        let length = (out.len() - start - LENGTH_LEN) as u32;
        out[start..start + LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
    }
}

// === impl FrameError ===

impl FrameError {
    /// What to tell the other side before the connection ends.
    pub fn refusal(&self) -> RefusalReason {
        match self {
            Self::TooLarge { .. } => RefusalReason::FrameTooLarge,
            Self::BadMagic => RefusalReason::BadMagic,
            Self::UnsupportedVersion(_) => RefusalReason::UnsupportedVersion,
            Self::BadDeviceId(_) => RefusalReason::BadDeviceId,
            Self::Empty
            | Self::UnknownKind(_)
            | Self::Truncated
            | Self::Trailing(_)
            | Self::NoReason
            | Self::BadReceipt(_) => RefusalReason::ProtocolViolation,
        }
    }
}

impl From<TryGetError> for FrameError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

#[cfg(test)]
mod tests;
