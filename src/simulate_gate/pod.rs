//! A pod of the model: what it has in flight, and what it tells its limiter.

use std::time::Duration;

use super::store::Micros;
use super::trace::SECOND;
use crate::flow::limiter::{Decision, Limiter, LimiterSettings, Sample};

/// One pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub limiter: Limiter,
    pub decision: Decision,
    pub partitions: u32,
    /// Windows in a row in which its partitions were held back.
    num_held: usize,
    in_flight: u32,
    sample: Sample,
    pub latencies: Vec<u32>,
}

// === impl Pod ===

impl Pod {
    pub(super) fn new(settings: &LimiterSettings) -> Self {
        let limiter = Limiter::new(settings);
        let decision = limiter.decision();
        Self {
            limiter,
            decision,
            partitions: 0,
            num_held: 0,
            in_flight: 0,
            sample: Sample::default(),
            latencies: Vec::new(),
        }
    }

    pub(super) fn restart(&mut self, settings: &LimiterSettings) {
        self.limiter = Limiter::new(settings);
        self.decision = self.limiter.decision();
    }

    pub(super) fn may_issue(&self) -> bool {
        self.in_flight < self.decision.limit && !self.decision.hold_back
    }

    /// Held back for five seconds and more: longer than it takes to look again, several times.
    pub(super) fn is_left_paused(&self) -> bool {
        self.num_held >= 5 * SECOND
    }

    pub(super) fn began(&mut self) {
        self.in_flight += 1;
        self.sample.max_in_flight = self.sample.max_in_flight.max(self.in_flight);
    }

    pub(super) fn confirmed(&mut self, rows: u32, latency: Micros) {
        self.in_flight -= 1;
        self.sample.confirm(rows, Duration::from_micros(latency));
        self.latencies.push(latency as u32);
    }

    pub(super) fn gave_up(&mut self) {
        self.in_flight -= 1;
        self.sample.num_dropped += 1;
    }

    /// What happened since the last window; `oldest` is the age of the longest-running write of all pods.
    pub(super) fn end_window(&mut self, oldest: Micros) -> Sample {
        self.num_held = if self.decision.hold_back { self.num_held + 1 } else { 0 };
        let mut sample = std::mem::take(&mut self.sample);
        sample.p99_us = p99(&mut self.latencies);
        sample.oldest_in_flight = Duration::from_micros(if self.in_flight > 0 { oldest } else { 0 });
        self.latencies.clear();
        self.sample.max_in_flight = self.in_flight;
        sample
    }
}

/// The 99th percentile; 0 of nothing.
pub(super) fn p99(latencies: &mut [u32]) -> u64 {
    if latencies.is_empty() {
        return 0;
    }
    let index = (latencies.len() - 1) * 99 / 100;
    u64::from(*latencies.select_nth_unstable(index).1)
}
