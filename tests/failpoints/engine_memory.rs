//! The memory budget: pressure reaches devices in bounded memory, and a slow store does not reach them at all.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]

use crate::common;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::device::{Device, Message, block, position};
use common::ledger::{Load, assert_nothing_lost, fleet};
use common::process::Process;
use common::site::Site;
use common::{http, in_time, until_true};
use fail::FailScenario;
use surgetank::protocol::message::MessageHeader;
use surgetank::protocol::receipt::{Outcome, Verdict};
use surgetank::schema::row::Cell;
use tokio::task::JoinHandle;

const BUDGET: u64 = 32 << 20;

const NUM_DEVICES: u32 = 8;
const NUM_PACKAGES: u32 = 16;
const NUM_MESSAGES: u32 = 10_000;

const SMALL_BUDGET: [(&str, &str); 3] = [
    ("memory.budget", "\"32 MiB\""),
    ("log.embedded.write_buffer", "\"4 MiB\""),
    ("log.embedded.tail_cache", "\"1 MiB\""),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stands_still_slows_no_acknowledgement() {
    let _scenario = FailScenario::setup();
    // Nothing but the budget stops the reads.
    let unbounded = [
        ("consumer.max_batches_in_flight", "1024"),
        ("consumer.large_batches", "1024"),
        ("gate.limiter", "\"fixed\""),
        ("gate.max_writes", "1"),
        ("gate.max_latency", "\"1 min\""),
        ("gate.stop_reading_above", "\"1 min\""),
        ("writer.retry_max", "\"100 ms\""),
    ];
    let site = Site::new(&[&SMALL_BUDGET[..], &unbounded].concat());
    let running = site.launch().await;
    let memory = running.started.view.memory.clone();
    let mut options = fleet(running.engine.devices_addr);
    (options.rate, options.package_size) = (20_000.0, 100);
    let load = Load::start(options);
    load.acked(1000).await;
    let blocked = site.block_store();
    until_true("consumers to have their part", async || memory.snapshot().batches_bytes >= BUDGET / 2).await;
    let goal = load.progress.acked.get() + 30_000;
    let mut most = 0;
    until_true("messages to be acknowledged all the same", async || {
        most = most.max(memory.snapshot().batches_bytes);
        load.progress.acked.get() >= goal
    })
    .await;
    // Reads that were under way when the limit was reached bring at most this much more for each of two partitions. A write
    // that was tried holds rows beside its records; one is in flight, and each that failed may have let in another.
    let largest_read = (1 << 20) + 8192 * 40;
    let num_tried = 1 + running.counters().write_retries;
    let rows = num_tried * 2048 * 20 * size_of::<Cell>() as u64;
    assert!(most < BUDGET / 2 + 2 * largest_read + rows, "{} KiB of batches, {num_tried} writes", most >> 10);
    assert_eq!((running.counters().retry_later, memory.snapshot().refused_packages), (0, 0));
    let (_, histograms) = http::get(running.engine.http_addr, "/histograms").await;
    assert_eq!(histograms["memory"]["budget_bytes"], BUDGET);
    assert!(histograms["memory"]["in_use_bytes"].as_u64().unwrap() >= BUDGET / 2, "{}", histograms["memory"]);
    assert!(histograms["memory"]["outside_bytes"].as_u64().unwrap() > 0, "{}", histograms["memory"]);

    drop(blocked);
    let report = load.end().await;
    running.catch_up().await;
    until_true("all memory to be given back", async || {
        let seen = memory.snapshot();
        seen.packages_bytes + seen.batches_bytes == 0
    })
    .await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
    running.stop().await;
}

/// Sends every package until it is taken; returns the delays it was told on the way.
async fn deliver_all(mut device: Device, blocks: Vec<Bytes>) -> Vec<u32> {
    let mut under_way = HashMap::new();
    for block in blocks {
        under_way.insert(device.send_block(block.clone()).await, block);
    }
    let mut delays = Vec::new();
    while !under_way.is_empty() {
        let receipt = device.receipt().await;
        let block = under_way.remove(&receipt.package_id).expect("a receipt of a package under way");
        match receipt.verdict {
            Verdict::RetryLater { retry_after_ms } => {
                delays.push(retry_after_ms);
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
                under_way.insert(device.send_block(block.clone()).await, block);
            }
            Verdict::PerMessage { num_messages, .. } => {
                let taken = |outcome| matches!(outcome, Outcome::Accepted | Outcome::Duplicate);
                assert!(receipt.outcomes(num_messages).unwrap().all(taken), "{receipt:?}");
            }
            Verdict::Rejected(reason) => panic!("rejected: {reason:?}"),
        }
    }
    delays
}

/// A package of half a megabyte that is one row, since its messages repeat one another.
fn of_one_row(package: u32) -> Vec<Message> {
    vec![position(package, 1); NUM_MESSAGES as usize]
}

/// A package of half a megabyte and as many rows as messages.
fn of_many_rows(package: u32) -> Vec<Message> {
    let (header, body) = position(0, 1);
    let sequences = package * NUM_MESSAGES..(package + 1) * NUM_MESSAGES;
    sequences.map(|sequence| (MessageHeader { sequence, ..header }, body.clone())).collect()
}

/// Devices with packages that weigh about 140 MiB in all.
async fn deliver_too_much(server: SocketAddr, package: fn(u32) -> Vec<Message>) -> Vec<JoinHandle<Vec<u32>>> {
    let mut deliveries = Vec::new();
    for number in 0..NUM_DEVICES {
        let device = Device::connect(server, &format!("truck-{number}")).await;
        let blocks = (0..NUM_PACKAGES).map(|number| block(&package(number)));
        deliveries.push(tokio::spawn(deliver_all(device, blocks.collect())));
    }
    deliveries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_stands_still_sends_devices_away_and_none_of_them_for_good() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&SMALL_BUDGET);
    let running = site.launch().await;
    let memory = running.started.view.memory.clone();
    fail::cfg("partition_producer", "pause").unwrap();
    let deliveries = deliver_too_much(running.engine.devices_addr, of_one_row).await;
    let mut most = 0;
    until_true("devices to be sent away", async || {
        let seen = memory.snapshot();
        most = most.max(seen.packages_bytes);
        seen.refused_packages >= 100
    })
    .await;
    // What was let in may turn out a little larger than it seemed.
    assert!(most > BUDGET / 2 && most <= BUDGET + BUDGET / 32, "{} KiB of packages", most >> 10);
    assert_eq!(running.counters().accepted, 0);
    assert!(running.counters().retry_later >= 100, "{:?}", running.counters());
    assert_eq!(running.group("connection").alive, Some(NUM_DEVICES as u64));

    fail::remove("partition_producer");
    let mut delays = Vec::new();
    for delivery in deliveries {
        delays.extend(in_time("a device to be acknowledged", delivery).await.unwrap());
    }
    let different: BTreeSet<_> = delays.iter().collect();
    assert!(different.len() >= 20, "{different:?}");
    // The site's delay is 100 ms: half of it to eight times as much.
    assert!(delays.iter().all(|delay| (50..=800).contains(delay)), "{different:?}");
    assert_eq!(running.group("connection").panicked, Some(0));
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), i64::from(NUM_DEVICES * NUM_PACKAGES));
    until_true("all memory to be given back", async || {
        let seen = memory.snapshot();
        seen.packages_bytes + seen.batches_bytes == 0
    })
    .await;
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_takes_no_more_than_the_budget_tells() {
    let site = Site::new(&SMALL_BUDGET);
    let process = Process::start_with(&site, "partition_producer=pause").await;
    // Once it has served a device, it has its threads and their buffers.
    drop(Device::connect(process.devices, "truck-0").await);
    let before = process.resident_bytes();
    let deliveries = deliver_too_much(process.devices, of_many_rows).await;
    let refused = async || {
        let (_, histograms) = http::get(process.http, "/histograms").await;
        histograms["memory"]["refused_packages"].as_u64().unwrap()
    };
    until_true("devices to be sent away", async || refused().await >= 300).await;
    let grown = process.resident_bytes().saturating_sub(before);
    deliveries.iter().for_each(JoinHandle::abort);
    // Beside the budget: the log's tables, buffers of decoders and connections, and what the allocator keeps.
    assert!(grown < BUDGET + BUDGET / 2, "{} MiB more than before", grown >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_counts_for_all_that_it_has_become() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let running = site.launch().await;
    let memory = running.started.view.memory.clone();
    fail::cfg("partition_producer", "pause").unwrap();
    // Each of these few bytes becomes a dead letter, with the long name of its device and the reason.
    let mut device = Device::connect(running.engine.devices_addr, &"d".repeat(128)).await;
    let (header, _) = position(0, 0);
    let nonsense: Vec<Message> =
        (0..5_000).map(|sequence| (MessageHeader { type_id: 999, sequence, ..header }, Vec::new())).collect();
    device.send_package(&nonsense).await;
    until_true("the letters to be counted", async || memory.snapshot().packages_bytes > 1_000_000).await;
    fail::remove("partition_producer");
    device.receipt().await;
    assert_eq!(memory.snapshot().packages_bytes, 0);
    running.stop().await;
}
