//! How the servers are, asked of them: the numbers are the server's own, and what cannot be made good shows in the verdict.
//!
//! Needs `SURGETANK_TEST_KAFKA` and `SURGETANK_TEST_CASSANDRA`; otherwise the tests say that they were skipped.

use crate::cluster;
use crate::common;
use crate::store_contract;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::http::Request;
use common::process::Process;
use common::servers::Servers;
use common::{until, until_true};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use store_contract::simple_table;
use surgetank::flow::cluster::{PartitionCounts, RangeCounts, Replication, StoreCluster};
use surgetank::log::TopicSpec;
use surgetank::schema::row::Table;
use surgetank::store::Store;
use surgetank::store::cassandra::{CassandraSettings, CassandraStore, Consistency};
use tokio::runtime::Handle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_tells_of_its_brokers_and_of_partitions_that_take_nothing() {
    let Some(cluster) = cluster::cluster() else { return };
    let log = cluster.open();
    let topics = [TopicSpec::own(cluster.name.as_str(), 3)];
    log.apply(&topics).await.unwrap();
    let ask = async || log.cluster(&topics).await.unwrap().unwrap();

    let sound = ask().await;
    assert_eq!((sound.num_brokers, sound.controller), (1, Some(1)), "{sound:?}");
    assert_eq!(sound.own, PartitionCounts { under_min_isr: Some(0), ..PartitionCounts::default() }, "{sound:?}");
    assert_eq!((sound.all.under_replicated, sound.all.offline), (0, 0), "the only broker has all copies: {sound:?}");
    assert!(sound.probes.len() == 3 && sound.probes.values().all(|is_there| *is_there), "{:?}", sound.probes);
    assert_eq!(sound.replication(), Replication::Ok);

    // More copies than there can be with one broker: no append is confirmed.
    let set = async |min: &str| {
        let change = AlterConfig::new(ResourceSpecifier::Topic(&cluster.name)).set("min.insync.replicas", min);
        cluster.admin().alter_configs([&change], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    };
    set("2").await;
    let short = until("partitions to be short of copies", async || {
        let told = ask().await;
        (told.own.under_min_isr != Some(0)).then_some(told)
    })
    .await;
    assert_eq!(short.own.under_min_isr, Some(3), "{short:?}");
    assert!(short.all.under_min_isr >= Some(3), "{short:?}");
    assert_eq!(short.replication(), Replication::Failing);
    set("1").await;
    until_true("the partitions to take records again", async || ask().await.replication() == Replication::Ok).await;
}

/// A keyspace of its own with one table.
struct Keyspace {
    store: CassandraStore,
    session: Session,
    name: String,
    table: Arc<Table>,
}

impl Keyspace {
    async fn new() -> Option<Self> {
        let Ok(node) = std::env::var("SURGETANK_TEST_CASSANDRA") else {
            println!("skipped: SURGETANK_TEST_CASSANDRA is not set");
            return None;
        };
        let name = common::unique_name();
        let settings = CassandraSettings {
            nodes: vec![node.clone()],
            datacenter: None,
            rack: None,
            keyspace: name.clone(),
            route_keyspaces: Vec::new(),
            replication: "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}".to_owned(),
            consistency: Consistency::LocalQuorum,
            credentials: None,
            request_timeout: Duration::from_secs(5),
            connections_per_node: 1,
            batch_rows: 64,
            batch_bytes: 32 << 10,
            ttl: None,
            tls: None,
        };
        let store = CassandraStore::connect(settings, Handle::current()).await.unwrap();
        let table = simple_table("counted");
        store.apply(&[Arc::clone(&table)]).await.unwrap();
        let session = SessionBuilder::new().known_node(node).build().await.unwrap();
        Some(Self { store, session, name, table })
    }

    async fn ask(&self) -> StoreCluster {
        self.store.cluster(&[Arc::clone(&self.table)]).await.unwrap().unwrap()
    }

    async fn run(&self, cql: &str) {
        self.session.query_unpaged(cql, ()).await.unwrap();
    }

    /// The server's own word for the longest write to the table that it has coordinated, in seconds.
    async fn longest_write(&self) -> f64 {
        let cql = format!(
            "SELECT max_ms FROM system_views.coordinator_write_latency WHERE keyspace_name = '{}' AND table_name = 'counted'",
            self.name
        );
        let rows = self.session.query_unpaged(cql, ()).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(f64,)>().unwrap().0 / 1000.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cassandra_tells_of_its_nodes_replicas_pools_latencies_and_tables() {
    let Some(keyspace) = Keyspace::new().await else { return };
    for device in 0..50 {
        let cql = format!(
            "INSERT INTO {}.counted (device_id, bucket, event_time, sequence, value) VALUES ('{device}', 0, 0, 0, 1)",
            keyspace.name
        );
        keyspace.run(&cql).await;
    }
    let told = until("the replicas to be known", async || {
        let told = keyspace.ask().await;
        told.ranges.is_some().then_some(told)
    })
    .await;
    assert_eq!((told.nodes_up, told.nodes_down, told.ranges), (1, 0, Some(RangeCounts::default())), "{told:?}");
    assert_eq!(told.replication(), Replication::Ok);
    for pool in ["MutationStage", "CompactionExecutor", "Native-Transport-Requests"] {
        assert!(told.pending_tasks[pool].is_some() && told.blocked_tasks[pool] == Some(0), "{pool}: {told:?}");
    }
    assert!(told.running_compactions.is_some() && told.pending_compaction_tasks.is_some(), "{told:?}");
    assert!(told.table_bytes["counted"].is_some() && told.table_bytes.len() == 1, "{:?}", told.table_bytes);
    assert!(told.probes.len() == 4 && told.probes.values().all(|is_there| *is_there), "{:?}", told.probes);
    until_true("the longest write to be the server's", async || {
        let before = keyspace.longest_write().await;
        let told = keyspace.ask().await.write_latency["100"];
        // It is forgotten little by little.
        before > 0.0 && (told == Some(before) || told == Some(keyspace.longest_write().await))
    })
    .await;

    // More replicas than nodes: there is no quorum of three on one node.
    let replicate = async |factor: u32| {
        let (name, class) = (&keyspace.name, "NetworkTopologyStrategy");
        let cql = format!("ALTER KEYSPACE {name} WITH replication = {{'class': '{class}', 'datacenter1': {factor}}}");
        keyspace.run(&cql).await;
    };
    replicate(3).await;
    let short = until("no row to be confirmed", async || {
        let told = keyspace.ask().await;
        (told.replication() == Replication::Failing).then_some(told)
    })
    .await;
    let ranges = short.ranges.unwrap();
    assert!(ranges.unwritable > 0 && ranges.unwritable == ranges.under_replicated, "all of them: {short:?}");
    replicate(1).await;
    until_true("rows to be confirmed again", async || keyspace.ask().await.replication() == Replication::Ok).await;
    keyspace.run(&format!("DROP KEYSPACE {}", keyspace.name)).await;
}

/// The samples of `/metrics` whose names begin so: by name and labels as they are written.
async fn samples(address: SocketAddr, prefixes: &[&str]) -> BTreeMap<String, f64> {
    let answer = Request::new("GET", "/metrics").send(address).await;
    let text = String::from_utf8(answer.body).unwrap();
    let ours = text.lines().filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    ours.map(sample).collect()
}

const OBSERVER: &str = "surgetank_cluster_observer";
const ALL: &[&str] =
    &["surgetank_cluster_", "surgetank_replication_health", "surgetank_kafka_", "surgetank_cassandra_"];

/// So long one pod has to be the only one that asks: longer than a pod takes from its start to its first answer.
const ALONE: Duration = Duration::from_secs(4);

/// Whether this is the state of replication.
fn holds(samples: &BTreeMap<String, f64>, state: &str) -> bool {
    samples.get(&format!("surgetank_replication_health{{state=\"{state}\"}}")) == Some(&1.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pod_of_a_fleet_shows_what_the_servers_say_and_the_next_takes_over() {
    let Some(servers) = Servers::find() else { return };
    let name = common::unique_name();
    let sites = [servers.site(&name, "pod-0", &[]), servers.site(&name, "pod-1", &[])];
    let mut pods = vec![Process::start(&sites[0]).await];
    let addresses = [pods[0].http];
    let alone = until("a lone pod to ask", async || {
        let samples = samples(addresses[0], ALL).await;
        holds(&samples, "ok").then_some(samples)
    })
    .await;
    assert_eq!(alone[OBSERVER], 1.0);
    for (name, expected) in [
        ("surgetank_kafka_brokers", 1.0),
        ("surgetank_kafka_controller_id", 1.0),
        ("surgetank_kafka_offline_partitions", 0.0),
        ("surgetank_kafka_under_replicated_partitions", 0.0),
        ("surgetank_cassandra_nodes{state=\"up\"}", 1.0),
        ("surgetank_cassandra_nodes{state=\"down\"}", 0.0),
        ("surgetank_cassandra_pool_blocked_tasks{pool=\"MutationStage\"}", 0.0),
        ("surgetank_cluster_probe_available{probe=\"kafka_topic_configs\"}", 1.0),
        ("surgetank_cluster_probe_available{probe=\"cassandra_disk_usage\"}", 1.0),
        ("surgetank_replication_health{state=\"unknown\"}", 0.0),
    ] {
        assert_eq!(alone.get(name), Some(&expected), "{name} in {alone:#?}");
    }
    for name in [
        "surgetank_kafka_under_min_isr_partitions",
        "surgetank_cassandra_running_compactions",
        "surgetank_cassandra_pending_compaction_tasks",
        "surgetank_cassandra_write_latency_seconds{percentile=\"99\"}",
        "surgetank_cassandra_table_bytes{table=\"position\"}",
    ] {
        assert!(alone.get(name).is_some_and(|value| value.is_finite()), "{name} in {alone:#?}");
    }

    pods.push(Process::start(&sites[1]).await);
    let addresses = [pods[0].http, pods[1].http];
    // A pod that has just started asks nobody yet: it has to stay so.
    let mut since = Instant::now();
    until_true("one of two to ask, and to be the only one", async || {
        let asks = [samples(addresses[0], ALL).await, samples(addresses[1], ALL).await];
        let [one, other] = asks.map(|samples| (samples[OBSERVER], samples.len()));
        // Who does not ask has nothing else to say.
        let is_one = (one.0 == 1.0 && other == (0.0, 1)) || (other.0 == 1.0 && one == (0.0, 1));
        since = if is_one { since } else { Instant::now() };
        since.elapsed() >= ALONE
    })
    .await;
    let leads = usize::from(samples(addresses[1], ALL).await[OBSERVER] == 1.0);
    pods[leads].signal("TERM");
    assert_eq!(pods[leads].exited().await.code(), Some(0), "{}", pods[leads].told());
    until_true("the other to ask", async || holds(&samples(addresses[1 - leads], ALL).await, "ok")).await;
}
