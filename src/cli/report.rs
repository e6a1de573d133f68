//! The ledger of a run, for people and for programs.

use serde::Serialize;

use super::output::{print, tell};
use super::{Failure, Outcome};
use crate::simulate::{Comparison, SimulateReport};

/// What a run came to. Fields that only a run with the engine at hand can know are absent without it.
#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    pub sent: u64,
    pub acked: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub unacked_at_end: u64,
    pub retried: u64,
    pub reconnects: u64,
    pub refused: u64,
    pub held_back: u64,
    pub stored: Option<u64>,
    pub dead_lettered: Option<u64>,
    pub lost: Option<u64>,
    pub duplicate_rows: Option<u64>,
    pub seconds: f64,
    pub acked_per_s: f64,
    pub stored_per_s: Option<f64>,
    pub ack_ms: Percentiles,
    pub longest_wait_ms: u64,
    pub row_ms: Option<Percentiles>,
}

/// Latencies in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

/// What a run with the engine at hand knows beyond the devices' side.
pub(super) struct StoreSide {
    pub comparison: Comparison,
    pub device_to_row_us: hdrhistogram::Histogram<u64>,
    /// From the first message until the last row was in the store.
    pub seconds: f64,
}

// === impl RunReport ===

impl RunReport {
    pub(super) fn new(devices: &SimulateReport, store: Option<&StoreSide>) -> Self {
        let comparison = store.map(|side| &side.comparison);
        Self {
            sent: devices.sent,
            acked: devices.acked,
            duplicates: devices.duplicates,
            rejected: devices.rejected,
            unacked_at_end: devices.unacked_at_end,
            retried: devices.retried,
            reconnects: devices.reconnects,
            refused: devices.refused,
            held_back: devices.held_back,
            stored: comparison.map(|found| found.stored - found.unknown_rows),
            dead_lettered: comparison.map(|found| found.dead_lettered),
            lost: comparison.map(|found| found.lost),
            duplicate_rows: comparison.map(|found| found.duplicate_rows),
            seconds: devices.seconds,
            acked_per_s: per_second(devices.acked, devices.seconds),
            stored_per_s: store
                .map(|side| per_second(side.comparison.stored - side.comparison.unknown_rows, side.seconds)),
            ack_ms: Percentiles::of(&devices.ack_latency_us),
            longest_wait_ms: devices.longest_wait_ms,
            row_ms: store.map(|side| Percentiles::of(&side.device_to_row_us)),
        }
    }

    /// Prints the ledger for people.
    pub(super) fn print(&self) {
        let count = |name: &str, value: u64| tell!("  {name:<16} {value:>12}");
        count("sent", self.sent);
        count("acknowledged", self.acked);
        count("duplicates", self.duplicates);
        count("rejected", self.rejected);
        for (name, value) in [("stored", self.stored), ("dead-lettered", self.dead_lettered), ("lost", self.lost)] {
            if let Some(value) = value {
                count(name, value);
            }
        }
        for (name, value) in [
            ("unacknowledged", self.unacked_at_end),
            ("sent again", self.retried),
            ("reconnects", self.reconnects),
            ("refused", self.refused),
            ("held back", self.held_back),
        ] {
            if value > 0 {
                count(name, value);
            }
        }
        tell!();
        tell!("  acknowledged/s   {:>12.0}   over {:.1} s", self.acked_per_s, self.seconds);
        if let Some(rate) = self.stored_per_s {
            tell!("  stored/s         {rate:>12.0}");
        }
        self.ack_ms.print("acknowledge");
        if let Some(row_ms) = &self.row_ms {
            row_ms.print("device to row");
        }
    }

    /// Prints the ledger as one JSON object on stdout.
    pub(super) fn print_json(&self) -> Outcome {
        print(serde_json::to_string(self).map_err(Failure::job)?)
    }
}

// === impl Percentiles ===

impl Percentiles {
    fn of(latency_us: &hdrhistogram::Histogram<u64>) -> Self {
        let at = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }

    fn print(&self, name: &str) {
        let Self { p50, p99, p999 } = self;
        tell!("  {name:<16} p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms");
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}
