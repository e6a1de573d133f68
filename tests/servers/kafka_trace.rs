//! The trace of an HTTP request in the headers of its records, as another client of the brokers reads them.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{Message, Offset, TopicPartitionList};
use surgetank::flow::trace::TraceContext;
use surgetank::log::Log;
use surgetank::log::kafka::KafkaLog;

use crate::cluster::{Cluster, cluster};
use crate::common::PATIENCE;
use crate::common::device::{block, position};
use crate::common::events::{address, event, lines};
use crate::common::http::Request;
use crate::log_contract::{append, at, batch, spec};

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
