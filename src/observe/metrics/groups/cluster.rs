//! The servers of the log and the store, as they tell of themselves.

use crate::flow::cluster::{LogCluster, Replication, StoreCluster};
use crate::observe::metrics::registry::{Group, gauge};
use crate::observe::metrics::samples::{Samples, Value};
use crate::observe::metrics::scrape::Scrape;

const ONE_POD: &str = "with Kafka or Cassandra, on the pod that asks";
const KAFKA: &str = "with Kafka, on the pod that asks";
const CASSANDRA: &str = "with Cassandra, on the pod that asks, from its first answer on, unless the server lacks it";

pub(super) const GROUP: Group = Group {
    title: "Kafka and Cassandra, as they tell of themselves",
    metrics: &[
        gauge(
            "surgetank_cluster_observer",
            &[],
            "1 if this pod asks the servers how they are, every 20 s, as one of a fleet does; 0 if another one asks.",
            |scrape, out| scrape.is_observer().into_iter().for_each(|asks| out.put(&[], asks)),
        )
        .only("with Kafka or Cassandra"),
        gauge(
            "surgetank_replication_health",
            &["state"],
            "1 for the state that the engine's own topics and tables are in: ok; degraded (copies or nodes are missing, writes \
             are still confirmed); failing (something cannot be written as it should be); unknown (servers do not answer).",
            |scrape, out| {
                if let Some(clusters) = scrape.clusters() {
                    out.one_of(&[], &Replication::ALL.map(Replication::name), clusters.replication().name());
                }
            },
        )
        .only(ONE_POD),
        gauge(
            "surgetank_cluster_probe_available",
            &["probe"],
            "1 if the servers answer this question; 0 if they lack what it asks for, or this login may not ask, and the \
             metrics made from it are not there.",
            |scrape, out| {
                let probes = scrape.clusters().into_iter().flat_map(|clusters| clusters.probes());
                probes.for_each(|(probe, is_there)| out.put(&[probe], is_there));
            },
        )
        .only("with Kafka or Cassandra, on the pod that asks, once the question was answered"),
        gauge("surgetank_kafka_brokers", &[], "Brokers that are in the cluster at present.", |scrape, out| {
            of_log(scrape, out, |told| Some(told.num_brokers));
        })
        .only(KAFKA),
        gauge(
            "surgetank_kafka_controller_id",
            &[],
            "The broker that is named as the controller; with KRaft brokers name any of them that is alive.",
            |scrape, out| {
                if scrape.may_ask(LogCluster::CONTROLLER) {
                    of_log(scrape, out, |told| told.controller.and_then(|id| u64::try_from(id).ok()));
                }
            },
        )
        .only("with Kafka, on the pod that asks, if one is named"),
        gauge(
            "surgetank_kafka_under_replicated_partitions",
            &[],
            "Partitions with fewer copies in sync than they should have, of all topics that the login may see.",
            |scrape, out| of_log(scrape, out, |told| Some(told.all.under_replicated)),
        )
        .only(KAFKA),
        gauge(
            "surgetank_kafka_offline_partitions",
            &[],
            "Partitions without a leader, of all topics that the login may see.",
            |scrape, out| of_log(scrape, out, |told| Some(told.all.offline)),
        )
        .only(KAFKA),
        gauge(
            "surgetank_kafka_under_min_isr_partitions",
            &[],
            "Partitions with fewer copies in sync than min.insync.replicas, of all topics whose settings the login may read.",
            |scrape, out| {
                if scrape.may_ask(LogCluster::TOPIC_CONFIGS) {
                    of_log(scrape, out, |told| told.all.under_min_isr);
                }
            },
        )
        .only("with Kafka, on the pod that asks, if it may read the settings of the engine's topics"),
        gauge(
            "surgetank_cassandra_nodes",
            &["state"],
            "Nodes that answer (up) and that do not (down): those of store.cassandra.local_dc if it is set.",
            |scrape, out| {
                if let Some(clusters) = scrape.clusters().filter(|clusters| clusters.store.is_there()) {
                    let told = clusters.store.told();
                    out.put(&["up"], told.map(|told| told.nodes_up));
                    out.put(&["down"], told.map(|told| told.nodes_down));
                }
            },
        )
        .only("with Cassandra, on the pod that asks"),
        gauge(
            "surgetank_cassandra_pool_pending_tasks",
            &["pool"],
            "Tasks that wait for a thread of the pool, on the worst node.",
            |scrape, out| {
                told_by_store(scrape, |told| {
                    told.pending_tasks.iter().for_each(|(pool, tasks)| out.put(&[pool], *tasks));
                });
            },
        )
        .only(CASSANDRA),
        gauge(
            "surgetank_cassandra_pool_blocked_tasks",
            &["pool"],
            "Tasks that cannot even wait, since the pool's queue is full, on the worst node.",
            |scrape, out| {
                told_by_store(scrape, |told| {
                    told.blocked_tasks.iter().for_each(|(pool, tasks)| out.put(&[pool], *tasks));
                });
            },
        )
        .only(CASSANDRA),
        gauge(
            "surgetank_cassandra_running_compactions",
            &[],
            "Compactions that are under way, on the worst node.",
            |scrape, out| {
                if scrape.may_ask(StoreCluster::TASKS) {
                    told_by_store(scrape, |told| out.put(&[], told.running_compactions));
                }
            },
        )
        .only(CASSANDRA),
        gauge(
            "surgetank_cassandra_pending_compaction_tasks",
            &[],
            "Tasks that wait for a thread of the compaction executor, on the worst node. What Cassandra estimates to be \
             compacted later is told by JMX alone.",
            |scrape, out| {
                if scrape.may_ask(StoreCluster::POOLS) {
                    told_by_store(scrape, |told| out.put(&[], told.pending_compaction_tasks));
                }
            },
        )
        .only(CASSANDRA),
        gauge(
            "surgetank_cassandra_write_latency_seconds",
            &["percentile"],
            "What writes to our tables took where they were coordinated, over the last minutes as Cassandra weighs them, on \
             the worst node for the worst table: percentiles 50, 99 and 100, the longest.",
            |scrape, out| {
                told_by_store(scrape, |told| {
                    told.write_latency.iter().for_each(|(percentile, seconds)| out.put(&[percentile], *seconds));
                });
            },
        )
        .only(CASSANDRA),
        gauge(
            "surgetank_cassandra_table_bytes",
            &["table"],
            "What the table takes on the disks of all nodes that answer, replicas included; each node tells whole MiB.",
            |scrape, out| {
                told_by_store(scrape, |told| {
                    told.table_bytes.iter().for_each(|(table, bytes)| out.put(&[table], *bytes));
                });
            },
        )
        .only(CASSANDRA),
    ],
};

/// A figure of the log's servers: not a number while they are silent.
fn of_log(scrape: &Scrape<'_>, out: &mut Samples, figure: impl Fn(&LogCluster) -> Option<u64>) {
    if let Some(clusters) = scrape.clusters().filter(|clusters| clusters.log.is_there()) {
        out.put(&[], Value::from(clusters.log.told().and_then(figure)));
    }
}

/// Calls `put` with what the store's servers say, once they have said anything.
fn told_by_store(scrape: &Scrape<'_>, put: impl FnOnce(&StoreCluster)) {
    if let Some(told) = scrape.clusters().and_then(|clusters| clusters.store.told()) {
        put(told);
    }
}
