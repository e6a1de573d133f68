//! The sections of the device port as they are written; see [`super::raw`].

use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// Device connections and their limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDevices {
    pub listen: Entry,
    pub tls: RawDeviceTls,
    pub max_connections: Entry,
    pub max_frame: Entry,
    pub max_package: Entry,
    pub max_messages: Entry,
    pub max_unacknowledged_packages: Entry,
    pub hello_timeout: Entry,
    pub idle_timeout: Entry,
    pub max_event_time_ahead: Entry,
    pub max_event_time_behind: Entry,
    pub retry_delay: Entry,
}

impl Default for RawDevices {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7400".into(),
            tls: RawDeviceTls::default(),
            max_connections: 50000.into(),
            max_frame: "1 MiB".into(),
            max_package: "4 MiB".into(),
            max_messages: 10000.into(),
            max_unacknowledged_packages: 16.into(),
            hello_timeout: "10 s".into(),
            idle_timeout: "5 min".into(),
            max_event_time_ahead: "1 day".into(),
            max_event_time_behind: "3650 days".into(),
            retry_delay: "1 s".into(),
        }
    }
}

/// TLS on the device port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDeviceTls {
    pub certificate: Entry,
    pub key: Entry,
    pub client_ca: Entry,
    pub client_certificate: Entry,
    pub device_id_in: Entry,
}

impl Default for RawDeviceTls {
    fn default() -> Self {
        Self {
            certificate: "".into(),
            key: "".into(),
            client_ca: "".into(),
            client_certificate: "required".into(),
            device_id_in: "dns".into(),
        }
    }
}
