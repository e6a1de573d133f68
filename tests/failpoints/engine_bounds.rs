//! Bounds, rule 4 of the design: every queue is bounded, by credits that cover what is queued and what is in flight.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]

use crate::common;

use std::collections::BTreeMap;

use common::device::{Device, position_at};
use common::ledger::{Load, fleet};
use common::process::Process;
use common::site::{Running, Site};
use common::{http, now_ms, until_true};
use fail::FailScenario;
use surgetank::protocol::frame::Frame;
use surgetank::protocol::reason::RefusalReason;
use surgetank::protocol::receipt::Outcome;

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
    assert_full(&running).await;
    fail::remove("partition_producer");
    // Those within the window get their receipts, and the device may come back.
    let last_words = device.last_words().await;
    let (last, receipts) = last_words.split_last().unwrap();
    assert_eq!(receipts.len(), SLOTS as usize - 1, "{last_words:?}");
    for frame in receipts {
        let Frame::Receipt(receipt) = frame else { panic!("instead of a receipt: {frame:?}") };
        assert_eq!(receipt.outcomes(1).unwrap().next(), Some(Outcome::Accepted));
    }
    let Frame::Refused(refused) = last else { panic!("instead of a refusal: {last:?}") };
    assert_eq!(refused.reason, RefusalReason::TooManyUnacknowledged);
    assert!(refused.retry_after_ms > 0, "{refused:?}");
    running.stop().await;
}

/// The log stands still: whoever has sent too much does not wait for it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_a_device_over_its_window_is_refused_although_no_receipt_comes() {
    let _scenario = FailScenario::setup();
    let site = narrow("2");
    let running = site.launch().await;
    fail::cfg("partition_producer", "pause").unwrap();
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let time = now_ms();
    for number in 0..3 {
        device.send_package(&[position_at(number, number, time)]).await;
    }
    let last_words = device.last_words().await;
    let [Frame::Refused(refused)] = &last_words[..] else { panic!("instead of a refusal: {last_words:?}") };
    assert_eq!(refused.reason, RefusalReason::TooManyUnacknowledged);
    assert!(refused.retry_after_ms > 0, "{refused:?}");
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
