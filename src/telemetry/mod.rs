//! What the engine measures: latency histograms by stage and counters of what has been confirmed.
//!
//! One [`Telemetry`] is built at start and passed to every part; nothing here is global but [`lines`], as stderr is.

mod cells;
pub mod counters;
pub mod family;
pub mod histogram;
pub mod lines;
pub mod logging;
pub mod requests;

pub use counters::{Counters, CountersSnapshot};
pub use histogram::{Quantiles, Recorder, Stage, StageSnapshot};

/// Every stage of the data path, and the counters.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Unpacking one package: decompression, checks, Avro (µs).
    pub decode: Stage,
    /// From handing a batch to the log until it is durable (µs).
    pub append: Stage,
    /// From reading a package off its socket until its receipt is written to the connection (µs).
    pub acknowledge: Stage,
    /// Records returned by one read from the log (a count, not a time).
    pub read_records: Stage,
    /// From asking the gate for a write until it was let in (µs).
    pub admission: Stage,
    /// One write to the store, from call to confirmation; only confirmed writes count (µs).
    pub store_write: Stage,
    /// Rows in one write (a count, not a time).
    pub write_rows: Stage,
    /// Per row: from reading its package off the socket until the store confirmed it (µs); of a topic of others from its
    /// record's timestamp in Kafka.
    pub receive_to_row: Stage,
    /// Per row: from the event time on the device's clock until the store confirmed it (µs, to the millisecond).
    /// Rows of topics of others have none.
    pub device_to_row: Stage,
    /// Counts of confirmed work.
    pub counters: Counters,
}

impl Telemetry {
    /// The stages with the names and units under which they are shown.
    pub fn stages(&self) -> [(&'static str, &'static str, &Stage); 9] {
        [
            ("decode", "us", &self.decode),
            ("append", "us", &self.append),
            ("acknowledge", "us", &self.acknowledge),
            ("read_records", "records", &self.read_records),
            ("admission", "us", &self.admission),
            ("store_write", "us", &self.store_write),
            ("write_rows", "rows", &self.write_rows),
            ("receive_to_row", "us", &self.receive_to_row),
            ("device_to_row", "us", &self.device_to_row),
        ]
    }

    /// Ends the current interval of every stage and begins the next.
    pub fn rotate(&self) {
        for (_, _, stage) in self.stages() {
            stage.rotate();
        }
    }
}

/// Microseconds since the Unix epoch by this machine's clock. In tests the fail point `wall_clock` sets it wrong: its value
/// is a file with the number of seconds that are added.
pub fn now_us() -> u64 {
    fail::fail_point!("wall_clock", |file| shifted_us(file.as_deref().unwrap_or_default()));
    unix_us()
}

fn unix_us() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(feature = "failpoints")]
fn shifted_us(file: &str) -> u64 {
    let shift = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0);
    unix_us().saturating_add_signed(shift.saturating_mul(1_000_000))
}
