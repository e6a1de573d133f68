//! What nodes say of themselves, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pressure::num_compactions;
use super::super::question::Unanswered;
use crate::flow::cluster::StoreCluster;

/// The pools that a write passes, and those whose backlog holds writes up. A server may lack some, and has others.
const POOLS: [&str; 9] = [
    "CompactionExecutor",
    "GossipStage",
    "HintsDispatcher",
    "MemtableFlushWriter",
    "MemtablePostFlush",
    "MutationStage",
    "Native-Transport-Requests",
    "ReadStage",
    "RequestResponseStage",
];
const COMPACTIONS: &str = "CompactionExecutor";
/// The percentiles of the coordinator's latency, in the order of [`LatencyRow`].
const PERCENTILES: [&str; 3] = ["50", "99", "100"];

/// `name, pending_tasks, blocked_tasks`.
pub(super) type PoolRow = (String, Option<i32>, Option<i64>);
/// `kind`.
pub(super) type TaskRow = (Option<String>,);
/// `table_name, p50th_ms, p99th_ms, max_ms`.
pub(super) type LatencyRow = (String, Option<f64>, Option<f64>, Option<f64>);
/// `table_name, mebibytes`.
pub(super) type SizeRow = (String, Option<i64>);

/// What one node has said.
#[derive(Debug)]
pub(super) struct NodeAnswers {
    pub(super) pools: Result<Vec<PoolRow>, Unanswered>,
    pub(super) tasks: Result<Vec<TaskRow>, Unanswered>,
    pub(super) latency: Result<Vec<LatencyRow>, Unanswered>,
    pub(super) sizes: Result<Vec<SizeRow>, Unanswered>,
}

/// The questions by name, as operators see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Probe {
    ThreadPools,
    SstableTasks,
    WriteLatency,
    DiskUsage,
}

/// What came of a question to all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At least one has answered.
    Told,
    /// Nobody has, and this is why one has refused.
    Lacking(String),
    /// Nobody has said anything.
    Silent,
}

/// What is known of the questions since the process began, so that figures of servers that are silent do not vanish.
#[derive(Debug, Default)]
pub(super) struct Memory {
    is_there: BTreeMap<Probe, bool>,
    pools: BTreeSet<&'static str>,
}

// === impl Probe ===

impl Probe {
    pub(super) const ALL: [Self; 4] = [Self::ThreadPools, Self::SstableTasks, Self::WriteLatency, Self::DiskUsage];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ThreadPools => StoreCluster::POOLS,
            Self::SstableTasks => StoreCluster::TASKS,
            Self::WriteLatency => "cassandra_coordinator_write_latency",
            Self::DiskUsage => "cassandra_disk_usage",
        }
    }

    /// What is not known without it.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::ThreadPools => "its thread pools",
            Self::SstableTasks => "running compactions",
            Self::WriteLatency => "the coordinator's write latency",
            Self::DiskUsage => "the sizes of tables",
        }
    }

    /// What came of it.
    pub(super) fn outcome(self, nodes: &[NodeAnswers]) -> Outcome {
        let refused = |node: &NodeAnswers| match self {
            Self::ThreadPools => node.pools.as_ref().err().cloned(),
            Self::SstableTasks => node.tasks.as_ref().err().cloned(),
            Self::WriteLatency => node.latency.as_ref().err().cloned(),
            Self::DiskUsage => node.sizes.as_ref().err().cloned(),
        };
        let mut outcome = Outcome::Silent;
        for node in nodes {
            match refused(node) {
                None => return Outcome::Told,
                Some(Unanswered::Refused(reason)) => outcome = Outcome::Lacking(reason),
                Some(Unanswered::Silent(_)) => {}
            }
        }
        outcome
    }
}

// === impl Memory ===

impl Memory {
    /// Takes in what came of a question: whether that is another answer than before, and one to tell of. A server that can
    /// be asked from the beginning is nothing to tell of.
    pub(super) fn note(&mut self, probe: Probe, outcome: &Outcome) -> bool {
        let is_there = match outcome {
            Outcome::Told => true,
            Outcome::Lacking(_) => false,
            Outcome::Silent => return false,
        };
        self.is_there.insert(probe, is_there).unwrap_or(true) != is_there
    }

    /// Whether this can be asked, as far as is known. Before anything is known it is expected to.
    fn has(&self, probe: Probe) -> bool {
        self.is_there.get(&probe).copied().unwrap_or(true)
    }

    /// Fills in the figures of these tables that the nodes have told. What they lack has none; what they have and did not
    /// tell this time is unknown.
    pub(super) fn fill(&mut self, cluster: &mut StoreCluster, nodes: &[NodeAnswers], tables: &[&str]) {
        let probes = Probe::ALL.iter().filter_map(|probe| Some((probe.name(), *self.is_there.get(probe)?)));
        cluster.probes.extend(probes);
        if self.has(Probe::ThreadPools) {
            let rows = || nodes.iter().flat_map(|node| node.pools.iter().flatten());
            self.pools.extend(POOLS.iter().filter(|pool| rows().any(|(name, ..)| name == *pool)));
            for pool in &self.pools {
                let of_pool = || rows().filter(|(name, ..)| name == pool);
                let pending = of_pool().filter_map(|(_, pending, _)| pending.map(i64::from)).map(count).max();
                let blocked = of_pool().filter_map(|(_, _, blocked)| *blocked).map(count).max();
                cluster.pending_tasks.insert(pool, pending);
                cluster.blocked_tasks.insert(pool, blocked);
            }
            cluster.pending_compaction_tasks = cluster.pending_tasks.get(COMPACTIONS).copied().flatten();
        }
        if self.has(Probe::SstableTasks) {
            let by_node = nodes.iter().filter_map(|node| node.tasks.as_ref().ok());
            let kinds = |rows: &Vec<TaskRow>| num_compactions(rows.iter().filter_map(|(kind,)| kind.clone()));
            cluster.running_compactions = by_node.map(kinds).max();
        }
        if self.has(Probe::WriteLatency) {
            let rows = || nodes.iter().flat_map(|node| node.latency.iter().flatten());
            let ours = || rows().filter(|(table, ..)| tables.contains(&table.as_str()));
            let worst = |millis: &dyn Fn(&LatencyRow) -> Option<f64>| ours().filter_map(millis).reduce(f64::max);
            let millis = [worst(&|row| row.1), worst(&|row| row.2), worst(&|row| row.3)];
            let seconds = millis.map(|millis| millis.map(|millis| millis / 1000.0));
            cluster.write_latency = PERCENTILES.into_iter().zip(seconds).collect();
        }
        if self.has(Probe::DiskUsage) {
            let rows = || nodes.iter().flat_map(|node| node.sizes.iter().flatten());
            let bytes = |table: &str| {
                let mebibytes = rows().filter(|(name, _)| name == table).filter_map(|(_, mebibytes)| *mebibytes);
                mebibytes.map(|mebibytes| count(mebibytes) << 20).reduce(|sum, bytes| sum + bytes)
            };
            cluster.table_bytes = tables.iter().map(|table| ((*table).to_owned(), bytes(table))).collect();
        }
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent<T>() -> Result<T, Unanswered> {
        Err(Unanswered::Silent("request timed out".to_owned()))
    }

    fn refused<T>() -> Result<T, Unanswered> {
        Err(Unanswered::Refused("table thread_poodles does not exist".to_owned()))
    }

    fn node(pending: i32, tasks: &[&str], p99_ms: f64, mebibytes: i64) -> NodeAnswers {
        let pool = |name: &str, pending| (name.to_owned(), Some(pending), Some(1));
        NodeAnswers {
            pools: Ok(vec![pool("MutationStage", pending), pool("CompactionExecutor", 2), pool("Sampler", 9)]),
            tasks: Ok(tasks.iter().map(|kind| (Some((*kind).to_owned()),)).collect()),
            latency: Ok(vec![
                ("position".to_owned(), Some(1.5), Some(p99_ms), Some(80.0)),
                ("of_others".to_owned(), Some(900.0), Some(900.0), Some(900.0)),
            ]),
            sizes: Ok(vec![("position".to_owned(), Some(mebibytes)), ("of_others".to_owned(), Some(900))]),
        }
    }

    fn away() -> NodeAnswers {
        NodeAnswers { pools: silent(), tasks: silent(), latency: silent(), sizes: silent() }
    }

    fn filled(memory: &mut Memory, nodes: &[NodeAnswers]) -> StoreCluster {
        for probe in Probe::ALL {
            memory.note(probe, &probe.outcome(nodes));
        }
        let mut cluster = StoreCluster::default();
        memory.fill(&mut cluster, nodes, &["position"]);
        cluster
    }

    #[test]
    fn test_the_worst_node_counts_and_sizes_add_up() {
        let nodes = [node(3, &["compaction", "validation"], 12.0, 5), node(7, &[], 20.0, 6), away()];
        let told = filled(&mut Memory::default(), &nodes);
        assert_eq!(told.pending_tasks, [("CompactionExecutor", Some(2)), ("MutationStage", Some(7))].into());
        assert_eq!(told.blocked_tasks, [("CompactionExecutor", Some(1)), ("MutationStage", Some(1))].into());
        assert_eq!((told.running_compactions, told.pending_compaction_tasks), (Some(1), Some(2)));
        assert_eq!(told.write_latency, [("50", Some(0.0015)), ("99", Some(0.02)), ("100", Some(0.08))].into());
        assert_eq!(told.table_bytes, [("position".to_owned(), Some(11 << 20))].into());
        assert!(told.probes.values().all(|is_there| *is_there) && told.probes.len() == 4, "{:?}", told.probes);
    }

    #[test]
    fn test_what_silent_servers_have_is_unknown_and_does_not_vanish() {
        let mut memory = Memory::default();
        filled(&mut memory, &[node(3, &[], 12.0, 5)]);
        let told = filled(&mut memory, &[away()]);
        assert_eq!(told.pending_tasks, [("CompactionExecutor", None), ("MutationStage", None)].into());
        assert_eq!((told.running_compactions, told.pending_compaction_tasks), (None, None));
        assert_eq!(told.write_latency, PERCENTILES.map(|percentile| (percentile, None)).into());
        assert_eq!(told.table_bytes, [("position".to_owned(), None)].into());
        assert_eq!(told.probes.len(), 4);
    }

    #[test]
    fn test_what_servers_lack_has_no_figures_and_is_told_once() {
        let lacking = || NodeAnswers { pools: refused(), sizes: refused(), ..node(3, &["compaction"], 12.0, 5) };
        let mut memory = Memory::default();
        let told = filled(&mut memory, &[lacking()]);
        assert!(told.pending_tasks.is_empty() && told.blocked_tasks.is_empty() && told.table_bytes.is_empty());
        assert_eq!(told.running_compactions, Some(1));
        let probes = [
            ("cassandra_coordinator_write_latency", true),
            ("cassandra_disk_usage", false),
            ("cassandra_sstable_tasks", true),
            ("cassandra_thread_pools", false),
        ];
        assert_eq!(told.probes, probes.into());

        let mut memory = Memory::default();
        let outcome = Probe::ThreadPools.outcome(&[lacking(), away()]);
        assert!(matches!(outcome, Outcome::Lacking(_)));
        assert!(memory.note(Probe::ThreadPools, &outcome), "told");
        assert!(!memory.note(Probe::ThreadPools, &outcome), "and not again");
        assert!(!memory.note(Probe::ThreadPools, &Outcome::Silent));
        assert!(memory.note(Probe::ThreadPools, &Outcome::Told), "somebody has granted it");
        assert!(!Memory::default().note(Probe::ThreadPools, &Outcome::Told), "as it should be");
    }

    #[test]
    fn test_one_node_that_answers_is_enough() {
        let lacking = || NodeAnswers { pools: refused(), ..node(3, &[], 12.0, 5) };
        assert_eq!(Probe::ThreadPools.outcome(&[lacking(), node(1, &[], 1.0, 1), lacking()]), Outcome::Told);
        assert_eq!(Probe::ThreadPools.outcome(&[away(), away()]), Outcome::Silent);
        assert_eq!(Probe::ThreadPools.outcome(&[]), Outcome::Silent);
    }
}
