//! What happened in a run, window by window, and the figures that it comes to.

use super::pod::p99;
use super::run::WINDOW_US;
use super::store::Micros;

/// After a change this long is left out of latency: nobody can know a change before it shows.
pub(super) const AFTER_CHANGE_US: Micros = 5_000_000;
/// Windows in a second.
pub(super) const SECOND: usize = (1_000_000 / WINDOW_US) as usize;

/// One window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Point {
    /// The end of the window.
    pub at_us: Micros,
    /// Writes that may be in flight, over all pods.
    pub limit: u32,
    /// The same, but during a check of the baseline the limit that is to follow it.
    pub steered: f64,
    /// The most writes in flight.
    pub in_flight: u32,
    /// The 99th percentile of store latency; 0 if nothing was confirmed.
    pub p99_us: u64,
    /// That of the unloaded store, 0 while it stalls.
    pub unloaded_p99_us: u64,
    /// Rows confirmed per second.
    pub rows_per_s: f64,
    /// Writes given up.
    pub num_dropped: u64,
}

/// The time between two changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    pub start_us: Micros,
    pub stalled: bool,
    pub unloaded_p99_us: f64,
    /// Latencies of what ended after the time that is left out; what was given up counts with its time-out.
    pub latencies: Vec<u32>,
}

/// A run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Window by window.
    pub points: Vec<Point>,
    /// Rows confirmed in all.
    pub num_rows: u64,
    /// Partitions that were held back all through the last 5 s.
    pub left_paused: u32,
    pub(super) segments: Vec<Segment>,
    window_rows: u64,
}

// === impl Trace ===

impl Trace {
    pub(super) fn confirm(&mut self, now: Micros, rows: u32, latency: Micros) {
        self.num_rows += u64::from(rows);
        self.window_rows += u64::from(rows);
        self.note_latency(now, latency);
    }

    pub(super) fn give_up(&mut self, now: Micros, timeout: Micros) {
        self.note_latency(now, timeout);
    }

    fn note_latency(&mut self, now: Micros, latency: Micros) {
        if let Some(segment) = self.segments.last_mut()
            && now >= segment.start_us + AFTER_CHANGE_US
        {
            segment.latencies.push(latency as u32);
        }
    }

    pub(super) fn end_window(&mut self, point: Point) {
        let segment = self.segments.last().filter(|segment| !segment.stalled);
        let unloaded_p99_us = segment.map_or(0, |segment| segment.unloaded_p99_us as u64);
        let rows_per_s = self.window_rows as f64 * 1e6 / WINDOW_US as f64;
        self.window_rows = 0;
        self.points.push(Point { unloaded_p99_us, rows_per_s, ..point });
    }

    /// The worst p99 of store latency between two changes, over that of the unloaded store.
    pub fn p99_vs_unloaded(&self) -> f64 {
        let judged = self.segments.iter().filter(|segment| !segment.stalled);
        judged.map(|segment| p99(&mut segment.latencies.clone()) as f64 / segment.unloaded_p99_us).fold(0.0, f64::max)
    }

    /// The longest time in seconds that it took after a change until the limit or the goodput, as a mean over a second,
    /// came within 10 % of what it is in the second half of the time until the next change, and stayed there.
    pub fn settle_s(&self) -> f64 {
        self.spans().filter(|(segment, _)| !segment.stalled).map(|(_, points)| settle_s(points)).fold(0.0, f64::max)
    }

    /// The longest time in seconds from the end of a stall until goodput over a second is 90 % of what it was before.
    pub fn recover_s(&self) -> f64 {
        let spans: Vec<_> = self.spans().collect();
        let after_stalls = spans.windows(3).filter(|spans| spans[1].0.stalled);
        let recovered = after_stalls.map(|spans| {
            let before = mean(second_half(spans[0].1), |point| point.rows_per_s);
            let seconds = spans[2].1.windows(SECOND);
            let count = seconds.take_while(|points| mean(points, |point| point.rows_per_s) < 0.9 * before).count();
            count as f64 * WINDOW_US as f64 / 1e6
        });
        recovered.fold(0.0, f64::max)
    }

    fn spans(&self) -> impl Iterator<Item = (&Segment, &[Point])> {
        let index = |at_us: Micros| self.points.partition_point(|point| point.at_us <= at_us);
        self.segments.iter().enumerate().map(move |(number, segment)| {
            let end = self.segments.get(number + 1).map_or(self.points.len(), |next| index(next.start_us));
            (segment, &self.points[index(segment.start_us)..end])
        })
    }
}

fn settle_s(points: &[Point]) -> f64 {
    let (limit, goodput) = (|point: &Point| point.steered, |point: &Point| point.rows_per_s);
    let is_off = |second: &[Point], value: fn(&Point) -> f64| {
        let steady = mean(second_half(points), value);
        (mean(second, value) - steady).abs() > 0.1 * steady
    };
    let last_off = points.windows(SECOND).rposition(|second| is_off(second, limit) && is_off(second, goodput));
    last_off.map_or(0, |last| last + 1) as f64 * WINDOW_US as f64 / 1e6
}

fn second_half(points: &[Point]) -> &[Point] {
    &points[points.len() / 2..]
}

fn mean(points: &[Point], value: fn(&Point) -> f64) -> f64 {
    points.iter().map(value).sum::<f64>() / points.len().max(1) as f64
}
