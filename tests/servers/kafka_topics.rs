//! Topics on a real Kafka that are not, or no longer, as the engine needs them: each state is seen, and its end, too.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`); every test then uses names of its own.

use crate::common;
use crate::log_contract;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::site::Site;
use common::until;
use log_contract::{Consumption, append, at, batch, outcome, read, spec};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use surgetank::actors::schemas::Schemas;
use surgetank::engine::{Engine, EngineError, all_topics, load_codecs, open_log};
use surgetank::flow::health::Condition;
use surgetank::log::{Log, TopicSpec};

const HOUR_MS: u64 = 3_600_000;

/// An installation of its own on the broker: a site, and somebody who changes its topics.
struct Installation {
    name: String,
    site: Site,
    admin: AdminClient<DefaultClientContext>,
}

impl Installation {
    /// `None` without a broker, which is said. With these keys set, too.
    fn new(more: &[(&str, &str)]) -> Option<Self> {
        static NUM_INSTALLATIONS: AtomicU64 = AtomicU64::new(0);
        let Ok(brokers) = std::env::var("SURGETANK_TEST_KAFKA") else {
            println!("skipped: SURGETANK_TEST_KAFKA is not set");
            return None;
        };
        let number = NUM_INSTALLATIONS.fetch_add(1, Ordering::Relaxed);
        let name = format!("topics-{}-{}-{number}", std::process::id(), common::now_ms());
        let quoted = |suffix: &str| format!("\"{name}{suffix}\"");
        let (partitions, types) = (format!("topics.{name}.partitions"), format!("topics.{name}.types"));
        let (address, dead) = (format!("[{brokers:?}]"), quoted(".dead"));
        let (group, schemas, control) = (quoted(""), quoted(".schemas"), quoted(".control"));
        let settings = [
            (&*partitions, "2"),
            (&types, "[\"*\"]"),
            ("dead_letter.topic", &dead),
            ("log.kind", "\"kafka\""),
            ("log.kafka.brokers", &address),
            ("log.kafka.group", &group),
            ("log.kafka.schema_topic", &schemas),
            ("log.kafka.control_topic", &control),
        ];
        let site = Site::new_without_topics(&[&settings[..], more].concat());
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        Some(Self { name, site, admin })
    }

    /// The log with its topics made, unless they are there.
    async fn open(&self) -> Arc<dyn Log> {
        let log = open_log(&self.site.config()).unwrap();
        log.apply(&self.topics()).await.unwrap();
        log
    }

    fn topics(&self) -> Vec<TopicSpec> {
        all_topics(&self.site.config())
    }

    async fn create(&self, suffix: &str, num_partitions: i32, settings: &[(&str, &str)]) {
        let name = format!("{}{suffix}", self.name);
        let topic = NewTopic::new(&name, num_partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        for result in self.admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    /// Sets these on a topic, and resets everything else.
    async fn alter(&self, suffix: &str, settings: &[(&str, &str)]) {
        let name = format!("{}{suffix}", self.name);
        let change = AlterConfig::new(ResourceSpecifier::Topic(&name));
        let change = settings.iter().fold(change, |change, (key, value)| change.set(key, value));
        for result in self.admin.alter_configs([&change], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    async fn delete(&self, suffix: &str) {
        let name = format!("{}{suffix}", self.name);
        for result in self.admin.delete_topics(&[&name], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    /// Appends records that are so old by their timestamps.
    async fn produce(&self, partition: i32, age_ms: u64, num_records: usize) {
        let brokers = std::env::var("SURGETANK_TEST_KAFKA").unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        for _ in 0..num_records {
            let timestamp = (common::now_ms() - age_ms) as i64;
            let record = BaseRecord::<str, str>::to(&self.name).partition(partition).timestamp(timestamp);
            producer.send(record.key("device").payload("old")).unwrap();
        }
        tokio::task::spawn_blocking(move || producer.flush(common::PATIENCE).unwrap()).await.unwrap();
    }

    /// Waits until an inspection finds exactly these: the broker may take a moment for what it has confirmed.
    async fn found(&self, log: &dyn Log, codes: &[&str]) -> Vec<Condition> {
        let topics = self.topics();
        until(&format!("{codes:?} to be found"), async || {
            let found = log.inspect(&topics).await.unwrap();
            let of = |condition: &Condition| format!("{} {}", condition.code, self.suffix_of(condition));
            let actual: Vec<String> = found.iter().map(of).collect();
            (actual == codes).then_some(found)
        })
        .await
    }

    fn suffix_of(&self, condition: &Condition) -> String {
        condition.subject.strip_prefix(&self.name).unwrap_or(&condition.subject).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_as_the_engine_makes_them_are_no_condition() {
    let Some(installation) = Installation::new(&[]) else { return };
    let log = open_log(&installation.site.config()).unwrap();
    assert_eq!(log.inspect(&installation.topics()).await.unwrap(), [], "what was never there is not missing");
    log.apply(&installation.topics()).await.unwrap();
    assert_eq!(log.inspect(&installation.topics()).await.unwrap(), []);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compacted_topics_refuse_the_start_and_are_seen_while_running() {
    let Some(installation) = Installation::new(&[]) else { return };
    installation.create("", 2, &[("cleanup.policy", "compact")]).await;
    let mut engine = Engine::launch(installation.site.loaded()).unwrap();
    assert!(engine.started().await.is_none());
    let refused = engine.ended().await.unwrap_err();
    assert!(matches!(&refused, EngineError::Unfit(reason) if reason.contains("cleanup.policy=compact")), "{refused:?}");

    let log = installation.open().await;
    let found = installation.found(&*log, &["topic_compacted "]).await;
    assert!(found[0].refuses_start);
    installation.alter("", &[("cleanup.policy", "delete")]).await;
    installation.found(&*log, &[]).await;
    installation.alter(".dead", &[("cleanup.policy", "compact,delete")]).await;
    installation.found(&*log, &["topic_compacted .dead"]).await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_that_vanish_are_seen_and_written_again() {
    let Some(installation) = Installation::new(&[]) else { return };
    let log = installation.open().await;
    let config = installation.site.config();
    let codecs = Arc::new(load_codecs(&config).unwrap());
    // One that only an earlier pod knew: what is remembered is what was seen, not what is in force.
    let earlier = ([7; 8], r#"{"type":"record","name":"gone","fields":[]}"#.to_owned());
    log.put_schema(earlier.0, earlier.1.clone()).await.unwrap();
    let schemas = Schemas::open(log.clone(), Arc::clone(&codecs), config.store.bucket).await.unwrap();
    let before = log.schemas().await.unwrap();
    assert_eq!((before.len(), &before[0]), (codecs.types().len() + 1, &earlier));
    assert_eq!(schemas.restore().await.unwrap().num_written, 0);

    // A compacted topic lets nobody delete records.
    installation.alter(".schemas", &[("cleanup.policy", "delete")]).await;
    let found = installation.found(&*log, &["schema_topic_deletes .schemas"]).await;
    assert!(found[0].refuses_start);
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&format!("{}.schemas", installation.name), 0, Offset::End).unwrap();
    installation.admin.delete_records(&all, &AdminOptions::new()).await.unwrap();
    installation.alter(".schemas", &[("cleanup.policy", "compact")]).await;
    installation.found(&*log, &[]).await;
    assert_eq!(log.schemas().await.unwrap(), []);

    let restored = schemas.restore().await.unwrap();
    assert_eq!(restored.num_written, before.len() as u64);
    let codes: Vec<_> = restored.conditions().iter().map(|condition| condition.code).collect();
    assert_eq!(codes, ["schemas_restored"]);
    assert_eq!(log.schemas().await.unwrap(), before, "in the order they had");
    assert_eq!(schemas.restore().await.unwrap().conditions(), [], "said once");

    installation.delete(".schemas").await;
    installation.found(&*log, &["topic_missing .schemas"]).await;
    schemas.restore().await.unwrap_err();
    installation.create(".schemas", 1, &[("cleanup.policy", "compact")]).await;
    installation.found(&*log, &[]).await;
    assert_eq!(schemas.restore().await.unwrap().num_written, before.len() as u64);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_that_comes_near_to_unread_records_is_seen() {
    let Some(installation) = Installation::new(&[("log.kafka.compression", "\"none\"")]) else { return };
    let log = installation.open().await;
    let topic = spec(&installation.name, 2);
    // One fresh record keeps the broker from removing the segment while this looks at it.
    installation.produce(0, HOUR_MS * 2, 100).await;
    installation.produce(0, 0, 1).await;
    let mut consumption = Consumption::start(&*log, &topic).await;
    installation.found(&*log, &[]).await;

    let retention = |hours: u64| (HOUR_MS * hours).to_string();
    installation.alter("", &[("retention.ms", &retention(3))]).await;
    let found = installation.found(&*log, &["retention_near "]).await;
    assert!(found[0].detail.starts_with("101 records are not yet rows in partition 0"), "{}", found[0].detail);
    installation.alter("", &[("retention.ms", &retention(1))]).await;
    installation.found(&*log, &["retention_passed "]).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    read(&mut **reader, 101).await;
    reader.offsets().commit(100);
    installation.found(&*log, &[]).await;

    // Nothing tells how large what is unread is but what was appended: 40 records of a little more than 1,000 bytes.
    let values = vec![[b'x'; 1000]; 40];
    outcome(append(&*log, &at(&topic, 1), batch("device", &values))).await.unwrap();
    installation.alter("", &[("retention.bytes", "60000")]).await;
    let found = installation.found(&*log, &["retention_near "]).await;
    assert!(found[0].detail.starts_with("40 records are not yet rows in partition 1"), "{}", found[0].detail);
    installation.alter("", &[("retention.bytes", "30000")]).await;
    installation.found(&*log, &["retention_passed "]).await;
    let reader = consumption.readers.get_mut(&1).unwrap();
    read(&mut **reader, 40).await;
    reader.offsets().commit(40);
    installation.found(&*log, &[]).await;
    consumption.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_deleted_made_anew_or_grown_are_seen() {
    let Some(installation) = Installation::new(&[("log.kafka.delivery_timeout", "\"2 s\"")]) else { return };
    let log = installation.open().await;
    let topic = spec(&installation.name, 2);
    let consumption = Consumption::start(&*log, &topic).await;
    outcome(append(&*log, &at(&topic, 1), batch("device", &["a", "b", "c"]))).await.unwrap();
    installation.found(&*log, &[]).await;

    installation.delete("").await;
    let found = installation.found(&*log, &["topic_missing "]).await;
    assert!(found[0].refuses_intake, "no message can be acknowledged");
    // Neither looking nor appending has made it again.
    outcome(append(&*log, &at(&topic, 1), batch("device", &["late"]))).await.unwrap_err();
    installation.found(&*log, &["topic_missing "]).await;
    installation.create("", 1, &[]).await;
    // A partition that is not there is no other one.
    let found = installation.found(&*log, &["partitions_missing "]).await;
    assert!(found[0].detail.contains("partition 1;"), "{}", found[0].detail);
    let grown = NewPartitions::new(&installation.name, 3);
    for result in installation.admin.create_partitions([&grown], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    let found = installation.found(&*log, &["topic_grown ", "topic_recreated "]).await;
    assert!(found[1].detail.contains(" 3 of its records were not yet rows"), "{}", found[1].detail);

    installation.delete(".dead").await;
    let found = installation.found(&*log, &["topic_grown ", "topic_missing .dead"]).await;
    assert!(!found[1].refuses_intake, "messages that are fine still pass");
    consumption.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_promise_less_than_the_config_are_seen() {
    let more = [("log.kafka.replication_factor", "3"), ("log.kafka.min_insync_replicas", "2")];
    let Some(installation) = Installation::new(&more) else { return };
    // Two of them are as weak as a single broker allows; nobody can append to the third.
    installation.create("", 2, &[]).await;
    installation.create(".dead", 1, &[("min.insync.replicas", "2")]).await;
    installation.create(".schemas", 1, &[("cleanup.policy", "compact")]).await;
    installation.create(".control", 1, &[]).await;
    let log = installation.open().await;
    let weak = [
        "too_few_replicas ",
        "min_insync_replicas_low ",
        "too_few_in_sync .dead",
        "too_few_replicas .dead",
        "too_few_replicas .schemas",
        "min_insync_replicas_low .schemas",
    ];
    let found = installation.found(&*log, &weak).await;
    assert!(found.iter().all(|condition| !condition.refuses_intake));
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_records_of_a_topic_that_the_config_no_longer_names_are_seen() {
    let Some(installation) = Installation::new(&[]) else { return };
    let renamed = spec(&format!("{}.earlier", installation.name), 2);
    let earlier = open_log(&installation.site.config()).unwrap();
    earlier.apply(std::slice::from_ref(&renamed)).await.unwrap();
    outcome(append(&*earlier, &at(&renamed, 1), batch("device", &["a", "b", "c"]))).await.unwrap();
    let mut consumption = Consumption::start(&*earlier, &renamed).await;
    read(&mut **consumption.readers.get_mut(&1).unwrap(), 3).await;
    consumption.readers[&1].offsets().commit(1);
    consumption.close().await;
    earlier.close().await;

    let log = installation.open().await;
    let found = installation.found(&*log, &["topic_abandoned .earlier"]).await;
    assert!(found[0].detail.contains("2 records"), "{}", found[0].detail);
    let mut consumption = Consumption::start(&*log, &renamed).await;
    read(&mut **consumption.readers.get_mut(&1).unwrap(), 2).await;
    consumption.readers[&1].offsets().commit(3);
    installation.found(&*log, &[]).await;
    consumption.close().await;
    log.close().await;
}
