//! Where messages come from: the device port, HTTP ingest, who may send and how much, and the operators' HTTP.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::tls::{self, WrittenDeviceTls, WrittenHttpTls};
use crate::config::checks::Section;
use crate::config::entry::Entry;
use crate::config::section::section;
use crate::config::units::{DAY, GIB, KIB, MIB, TIB, millis, minutes, seconds};
use crate::tls::ServerTlsFiles;

section! {
    /// Who may send.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Credentials, WrittenCredentials {
        /// The file of tokens. `None`: devices and HTTP clients need none.
        pub file: Option<PathBuf> = "", path();
        /// Whether an address that others can reach may be bound without a file of tokens.
        pub insecure: bool = false, boolean();
    }
}

section! {
    /// Limits of device connections.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Devices, WrittenDevices {
        /// The TCP address that devices connect to. Port 0 takes a free port.
        pub listen: SocketAddr = "127.0.0.1:7400", address();
        /// Most connections at once.
        pub max_connections: NonZeroUsize = 50000, capacity(1_000_000);
        /// Longest frame on the wire, in bytes. At most `max_package`.
        pub max_frame: u32 = "1 MiB", size_u32(KIB..=64 * MIB), live;
        /// Longest package after decompression, in bytes.
        pub max_package: u32 = "4 MiB", size_u32(KIB..=GIB / 4), live;
        /// Most messages in one package; at least 1.
        pub max_messages: u16 = 10000, count_u16(1..=u16::MAX), live;
        /// Most packages that a device may have sent without a receipt; at least 1.
        pub max_unacknowledged_packages: u16 = 16, count_u16(1..=1024), live;
        /// How long a new connection may take to say Hello. Shorter than `idle_timeout`.
        pub hello_timeout: Duration = "10 s", duration(millis(100)..=minutes(5)), live;
        /// How long a connection may stay silent.
        pub idle_timeout: Duration = "5 min", duration(seconds(1)..=DAY), live;
        /// How far an event time may lie ahead of the engine's clock.
        pub max_event_time_ahead: Duration = "1 day", duration(seconds(1)..=DAY * 365), live;
        /// How far an event time may lie behind the engine's clock.
        pub max_event_time_behind: Duration = "3650 days", duration(seconds(1)..=DAY * 36500), live;
        /// How long a device is asked to wait before it sends again what was not taken.
        pub retry_delay: Duration = "1 s", duration(millis(10)..=minutes(5)), live;
    }
    sections {
        /// TLS, and certificates of devices. `None`: plain TCP.
        pub tls: Option<ServerTlsFiles>, WrittenDeviceTls, tls::devices;
    }
}

section! {
    /// What one device and one address may ask for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Limits, WrittenLimits {
        /// Packages per second of one device.
        pub device_packages: NonZeroU32 = 1000, non_zero(1_000_000), live;
        /// Bytes of packages per second of one device, as they are on the wire.
        pub device_bytes: u64 = "8 MiB", size(KIB..=GIB), live;
        /// Requests per second with one HTTP token.
        pub http_requests: NonZeroU32 = 20_000, non_zero(1_000_000), live;
        /// Bytes of bodies per second with one HTTP token, as they are on the wire.
        pub http_bytes: u64 = "100 MiB", size(KIB..=64 * GIB), live;
        /// Packages per second of all devices of one address.
        pub address_packages: NonZeroU32 = 250_000, non_zero(100_000_000), live;
        /// Bytes of packages per second of all devices of one address, as they are on the wire.
        pub address_bytes: u64 = "256 MiB", size(KIB..=64 * GIB), live;
        /// Most connections of one address at once.
        pub address_connections: NonZeroUsize = 20_000, capacity(1_000_000), live;
        /// Connections of one address per minute that may end before their device is known.
        pub failed_attempts: NonZeroU32 = 100, non_zero(1_000_000), live;
        /// How many addresses without a connection are remembered.
        pub remembered_addresses: NonZeroUsize = 16_384, capacity(1_000_000), live;
        /// How long a frame that has begun may take beside the time of its bytes.
        pub frame_grace: Duration = "30 s", duration(seconds(1)..=minutes(10)), live;
        /// Bytes per second at which a frame that has begun has to arrive in the long run.
        pub frame_rate: u64 = "1 KiB", size(1..=MIB), live;
        /// Bytes of all large frames together that have begun and are not complete. At least `devices.max_frame`.
        pub frame_buffers: u64 = "64 MiB", size(64 * KIB..=16 * GIB), live;
    }
}

section! {
    /// The HTTP side that is looked at.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Http, WrittenHttp {
        /// The address of health, actors and histograms. Port 0 takes a free port.
        pub listen: SocketAddr = "127.0.0.1:7401", address();
        /// Most connections at once.
        pub max_connections: NonZeroUsize = 256, capacity(65_536);
        /// Whether what is below `/health/` is shown without a token where others can reach the address.
        pub public_health_checks: bool = true, boolean(), live;
        /// Whether `/metrics` is shown without a token where others can reach the address.
        pub public_metrics: bool = false, boolean(), live;
    }
    sections {
        /// TLS. `None`: plain HTTP.
        pub tls: Option<ServerTlsFiles>, WrittenHttpTls, tls::http;
    }
}

section! {
    /// HTTP ingest and its limits.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Ingest, WrittenIngest {
        /// The address that clients connect to. `None`: there is no HTTP ingest. Port 0 takes a free port.
        pub listen: Option<SocketAddr> = "127.0.0.1:7402", address_or_none();
        /// Most connections at once.
        pub max_connections: NonZeroUsize = 4096, capacity(1_000_000);
        /// Most requests that are worked on at once.
        pub max_requests: NonZeroUsize = 1024, capacity(1_000_000);
        /// Longest body after decompression, in bytes. At least `max_event`.
        pub max_body: u64 = "256 MiB", size(64 * KIB..=TIB);
        /// How many times its size on the wire a body may become.
        pub max_expansion: NonZeroU32 = 200, non_zero(100_000);
        /// Longest event, in bytes.
        pub max_event: usize = "64 KiB", buffer(KIB..=MIB);
        /// Most events in one request.
        pub max_events: NonZeroU32 = 1_000_000, non_zero(100_000_000);
        /// Most events that one answer lists.
        pub max_listed: NonZeroUsize = 10_000, capacity(1_000_000);
        /// Bytes of a body that are worked on at once.
        pub piece: usize = "256 KiB", buffer(4 * KIB..=16 * MIB);
        /// Most chunks of one body that the log has not confirmed.
        pub max_pieces: NonZeroUsize = 4, capacity(1024);
        /// How long the head of a request may take to arrive.
        pub head_timeout: Duration = "5 s", duration(millis(100)..=minutes(5));
        /// How long a body may keep the engine waiting, beside the time that `min_body_rate` gives it.
        pub body_timeout: Duration = "10 s", duration(millis(100)..=minutes(10));
        /// The slowest rate of a body in the long run, in bytes per second.
        pub min_body_rate: u64 = "1 KiB", size(1..=GIB);
        /// How long a connection may stay open without a request.
        pub idle_timeout: Duration = "75 s", duration(seconds(1)..=DAY);
        /// Origins whose pages may call from a browser; `*` for all.
        pub cors_origins: Vec<String> = [], origins();
    }
    sections {
        /// Certificate and key. `None`: plain HTTP.
        pub tls: Option<ServerTlsFiles>, WrittenHttpTls, tls::http;
    }
}

// === impl Section ===

impl Section<'_, '_> {
    /// An address to bind, or the empty text for none.
    fn address_or_none(&mut self, name: &str, entry: &Entry) -> Option<SocketAddr> {
        let is_off = entry.text() == Some("");
        (!is_off).then(|| self.address(name, entry))
    }

    /// A list of `scheme://host` or `scheme://host:port`, or `*` alone.
    fn origins(&mut self, name: &str, entry: &Entry) -> Vec<String> {
        let origins = entry.texts();
        let are_origins = |origins: &[String]| *origins == ["*"] || origins.iter().all(|origin| is_origin(origin));
        if !origins.as_deref().is_some_and(are_origins) {
            let remedy = "write each as a browser does, such as [\"https://app.example\"] (allowed: scheme://host with or without a port, or [\"*\"])";
            self.fault(name, &format!("is not a list of origins; {remedy}"));
        }
        origins.unwrap_or_default()
    }
}

fn is_origin(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter);
    let is_host = |host: &str| !host.is_empty() && host.chars().all(is_letter);
    text.split_once("://").is_some_and(|(scheme, host)| ["http", "https"].contains(&scheme) && is_host(host))
}
