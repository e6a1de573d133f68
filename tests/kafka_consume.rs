//! States of a real Kafka in which acknowledged records are not consumed, or were lost before they were read: each is a
//! reason in the log's health, and is over when it is over.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`); every test then uses names of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/cluster.rs"]
mod cluster;
#[path = "common/log_contract.rs"]
mod log_contract;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, cluster};
use log_contract::{PATIENCE, append, at, batch, outcome, spec, until};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use surgetank::flow::health::{Condition, Part, Verdict};
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings, KafkaLogin};
use surgetank::log::{
    AssignmentEvent, Log, PartitionOffsets, ReadError, ReadLimit, Subscription, TopicPartition, TopicSpec,
};
use surgetank::tls::ServerTrust;

/// A state has to be seen within this time, and its end, too.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
const LIMIT: ReadLimit = ReadLimit { max_records: 64, max_bytes: 1 << 20 };

/// Reads whatever it is given, and commits it at once.
struct Follower {
    subscription: Box<dyn Subscription>,
    seen: Arc<Mutex<Vec<(TopicPartition, u64, String)>>>,
    offsets: Arc<Mutex<HashMap<TopicPartition, Arc<dyn PartitionOffsets>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    fn start(log: &dyn Log, topic: &TopicSpec) -> Self {
        let (subscription, mut events) = log.subscribe(std::slice::from_ref(topic)).unwrap();
        let (seen, offsets): (Arc<Mutex<Vec<_>>>, Arc<Mutex<HashMap<_, _>>>) = Default::default();
        let (all_seen, all_offsets) = (Arc::clone(&seen), Arc::clone(&offsets));
        let task = tokio::spawn(async move {
            let mut tasks = HashMap::new();
            while let Some(event) = events.recv().await {
                match event {
                    AssignmentEvent::Assigned(readers) => {
                        for mut reader in readers {
                            let (id, seen) = (reader.partition().clone(), Arc::clone(&all_seen));
                            let of_partition = reader.offsets();
                            all_offsets.lock().insert(id.clone(), Arc::clone(&of_partition));
                            let reading = tokio::spawn(async move {
                                loop {
                                    let batch = match reader.read(LIMIT).await {
                                        Ok(batch) => batch,
                                        Err(ReadError::Revoked(_)) => return,
                                        Err(ReadError::Unavailable { .. }) => {
                                            tokio::time::sleep(Duration::from_millis(10)).await;
                                            continue;
                                        }
                                    };
                                    let values = batch.records.iter().map(|record| {
                                        let value = String::from_utf8(record.value(&batch.data).to_vec()).unwrap();
                                        (reader.partition().clone(), record.offset, value)
                                    });
                                    seen.lock().extend(values);
                                    of_partition.commit(batch.next_offset);
                                }
                            });
                            tasks.insert(id, reading);
                        }
                    }
                    AssignmentEvent::Revoked { partitions, done } => {
                        for id in &partitions {
                            all_offsets.lock().remove(id);
                            if let Some(reading) = tasks.remove(id) {
                                reading.abort();
                                let _ = reading.await;
                            }
                        }
                        drop(done);
                    }
                }
            }
            for reading in tasks.into_values() {
                reading.abort();
                let _ = reading.await;
            }
        });
        Self { subscription, seen, offsets, task }
    }

    fn lag(&self, id: &TopicPartition) -> Option<u64> {
        self.offsets.lock().get(id)?.lag()
    }

    fn num_seen(&self) -> usize {
        self.seen.lock().len()
    }

    async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
        drop(self.offsets);
        self.subscription.close().await;
    }
}

impl Cluster {
    async fn topic(&self, log: &dyn Log, num_partitions: u32) -> TopicSpec {
        let topic = spec(&self.name, num_partitions);
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        topic
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// As retention does it.
    async fn delete_records_before(&self, id: &TopicPartition, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&id.topic, id.partition as i32, Offset::Offset(offset)).unwrap();
        let deleted = self.admin().delete_records(&before, &AdminOptions::new()).await.unwrap();
        deleted.elements()[0].error().unwrap();
    }

    async fn delete_topic(&self, topic: &TopicSpec) {
        for deleted in self.admin().delete_topics(&[&topic.name], &AdminOptions::new()).await.unwrap() {
            deleted.unwrap();
        }
    }

    /// Another application in our group.
    fn foreign_member(&self, assignor: &str) -> Foreign {
        let mut client = self.client();
        let client = client
            .set("group.id", &self.name)
            .set("client.id", "report-job")
            .set("session.timeout.ms", "6000")
            .set("partition.assignment.strategy", assignor);
        let consumer: BaseConsumer = client.create().unwrap();
        consumer.subscribe(&[&self.name]).unwrap();
        let stop = Arc::new(Mutex::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !*stopped.lock() {
                let _ = consumer.poll(Duration::from_millis(50));
            }
        });
        Foreign { stop, thread: Some(thread) }
    }

    /// What the group has committed.
    fn committed(&self, id: &TopicPartition) -> Offset {
        let mut client = self.client();
        let consumer: BaseConsumer = client.set("group.id", &self.name).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&id.topic, id.partition as i32);
        consumer.committed_offsets(asked, PATIENCE).unwrap().elements()[0].offset()
    }

    fn transactional(&self, id: &str) -> BaseProducer {
        let mut client = self.client();
        let client = client.set("transactional.id", format!("{}-{id}", self.name));
        let producer: BaseProducer = client.set("transaction.timeout.ms", "60000").create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }
}

struct Foreign {
    stop: Arc<Mutex<bool>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        *self.stop.lock() = true;
        let _ = self.thread.take().unwrap().join();
    }
}

fn send(producer: &BaseProducer, topic: &TopicSpec, count: usize) {
    for number in 0..count {
        let value = format!("foreign-{number}");
        producer.send(BaseRecord::to(&topic.name).partition(0).key("device").payload(&value)).map_err(|e| e.0).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

async fn fill(log: &dyn Log, id: &TopicPartition, count: usize) {
    let values: Vec<String> = (0..count).map(|number| format!("value-{number}")).collect();
    outcome(append(log, id, batch("device", &values))).await.unwrap();
}

fn condition(log: &dyn Log, code: &str) -> Option<Condition> {
    log.conditions().into_iter().find(|condition| condition.code == code)
}

/// Waits until the log's health has this condition, and no longer than is promised.
async fn seen(log: &dyn Log, code: &str) -> Condition {
    let started = Instant::now();
    until(code, || condition(log, code).is_some()).await;
    println!("{code} was seen after {:?}", started.elapsed());
    assert!(started.elapsed() < SEEN_WITHIN);
    let condition = condition(log, code).unwrap();
    assert_eq!(condition.part, Part::Consume);
    assert!(!condition.refuses_intake, "the log takes records all the same");
    println!("  {}", condition.detail);
    condition
}

async fn over(log: &dyn Log, code: &str) {
    let started = Instant::now();
    until(&format!("{code} to be over"), || condition(log, code).is_none()).await;
    println!("{code} was over after {:?}", started.elapsed());
    assert!(started.elapsed() < SEEN_WITHIN);
}

/// Reads all of a topic and leaves.
async fn read_all(log: &dyn Log, topic: &TopicSpec, count: usize) {
    let follower = Follower::start(log, topic);
    until("all to be read", || follower.num_seen() == count).await;
    follower.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_removed_while_nobody_read_is_named() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let (first, second) = (at(&topic, 0), at(&topic, 1));
    fill(&*log, &first, 300).await;
    fill(&*log, &second, 50).await;
    read_all(&*log, &topic, 350).await;
    assert_eq!(log.lost_records(), 0);
    fill(&*log, &first, 700).await;
    fill(&*log, &second, 70).await;
    cluster.delete_records_before(&first, 900).await;
    // Of the other one everything goes.
    cluster.delete_records_before(&second, 120).await;

    let follower = Follower::start(&*log, &topic);
    until("the rest to be read", || follower.num_seen() == 100).await;
    until("both losses to be counted", || log.lost_records() == 600 + 70).await;
    let lost = seen(&*log, "records_lost").await;
    assert_eq!(lost.verdict, Verdict::Degraded);
    let ranges = [format!("{first} 300 to 899 (600 records)"), format!("{second} 50 to 119 (70 records)")];
    assert!(ranges.iter().all(|range| lost.detail.contains(range)), "{}", lost.detail);
    until("the lag to be none", || [&first, &second].iter().all(|id| follower.lag(id) == Some(0))).await;
    until("the commits to be told", || cluster.committed(&second) == Offset::Offset(120)).await;
    follower.close().await;
    // Nothing is lost twice.
    let follower = Follower::start(&*log, &topic);
    until("the lag to be known", || [&first, &second].iter().all(|id| follower.lag(id) == Some(0))).await;
    assert_eq!(log.lost_records(), 670);
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_removed_from_a_paused_partition_is_named_while_it_is_paused() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 100).await;
    let mut consumption = log_contract::Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    log_contract::read(&mut **reader, 40).await;
    reader.offsets().commit(40);
    reader.pause();
    fill(&*log, &id, 100).await;
    until("the lag of a paused partition to grow", || reader.offsets().lag() == Some(160)).await;
    cluster.delete_records_before(&id, 150).await;
    let lost = seen(&*log, "records_lost").await;
    assert!(lost.detail.contains("40 to 149 (110 records)"), "{}", lost.detail);
    reader.resume();
    assert_eq!(log_contract::read(&mut **reader, 50).await[0].0, 150);
    reader.offsets().commit(200);
    until("the lag to be none", || reader.offsets().lag() == Some(0)).await;
    assert_eq!(log.lost_records(), 110);
    consumption.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_a_commit_on_a_log_that_has_lost_its_beginning_is_told() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    fill(&*log, &at(&topic, 0), 50).await;
    cluster.delete_records_before(&at(&topic, 0), 20).await;
    let follower = Follower::start(&*log, &topic);
    until("the rest to be read", || follower.num_seen() == 30).await;
    let unknown = seen(&*log, "start_unknown").await;
    assert!(unknown.detail.contains(&at(&topic, 0).to_string()), "{}", unknown.detail);
    assert!(!unknown.detail.contains(&at(&topic, 1).to_string()), "{}", unknown.detail);
    assert_eq!(log.lost_records(), 0, "nobody knows");
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_again_is_read_and_committed_from_its_start() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 500).await;
    let follower = Follower::start(&*log, &topic);
    until("all to be read", || follower.num_seen() == 500 && follower.lag(&id) == Some(0)).await;

    // The second time the new topic has as many records as the old one had: offsets alone show nothing.
    for round in 1..=2 {
        cluster.delete_topic(&topic).await;
        until("the topic to be gone", || {
            let known = cluster.admin().inner().fetch_metadata(None, PATIENCE).unwrap();
            known.topics().iter().all(|known| known.name() != &*topic.name)
        })
        .await;
        // A commit may be under way just now.
        if let Some(offsets) = follower.offsets.lock().get(&id) {
            offsets.commit(500);
        }
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        let values = ["a", "b", "c"].map(|value| format!("{round}{value}"));
        let deadline = Instant::now() + PATIENCE;
        // The producer finds the new topic in its own time.
        while outcome(append(&*log, &id, batch("device", &values))).await.is_err() {
            assert!(Instant::now() < deadline);
        }
        let is_last = |seen: &Vec<(TopicPartition, u64, String)>| seen.last().unwrap().2 == values[2];
        until("the new records to be read", || is_last(&follower.seen.lock())).await;
        let end = follower.seen.lock().last().unwrap().1 + 1;
        assert!(end < 100, "offsets began anew");
        until("the lag to be right", || follower.lag(&id) == Some(0)).await;
        until("the commits to go on", || cluster.committed(&id) == Offset::Offset(end as i64)).await;
    }
    assert_eq!(log.lost_records(), 0);
    until("nothing to be wrong any more", || log.conditions().is_empty()).await;
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_of_transactions_count_as_read() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    let producer = cluster.transactional("aborts");
    let follower = Follower::start(&*log, &topic);
    // Before any record, between records, and at the end.
    for round in 1..=3 {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 10);
        producer.abort_transaction(PATIENCE).unwrap();
        until("the commit to move over what was aborted", || follower.lag(&id) == Some(0)).await;
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 5);
        producer.commit_transaction(PATIENCE).unwrap();
        until("what was committed to be read", || follower.num_seen() == round * 5).await;
        until("the commit to move over the marker", || follower.lag(&id) == Some(0)).await;
    }
    until("the group to be told", || cluster.committed(&id) == Offset::Offset(3 * (11 + 6))).await;
    assert_eq!(log.lost_records(), 0, "gaps are no losses");
    follower.close().await;
    // What nobody read yet when it was aborted.
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 10);
    producer.abort_transaction(PATIENCE).unwrap();
    let follower = Follower::start(&*log, &topic);
    until("the group to be told", || cluster.committed(&id) == Offset::Offset(3 * (11 + 6) + 11)).await;
    assert_eq!((follower.num_seen(), follower.lag(&id)), (0, Some(0)));
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_records_from_being_consumed_is_told() {
    // Each takes its time to be seen.
    tokio::join!(open_transaction(), incompatible_assignor(), foreign_member(), member_too_many(), deleted_topic());
}

async fn open_transaction() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    let follower = Follower::start(&*log, &topic);
    fill(&*log, &id, 5).await;
    until("what is before it to be read", || follower.num_seen() == 5).await;
    let producer = cluster.transactional("open");
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 1);
    fill(&*log, &id, 20).await;
    let standing = seen(&*log, "open_transaction").await;
    assert!(standing.detail.contains(&format!("offset 5 of {id}, and 21 records wait")), "{}", standing.detail);
    assert_eq!(follower.lag(&id), Some(21));
    tokio::task::spawn_blocking(move || producer.commit_transaction(PATIENCE).unwrap()).await.unwrap();
    over(&*log, "open_transaction").await;
    until("all to be read", || follower.num_seen() == 26 && follower.lag(&id) == Some(0)).await;
    follower.close().await;
    log.close().await;
}

async fn incompatible_assignor() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    fill(&*log, &at(&topic, 0), 5).await;
    let foreign = cluster.foreign_member("range");
    until("the other one to be in the group", || cluster.group_is_stable()).await;
    let follower = Follower::start(&*log, &topic);
    let failing = seen(&*log, "not_consuming").await;
    assert_eq!(failing.verdict, Verdict::Failing);
    for part in ["another client is in the group", "report-job", "range"] {
        assert!(failing.detail.contains(part), "{part}: {}", failing.detail);
    }
    assert!(!log.is_spare());
    tokio::task::spawn_blocking(move || drop(foreign)).await.unwrap();
    over(&*log, "not_consuming").await;
    until("all to be read", || follower.num_seen() == 5).await;
    follower.close().await;
    log.close().await;
}

async fn foreign_member() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let foreign = cluster.foreign_member("cooperative-sticky");
    until("the other one to be in the group", || cluster.group_is_stable()).await;
    let follower = Follower::start(&*log, &topic);
    let failing = seen(&*log, "foreign_member").await;
    assert!(failing.detail.contains("report-job"), "{}", failing.detail);
    tokio::task::spawn_blocking(move || drop(foreign)).await.unwrap();
    over(&*log, "foreign_member").await;
    assert_eq!(follower.offsets.lock().len(), 2, "both partitions are ours");
    follower.close().await;
    log.close().await;
}

async fn deleted_topic() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 5).await;
    let follower = Follower::start(&*log, &topic);
    until("all to be read", || follower.num_seen() == 5 && follower.lag(&id) == Some(0)).await;
    // Its id is asked for every two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.delete_topic(&topic).await;
    let started = Instant::now();
    let is_told = || {
        let codes = ["topic_gone", "not_consuming"];
        log.conditions().into_iter().any(|condition| codes.contains(&condition.code))
    };
    until("the deletion to be told", is_told).await;
    assert!(started.elapsed() < SEEN_WITHIN);
    assert_eq!(follower.lag(&id), None);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while outcome(append(&*log, &id, batch("device", &["late"]))).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    until("what is new to be read", || follower.seen.lock().last().unwrap().2 == "late").await;
    over(&*log, "topic_gone").await;
    over(&*log, "not_consuming").await;
    follower.close().await;
    log.close().await;
}

async fn member_too_many() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let follower = Follower::start(&*log, &topic);
    until("it to have the partition", || follower.offsets.lock().len() == 1).await;
    let other = KafkaLog::open(cluster.settings("pod-1")).unwrap();
    let spare = Follower::start(&other, &topic);
    until("the other one to know that it has nothing to do", || other.is_spare()).await;
    let until = Instant::now() + Duration::from_secs(14);
    while Instant::now() < until {
        let wrong: Vec<_> = log.conditions().into_iter().chain(other.conditions()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    spare.close().await;
    follower.close().await;
    log.close().await;
}

/// A login that loses its right on the group and gets it back, while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_on_the_group_is_told() {
    let variables = ["SURGETANK_TEST_KAFKA_SASL", "SURGETANK_TEST_TLS_DIR", "SURGETANK_TEST_SERVICES"];
    let [Ok(brokers), Ok(tls), Ok(services)] = variables.map(std::env::var) else {
        return println!("skipped: one of {variables:?} is not set");
    };
    let Some(cluster) = cluster() else { return };
    let admin = cluster.open();
    let topic = cluster.topic(&*admin, 1).await;
    fill(&*admin, &at(&topic, 0), 5).await;
    let forbid = |action: &str| {
        let mut command = std::process::Command::new(&services);
        command.args(["kafka-tool", "org.apache.kafka.tools.AclCommand", action, "--force"]);
        command.args(["--deny-principal", "User:surgetank", "--operation", "Read", "--group", &cluster.name]);
        assert!(command.status().unwrap().success());
    };
    forbid("--add");
    let settings = KafkaLogSettings {
        brokers: vec![brokers],
        tls: Some(ServerTrust { ca: std::path::Path::new(&tls).join("ca.pem"), identity: None }),
        login: Some(KafkaLogin {
            mechanism: "SCRAM-SHA-256",
            username: "surgetank".to_owned(),
            password: "secret".to_owned(),
        }),
        ..cluster.settings("pod-0")
    };
    let log = KafkaLog::open(settings).unwrap();
    let follower = Follower::start(&log, &topic);
    let failing = seen(&log, "not_consuming").await;
    assert_eq!(failing.verdict, Verdict::Failing);
    assert!(failing.detail.contains("READ on the group"), "{}", failing.detail);
    forbid("--remove");
    over(&log, "not_consuming").await;
    until("all to be read", || follower.num_seen() == 5).await;
    follower.close().await;
}

/// Starts a broker of its own, kills it, and starts it at another port. librdkafka may go on asking the old address for the
/// coordinator, since its id is the same; then the client is made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and a broker of its own"]
async fn a_coordinator_that_comes_back_at_another_address_is_found_again() {
    let Ok(services) = std::env::var("SURGETANK_TEST_SERVICES") else {
        return println!("skipped: SURGETANK_TEST_SERVICES is not set");
    };
    let directory = tempfile::tempdir().unwrap();
    let ports: [u16; 8] =
        std::array::from_fn(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let run = |command: &[&str], ports: &[u16]| {
        let names = ["KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "KAFKA_TLS_PORT", "KAFKA_SASL_PORT"];
        let mut process = std::process::Command::new(&services);
        process.args(command).env("SURGETANK_SERVICES_DIR", directory.path());
        process.envs(names.iter().zip(ports).map(|(name, port)| (*name, port.to_string())));
        assert!(process.status().unwrap().success());
    };
    run(&["start", "kafka"], &ports[..4]);
    let name = "moved".to_owned();
    let cluster = Cluster { brokers: format!("127.0.0.1:{},127.0.0.1:{}", ports[0], ports[4]), name };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let id = at(&topic, 0);
    let follower = Follower::start(&*log, &topic);
    fill(&*log, &id, 5).await;
    until("all to be read", || follower.num_seen() == 5).await;

    run(&["kill", "kafka"], &ports[..4]);
    // A service keeps its ports; this one is to move.
    std::fs::remove_file(directory.path().join("kafka/ports")).unwrap();
    // The controller stays where it is: its address is on disk.
    run(&["start", "kafka"], &[ports[4], ports[1], ports[6], ports[7]]);
    let moved = Instant::now();
    let deadline = moved + 2 * PATIENCE;
    let values = ["late"];
    while outcome(append(&*log, &id, batch("device", &values))).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    let is_late = |seen: &Vec<(TopicPartition, u64, String)>| seen.last().unwrap().2 == "late";
    until("the late record to be read", || is_late(&follower.seen.lock())).await;
    println!("read {:?} after the broker was back", moved.elapsed());
    let end = Offset::Offset(follower.seen.lock().last().unwrap().1 as i64 + 1);
    while cluster.committed(&id) != end || !log.conditions().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", log.conditions());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("committed {:?} after the broker was back", moved.elapsed());
    follower.close().await;
    log.close().await;
    run(&["stop", "kafka"], &[]);
}

impl Cluster {
    fn group_is_stable(&self) -> bool {
        let groups = self.admin().inner().fetch_group_list(Some(&self.name), PATIENCE).unwrap();
        groups.groups().iter().any(|group| group.name() == self.name && group.state() == "Stable")
    }
}
