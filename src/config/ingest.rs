//! The checked configuration of HTTP ingest.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::tls::ServerTlsFiles;

/// HTTP ingest and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// The address that clients connect to. `None`: there is no HTTP ingest. Port 0 takes a free port.
    pub listen: Option<SocketAddr>,
    /// Most connections at once.
    pub max_connections: NonZeroUsize,
    /// Most requests that are worked on at once.
    pub max_requests: NonZeroUsize,
    /// Longest body after decompression, in bytes. At least `max_event`.
    pub max_body: u64,
    /// How many times its size on the wire a body may become.
    pub max_expansion: NonZeroU32,
    /// Longest event, in bytes.
    pub max_event: usize,
    /// Most events in one request.
    pub max_events: NonZeroU32,
    /// Most events that one answer lists.
    pub max_listed: NonZeroUsize,
    /// Bytes of a body that are worked on at once.
    pub piece: usize,
    /// Most chunks of one body that the log has not confirmed.
    pub max_pieces: NonZeroUsize,
    /// How long the head of a request may take to arrive.
    pub head_timeout: Duration,
    /// How long a body may keep the engine waiting, beside the time that `min_body_rate` gives it.
    pub body_timeout: Duration,
    /// The slowest rate of a body in the long run, in bytes per second.
    pub min_body_rate: u64,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Certificate and key. `None`: plain HTTP.
    pub tls: Option<ServerTlsFiles>,
    /// Origins whose pages may call from a browser; `*` for all.
    pub cors_origins: Vec<String>,
}
