//! The section of limits, as it is written. See [`super::raw`].

use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// What one device and one address may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimits {
    pub device_packages: Entry,
    pub device_bytes: Entry,
    pub http_requests: Entry,
    pub http_bytes: Entry,
    pub address_packages: Entry,
    pub address_bytes: Entry,
    pub address_connections: Entry,
    pub failed_attempts: Entry,
    pub remembered_addresses: Entry,
    pub frame_grace: Entry,
    pub frame_rate: Entry,
    pub frame_buffers: Entry,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            device_packages: 1000.into(),
            device_bytes: "8 MiB".into(),
            http_requests: 20_000.into(),
            http_bytes: "100 MiB".into(),
            address_packages: 250_000.into(),
            address_bytes: "256 MiB".into(),
            address_connections: 20_000.into(),
            failed_attempts: 100.into(),
            remembered_addresses: 16_384.into(),
            frame_grace: "30 s".into(),
            frame_rate: "1 KiB".into(),
            frame_buffers: "64 MiB".into(),
        }
    }
}
