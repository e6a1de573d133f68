//! Events as clients send them over HTTP, and the ways to pack them.

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::site::Running;

pub const JSON: &str = "application/json";
pub const NDJSON: &str = "application/x-ndjson";
pub const PACKAGE: &str = "application/vnd.surgetank.package";
pub const RECEIPT: &str = "application/vnd.surgetank.receipt";

/// An event of type `position` whose odometer says `sequence`.
pub fn event(device_id: &str, sequence: u32) -> Value {
    json!({
        "device_id": device_id, "event_time": 1_760_000_000_000u64 + u64::from(sequence), "sequence": sequence,
        "latitude": 48.1371079, "longitude": 11.5753822, "altitude": 519.5, "speed": 83.4, "heading": 271.3,
        "hdop": 1.2, "satellites": 11, "fix": "rtk", "ignition": true, "fix_time": "2026-05-28T20:26:40.123Z",
        "odometer": sequence, "driver": "card-00042",
    })
}

pub fn lines(events: impl IntoIterator<Item = Value>) -> String {
    events.into_iter().map(|event| event.to_string() + "\n").collect()
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).unwrap()
}

pub fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

pub fn snappy_frames(plain: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(plain).unwrap();
    encoder.into_inner().unwrap()
}

pub fn address(running: &Running) -> SocketAddr {
    running.engine.ingest_addr.expect("ingest is on")
}
