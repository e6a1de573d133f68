//! What one device and one address may ask for, checked. See [`super::types`].

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// What one device and one address may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Packages per second of one device.
    pub device_packages: NonZeroU32,
    /// Bytes of packages per second of one device, as they are on the wire.
    pub device_bytes: u64,
    /// Requests per second with one HTTP token.
    pub http_requests: NonZeroU32,
    /// Bytes of bodies per second with one HTTP token, as they are on the wire.
    pub http_bytes: u64,
    /// Packages per second of all devices of one address.
    pub address_packages: NonZeroU32,
    /// Bytes of packages per second of all devices of one address, as they are on the wire.
    pub address_bytes: u64,
    /// Most connections of one address at once.
    pub address_connections: NonZeroUsize,
    /// Connections of one address per minute that may end before their device is known.
    pub failed_attempts: NonZeroU32,
    /// How many addresses without a connection are remembered.
    pub remembered_addresses: NonZeroUsize,
    /// How long a frame that has begun may take beside the time of its bytes.
    pub frame_grace: Duration,
    /// Bytes per second at which a frame that has begun has to arrive in the long run.
    pub frame_rate: u64,
    /// Bytes of all large frames together that have begun and are not complete. At least `devices.max_frame`.
    pub frame_buffers: u64,
}
