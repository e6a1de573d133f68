//! What topics take, against a real broker: limits of batches and records that differ from topic to topic and change while
//! records are appended, and dead letters that are larger than their topic takes.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`); every test then uses names of its own.

use crate::cluster;
use crate::common;
use crate::log_contract;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, cluster};
use common::device::{Device, Message, position_of};
use common::events::NDJSON;
use common::http::Request;
use common::layouts::{Layouts, NEXT_VERSION};
use common::ledger::dead_letters;
use common::scan::scan;
use common::site::{Running, Site};
use common::{http, now_ms, until, until_true};
use log_contract::{append, at, batch, outcome, spec};
use rdkafka::admin::{AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value as Json, json};
use surgetank::codec::Codecs;
use surgetank::codec::avro::{LetterParts, OwnedDeadLetter};
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings};
use surgetank::log::{AppendError, Log, LogError, TopicSpec};
use surgetank::protocol::reason::RejectReason;
use surgetank::protocol::receipt::Outcome;
use surgetank::schema::Value;

/// A log that gives a broker of which much is asked more time.
fn open(cluster: &Cluster) -> KafkaLog {
    let delivery_timeout = Duration::from_secs(20);
    let settings = cluster.settings("pod-0");
    KafkaLog::open(KafkaLogSettings { delivery_timeout, control_topic: String::new(), ..settings }).unwrap()
}

impl Cluster {
    pub async fn create(&self, topic: &TopicSpec, settings: &[(&str, &str)]) {
        let new = NewTopic::new(&topic.name, topic.num_partitions as i32, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        self.admin().create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    }

    async fn limit(&self, topic: &str, max_bytes: &str) {
        self.configure(topic, "max.message.bytes", max_bytes).await;
    }

    async fn configure(&self, topic: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        self.admin().alter_configs([&change], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    }

    /// A record that nobody of ours has written.
    fn produce(&self, topic: &str, key: &[u8], value: &[u8]) {
        let producer: BaseProducer = self.client().set("message.max.bytes", "2000000").create().unwrap();
        producer.send(BaseRecord::to(topic).partition(0).key(key).payload(value)).unwrap();
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    /// A site with these topics and the embedded store.
    pub fn site(&self, more: &[(&str, &str)]) -> Site {
        let quoted = |text: &str| format!("{text:?}");
        let settings = [
            (format!("topics.{}.partitions", self.name), "1".to_owned()),
            (format!("topics.{}.types", self.name), "[\"*\"]".to_owned()),
            ("dead_letter.topic".to_owned(), quoted(&self.dead())),
            ("dead_letter.partitions".to_owned(), "1".to_owned()),
            ("log.kind".to_owned(), quoted("kafka")),
            ("log.kafka.brokers".to_owned(), format!("[{}]", quoted(&self.brokers))),
            ("log.kafka.group".to_owned(), quoted(&self.name)),
            ("log.kafka.schema_topic".to_owned(), quoted(&self.settings("pod-0").schema_topic)),
            ("log.kafka.session_timeout".to_owned(), quoted("6 s")),
            ("gate.fleet".to_owned(), "false".to_owned()),
            ("store.kind".to_owned(), quoted("embedded")),
        ];
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Site::new_without_topics(&settings.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    pub fn dead(&self) -> String {
        format!("{}_dead", self.name)
    }
}

/// Bytes that no compression makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| rand::random::<u64>().to_ne_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// A numbered value of 200 bytes.
fn numbered(number: u32) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.extend(noise(196));
    value
}

/// The numbers in a topic of one partition.
fn numbers(log: &dyn Log, topic: &TopicSpec) -> Vec<u32> {
    let mut found = Vec::new();
    scan(log, topic, |_, _, _, value| found.push(u32::from_be_bytes(value[..4].try_into().unwrap())));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_with_other_limits_take_everything_side_by_side() {
    let Some(cluster) = cluster() else { return };
    let log = open(&cluster);
    let limits = [("small", Some("16384")), ("medium", Some("100000")), ("default", None), ("large", Some("3000000"))];
    let mut topics = Vec::new();
    for (name, limit) in limits {
        let topic = spec(&format!("{}_{name}", cluster.name), 1);
        let settings: Vec<_> = limit.map(|limit| ("max.message.bytes", limit)).into_iter().collect();
        cluster.create(&topic, &settings).await;
        topics.push(topic);
    }
    log.inspect(&topics).await.unwrap();
    let record_limits: Vec<usize> = topics.iter().map(|topic| log.record_limit(&topic.name).max_bytes()).collect();
    assert!(
        record_limits.is_sorted() && record_limits[0] < 16_384 && record_limits[3] > 2_000_000,
        "{record_limits:?}"
    );
    for topic in &topics {
        let appends: Vec<_> = (0..20)
            .map(|round| {
                let values: Vec<_> = (round * 500..(round + 1) * 500).map(numbered).collect();
                append(&log, &at(topic, 0), batch("device", &values))
            })
            .collect();
        for receipt in appends {
            outcome(receipt).await.unwrap();
        }
        assert_eq!(numbers(&log, topic), (0..10_000).collect::<Vec<_>>(), "{}", topic.name);
        // As much as one record may have, and no byte of it can be saved.
        let largest = log.record_limit(&topic.name).max_bytes() - "device".len();
        outcome(append(&log, &at(topic, 0), batch("device", &[noise(largest)]))).await.unwrap();
        let refused = outcome(append(&log, &at(topic, 0), batch("device", &[noise(largest + 150)]))).await;
        assert!(matches!(refused, Err(AppendError::TooLarge(_))), "{}: {refused:?}", topic.name);
    }
    assert!(log.health().is_ok());
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_changes_under_load_costs_nothing() {
    let Some(cluster) = cluster() else { return };
    let log = Arc::new(open(&cluster));
    let topic = spec(&cluster.name, 1);
    cluster.create(&topic, &[]).await;
    log.inspect(std::slice::from_ref(&topic)).await.unwrap();
    let (stop, num_batches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = tokio::spawn({
        let (log, topic, stop, num_batches) = (log.clone(), topic.clone(), stop.clone(), num_batches.clone());
        async move {
            let mut on_their_way = std::collections::VecDeque::new();
            for round in 0.. {
                let values: Vec<_> = (round * 100..(round + 1) * 100).map(numbered).collect();
                on_their_way.push_back(append(&*log, &at(&topic, 0), batch("device", &values)));
                if on_their_way.len() >= 8 {
                    outcome(on_their_way.pop_front().unwrap()).await.unwrap();
                    num_batches.fetch_add(1, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) {
                    for receipt in on_their_way {
                        outcome(receipt).await.unwrap();
                    }
                    return (round + 1) * 100;
                }
            }
            unreachable!()
        }
    });
    let more = async || {
        let goal = num_batches.load(Ordering::Relaxed) + 50;
        until_true("more batches", async || num_batches.load(Ordering::Relaxed) >= goal || load.is_finished()).await;
    };
    more().await;
    for limit in ["16384", "5000", "1048588", "8000"] {
        cluster.limit(&topic.name, limit).await;
        // Lower ones are noticed by what the broker refuses, higher ones when it is asked.
        more().await;
        log.inspect(std::slice::from_ref(&topic)).await.unwrap();
        let expected = limit.parse::<usize>().unwrap();
        let known = log.record_limit(&topic.name).max_bytes();
        assert!(known < expected && known + 100 > expected, "{known}, not {expected}");
        more().await;
    }
    stop.store(true, Ordering::Relaxed);
    let num_sent: u32 = load.await.unwrap();
    let found = numbers(&*log, &topic);
    let mut distinct = found.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct, (0..num_sent).collect::<Vec<_>>(), "everything is there");
    println!("{num_sent} records, {} in the topic", found.len());
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_its_topic_does_not_take_is_a_clear_error() {
    let Some(cluster) = cluster() else { return };
    let log = open(&cluster);
    cluster.create(&spec(&cluster.settings("pod-0").schema_topic, 1), &[("max.message.bytes", "1000")]).await;
    log.put_schema([1; 8], "\"long\"".to_owned()).await.unwrap();
    let refused = log.put_schema([2; 8], " ".repeat(2000)).await.unwrap_err();
    assert!(matches!(refused, LogError::SchemaTooLarge { num_bytes: 2016, .. }), "{refused}");
    assert!(refused.to_string().contains("raise max.message.bytes"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_to_fit_into_a_segment_too() {
    let Some(cluster) = cluster() else { return };
    let log = open(&cluster);
    let topic = spec(&cluster.name, 1);
    // More than a segment: the broker refuses what is larger than that with a reason of its own.
    cluster.create(&topic, &[("segment.bytes", "1048576"), ("max.message.bytes", "4000000")]).await;
    let values = [noise(2_000_000), noise(10)];
    let receipt = append(&log, &at(&topic, 0), batch("device", &values));
    assert!(matches!(outcome(receipt).await, Err(AppendError::TooLarge(_))));
    log.inspect(std::slice::from_ref(&topic)).await.unwrap();
    let receipt = append(&log, &at(&topic, 0), batch("device", &values));
    assert!(matches!(outcome(receipt).await, Err(AppendError::TooLarge(_))));
    let max_bytes = log.record_limit(&topic.name).max_bytes();
    assert!(max_bytes < 1_048_576, "{max_bytes}");
    outcome(append(&log, &at(&topic, 0), batch("device", &[noise(max_bytes - 6)]))).await.unwrap();
    assert!(log.conditions().is_empty(), "{:?}", log.conditions());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_refuses_records_is_a_condition_and_no_fault_of_theirs() {
    let Some(cluster) = cluster() else { return };
    let log = open(&cluster);
    let topic = spec(&cluster.name, 1);
    // Everything is older than the broker's clock says.
    cluster.create(&topic, &[("message.timestamp.before.max.ms", "0")]).await;
    let refused = outcome(append(&log, &at(&topic, 0), batch("device", &["v"]))).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    let conditions = log.conditions();
    assert_eq!((conditions.len(), conditions[0].code, &*conditions[0].subject), (1, "append_refused", &*topic.name));
    assert!(conditions[0].refuses_intake && conditions[0].detail.contains("message.timestamp"), "{}", conditions[0]);
    cluster.configure(&topic.name, "message.timestamp.before.max.ms", "3600000").await;
    until_true("appends to work again", async || {
        outcome(append(&log, &at(&topic, 0), batch("device", &["v"]))).await.is_ok()
    })
    .await;
    assert!(log.conditions().is_empty(), "{:?}", log.conditions());
}

/// Layouts whose newest `position` has a text of any length up to 60,000 bytes.
fn layouts() -> Layouts {
    let layouts = Layouts::new();
    layouts.add_next_version("kind = \"text\", length_bits = 16, max = 60000");
    layouts
}

fn message(codecs: &Codecs, sequence: u32, cargo: usize) -> Message {
    let fix = [Value::Double(1.2), Value::Uint(9), Value::Symbol("rtk".into())];
    let rest = [Value::Null, Value::Null, Value::Text("x".repeat(cargo))];
    position_of(codecs, NEXT_VERSION, (sequence, now_ms()), &fix, &rest)
}

fn event(device_id: &str, sequence: u32, cargo: usize) -> Json {
    let mut event = common::events::event(device_id, sequence);
    event["cargo"] = json!("x".repeat(cargo));
    event
}

/// The dead letters, put together, by reason.
fn joined(running: &Running, site: &Site) -> HashMap<String, Vec<OwnedDeadLetter>> {
    let mut parts = LetterParts::new(usize::MAX);
    let mut found: HashMap<String, Vec<OwnedDeadLetter>> = HashMap::new();
    for letter in dead_letters(&site.config(), &*running.started.backends.log) {
        for whole in parts.add(letter) {
            assert!(whole.missing.is_empty());
            found.entry(whole.letter.reason_code.clone()).or_default().push(whole.letter);
        }
    }
    assert!(parts.finish().is_empty(), "parts are missing");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_topics_take_packages_and_requests_and_only_what_is_too_large_is_rejected() {
    let Some(cluster) = cluster() else { return };
    cluster.create(&spec(&cluster.name, 1), &[("max.message.bytes", "16384")]).await;
    cluster.create(&spec(&cluster.dead(), 1), &[("max.message.bytes", "4096")]).await;
    let layouts = layouts();
    let codecs = layouts.codecs();
    let site = cluster.site(&[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;

    let body = |device: &str, huge: &[u32]| -> String {
        let cargo = |sequence| if huge.contains(&sequence) { 30_000 } else { 20 };
        (0..2000).map(|sequence| event(device, sequence, cargo(sequence)).to_string() + "\n").collect()
    };
    let ingest = common::events::address(&running);
    Request::events(NDJSON, body("http-1", &[])).send(ingest).await.accepted(2000);
    let answer = Request::events(NDJSON, body("http-2", &[7])).send(ingest).await;
    let told = answer.json();
    assert_eq!((answer.status, &told["accepted"], &told["rejected"]), (200, &json!(1999), &json!(1)), "{told}");
    assert_eq!((&told["items"][0]["index"], &told["items"][0]["reason"]), (&json!(7), &json!("too_large")));
    let alone = Request::events(common::events::JSON, event("http-3", 1, 30_000).to_string()).send(ingest).await;
    assert_eq!(alone.status, 413, "{}", alone.json());

    let mut device = Device::connect(running.engine.devices_addr, "device").await;
    let messages: Vec<Message> =
        (0..1000).map(|sequence| message(&codecs, sequence, if sequence == 500 { 30_000 } else { 20 })).collect();
    let outcomes = device.deliver(&messages).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        let expected = if index == 500 { Outcome::Rejected(RejectReason::TooLarge) } else { Outcome::Accepted };
        assert_eq!(*outcome, expected, "message {index}");
    }
    running.catch_up().await;
    until_true("all rows", async || site.number("select count(*) from position") == 2000 + 1999 + 999).await;
    let found = joined(&running, &site);
    assert_eq!(found.len(), 1, "{:?}", found.keys());
    assert!(found["too_large"][0].num_parts > 1 && found["too_large"][0].payload.len() > 30_000);
    assert_eq!(running.counters().dead_letters, 1);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_records_that_are_larger_than_their_dead_letter_may_be_stand_in_nobodys_way() {
    let Some(cluster) = cluster() else { return };
    let site = cluster.site(&[("writer.retry_max", "\"200 ms\"")]);
    let running = site.launch().await;
    // With what a letter has beside it, this is more than Kafka's default takes.
    let huge = noise(1_048_400);
    cluster.produce(&cluster.name, b"stranger", &huge);
    cluster.produce(&cluster.name, &[b'k'; 300_000], b"a key of its own");
    let ready = async || http::get(running.engine.http_addr, "/health/ready").await.0 == 200;
    running.catch_up().await;
    until_true("both letters", async || running.counters().dead_letters == 2).await;
    let found = joined(&running, &site);
    let letters = &found["not_a_record"];
    assert!(letters[0].payload == huge && letters[0].num_parts == 2, "{} parts", letters[0].num_parts);
    assert_eq!((letters[1].payload.as_slice(), letters[1].device_id.len()), (&b"a key of its own"[..], 256));
    let key = letters[1].source.as_ref().and_then(|source| source.key.as_deref());
    assert!(key == Some(&[b'k'; 300_000]), "the letter has all of it");
    assert!(ready().await);

    // The topic of dead letters takes less all of a sudden, and then nothing at all.
    cluster.limit(&cluster.dead(), "3000").await;
    cluster.produce(&cluster.name, b"stranger", &huge);
    until_true("the third letter", async || running.counters().dead_letters == 3).await;
    cluster.limit(&cluster.dead(), "100").await;
    cluster.produce(&cluster.name, b"stranger", b"small");
    let condition = until("the condition", async || {
        let conditions = running.started.view.status.conditions();
        conditions.into_iter().find(|condition| condition.code == "dead_letters_not_confirmed")
    })
    .await;
    assert!(condition.detail.contains(&cluster.dead()), "{condition}");
    let little = running.started.view.status.conditions();
    assert!(little.iter().any(|condition| condition.code == "topic_takes_little"), "{little:?}");
    cluster.limit(&cluster.dead(), "20000").await;
    // The engine asks again by itself, only later.
    running.started.backends.log.inspect(&[spec(&cluster.dead(), 1)]).await.unwrap();
    until_true("the fourth letter", async || running.counters().dead_letters == 4).await;
    running.catch_up().await;
    let found = joined(&running, &site);
    assert_eq!(found["not_a_record"].iter().filter(|letter| letter.payload == huge).count(), 2);

    // Nor does it lose anything while that topic is not there at all.
    cluster.admin().delete_topics(&[&cluster.dead()], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    cluster.produce(&cluster.name, b"stranger", b"last");
    until_true("the condition again", async || {
        let conditions = running.started.view.status.conditions();
        conditions.iter().any(|condition| condition.code == "dead_letters_not_confirmed")
    })
    .await;
    cluster.create(&spec(&cluster.dead(), 1), &[]).await;
    until_true("the fifth letter", async || running.counters().dead_letters == 5).await;
    running.catch_up().await;
    let found = joined(&running, &site);
    let last = &found["not_a_record"][0];
    // What was refused a moment ago is believed for a minute: until then a letter may be cut, with its size noted.
    assert!(last.payload_bytes == 4 && b"last".starts_with(&last.payload), "{last:?}");
    until_true("letters to be confirmed", async || {
        let conditions = running.started.view.status.conditions();
        conditions.iter().all(|condition| condition.code != "dead_letters_not_confirmed")
    })
    .await;
    running.stop().await;
}
