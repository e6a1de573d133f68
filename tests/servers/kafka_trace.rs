//! The trace of an HTTP request in the headers of its records, as another client of the brokers reads them, and in the dead
//! letters of those that become no rows.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use surgetank::codec::avro::OwnedDeadLetter;
use surgetank::flow::trace::TraceContext;
use surgetank::log::kafka::KafkaLog;
use surgetank::log::{Log, RangeEnd, RangeStart, Ranges, ReadLimit, RecordBatch};

use crate::cluster::{Cluster, cluster};
use crate::common::device::{block, position};
use crate::common::events::{address, event, lines};
use crate::common::http::Request;
use crate::common::ledger::dead_letters;
use crate::common::{PATIENCE, until_true};
use crate::log_contract::{Consumption, append, at, batch, spec};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "congo=t61rcWkgMzE";

/// A record as another client sees it: key, bytes of its value, headers.
type Seen = (String, usize, BTreeMap<String, String>);

/// Reads so many records of partition 0.
fn records(cluster: &Cluster, topic: &str, count: usize) -> Vec<Seen> {
    let consumer: BaseConsumer = cluster.client().set("group.id", "somebody-else").create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let (mut seen, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while seen.len() < count {
        assert!(Instant::now() < deadline, "only {seen:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let headers = headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect();
        seen.push((text(message.key().unwrap()), message.payload().unwrap().len(), headers));
    }
    seen
}

fn headers(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_request_is_in_the_headers_of_its_records() {
    let Some(cluster) = cluster() else { return };
    let site = cluster.site(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let events = |devices: &[&str]| lines(devices.iter().zip(1..).map(|(device, sequence)| event(device, sequence)));
    let request = |devices: &[&str]| Request::events("application/x-ndjson", events(devices));
    // All records of a body, of whatever device, have the request's trace.
    let traced = request(&["a", "b", "b"]).header("traceparent", PARENT).header("tracestate", STATE);
    traced.send(to).await.accepted(3);
    request(&["bare"]).send(to).await.accepted(1);
    request(&["bad"]).header("traceparent", &PARENT.to_uppercase()).send(to).await.accepted(1);
    let package = Request::new("POST", "/v1/packages")
        .header("Content-Type", "application/vnd.surgetank.package")
        .header("Surgetank-Device", "packed")
        .header("traceparent", PARENT)
        .body(block(&[position(9, 1)]));
    package.send(to).await.accepted(1);
    let seen = records(&cluster, &cluster.name, 6);
    let both = headers(&[("traceparent", PARENT), ("tracestate", STATE)]);
    let expected = [
        ("a", both.clone()),
        ("b", both.clone()),
        ("b", both),
        ("bare", headers(&[])),
        ("bad", headers(&[])),
        ("packed", headers(&[("traceparent", PARENT)])),
    ];
    let found: Vec<_> = seen.iter().map(|(key, _, headers)| (key.as_str(), headers.clone())).collect();
    assert_eq!(found, expected);
    running.catch_up().await;

    // What is refused of a package is a dead letter with the same headers.
    let garbage = Request::new("POST", "/v1/packages")
        .header("Content-Type", "application/vnd.surgetank.package")
        .header("Surgetank-Device", "broken")
        .header("traceparent", PARENT)
        .body("no Snappy block");
    garbage.send(to).await.problem(422, "rejected");
    let letters = records(&cluster, &cluster.dead(), 1);
    assert_eq!((&*letters[0].0, &letters[0].2), ("broken", &headers(&[("traceparent", PARENT)])));
    let letters = dead_letters(&site.config(), &*running.started.backends.log);
    assert_eq!((letters.len(), letters[0].trace.as_deref(), &letters[0].source), (1, Some(PARENT), &None));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_has_no_room_for_its_trace_goes_without() {
    let Some(cluster) = cluster() else { return };
    let settings = cluster.settings("pod-0");
    let log =
        KafkaLog::open(surgetank::log::kafka::KafkaLogSettings { control_topic: String::new(), ..settings }).unwrap();
    let topic = spec(&cluster.name, 1);
    cluster.create(&topic, &[("max.message.bytes", "20000")]).await;
    log.inspect(std::slice::from_ref(&topic)).await.unwrap();
    let max_bytes = log.record_limit(&topic.name).max_bytes() - "d".len();
    let trace = TraceContext::read([PARENT.as_bytes()], []).map(Arc::new);
    // The longest value that may be, the longest that has room for the headers, and one byte more.
    let room = "traceparent".len() + PARENT.len() + 4;
    let sizes = [max_bytes, max_bytes - room, max_bytes - room + 1];
    for size in sizes {
        let value: Vec<u8> = (0..size).map(|_| rand::random::<u8>()).collect();
        let batch = surgetank::log::AppendBatch { trace: trace.clone(), ..batch("d", &[value]) };
        append(&log, &at(&topic, 0), batch).await.unwrap().unwrap();
    }
    let found: Vec<_> =
        records(&cluster, &cluster.name, 3).into_iter().map(|(_, size, headers)| (size, headers)).collect();
    let (with, without) = (headers(&[("traceparent", PARENT)]), headers(&[]));
    assert_eq!(found, [(sizes[0], without.clone()), (sizes[1], with), (sizes[2], without)]);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_becomes_no_row_has_its_trace_and_its_place_in_the_dead_letter() {
    let Some(cluster) = cluster() else { return };
    let site = cluster.site(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let request = |sequence| Request::events("application/x-ndjson", lines([event("truck", sequence)]));
    request(1).send(to).await.accepted(1);
    running.catch_up().await;
    let body = "BEGIN SELECT RAISE(ABORT, 'not allowed'); END";
    site.execute(&format!("CREATE TRIGGER guard BEFORE INSERT ON position WHEN NEW.sequence IN (2, 3) {body}"));
    request(2).header("traceparent", PARENT).header("tracestate", STATE).send(to).await.accepted(1);
    request(3).send(to).await.accepted(1);
    request(4).header("traceparent", PARENT).send(to).await.accepted(1);
    // What another program writes has what it says, if that is valid, and lacks what it lacks.
    let producer: BaseProducer = cluster.client().create().unwrap();
    let wrong = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some("00-1") });
    let traced = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some(PARENT) });
    let traced = traced.insert(Header { key: "other", value: Some("not kept of a topic of ours") });
    let record = || BaseRecord::<[u8], [u8]>::to(&cluster.name).partition(0);
    producer.send(record().key(&[0xff, 1]).headers(wrong)).unwrap();
    producer.send(record().payload(b"no record").headers(traced)).unwrap();
    producer.flush(PATIENCE).unwrap();
    running.catch_up().await;
    until_true("all letters", async || running.counters().dead_letters == 4).await;

    let mut letters = dead_letters(&site.config(), &*running.started.backends.log);
    letters.sort_by_key(|letter| letter.source.as_ref().unwrap().offset);
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let source = |letter: &OwnedDeadLetter| {
        let source = letter.source.clone().unwrap();
        assert_eq!((source.topic.as_str(), source.partition), (cluster.name.as_str(), 0));
        (source.offset, source.key, source.headers, source.has_value)
    };
    let traces: Vec<_> = letters.iter().map(|letter| letter.trace.as_deref()).collect();
    assert_eq!(traces, [Some(PARENT), None, None, Some(PARENT)]);
    let device = Some(b"truck".to_vec());
    let both = vec![header("traceparent", PARENT), header("tracestate", STATE)];
    assert_eq!(source(&letters[0]), (1, device.clone(), both, true));
    assert!(letters[0].source.as_ref().unwrap().timestamp_ms.is_some());
    let (offset, _, headers, has_value) = source(&letters[1]);
    assert_eq!((offset, headers, has_value, &*letters[1].device_id), (2, vec![], true, "truck"));
    let wrong = vec![header("traceparent", "00-1")];
    assert_eq!(source(&letters[2]), (4, Some(vec![0xff, 1]), wrong, false));
    assert_eq!(source(&letters[3]), (5, None, vec![header("traceparent", PARENT)], true));
    assert_eq!((&*letters[3].payload, &*letters[3].reason_code), (&b"no record"[..], "not_a_record"));
    running.stop().await;
}

/// Offset and trace of all records of a batch.
fn traces(batch: &RecordBatch) -> Vec<(u64, Option<String>)> {
    let trace = |index| batch.headers(index).last(b"traceparent").map(|parent| String::from_utf8_lossy(parent).into());
    batch.records.iter().enumerate().map(|(index, record)| (record.offset, trace(index))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_read_with_its_own_trace() {
    let Some(cluster) = cluster() else { return };
    let settings = cluster.settings("pod-0");
    let log =
        KafkaLog::open(surgetank::log::kafka::KafkaLogSettings { control_topic: String::new(), ..settings }).unwrap();
    let topic = spec(&cluster.name, 1);
    cluster.create(&topic, &[]).await;
    let mut expected: Vec<Option<String>> = Vec::new();
    // Records without side by side with those that have one: of all lengths, in batches of the brokers and alone.
    for number in 0..60usize {
        let parent = PARENT.replace("b7-01", &format!("{number:02}-01"));
        let trace = (number % 3 == 1).then(|| TraceContext::read([parent.as_bytes()], []).map(Arc::new)).flatten();
        let values: Vec<Vec<u8>> = (0..=number % 7).map(|index| vec![number as u8; index * number]).collect();
        expected.extend(values.iter().map(|_| trace.as_ref().map(|_| parent.clone())));
        let appended = append(&log, &at(&topic, 0), surgetank::log::AppendBatch { trace, ..batch("d", &values) });
        if number % 10 == 9 {
            appended.await.unwrap().unwrap();
        } else {
            drop(appended);
        }
    }
    let num_records = expected.len();
    let expected: Vec<_> = (0..).zip(expected).collect();
    let limit = ReadLimit { max_records: 100, max_bytes: 1 << 20 };
    let mut range = log.read_range(&at(&topic, 0), RangeStart::Earliest, RangeEnd::Now).await.unwrap();
    let mut found = Vec::new();
    while let Some(batch) = range.read(limit).await.unwrap() {
        found.extend(traces(&batch));
    }
    assert_eq!(found, expected);

    let mut consumption = Consumption::start(&log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    let mut found = Vec::new();
    while found.len() < num_records {
        let batch = tokio::time::timeout(PATIENCE, reader.read(limit)).await.unwrap().unwrap();
        found.extend(traces(&batch));
    }
    assert_eq!(found, expected);
    consumption.close().await;
    log.close().await;
}
