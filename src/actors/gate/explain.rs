//! What `/gate` tells: every input and output of the decisions.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::flow::budget::{PodShare, StorePressure};
use crate::flow::limiter::{Explanation, Sample};
use crate::flow::pause::FlowState;
use crate::log::TopicPartition;
use crate::telemetry::Quantiles;
use crate::telemetry::histogram::quantiles;

/// The gate at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Most writes in flight.
    pub limit: u32,
    /// Writes in flight.
    pub num_in_flight: u32,
    /// The last decision about the limit, and what led to it.
    pub limiter: Explanation,
    /// By partition.
    pub partitions: BTreeMap<String, PartitionExplained>,
    /// The fleet that it shares a budget with, if any.
    pub fleet: Option<FleetExplained>,
    /// The last windows in which anything was written, the newest first.
    pub recent: Vec<Window>,
}

/// What the gate decides, in numbers.
#[derive(Debug, Clone)]
pub struct GateNow {
    /// Most writes in flight.
    pub limit: u32,
    /// Writes in flight.
    pub num_in_flight: u32,
    /// Writes that wait for leave.
    pub num_waiting: u64,
    /// The mean latency that was last judged, in microseconds.
    pub latency_us: Option<f64>,
    /// What it was held against, in microseconds.
    pub baseline_us: Option<f64>,
    /// Whether each partition is read.
    pub partitions: Vec<(TopicPartition, FlowState)>,
    /// The fleet that it shares a budget with, if any.
    pub fleet: FleetNow,
}

/// The fleet in numbers, as this pod knows it. One that is alone is a fleet by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetNow {
    /// Known pods.
    pub num_pods: u64,
    /// Writes in flight of all pods together.
    pub budget: u32,
    /// This pod's part of it.
    pub share: u32,
    /// Whether this pod leads.
    pub is_leader: bool,
    /// Whether the leader has been silent for too long.
    pub is_cut_off: bool,
}

/// The fleet at one moment, as this pod knows it.
#[derive(Debug, Clone, Serialize)]
pub struct FleetExplained {
    /// This pod.
    pub pod: String,
    /// Who leads, by the last word that was heard.
    pub leader: Option<String>,
    /// Whether that is this pod.
    pub is_leader: bool,
    /// The leader's term.
    pub epoch: u64,
    /// The number of the leader's last word within its term: pods with the same term and number go by the same budget.
    pub seq: u64,
    /// Writes in flight of all pods together.
    pub budget: Option<u32>,
    /// This pod's part of it.
    pub share: u32,
    /// `unheard`, `alone` (its own limiter decides), `sharing`, or `cut_off`.
    pub standing: &'static str,
    /// Whether the leader has been silent for too long.
    pub cut_off: bool,
    /// How long ago the leader spoke, in milliseconds.
    pub heard_ms_ago: Option<u64>,
    /// Each known pod and its part.
    pub pods: BTreeMap<String, PodShare>,
    /// Half of the writes of all pods took at most this long (µs).
    pub p50_us: u64,
    /// 99 % of them took at most this long (µs).
    pub p99_us: u64,
    /// What the database says of itself.
    pub database: Option<StorePressure>,
    /// Whether that counts against the budget.
    pub is_backlogged: bool,
}

/// A partition at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionExplained {
    /// Whether it is read.
    pub state: FlowState,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Why.
    pub reason: &'static str,
    /// Its writes in flight.
    pub num_in_flight: u32,
    /// Its writes that wait for leave.
    pub num_waiting: usize,
    /// How long the first of them has waited, in milliseconds.
    pub oldest_wait_ms: u64,
    /// Rows confirmed since it joined.
    pub num_rows: u64,
    /// Writes that the store did not take since it joined.
    pub num_dropped: u64,
    /// Latency of its writes in the last second, from leave to confirmation (µs).
    pub write_us: Quantiles,
    /// What its writes of the last second waited for leave (µs).
    pub wait_us: Quantiles,
}

/// One window and the decision after it.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Confirmed writes.
    pub num_writes: u64,
    /// Writes that the store did not take.
    pub num_dropped: u64,
    /// Most writes in flight at once.
    pub max_in_flight: u32,
    /// Writes that waited for leave at its end.
    pub num_waiting: u32,
    /// Latency of the confirmed writes (µs).
    pub write_us: Quantiles,
    /// What was decided, and what by.
    pub decided: Explanation,
}

// === impl FleetNow ===

impl FleetNow {
    /// A pod with this limit, and the fleet that it is part of, if any. Until a fleet's leader has spoken, the pod goes by
    /// its own limit and nobody leads.
    pub(super) fn new(limit: u32, fleet: Option<&FleetExplained>) -> Self {
        let Some(fleet) = fleet else {
            return Self { num_pods: 1, budget: limit, share: limit, is_leader: true, is_cut_off: false };
        };
        Self {
            num_pods: (fleet.pods.len() as u64).max(1),
            budget: fleet.budget.unwrap_or(limit),
            share: fleet.budget.map_or(limit, |_| fleet.share),
            is_leader: fleet.is_leader,
            is_cut_off: fleet.cut_off,
        }
    }
}

// === impl Window ===

impl Window {
    pub(super) fn new(at_ms: u64, sample: &Sample, latencies: &Histogram<u64>, decided: Explanation) -> Self {
        Self {
            at_ms,
            num_writes: sample.num_writes(),
            num_dropped: sample.num_dropped,
            max_in_flight: sample.max_in_flight,
            num_waiting: sample.num_waiting,
            write_us: quantiles(latencies),
            decided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget_member::FleetState;
    use super::*;

    #[test]
    fn test_a_pod_alone_is_a_fleet_by_itself_and_one_that_has_heard_nobody_goes_by_its_own_limit() {
        let alone = FleetNow { num_pods: 1, budget: 64, share: 64, is_leader: true, is_cut_off: false };
        assert_eq!(FleetNow::new(64, None), alone);
        let unheard = FleetState::new("a", 4).explain(std::time::Duration::ZERO);
        assert_eq!(FleetNow::new(64, Some(&unheard)), FleetNow { is_leader: false, ..alone });
        let heard = FleetExplained { budget: Some(100), share: 40, cut_off: true, ..unheard };
        let told = FleetNow { budget: 100, share: 40, is_leader: false, is_cut_off: true, ..alone };
        assert_eq!(FleetNow::new(20, Some(&heard)), told);
    }
}
