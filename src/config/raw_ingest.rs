//! HTTP ingest as it is written; see [`super::raw`].

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::raw::RawHttpTls;

/// HTTP ingest and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIngest {
    pub listen: Entry,
    pub max_connections: Entry,
    pub max_requests: Entry,
    pub max_body: Entry,
    pub max_expansion: Entry,
    pub max_event: Entry,
    pub max_events: Entry,
    pub max_listed: Entry,
    pub piece: Entry,
    pub max_pieces: Entry,
    pub head_timeout: Entry,
    pub body_timeout: Entry,
    pub min_body_rate: Entry,
    pub idle_timeout: Entry,
    pub cors_origins: Entry,
    pub tls: RawHttpTls,
}

impl Default for RawIngest {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7402".into(),
            max_connections: 4096.into(),
            max_requests: 1024.into(),
            max_body: "256 MiB".into(),
            max_expansion: 200.into(),
            max_event: "64 KiB".into(),
            max_events: 1_000_000.into(),
            max_listed: 10_000.into(),
            piece: "256 KiB".into(),
            max_pieces: 4.into(),
            head_timeout: "5 s".into(),
            body_timeout: "10 s".into(),
            min_body_rate: "1 KiB".into(),
            idle_timeout: "75 s".into(),
            cors_origins: [].into(),
            tls: RawHttpTls::default(),
        }
    }
}
