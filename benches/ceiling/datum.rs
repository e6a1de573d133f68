//! A reader for records of one known schema, written by hand: no schema is looked at, no field is optional.

use anyhow::Context;
use surgetank::codec::avro::HEADER_LEN;

use crate::readings::STATES;

/// A record's fields, all but the key's text borrowed from it.
#[derive(Debug, Clone)]
pub struct Datum<'a> {
    pub device_id: &'a str,
    pub event_time_ms: i64,
    pub sequence: i64,
    pub received_at_us: i64,
    pub version: i32,
    pub speed: f64,
    pub heading: f64,
    pub lat: f64,
    pub lon: f64,
    pub fuel: f64,
    pub odometer: f64,
    pub status: &'static str,
    pub fw: &'a str,
    pub sat: i32,
}

/// What is left of a record.
struct Rest<'a>(&'a [u8]);

// === impl Datum ===

impl<'a> Datum<'a> {
    /// Reads a single object of the reading's schema.
    pub fn read(record: &'a [u8]) -> anyhow::Result<Self> {
        let mut rest = Rest(record.get(HEADER_LEN..).context("no single object")?);
        Ok(Self {
            device_id: rest.text()?,
            event_time_ms: rest.long()?,
            sequence: rest.long()?,
            received_at_us: rest.long()?,
            version: rest.long()?.try_into()?,
            speed: rest.double()?,
            heading: rest.double()?,
            lat: rest.double()?,
            lon: rest.double()?,
            fuel: rest.double()?,
            odometer: rest.double()?,
            status: STATES.get(usize::try_from(rest.long()?)?).context("no such state")?,
            fw: rest.text()?,
            sat: rest.long()?.try_into()?,
        })
    }
}

// === impl Rest ===

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).context("the record ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn long(&mut self) -> anyhow::Result<i64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte, rest @ ..] = self.0 else { break };
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        anyhow::bail!("a number that does not end")
    }

    fn double(&mut self) -> anyhow::Result<f64> {
        Ok(f64::from_le_bytes(self.take(8)?.try_into()?))
    }

    fn text(&mut self) -> anyhow::Result<&'a str> {
        let len = usize::try_from(self.long()?)?;
        Ok(std::str::from_utf8(self.take(len)?)?)
    }
}
