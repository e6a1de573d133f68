//! Batches of a partition: what comes while one is under way gathers, and a stuck one does not hold that up for long.

use crate::common;

use std::net::SocketAddr;

use common::device::{Device, position_at};
use common::ledger::dead_letters;
use common::site::{Running, Site};
use common::{http, now_ms, until, until_true};
use serde_json::Value;
use surgetank::engine::record_topics;
use surgetank::log::partitioner::partition_for;
use surgetank::log::{AppendBatch, Completion, Keys, TopicPartition};

/// Batches that consumers made, and records in the largest of them.
async fn batches(address: SocketAddr) -> (u64, u64) {
    let (_, histograms) = http::get(address, "/histograms").await;
    let stage: &Value = &histograms["stages"]["read_records"];
    (stage["count"].as_u64().unwrap(), stage["max"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_under_way_gathers_the_next_and_holds_it_up_for_a_second_at_most() {
    const NUM_PACKAGES: u32 = 10;
    const PER_PACKAGE: u32 = 20;
    let site = Site::new(&[("writer.retry_max", "\"100 ms\"")]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let blocked = site.block_store();
    let time = now_ms();
    // With nothing under way it goes out at once, alone.
    device.accepted(&[position_at(0, 0, time)]).await;
    until_true("the first batch", async || batches(address).await == (1, 1)).await;
    for package in 0..NUM_PACKAGES {
        let sequences = 1 + package * PER_PACKAGE..1 + (package + 1) * PER_PACKAGE;
        let messages: Vec<_> = sequences.map(|sequence| position_at(sequence, sequence, time)).collect();
        device.accepted(&messages).await;
    }
    // The first batch cannot be settled, and yet the next one is made.
    let (num_batches, largest) = until("another batch", async || {
        let (num_batches, largest) = batches(address).await;
        (num_batches > 1).then_some((num_batches, largest))
    })
    .await;
    assert!(
        largest > u64::from(PER_PACKAGE),
        "no packages were put together: {num_batches} batches, {largest} records"
    );
    drop(blocked);
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), i64::from(1 + NUM_PACKAGES * PER_PACKAGE));
    running.stop().await;
}

/// Puts records into every partition while the store is blocked: one that is stuck in a batch of its own, and a backlog.
async fn fall_behind(running: &Running, num_partitions: u32, num_packages: u32, per_package: u32) {
    let (time, address) = (now_ms(), running.engine.http_addr);
    let mut devices = Vec::new();
    for partition in 0..num_partitions {
        let mut names = (0..).map(|number| format!("d{number}"));
        let name = names.find(|name| partition_for(name.as_bytes(), num_partitions) == partition).unwrap();
        let mut device = Device::connect(running.engine.devices_addr, &name).await;
        device.accepted(&[position_at(0, 0, time)]).await;
        until_true("a batch of one", async || batches(address).await == (u64::from(partition) + 1, 1)).await;
        devices.push(device);
    }
    for mut device in devices {
        for package in 0..num_packages {
            let sequences = 1 + package * per_package..1 + (package + 1) * per_package;
            let messages: Vec<_> = sequences.map(|sequence| position_at(sequence, sequence, time)).collect();
            device.accepted(&messages).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_behind_take_turns_and_make_one_large_batch_each() {
    const NUM_PARTITIONS: u32 = 2;
    const NUM_PACKAGES: u32 = 20;
    const PER_PACKAGE: u32 = 250;
    let site = Site::new(&[
        ("writer.retry_max", "\"100 ms\""),
        ("consumer.max_batches_in_flight", "1"),
        ("consumer.large_batches", "1"),
    ]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let blocked = site.block_store();
    fall_behind(&running, NUM_PARTITIONS, NUM_PACKAGES, PER_PACKAGE).await;
    assert_eq!(
        batches(address).await,
        (u64::from(NUM_PARTITIONS), 1),
        "while that one is stuck the partition is not read"
    );
    drop(blocked);
    running.catch_up().await;
    let backlog = NUM_PACKAGES * PER_PACKAGE;
    assert_eq!(batches(address).await.0, 2 * u64::from(NUM_PARTITIONS), "the backlog of each is one batch");
    assert_eq!(site.number("select count(*) from position"), i64::from(NUM_PARTITIONS * (1 + backlog)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_behind_waits_for_its_turn() {
    const NUM_PARTITIONS: u32 = 2;
    // More than a partition gathers without one.
    const NUM_PACKAGES: u32 = 1;
    const PER_PACKAGE: u32 = 1500;
    let site = Site::new(&[
        ("writer.retry_max", "\"100 ms\""),
        ("gate.limiter", "\"fixed\""),
        // A write that is stuck lets no other in, so that a turn lasts.
        ("gate.max_writes", "1"),
        ("gate.max_latency", "\"1 min\""),
        ("gate.stop_reading_above", "\"1 min\""),
        ("consumer.large_batches", "1"),
    ]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let blocked = site.block_store();
    fall_behind(&running, NUM_PARTITIONS, NUM_PACKAGES, PER_PACKAGE).await;
    until_true("a turn", async || batches(address).await.1 >= u64::from(PER_PACKAGE)).await;
    assert_eq!(batches(address).await.0, u64::from(NUM_PARTITIONS) + 1, "one had its turn, and the other one waits");
    drop(blocked);
    running.catch_up().await;
    assert_eq!(
        site.number("select count(*) from position"),
        i64::from(NUM_PARTITIONS * (1 + NUM_PACKAGES * PER_PACKAGE))
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_a_batch_travel_together() {
    const NUM_RECORDS: usize = 5000;
    let site = Site::new(&[]);
    let running = site.launch().await;
    let topic = record_topics(&site.config())[0].name.clone();
    let batch = AppendBatch {
        keys: Keys::Same("stranger".into()),
        values: vec![7; NUM_RECORDS].into(),
        ends: (1..=NUM_RECORDS as u32).collect(),
        trace: None,
    };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let done = Completion::new(|outcome| drop(answer.send(outcome)));
    running.started.backends.log.append(&TopicPartition { topic, partition: 0 }, batch, done);
    answered.await.unwrap().unwrap();
    until_true("all dead letters", async || running.counters().dead_letters == NUM_RECORDS as u64).await;
    running.catch_up().await;
    let (_, histograms) = http::get(running.engine.http_addr, "/histograms").await;
    let num_appends = histograms["stages"]["append"]["count"].as_u64().unwrap();
    assert!(num_appends <= 50, "{num_appends} appends for {NUM_RECORDS} letters");
    assert_eq!(dead_letters(&site.config(), &*running.started.backends.log).len(), NUM_RECORDS);
    running.stop().await;
}
