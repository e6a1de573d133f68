//! Everything that metrics are read from, at one moment.

use crate::actors::gate::GateNow;
use crate::actors::group::PartitionLag;
use crate::flow::cluster::Clusters;
use crate::flow::credit::EdgeSnapshot;
use crate::flow::health::{Gauge, HealthReport};
use crate::flow::memory::MemorySnapshot;
use crate::intake::admission::AdmissionSnapshot;
use crate::observe::{Observed, ProcessNow, View};
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
    cluster: Observed,
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
            cluster: view.cluster.read(),
            gauges: view.status.gauges(),
        }
    }

    /// Whether this pod asks the servers how they are; `None` if there are none.
    pub(super) fn is_observer(&self) -> Option<bool> {
        match &self.cluster {
            Observed::Nothing => None,
            Observed::Elsewhere => Some(false),
            Observed::Here(_) => Some(true),
        }
    }

    /// What the servers have told this pod, if it is the one that asks.
    pub(super) fn clusters(&self) -> Option<&Clusters> {
        match &self.cluster {
            Observed::Here(clusters) => Some(clusters),
            Observed::Nothing | Observed::Elsewhere => None,
        }
    }

    /// Whether the servers answer this question, as far as is known: until they have been asked, they are expected to.
    pub(super) fn may_ask(&self, probe: &str) -> bool {
        let mut probes = self.clusters().into_iter().flat_map(|clusters| clusters.probes());
        probes.find(|(name, _)| *name == probe).is_none_or(|(_, is_there)| is_there)
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
