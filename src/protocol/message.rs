//! What identifies a message before its body is parsed.
//!
//! The row key and the write timestamp of a record come from these values alone, so that writing a record twice
//! changes nothing.

use crate::schema::{TypeId, Version};

/// The fixed part of a message: known, and covered by the checksum, whatever the body turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageHeader {
    /// Which type of message the body is.
    pub type_id: TypeId,
    /// Which version of the type's layout the body follows.
    pub version: Version,
    /// The device's own counter. With the event time it tells two messages of one device apart.
    pub sequence: u32,
    /// When the event happened by the device's clock, in milliseconds since the Unix epoch (48 bits on the wire).
    pub event_time_ms: u64,
}

/// Everything about a record that is not in its body: what the Avro record's first fields hold, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The device that sent the message, as it introduced itself in Hello.
    pub device_id: &'a str,
    /// The fixed part of the message.
    pub header: MessageHeader,
    /// When the engine read the package from its socket, in microseconds since the Unix epoch.
    pub received_at_us: u64,
}
