//! Everything that metrics are read from, at one moment.

use crate::actors::gate::GateNow;
use crate::actors::group::PartitionLag;
use crate::flow::credit::EdgeSnapshot;
use crate::flow::health::{Gauge, HealthReport};
use crate::flow::memory::MemorySnapshot;
use crate::intake::admission::AdmissionSnapshot;
use crate::observe::{ProcessNow, View};
use crate::supervision::GroupNow;
use crate::telemetry::CountersSnapshot;

/// What several metrics read is read once, so that they agree with each other. The rest is in the view.
pub(super) struct Scrape<'a> {
    pub(super) view: &'a View,
    pub(super) counters: CountersSnapshot,
    pub(super) admission: AdmissionSnapshot,
    pub(super) memory: MemorySnapshot,
    pub(super) health: HealthReport,
    pub(super) gate: GateNow,
    pub(super) actors: Vec<GroupNow>,
    pub(super) process: ProcessNow,
    lags: Vec<PartitionLag>,
    gauges: Vec<Gauge>,
}

// === impl Scrape ===

impl<'a> Scrape<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        Self {
            view,
            counters: view.telemetry.counters.snapshot(),
            admission: view.admission.snapshot(),
            memory: view.memory.snapshot(),
            health: view.status.report(),
            gate: view.gate.now_in_numbers(),
            actors: view.supervisor.tree().groups(),
            process: ProcessNow::read(),
            lags: view.lags.read(),
            gauges: view.status.gauges(),
        }
    }

    /// A group of actors; `None` before its first one.
    pub(super) fn group(&self, name: &str) -> Option<&GroupNow> {
        self.actors.iter().find(|group| group.name == name)
    }

    /// Calls `each` for the edge into each actor, with the labels `group` and `actor`.
    pub(super) fn mailboxes(&self, mut each: impl FnMut(&[&str], &EdgeSnapshot)) {
        for group in &self.actors {
            group.mailboxes.iter().for_each(|(actor, edge)| each(&[group.name, actor], edge));
        }
    }

    /// Calls `each` for each consumed partition, with the labels `topic` and `partition`.
    pub(super) fn partitions(&self, mut each: impl FnMut(&[&str], &PartitionLag)) {
        for lag in &self.lags {
            each(&[&lag.partition.topic, &lag.partition.partition.to_string()], lag);
        }
    }

    /// A number that the log or the store tells of itself; `None` if this one does not.
    pub(super) fn gauge(&self, name: &str) -> Option<u64> {
        self.gauges.iter().find(|gauge| gauge.name == name).map(|gauge| gauge.value)
    }
}
