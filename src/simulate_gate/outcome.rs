//! What a scenario comes to, against the best limit that somebody could have chosen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::run::play;
use super::scenario::Scenario;
use super::trace::Trace;
use crate::flow::limiter::{FixedSettings, LimiterSettings};

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Which scenario.
    pub scenario: String,
    /// Rows confirmed per second, over the whole run.
    pub goodput_rows_per_s: f64,
    /// The fixed limit with the most rows confirmed.
    pub best_fixed_limit: u32,
    /// Rows confirmed over those of the best fixed limit.
    pub goodput_vs_best_fixed: f64,
    /// The worst p99 of store latency between two changes over that of the unloaded store, without the 5 s after each.
    pub p99_vs_unloaded: f64,
    /// The longest time from a change to within 10 % of the new steady state, in seconds.
    pub settle_s: f64,
    /// The longest time from the end of a stall to 90 % of the goodput before it, in seconds.
    pub recover_s: f64,
    /// Partitions that were held back all through the last 5 s.
    pub left_paused: u32,
}

/// Plays a scenario, and the same with fixed limits beside it.
pub fn judge(scenario: &Scenario, limiter: &LimiterSettings) -> (Outcome, Trace) {
    let trace = play(scenario, limiter);
    let (best_fixed_limit, best_rows) = best_fixed(scenario);
    let outcome = Outcome {
        scenario: scenario.name.clone(),
        goodput_rows_per_s: round(trace.num_rows as f64 * 1e6 / scenario.duration_us as f64),
        best_fixed_limit,
        goodput_vs_best_fixed: round(trace.num_rows as f64 / best_rows.max(1) as f64),
        p99_vs_unloaded: round(trace.p99_vs_unloaded()),
        settle_s: round(trace.settle_s()),
        recover_s: round(trace.recover_s()),
        left_paused: trace.left_paused,
    };
    (outcome, trace)
}

/// The fixed limit that confirms the most rows, from a geometric grid around the number of servers. Where the best is
/// at an end of the grid, it goes on from there.
fn best_fixed(scenario: &Scenario) -> (u32, u64) {
    let servers = (scenario.store.nodes * scenario.store.parallelism) as f64;
    let limits = |steps: std::ops::RangeInclusive<i32>| -> Vec<u32> {
        steps.map(|step| (servers * 2f64.powf(f64::from(step) / 4.0)).round().max(1.0) as u32).collect()
    };
    let (mut low, mut high) = (-2, 2);
    let mut best = sweep(scenario, &limits(low..=high));
    loop {
        let more = if best.0 == limits(high..=high)[0] {
            high += 4;
            limits(high - 3..=high)
        } else if best.0 == limits(low..=low)[0] && best.0 > 1 {
            low -= 4;
            limits(low..=low + 3)
        } else {
            return best;
        };
        let found = sweep(scenario, &more);
        if found.1 <= best.1 {
            return best;
        }
        best = found;
    }
}

/// Plays with each of these limits, on all processors, and returns the best with its rows.
fn sweep(scenario: &Scenario, limits: &[u32]) -> (u32, u64) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut best = (0, 0);
        while let Some(&limit) = limits.get(next.fetch_add(1, Ordering::Relaxed)) {
            let num_rows = play(scenario, &only_a_number(limit)).num_rows;
            // The smallest of equals: whatever gets as much with less in flight is better.
            if num_rows > best.1 || (num_rows == best.1 && limit < best.0) {
                best = (limit, num_rows);
            }
        }
        best
    };
    let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..num_threads).map(|_| scope.spawn(work)).collect();
        let found = threads.into_iter().filter_map(|thread| thread.join().ok());
        found.fold(
            (0, 0),
            |best, other| {
                if other.1 > best.1 || (other.1 == best.1 && other.0 < best.0) { other } else { best }
            },
        )
    })
}

/// A fixed limiter whose latency threshold never applies.
fn only_a_number(max_writes: u32) -> LimiterSettings {
    LimiterSettings::Fixed(FixedSettings { max_writes, max_latency: Duration::MAX, ..FixedSettings::default() })
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
