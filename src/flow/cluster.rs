//! What the servers beside the engine say of themselves, and one verdict on it: is every copy there that what is written
//! stands on?
//!
//! The log and the store ask ([`crate::log::Log::cluster`], [`crate::store::Store::cluster`]), the engine keeps what they
//! were told, `/metrics` shows it. What an operator has to do about it are conditions of `/health`, found elsewhere.

use std::collections::BTreeMap;

/// Which questions a server can be asked, by name: `false` for one that it lacks or that this login may not ask.
pub type Probes = BTreeMap<&'static str, bool>;

/// A figure by the name of what it is about, such as a table; `None` while it is not known.
pub type Figures<T> = BTreeMap<T, Option<u64>>;

/// How many partitions lack something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Fewer copies are in sync than there should be.
    pub under_replicated: u64,
    /// No broker leads it: nothing is appended or read.
    pub offline: u64,
    /// Fewer copies are in sync than an append needs. `None` if no topic's settings can be read.
    pub under_min_isr: Option<u64>,
}

/// The servers of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCluster {
    /// Brokers that the cluster says it has at present.
    pub num_brokers: u64,
    /// The id of the broker that is named as the controller, if one is.
    pub controller: Option<i32>,
    /// All topics that this login may see.
    pub all: PartitionCounts,
    /// The engine's own topics, without the control channel, whose records nobody needs a second later.
    pub own: PartitionCounts,
    /// What can be asked.
    pub probes: Probes,
}

/// Ranges of the partition key, each with the nodes that keep its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeCounts {
    /// A node that should have its rows is away, or there is none for that.
    pub under_replicated: u64,
    /// Fewer such nodes are there than the consistency level needs: no row is written to it.
    pub unwritable: u64,
}

/// The servers of the store. Figures of several nodes are those of the worst one, unless it is said otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreCluster {
    /// Nodes that have answered.
    pub nodes_up: u64,
    /// Nodes that have not, or that cannot be reached.
    pub nodes_down: u64,
    /// `None` if the store does not tell where rows are kept.
    pub ranges: Option<RangeCounts>,
    /// Tasks that wait for a thread, by pool.
    pub pending_tasks: Figures<&'static str>,
    /// Tasks that cannot even wait, by pool.
    pub blocked_tasks: Figures<&'static str>,
    /// Compactions that are under way; `None` while unknown.
    pub running_compactions: Option<u64>,
    /// Tasks that wait for a thread of the compaction executor, as among the pools.
    pub pending_compaction_tasks: Option<u64>,
    /// What writes to our tables took where they were coordinated, over the last minutes, in seconds, by percentile.
    pub write_latency: BTreeMap<&'static str, Option<f64>>,
    /// What our tables take on disk, in bytes: of all nodes that have answered together.
    pub table_bytes: Figures<String>,
    /// What can be asked.
    pub probes: Probes,
}

/// What is known of one backend's servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Heard<T> {
    /// It has none.
    #[default]
    None,
    /// They did not answer when they were last asked, or have not been asked yet.
    Silent,
    /// What they said last.
    Told(T),
}

/// Whether every copy is there. The later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replication {
    /// All copies are there.
    Ok,
    /// Copies are missing; what is written is still confirmed as it should be.
    Degraded,
    /// It cannot be asked.
    Unknown,
    /// Something cannot be written, or is confirmed by nobody.
    Failing,
}

/// What is known of all servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clusters {
    /// Those of the log.
    pub log: Heard<LogCluster>,
    /// Those of the store.
    pub store: Heard<StoreCluster>,
}

// === impl PartitionCounts ===

impl PartitionCounts {
    /// Takes in a partition: how many copies it should have, how many of them are in sync, and how many an append needs, as
    /// far as that is known.
    pub fn add(&mut self, has_leader: bool, num_replicas: usize, num_in_sync: usize, min_in_sync: Option<usize>) {
        self.under_replicated += u64::from(num_in_sync < num_replicas);
        self.offline += u64::from(!has_leader);
        if let Some(min_in_sync) = min_in_sync {
            *self.under_min_isr.get_or_insert_default() += u64::from(num_in_sync < min_in_sync);
        }
    }
}

// === impl LogCluster ===

impl LogCluster {
    /// The probe behind the controller's id.
    pub const CONTROLLER: &str = "kafka_controller";
    /// The probe behind what is said of the copies that an append needs.
    pub const TOPIC_CONFIGS: &str = "kafka_topic_configs";

    /// By the engine's own topics: what others keep in the cluster is theirs to judge.
    pub fn replication(&self) -> Replication {
        let PartitionCounts { under_replicated, offline, under_min_isr } = self.own;
        match () {
            () if offline > 0 || under_min_isr.is_some_and(|num| num > 0) => Replication::Failing,
            () if under_replicated > 0 => Replication::Degraded,
            () => Replication::Ok,
        }
    }
}

// === impl StoreCluster ===

impl StoreCluster {
    /// The probe behind what is said of pools.
    pub const POOLS: &str = "cassandra_thread_pools";
    /// The probe behind running compactions.
    pub const TASKS: &str = "cassandra_sstable_tasks";

    /// By the ranges of the engine's own tables, and by the nodes.
    pub fn replication(&self) -> Replication {
        match self.ranges {
            Some(RangeCounts { unwritable, .. }) if unwritable > 0 => Replication::Failing,
            Some(RangeCounts { under_replicated, .. }) if under_replicated > 0 || self.nodes_down > 0 => {
                Replication::Degraded
            }
            // Nobody knows what the missing ones have.
            None if self.nodes_down > 0 => Replication::Unknown,
            _ => Replication::Ok,
        }
    }
}

// === impl Replication ===

impl Replication {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Failing, Self::Unknown];

    /// Its name as `/metrics` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Heard ===

impl<T> Heard<T> {
    /// What was said last, if anything.
    pub fn told(&self) -> Option<&T> {
        match self {
            Self::Told(told) => Some(told),
            Self::None | Self::Silent => None,
        }
    }

    /// Whether there are servers, be they silent or not.
    pub fn is_there(&self) -> bool {
        !matches!(self, Self::None)
    }

    fn judge(&self, judge: impl Fn(&T) -> Replication) -> Option<Replication> {
        match self {
            Self::None => None,
            Self::Silent => Some(Replication::Unknown),
            Self::Told(told) => Some(judge(told)),
        }
    }
}

// === impl Clusters ===

impl Clusters {
    /// The worst of all; a failure that is known counts for more than what is not.
    pub fn replication(&self) -> Replication {
        let (log, store) = (self.log.judge(LogCluster::replication), self.store.judge(StoreCluster::replication));
        log.into_iter().chain(store).max().unwrap_or(Replication::Unknown)
    }

    /// What can be asked of all servers, as far as they have answered.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let (log, store) = (self.log.told(), self.store.told());
        let of_log = log.into_iter().flat_map(|told| &told.probes);
        let of_store = store.into_iter().flat_map(|told| &told.probes);
        of_log.chain(of_store).map(|(name, is_there)| (*name, *is_there))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(partitions: &[(bool, usize, usize, Option<usize>)]) -> LogCluster {
        let mut own = PartitionCounts::default();
        partitions.iter().for_each(|(led, replicas, in_sync, min)| own.add(*led, *replicas, *in_sync, *min));
        LogCluster { own, ..LogCluster::default() }
    }

    fn store(nodes_down: u64, ranges: Option<(u64, u64)>) -> StoreCluster {
        let ranges = ranges.map(|(under_replicated, unwritable)| RangeCounts { under_replicated, unwritable });
        StoreCluster { nodes_up: 3, nodes_down, ranges, ..StoreCluster::default() }
    }

    #[test]
    fn test_a_log_is_degraded_while_appends_are_still_confirmed_and_fails_when_they_are_not() {
        for (partitions, expected) in [
            (&[(true, 3, 3, Some(2)), (true, 1, 1, Some(1))][..], Replication::Ok),
            (&[(true, 3, 3, Some(2)), (true, 3, 2, Some(2))], Replication::Degraded),
            (&[(true, 3, 3, Some(2)), (true, 3, 1, Some(2))], Replication::Failing),
            (&[(false, 3, 3, Some(2))], Replication::Failing),
            // Settings that nobody tells accuse nobody.
            (&[(true, 3, 1, None)], Replication::Degraded),
            (&[(false, 3, 0, None)], Replication::Failing),
            (&[], Replication::Ok),
        ] {
            assert_eq!(log(partitions).replication(), expected, "{partitions:?}");
        }
    }

    #[test]
    fn test_topics_of_others_do_not_count() {
        let mut all = PartitionCounts::default();
        all.add(false, 3, 0, Some(2));
        let cluster = LogCluster { all, ..log(&[(true, 3, 3, Some(2))]) };
        assert_eq!(cluster.replication(), Replication::Ok);
        assert_eq!(cluster.all, PartitionCounts { under_replicated: 1, offline: 1, under_min_isr: Some(1) });
    }

    #[test]
    fn test_settings_of_some_topics_give_a_count_and_of_none_none() {
        assert_eq!(log(&[(true, 3, 1, None)]).own.under_min_isr, None);
        assert_eq!(log(&[(true, 3, 1, None), (true, 3, 3, Some(2))]).own.under_min_isr, Some(0));
    }

    #[test]
    fn test_a_store_is_degraded_while_writes_reach_their_consistency_and_fails_when_some_do_not() {
        for (nodes_down, ranges, expected) in [
            (0, Some((0, 0)), Replication::Ok),
            // A node that keeps nothing of ours is still a node that is missing.
            (1, Some((0, 0)), Replication::Degraded),
            (1, Some((16, 0)), Replication::Degraded),
            // More copies were asked for than there are nodes.
            (0, Some((16, 0)), Replication::Degraded),
            (1, Some((16, 1)), Replication::Failing),
            (0, None, Replication::Ok),
            (1, None, Replication::Unknown),
        ] {
            assert_eq!(store(nodes_down, ranges).replication(), expected, "{nodes_down} down, ranges {ranges:?}");
        }
    }

    #[test]
    fn test_the_worst_counts_and_a_known_failure_for_more_than_silence() {
        let sound = || Heard::Told(log(&[(true, 3, 3, Some(2))]));
        let failing = || Heard::Told(store(1, Some((1, 1))));
        let degraded = || Heard::Told(store(1, Some((1, 0))));
        for (log, store, expected) in [
            (sound(), Heard::None, Replication::Ok),
            (sound(), degraded(), Replication::Degraded),
            (sound(), failing(), Replication::Failing),
            (Heard::Silent, degraded(), Replication::Unknown),
            (Heard::Silent, failing(), Replication::Failing),
            (Heard::Silent, Heard::None, Replication::Unknown),
            (sound(), Heard::Silent, Replication::Unknown),
            (Heard::None, Heard::None, Replication::Unknown),
        ] {
            let clusters = Clusters { log, store };
            assert_eq!(clusters.replication(), expected, "{clusters:?}");
        }
    }

    #[test]
    fn test_states_have_names_of_their_own() {
        assert_eq!(Replication::ALL.map(Replication::name), ["ok", "degraded", "failing", "unknown"]);
    }
}
