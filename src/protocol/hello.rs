//! What the frames around a conversation say: Hello, Welcome, Refused, Pong, Goodbye.
//!
//! Payloads only; `frame` adds and removes length and kind.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::device_id::DeviceId;
use super::frame::FrameError;
use super::reason::{GoodbyeReason, RefusalReason};

/// The version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// The first bytes of every Hello.
pub const MAGIC: [u8; 4] = *b"SRGT";

/// Longest credential that a client here sends, in bytes. The frame's limit leaves 887 with the longest device id.
pub const MAX_CREDENTIAL_LEN: usize = 768;

/// Longest text of a refusal, in bytes of UTF-8: it has to fit the frame limit before Welcome.
pub const MAX_REFUSAL_TEXT_LEN: usize = 512;

/// How a device introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub device_id: DeviceId,
    /// How it proves that it may send.
    pub credential: Credential,
}

/// A secret from the wire. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credential(Bytes);

/// What the server allows on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// Largest value of a frame's length field, in bytes.
    pub max_frame: u32,
    /// Largest package in bytes, after decompression.
    pub max_package: u32,
    /// Most messages in a package.
    pub max_messages: u16,
    /// Most packages that may be on the way without a receipt.
    pub max_unacknowledged: u16,
    /// The server ends a connection on which nothing arrived for this long, in milliseconds.
    pub idle_timeout_ms: u32,
    /// The server's clock, in milliseconds since the Unix epoch.
    pub server_time_ms: u64,
}

/// Why the server does not go on with this connection. It closes after sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason for programs.
    pub reason: RefusalReason,
    /// When to try again, in milliseconds; 0 means that trying again without a change will not help.
    pub retry_after_ms: u32,
    /// The reason for people; cut to [`MAX_REFUSAL_TEXT_LEN`] when sent.
    pub text: String,
}

/// The answer to a Ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// The Ping's.
    pub nonce: u64,
    /// The answering side's clock, in milliseconds since the Unix epoch.
    pub server_time_ms: u64,
}

/// A friendly end: receipts of what is on the way still come, then the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// Why.
    pub reason: GoodbyeReason,
    /// How long the device should wait before it connects again, in milliseconds.
    pub reconnect_after_ms: u32,
}

// === impl Hello ===

impl Hello {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&MAGIC);
        out.put_u8(PROTOCOL_VERSION);
        // `DeviceId` holds at most 128 bytes and `Credential` at most 768: both casts are exact.
        out.put_u8(self.device_id.len() as u8);
        out.put_slice(self.device_id.as_bytes());
        out.put_u16(self.credential.0.len() as u16);
        out.put_slice(&self.credential.0);
    }

    /// Magic and version are checked first: what follows them may differ in another version.
    pub(super) fn decode(payload: &mut Bytes) -> Result<Self, FrameError> {
        if !payload.starts_with(&MAGIC) {
            return Err(FrameError::BadMagic);
        }
        payload.advance(MAGIC.len());
        let version = payload.try_get_u8()?;
        if version != PROTOCOL_VERSION {
            return Err(FrameError::UnsupportedVersion(version));
        }
        let device_id_len = payload.try_get_u8()?;
        let device_id = DeviceId::from_bytes(&take(payload, device_id_len.into())?)?;
        let credential_len = payload.try_get_u16()?;
        let credential = Credential(take(payload, credential_len.into())?);
        Ok(Self { device_id, credential })
    }
}

// === impl Credential ===

impl Credential {
    /// `None` if there are more than [`MAX_CREDENTIAL_LEN`] bytes.
    pub fn new(bytes: Bytes) -> Option<Self> {
        (bytes.len() <= MAX_CREDENTIAL_LEN).then_some(Self(bytes))
    }

    /// The secret, to be compared in constant time.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credential({} bytes)", self.0.len())
    }
}

// === impl Welcome ===

impl Welcome {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(PROTOCOL_VERSION);
        out.put_u32(self.max_frame);
        out.put_u32(self.max_package);
        out.put_u16(self.max_messages);
        out.put_u16(self.max_unacknowledged);
        out.put_u32(self.idle_timeout_ms);
        out.put_u64(self.server_time_ms);
    }

    pub(super) fn decode(payload: &mut Bytes) -> Result<Self, FrameError> {
        let version = payload.try_get_u8()?;
        if version != PROTOCOL_VERSION {
            return Err(FrameError::UnsupportedVersion(version));
        }
        Ok(Self {
            max_frame: payload.try_get_u32()?,
            max_package: payload.try_get_u32()?,
            max_messages: payload.try_get_u16()?,
            max_unacknowledged: payload.try_get_u16()?,
            idle_timeout_ms: payload.try_get_u32()?,
            server_time_ms: payload.try_get_u64()?,
        })
    }
}

// === impl Refused ===

impl Refused {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let text = cut(&self.text, MAX_REFUSAL_TEXT_LEN);
        out.put_u8(self.reason.code());
        out.put_u32(self.retry_after_ms);
        out.put_u16(text.len() as u16);
        out.put_slice(text.as_bytes());
    }

    pub(super) fn decode(payload: &mut Bytes) -> Result<Self, FrameError> {
        let reason = RefusalReason::from_code(payload.try_get_u8()?).ok_or(FrameError::NoReason)?;
        let retry_after_ms = payload.try_get_u32()?;
        let text_len = payload.try_get_u16()?;
        // The text is for people: a broken character must not hide the reason.
        let text = String::from_utf8_lossy(&take(payload, text_len.into())?).into_owned();
        Ok(Self { reason, retry_after_ms, text })
    }
}

// === impl Pong ===

impl Pong {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.nonce);
        out.put_u64(self.server_time_ms);
    }

    pub(super) fn decode(payload: &mut Bytes) -> Result<Self, FrameError> {
        Ok(Self { nonce: payload.try_get_u64()?, server_time_ms: payload.try_get_u64()? })
    }
}

// === impl Goodbye ===

impl Goodbye {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.reason.code());
        out.put_u32(self.reconnect_after_ms);
    }

    pub(super) fn decode(payload: &mut Bytes) -> Result<Self, FrameError> {
        let reason = GoodbyeReason::from_code(payload.try_get_u8()?).ok_or(FrameError::NoReason)?;
        Ok(Self { reason, reconnect_after_ms: payload.try_get_u32()? })
    }
}

/// The longest start of `text` of at most `max_len` bytes that ends between characters.
fn cut(text: &str, max_len: usize) -> &str {
    let mut end = max_len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn take(payload: &mut Bytes, len: usize) -> Result<Bytes, FrameError> {
    if payload.len() < len {
        return Err(FrameError::Truncated);
    }
    Ok(payload.split_to(len))
}
