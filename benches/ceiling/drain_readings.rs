//! Readings as the engine's Avro, into the table that it makes of them.

use std::borrow::Cow;

use scylla::SerializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::value::CqlTimestamp;

use crate::datum::Datum;
use crate::drain::{Group, Shape};

const DAY_MS: i64 = 86_400_000;

/// The shape of readings.
pub struct Readings;

/// A row without its partition key.
#[derive(Debug)]
pub struct Row {
    event_time: CqlTimestamp,
    sequence: i64,
    received_at: CqlTimestamp,
    version: i32,
    numbers: [f64; 6],
    status: &'static str,
    fw: String,
    sat: i32,
}

/// What the statement takes, in the order of its columns.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct Bound<'a> {
    device_id: &'a str,
    bucket: CqlTimestamp,
    event_time: CqlTimestamp,
    sequence: i64,
    received_at: CqlTimestamp,
    version: i32,
    speed: f64,
    heading: f64,
    lat: f64,
    lon: f64,
    fuel: f64,
    odometer: f64,
    status: &'static str,
    fw: &'a str,
    sat: i32,
}

// === impl Readings ===

impl Shape for Readings {
    type Row = Row;

    fn insert(keyspace: &str) -> String {
        format!(
            "INSERT INTO {keyspace}.reading (device_id, bucket, event_time, sequence, received_at, version, speed, heading, \
             lat, lon, fuel, odometer, status, fw, sat) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
    }

    fn read<'a>(&mut self, record: &'a [u8]) -> anyhow::Result<(Cow<'a, str>, i64, Row)> {
        let datum = Datum::read(record)?;
        let row = Row {
            event_time: CqlTimestamp(datum.event_time_ms),
            sequence: datum.sequence,
            received_at: CqlTimestamp(datum.received_at_us / 1000),
            version: datum.version,
            numbers: [datum.speed, datum.heading, datum.lat, datum.lon, datum.fuel, datum.odometer],
            status: datum.status,
            fw: datum.fw.to_owned(),
            sat: datum.sat,
        };
        Ok((datum.device_id.into(), datum.event_time_ms - datum.event_time_ms % DAY_MS, row))
    }

    fn bound<'a>(group: &'a Group<Row>, row: &'a Row) -> impl SerializeRow + Send + Sync + 'a {
        let [speed, heading, lat, lon, fuel, odometer] = row.numbers;
        Bound {
            device_id: &group.key,
            bucket: CqlTimestamp(group.bucket),
            event_time: row.event_time,
            sequence: row.sequence,
            received_at: row.received_at,
            version: row.version,
            speed,
            heading,
            lat,
            lon,
            fuel,
            odometer,
            status: row.status,
            fw: &row.fw,
            sat: row.sat,
        }
    }
}
