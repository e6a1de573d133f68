//! The rules of the design's "What always holds", each with the tests that would fail if it did not. Rule 7, garbage,
//! is in `engine_garbage.rs`.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]
// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use common::device::{Device, block, position, position_at};
use common::ledger::{Load, assert_nothing_lost, fleet, identities_acked, identities_in_log};
use common::process::Process;
use common::site::{Running, Site};
use common::{PATIENCE, http, in_time, now_ms, until, until_true};
use fail::FailScenario;
use serde_json::Value;
use surgetank::engine::open_log;
use surgetank::protocol::frame::Frame;
use surgetank::protocol::reason::{GoodbyeReason, RefusalReason};
use surgetank::protocol::receipt::{Outcome, Verdict};
use surgetank::supervision::NodeState;

/// Every row of every table that the simulated fleet fills, with everything in it.
fn all_rows(site: &Site) -> BTreeMap<String, Vec<Vec<Value>>> {
    ["position", "engine_health", "device_status", "harsh_event"]
        .map(|table| (table.to_owned(), site.rows(&format!("select * from {table} order by 1, 2, 3, 4"))))
        .into()
}

/// Restarts that come at once and are never too many.
const QUICK_RESTARTS: [(&str, &str); 3] = [
    ("supervision.backoff_min", "\"1 ms\""),
    ("supervision.backoff_max", "\"10 ms\""),
    ("supervision.max_restarts", "10000"),
];

// === 1. ACK means durable ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_what_was_acknowledged_is_in_the_log_after_kill_9() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let mut options = fleet(process.devices);
    options.rate = 0.0;
    options.drain_timeout = Duration::from_millis(1);
    let load = Load::start(options);
    load.acked(5_000).await;
    process.kill();
    let report = load.end().await;

    let config = site.config();
    let log = open_log(&config).unwrap();
    let in_log = identities_in_log(&config, &*log);
    let missing: Vec<_> = identities_acked(&report.ledger).filter(|identity| !in_log.contains(identity)).collect();
    assert!(missing.is_empty(), "{} acknowledged and not in the log, such as {:?}", missing.len(), missing[0]);
    log.close().await;
    drop(log);

    let running = site.launch().await;
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &config, &running.started.rooms).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_no_receipt_before_the_append() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    fail::cfg("partition_producer", "pause").unwrap();
    device.send_package(&[position(1, 1)]).await;
    until_true("the batch to be at the producer", async || running.depth("partition_producer") == 1).await;
    device.answers_only_ping().await;
    assert_eq!(running.counters().accepted, 0);
    let config = site.config();
    assert!(identities_in_log(&config, &*running.started.rooms.log).is_empty());
    fail::remove("partition_producer");
    let receipt = device.receipt().await;
    assert_eq!(receipt.outcomes(1).unwrap().collect::<Vec<_>>(), [Outcome::Accepted]);
    assert_eq!(identities_in_log(&config, &*running.started.rooms.log).len(), 1);
    running.stop().await;
}

/// A log that is full of what the store has not taken says "later" and not "yes"; nothing that it did take is lost, and
/// the disk is not filled beyond the budget and what was already on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_a_full_log_says_retry_later() {
    const BUDGET: u64 = 64 << 20;
    let _scenario = FailScenario::setup();
    let site = Site::new(&[
        ("log.embedded.disk_budget", "\"64 MiB\""),
        ("log.embedded.retention_size", "\"1 MiB\""),
        ("writer.retry_max", "\"100 ms\""),
    ]);
    let running = site.launch().await;
    let blocked = site.block_store();
    let mut device = Device::connect(running.engine.devices_addr, "flood").await;
    let time = now_ms();
    let mut sequence = 0;
    let mut num_accepted = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the log never was full");
        let messages: Vec<_> = (0..10_000).map(|number| position_at(sequence + number, 1, time)).collect();
        let outcomes = device.deliver(&messages).await;
        let accepted = outcomes.iter().filter(|outcome| **outcome == Outcome::Accepted).count();
        num_accepted += accepted as i64;
        sequence += 10_000;
        if accepted == 0 {
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::RetryLater), "{outcomes:?}");
            break;
        }
        assert_eq!(accepted, 10_000);
    }
    // The next is told the same, with a delay.
    device.send_package(&[position_at(sequence, 1, time)]).await;
    let receipt = device.receipt().await;
    assert_eq!(receipt.retry_after_ms(), 100, "{receipt:?}");
    let (status, body) = http::get(running.engine.http_addr, "/health/ready").await;
    assert_eq!(status, 503);
    assert!(body["reasons"].to_string().contains("log"), "{body}");
    let bytes_per_record = 60;
    assert!((num_accepted as u64) < BUDGET / bytes_per_record * 2, "{num_accepted} accepted beyond the budget");

    drop(blocked);
    running.catch_up().await;
    until_true("the log to take messages again", async || {
        device.deliver(&[position_at(sequence, 1, time)]).await == [Outcome::Accepted]
    })
    .await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), num_accepted + 1);
    running.stop().await;
}

// === 2. An offset is committed only when everything up to it is in the store or the dead letters ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_nothing_is_committed_that_is_not_stored() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("writer.retry_max", "\"100 ms\""), ("consumer.read_records", "10")]);
    let mut process = Process::start(&site).await;
    let blocked = site.block_store();
    let time = now_ms();
    // Several batches of several partitions are read, and none can be written.
    for number in 0..8 {
        let mut device = Device::connect(process.devices, &format!("device-{number}")).await;
        let messages: Vec<_> = (0..100).map(|sequence| position_at(sequence, sequence, time)).collect();
        device.accepted(&messages).await;
    }
    let address = process.http;
    let histograms = until("writes to be tried again", async || {
        let (_, body) = http::get(address, "/histograms").await;
        (body["counters"]["write_retries"].as_u64()? > 0).then_some(body)
    })
    .await;
    let lag: u64 = histograms["lag_records"].as_object().unwrap().values().map(|lag| lag.as_u64().unwrap()).sum();
    assert_eq!(lag, 800, "{histograms}");
    assert_eq!(histograms["counters"]["rows"], 0, "{histograms}");
    process.kill();
    drop(blocked);
    assert_eq!(site.number("select count(*) from position"), 0);

    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 800);
    running.stop().await;
}

/// Writers die with some batches while others complete, and then the process dies: whatever was committed in between
/// must not have passed over a batch that died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_batches_that_complete_out_of_order_commit_no_gap() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("consumer.read_records", "20"), ("writer.actors", "2")]);
    let settings: Vec<_> = QUICK_RESTARTS
        .into_iter()
        .chain([("consumer.read_records", "20"), ("writer.actors", "2"), ("consumer.max_batches_in_flight", "8")])
        .collect();
    site.configure(&settings);
    let mut process = Process::start_with(&site, "writer=10%panic").await;
    let mut options = fleet(process.devices);
    options.drain_timeout = Duration::from_millis(1);
    let load = Load::start(options);
    load.acked(10_000).await;
    let (_, body) = http::get(process.http, "/histograms").await;
    assert!(body["counters"]["rows"].as_u64().unwrap() > 0, "{body}");
    process.kill();
    assert!(process.told().contains("panicked"), "{}", process.told());
    let report = load.end().await;

    let running = site.launch().await;
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.rooms).await;
    running.stop().await;
}

/// What can never be written is settled by its dead letter: the offsets behind it are committed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_a_record_that_is_no_record_goes_to_the_dead_letters_and_holds_nobody_up() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let config = site.config();
    let mut running = site.launch().await;
    let address = running.engine.devices_addr;
    Device::connect(address, "d").await.accepted(&[position(1, 1)]).await;
    let topic = &surgetank::engine::record_topics(&config)[0];
    let number = surgetank::log::partitioner::partition_for(b"d", topic.num_partitions);
    let partition = surgetank::log::TopicPartition { topic: topic.name.clone(), partition: number };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let batch = surgetank::log::AppendBatch { key: "d".into(), values: "garbage".into(), ends: vec![7] };
    let done = surgetank::log::Completion::new(move |outcome| answer.send(outcome).unwrap());
    running.started.rooms.log.append(&partition, batch, done);
    answered.await.unwrap().unwrap();
    Device::connect(address, "d").await.accepted(&[position(2, 2)]).await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 2);
    let letters = common::ledger::dead_letters(&config, &*running.started.rooms.log);
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].device_id.as_str(), letters[0].payload.as_slice()), ("d", &b"garbage"[..]));
    assert_eq!(letters[0].reason_code, "not_a_record");
    assert_eq!(letters[0].origin, format!("writer {partition}@1"));
    running.engine.stop();
    running.engine.ended().await.unwrap();
}

// === 3. Writing twice changes nothing ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_3_the_same_records_written_again_leave_the_same_rows() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("writer.retry_max", "\"100 ms\"")]);
    let config = site.config();
    let log_directory = site.data_dir().join("log");
    let kept_log = site.path().join("kept-log");

    // Everything in the log and nothing in the store, as after a crash at the worst moment.
    let mut process = Process::start(&site).await;
    let blocked = site.block_store();
    let mut options = fleet(process.devices);
    options.drain_timeout = PATIENCE;
    let load = Load::start(options);
    load.acked(3_000).await;
    let report = load.end().await;
    process.kill();
    drop(blocked);
    copy_directory(&log_directory, &kept_log);

    let running = site.launch().await;
    running.catch_up().await;
    let found = assert_nothing_lost(report.ledger, &config, &running.started.rooms).await;
    let written = running.counters().rows;
    running.stop().await;
    let rows = all_rows(&site);
    assert_eq!(written, found.stored);

    // The log as it was before: every row is written again.
    std::fs::remove_dir_all(&log_directory).unwrap();
    std::fs::rename(&kept_log, &log_directory).unwrap();
    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(running.counters().rows, written, "every row is written again");
    running.stop().await;
    assert!(all_rows(&site) == rows, "rows have changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_3_kill_9_in_mid_stream_neither_loses_nor_doubles_nor_alters_a_row() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let time = now_ms();
    let mut accepted = HashSet::new();
    // The device keeps what has no receipt, and sends it again to the next process.
    let mut unsettled: Vec<u32> = Vec::new();
    let mut next = 0;
    for round in 0..4 {
        let mut process = Process::start(&site).await;
        let mut device = Device::connect(process.devices, "d").await;
        for _ in 0..20 * (round + 1) {
            while unsettled.len() < 50 {
                unsettled.push(next);
                next += 1;
            }
            let messages: Vec<_> = unsettled.iter().map(|number| position_at(*number, number * 7, time)).collect();
            device.accepted(&messages).await;
            accepted.extend(unsettled.drain(..));
        }
        // Some are under way when the process dies; whether they are in is not known.
        unsettled.extend(next..next + 50);
        next += 50;
        let messages: Vec<_> = unsettled.iter().map(|number| position_at(*number, number * 7, time)).collect();
        device.send_package(&messages).await;
        process.kill();
    }
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let messages: Vec<_> = unsettled.iter().map(|number| position_at(*number, number * 7, time)).collect();
    device.accepted(&messages).await;
    accepted.extend(unsettled);
    running.catch_up().await;
    let rows = site.rows("select sequence, odometer from position where device_id = 'd'");
    assert_eq!(rows.len(), accepted.len());
    for row in &rows {
        let sequence = row[0].as_u64().unwrap();
        assert!(accepted.contains(&(sequence as u32)));
        assert_eq!(row[1].as_u64().unwrap(), sequence * 7);
    }
    running.stop().await;
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

// === 4. Every queue is bounded ===

const PRODUCER_BOUND: u32 = 4;
const DECODER_BOUND: u32 = 3;
/// What the engine takes off one device's socket when producers stop: the producer's credits, the one batch for which
/// the decoder waits, the decoder's credits, and the one package for which the connection waits.
const SLOTS: u32 = PRODUCER_BOUND + 1 + DECODER_BOUND + 1;

fn narrow(max_unacknowledged: &'static str) -> Site {
    Site::new(&[
        ("topics.telemetry.partitions", "1"),
        ("producer.mailbox_batches", "4"),
        ("producer.max_wait", "\"20 s\""),
        ("decoder.actors", "1"),
        ("decoder.mailbox_packages", "3"),
        ("devices.max_unacknowledged_packages", max_unacknowledged),
    ])
}

async fn assert_full(running: &Running) {
    until_true("every queue to be full", async || {
        (running.depth("partition_producer"), running.depth("decoder")) == (PRODUCER_BOUND, DECODER_BOUND)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_a_stopped_producer_lets_exactly_the_bounds_through() {
    let _scenario = FailScenario::setup();
    // One more than the slots: were that one read off the socket, too, it would be the device's tenth.
    let site = narrow("9");
    assert_eq!(SLOTS, 9);
    let running = site.launch().await;
    fail::cfg("partition_producer", "pause").unwrap();
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let time = now_ms();
    for number in 0..SLOTS + 20 {
        device.send_package(&[position_at(number, number, time)]).await;
    }
    assert_full(&running).await;
    // Were one package more read, the device would be refused for having more under way than allowed.
    let mut other = Device::connect(running.engine.devices_addr, "other").await;
    other.answers_only_ping().await;
    assert_full(&running).await;
    assert_eq!(running.group("connection").alive, Some(2));
    assert_eq!(running.counters().packages, 0);

    // Everything goes through once the producer goes on: nothing had to be refused.
    fail::remove("partition_producer");
    let mut num_receipts = 0;
    loop {
        match device.next().await {
            Some(Frame::Receipt(receipt)) => {
                assert_eq!(receipt.outcomes(1).unwrap().next(), Some(Outcome::Accepted));
                num_receipts += 1;
                if num_receipts == SLOTS + 20 {
                    break;
                }
            }
            // The device had more under way than it may have, which the engine found out only now.
            Some(Frame::Refused(refused)) => {
                assert_eq!(refused.reason, RefusalReason::TooManyUnacknowledged);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(num_receipts >= 1, "none of those that were taken in was answered");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_the_slots_are_as_many_as_named() {
    let _scenario = FailScenario::setup();
    // One fewer than the slots: the last slot's package is read, and is one too many.
    let site = narrow("8");
    let running = site.launch().await;
    fail::cfg("partition_producer", "pause").unwrap();
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let time = now_ms();
    for number in 0..SLOTS {
        device.send_package(&[position_at(number, number, time)]).await;
    }
    match device.next().await {
        Some(Frame::Refused(refused)) => {
            assert_eq!((refused.reason, refused.retry_after_ms), (RefusalReason::TooManyUnacknowledged, 0));
        }
        other => panic!("instead of a refusal: {other:?}"),
    }
    fail::remove("partition_producer");
    running.stop().await;
}

/// The store stops: the engine goes on taking what the log has room for, its queues stay within their bounds, and its
/// memory does not follow the backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_a_stopped_store_fills_the_log_and_not_the_memory() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[
        ("consumer.read_records", "100"),
        ("consumer.max_batches_in_flight", "3"),
        ("writer.actors", "1"),
        ("writer.mailbox_batches", "2"),
        ("writer.retry_max", "\"100 ms\""),
        ("gate.max_writes", "4"),
        ("log.embedded.write_buffer", "\"4 MiB\""),
        ("log.embedded.tail_cache", "\"1 MiB\""),
    ]);
    let process = Process::start(&site).await;
    let blocked = site.block_store();
    let mut options = fleet(process.devices);
    options.rate = 0.0;
    options.package_size = 200;
    let load = Load::start(options);
    load.acked(50_000).await;
    let before = process.resident_bytes();
    let goal = load.progress.acked.get() + 300_000;
    let mut deepest: BTreeMap<String, u64> = BTreeMap::new();
    until_true("the backlog to grow", async || {
        let (_, groups) = http::get(process.http, "/actors").await;
        for group in groups.as_array().unwrap() {
            for actor in group["actors"].as_array().into_iter().flatten() {
                let Some(mailbox) = actor.get("mailbox").filter(|mailbox| mailbox.is_object()) else { continue };
                let (depth, bound) = (mailbox["depth"].as_u64().unwrap(), mailbox["bound"].as_u64().unwrap());
                assert!(depth <= bound, "{group}");
                let deepest = deepest.entry(group["group"].as_str().unwrap().to_owned()).or_default();
                *deepest = depth.max(*deepest);
            }
        }
        load.progress.acked.get() >= goal
    })
    .await;
    let grown = process.resident_bytes().saturating_sub(before);
    // 300 000 records are about 20 MB of log, and several times that as rows in memory.
    assert!(grown < 64 << 20, "{} MiB more than before", grown >> 20);
    assert_eq!(deepest["writer"], 2, "the writers' queue was never full: {deepest:?}");
    drop(blocked);
    load.end().await;
}

// === 5. Any actor may panic at any moment ===

/// Panics once at a fail point under load.
async fn panics_under_load(failpoint: &str, provoke: impl AsyncFn(&Running)) {
    let _scenario = FailScenario::setup();
    let site = Site::new(&QUICK_RESTARTS);
    let running = site.launch().await;
    let load = Load::start(fleet(running.engine.devices_addr));
    load.acked(1_000).await;
    fail::cfg(failpoint, "1*panic").unwrap();
    provoke(&running).await;
    let is_crowd = failpoint == "connection";
    until_true("the death to be seen in the tree", async || {
        let group = running.group(failpoint);
        match is_crowd {
            true => group.panicked == Some(1),
            false => {
                group.actors.iter().map(|actor| actor.restarts).sum::<u64>() >= 1
                    && group.actors.iter().all(|actor| actor.state == NodeState::Running)
            }
        }
    })
    .await;
    load.acked(2_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    match failpoint {
        "connection" => assert!(report.reconnects >= 1, "nobody had to connect again"),
        "decoder" | "partition_producer" => assert!(report.retried >= 1, "nobody was told to send again"),
        _ => {}
    }
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.rooms).await;
    let (_, actors) = http::get(running.engine.http_addr, "/actors").await;
    if !is_crowd {
        let told = actors.as_array().unwrap().iter().find(|group| group["group"] == failpoint).unwrap();
        assert!(told["actors"].as_array().unwrap().iter().any(|actor| actor["last_exit"] == "panicked"), "{told}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_a_connection_panics() {
    panics_under_load("connection", async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_the_listener_panics() {
    panics_under_load("listener", async |running| {
        let server = running.engine.devices_addr;
        // It dies with this connection in its hands, and its successor takes the next.
        assert!(Device::try_connect(server, "unlucky", "").await.is_err());
        until_true("the listener to accept again", async || Device::try_connect(server, "lucky", "").await.is_ok())
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_a_decoder_panics() {
    panics_under_load("decoder", async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_a_producer_panics() {
    panics_under_load("partition_producer", async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_a_consumer_panics() {
    panics_under_load("partition_consumer", async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_a_writer_panics() {
    panics_under_load("writer", async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_the_gate_panics() {
    // A consumer asks the gate when it starts.
    panics_under_load("gate", async |_| fail::cfg("partition_consumer", "1*panic").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_all_kinds_of_actors_panic_again_and_again() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&QUICK_RESTARTS);
    let running = site.launch().await;
    let load = Load::start(fleet(running.engine.devices_addr));
    load.acked(500).await;
    for failpoint in ["connection", "decoder", "partition_producer", "partition_consumer", "writer", "gate"] {
        fail::cfg(failpoint, "5%panic").unwrap();
    }
    load.acked(10_000).await;
    for (failpoint, _) in fail::list() {
        fail::remove(failpoint);
    }
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    running.catch_up().await;
    for group in ["decoder", "partition_producer", "partition_consumer", "writer"] {
        let restarts: u64 = running.group(group).actors.iter().map(|actor| actor.restarts).sum();
        assert!(restarts >= 1, "{group} never panicked");
    }
    assert_nothing_lost(report.ledger, &site.config(), &running.started.rooms).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_too_many_restarts_end_the_process_with_a_clear_message() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("supervision.max_restarts", "2"), ("supervision.backoff_max", "\"50 ms\"")]);
    let mut process = Process::start_with(&site, "decoder=panic").await;
    let load = Load::start(fleet(process.devices));
    let status = process.exited().await;
    assert_eq!(status.code(), Some(1));
    let told = process.told();
    assert!(told.contains("decoder restarted more than 2 times within 60s: giving up"), "{told}");
    drop(load);
}

// === 6. A counter counts what has been confirmed ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_6_counters_are_what_devices_were_told_and_the_store_confirmed() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&QUICK_RESTARTS);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    fail::cfg("decoder", "20%panic").unwrap();
    fail::cfg("partition_producer", "20%panic").unwrap();
    let time = now_ms();
    let (mut accepted, mut duplicates, mut rejected, mut retry_later, mut packages) = (0u64, 0, 0, 0, 0);
    let mut device = Device::connect(server, "d").await;
    for sequence in 0..200 {
        let good = position_at(sequence, 1, time);
        let mut unknown = position_at(sequence + 1_000_000, 1, time);
        unknown.0.type_id = 999;
        let messages = [good.clone(), unknown, good];
        loop {
            let outcomes = device.deliver(&messages).await;
            packages += 1;
            // Retry-later of a whole package, of which nothing is known, counts no messages.
            let whole = outcomes.iter().all(|outcome| *outcome == Outcome::RetryLater);
            for outcome in &outcomes {
                match outcome {
                    Outcome::Accepted => accepted += 1,
                    Outcome::Duplicate => duplicates += 1,
                    Outcome::Rejected(_) => rejected += 1,
                    Outcome::RetryLater => retry_later += u64::from(!whole),
                }
            }
            if outcomes[0] == Outcome::Accepted && matches!(outcomes[1], Outcome::Rejected(_)) {
                break;
            }
        }
    }
    fail::remove("decoder");
    fail::remove("partition_producer");
    running.catch_up().await;
    let counters = running.counters();
    assert!(retry_later > 0, "no fault was ever felt");
    assert_eq!(counters.accepted, accepted);
    assert_eq!(counters.duplicates, duplicates);
    assert_eq!(counters.rejected, rejected);
    assert_eq!(counters.packages, packages);
    assert!(counters.retry_later >= retry_later, "{counters:?}");
    // Every accepted message is one record and was written once: no writer failed.
    assert_eq!(counters.rows, accepted);
    assert_eq!(site.number("select count(*) from position"), 200);
    let letters = common::ledger::dead_letters(&site.config(), &*running.started.rooms.log);
    assert_eq!(counters.dead_letters, letters.len() as u64);
    assert_eq!(counters.dead_letters, rejected);
    let (_, body) = http::get(running.engine.http_addr, "/histograms").await;
    assert_eq!(body["counters"], serde_json::to_value(counters).unwrap());
    running.stop().await;
}

// === 8. Stop, and kill ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_8_sigterm_under_load_settles_what_is_in_flight_and_a_restart_goes_on() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("shutdown.drain_timeout", "\"10 s\"")]);
    let mut process = Process::start(&site).await;
    let (devices, http) = (process.devices.to_string(), process.http.to_string());
    let load = Load::start(fleet(process.devices));
    load.acked(3_000).await;
    let mut device = Device::connect(process.devices, "polite").await;
    let time = now_ms();
    device.accepted(&[position_at(0, 0, time)]).await;
    for number in 1..=10 {
        device.send_package(&[position_at(number, number, time)]).await;
    }
    let asked = Instant::now();
    process.signal("TERM");
    let words = device.last_words().await;
    let goodbyes: Vec<_> = words
        .iter()
        .filter_map(|frame| if let Frame::Goodbye(goodbye) = frame { Some(goodbye) } else { None })
        .collect();
    assert_eq!(goodbyes.len(), 1, "{words:?}");
    assert_eq!(goodbyes[0].reason, GoodbyeReason::ShuttingDown);
    let accepted: HashSet<u32> = words
        .iter()
        .filter_map(|frame| match frame {
            Frame::Receipt(receipt) => {
                let accepts =
                    matches!(&receipt.verdict, Verdict::PerMessage { exceptions, .. } if exceptions.is_empty());
                assert!(accepts, "{receipt:?}");
                Some(receipt.package_id - 1)
            }
            _ => None,
        })
        .collect();
    let status = process.exited().await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{}", process.told());
    assert!(took < Duration::from_secs(10), "took {took:?}, and drain_timeout is 10 s");
    assert!(process.told().contains("drained"), "{}", process.told());

    // The same place, so that the fleet finds it again.
    site.configure(&[("devices.listen", &format!("{devices:?}")), ("http.listen", &format!("{http:?}"))]);
    let process = Process::start(&site).await;
    load.acked(3_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    assert!(report.reconnects > 0);
    let mut process = process;
    process.signal("TERM");
    assert_eq!(process.exited().await.code(), Some(0));
    drop(process);

    let running = site.launch().await;
    running.catch_up().await;
    let rows: HashSet<u32> = site
        .rows("select sequence from position where device_id = 'polite'")
        .iter()
        .map(|row| row[0].as_u64().unwrap() as u32)
        .collect();
    assert!(accepted.is_subset(&rows), "accepted {accepted:?}, stored {rows:?}");
    let found = common::ledger::compare(report.ledger, &site.config(), &running.started.rooms).await;
    assert_eq!((found.lost, found.duplicate_rows), (0, 0), "{found:?}");
    running.stop().await;
}

/// A package is at the producer when the engine is told to stop: its receipt comes, then the connection closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_8_a_package_under_way_gets_its_receipt_after_goodbye() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let mut running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    fail::cfg("partition_producer", "pause").unwrap();
    device.send_package(&[position(1, 1)]).await;
    until_true("the batch to be at the producer", async || running.depth("partition_producer") == 1).await;
    running.engine.stop();
    match device.next().await {
        Some(Frame::Goodbye(goodbye)) => assert_eq!(goodbye.reason, GoodbyeReason::ShuttingDown),
        other => panic!("instead of Goodbye: {other:?}"),
    }
    fail::remove("partition_producer");
    let words = device.last_words().await;
    assert!(matches!(words.as_slice(), [Frame::Receipt(_)]), "{words:?}");
    in_time("the engine to end", running.engine.ended()).await.unwrap();
    drop(running);
    // Whether its row was still written before the end is chance; after a restart it is there.
    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_8_a_second_signal_ends_the_process_at_once() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("shutdown.drain_timeout", "\"5 min\""), ("producer.max_wait", "\"1 min\"")]);
    let mut process = Process::start_with(&site, "partition_producer=pause").await;
    let mut device = loop {
        if let Ok(device) = Device::try_connect(process.devices, "d", "").await {
            break device;
        }
    };
    device.send_block(block(&[position(1, 1)])).await;
    device.answers_only_ping().await;
    process.signal("TERM");
    // It has heard the first signal, and waits for the package.
    assert!(matches!(device.next().await, Some(Frame::Goodbye(_))));
    process.signal("TERM");
    assert_eq!(process.exited().await.code(), Some(1));
    assert!(process.told().contains("second signal"), "{}", process.told());
}

/// Connections that never said a word are nobody's work in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_8_silent_connections_do_not_hold_the_stop_up() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("devices.hello_timeout", "\"4 min\""), ("shutdown.drain_timeout", "\"4 min\"")]);
    let mut running = site.launch().await;
    let _silent = tokio::net::TcpStream::connect(running.engine.devices_addr).await.unwrap();
    until_true("the connection to be there", async || running.group("connection").alive == Some(1)).await;
    running.engine.stop();
    in_time("the engine to end", running.engine.ended()).await.unwrap();
}
