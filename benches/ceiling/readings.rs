//! The readings of a fleet: the same number gives the same reading, in whichever form it is written.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use surgetank::codec::bits::Layout;
use surgetank::codec::{Codecs, MessageCodec};
use surgetank::protocol::message::{Identity, MessageHeader};
use surgetank::schema::Value;

/// The states of a vehicle, in the order of the layout's symbols.
pub const STATES: [&str; 4] = ["moving", "idle", "parked", "fault"];

/// 2026-01-01, in milliseconds since the Unix epoch.
const FIRST_EVENT_MS: u64 = 1_767_225_600_000;

/// From an event to its arrival, in milliseconds.
const TRANSIT_MS: u64 = 40;

/// Who sends, and in which order.
pub struct Fleet {
    ids: Vec<String>,
    burst: u64,
}

/// What a device says once. Numbers are in the layout's steps.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Who.
    pub device_id: &'a str,
    /// When, in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// The device's own counter.
    pub sequence: u32,
    speed: u32,
    heading: u32,
    lat: u32,
    lon: u32,
    fuel: u32,
    odometer: u32,
    status: usize,
    fw: u32,
    sat: u32,
}

/// Writes readings as the engine's producer would: through the device's bits into Avro single objects.
pub struct AvroWriter {
    codec: Arc<MessageCodec>,
    symbols: [Arc<str>; STATES.len()],
    values: Vec<Value>,
    body: Vec<u8>,
}

// === impl Fleet ===

impl Fleet {
    /// `burst` consecutive readings come from one device, as they come out of one package.
    pub fn new(num_devices: u32, burst: u32) -> Self {
        let ids = (0..num_devices).map(|number| format!("truck-{number:06}")).collect();
        Self { ids, burst: u64::from(burst.max(1)) }
    }

    /// The reading of this number, at one reading a second from each device.
    pub fn reading(&self, number: u64) -> Reading<'_> {
        let num_devices = self.ids.len() as u64;
        let sequence = number / (self.burst * num_devices) * self.burst + number % self.burst;
        self.reading_at(number, FIRST_EVENT_MS + sequence * 1000)
    }

    /// The reading of this number, as if it happened then.
    pub fn reading_at(&self, number: u64, event_time_ms: u64) -> Reading<'_> {
        let num_devices = self.ids.len() as u64;
        let device = (number / self.burst % num_devices) as usize;
        let sequence = number / (self.burst * num_devices) * self.burst + number % self.burst;
        let noise = mix(number);
        let up_to = |shift: u32, limit: u64| ((noise >> shift) % limit) as u32;
        Reading {
            device_id: self.ids.get(device).map_or("", String::as_str),
            event_time_ms,
            sequence: sequence as u32,
            speed: up_to(0, 14_000),
            heading: up_to(8, 3_600),
            lat: 48_000_000 + up_to(16, 1_000_000),
            lon: 11_000_000 + up_to(24, 1_000_000),
            fuel: up_to(32, 10_000),
            odometer: 100_000 + number as u32 % 4_000_000,
            status: up_to(40, STATES.len() as u64) as usize,
            fw: up_to(48, 100),
            sat: up_to(44, 24),
        }
    }
}

/// Spreads the bits of a number.
pub fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

// === impl Reading ===

impl Reading<'_> {
    /// Appends the reading as JSON.
    pub fn write_json(&self, out: &mut String) -> std::fmt::Result {
        let steps = |value: u32, decimals: i32| f64::from(value) / 10f64.powi(decimals);
        write!(
            out,
            r#"{{"device_id":"{}","event_time":{},"sequence":{},"received_at":{},"version":1,"speed":{:.2},"heading":{:.1},"lat":{:.6},"lon":{:.6},"fuel":{:.2},"odometer":{:.1},"status":"{}","fw":"7.4.{}","sat":{}}}"#,
            self.device_id,
            self.event_time_ms,
            self.sequence,
            self.event_time_ms + TRANSIT_MS,
            steps(self.speed, 2),
            steps(self.heading, 1),
            steps(self.lat, 6),
            steps(self.lon, 6),
            steps(self.fuel, 2),
            steps(self.odometer, 1),
            STATES.get(self.status).unwrap_or(&""),
            self.fw,
            self.sat,
        )
    }
}

// === impl AvroWriter ===

impl AvroWriter {
    /// Reads the layout from a directory of message layouts.
    pub fn open(messages: &Path) -> anyhow::Result<Self> {
        let codecs = Codecs::load(messages)?;
        let codec = codecs.by_name("reading").context("there is no layout of the type reading")?.clone();
        codec.layout(1).context("the type reading has no version 1")?;
        Ok(Self { codec, symbols: STATES.map(Arc::from), values: Vec::new(), body: Vec::new() })
    }

    /// Appends the reading as a record.
    pub fn write(&mut self, reading: &Reading<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let Self { codec, symbols, values, body } = self;
        let layout: &Layout = codec.layout(1).context("the type reading has no version 1")?;
        let steps = |value: u32, decimals: i32| Value::Double(f64::from(value) / 10f64.powi(decimals));
        values.clear();
        values.extend([
            steps(reading.speed, 2),
            steps(reading.heading, 1),
            steps(reading.lat, 6),
            steps(reading.lon, 6),
            steps(reading.fuel, 2),
            steps(reading.odometer, 1),
            symbols.get(reading.status).cloned().map_or(Value::Null, Value::Symbol),
            Value::Text(format!("7.4.{}", reading.fw)),
            Value::Uint(reading.sat.into()),
        ]);
        body.clear();
        layout.encode_fields(values, body)?;
        let header = MessageHeader {
            type_id: codec.message_type.id,
            version: 1,
            sequence: reading.sequence,
            event_time_ms: reading.event_time_ms,
        };
        let received_at_us = (reading.event_time_ms + TRANSIT_MS) * 1000;
        layout.transcode(&Identity { device_id: reading.device_id, header, received_at_us }, body, out)?;
        Ok(())
    }
}
