//! Rules 3 and 6 of the design: writing twice changes nothing, and a counter counts what was confirmed, however often it was
//! tried.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]

use crate::common;

use std::collections::{BTreeMap, HashSet};

use common::device::{Device, position_at};
use common::ledger::{Load, assert_nothing_lost, dead_letters, fleet};
use common::metrics::scrape;
use common::process::Process;
use common::site::{QUICK_RESTARTS, Site};
use common::{PATIENCE, http, now_ms};
use fail::FailScenario;
use serde_json::Value;
use surgetank::protocol::receipt::Outcome;

/// Every row of every table that the simulated fleet fills, with everything in it.
fn all_rows(site: &Site) -> BTreeMap<String, Vec<Vec<Value>>> {
    ["position", "engine_health", "device_status", "harsh_event"]
        .map(|table| (table.to_owned(), site.rows(&format!("select * from {table} order by 1, 2, 3, 4"))))
        .into()
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
    let found = assert_nothing_lost(report.ledger, &config, &running.started.backends).await;
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
    let letters = dead_letters(&site.config(), &*running.started.backends.log);
    assert_eq!(counters.dead_letters, letters.len() as u64);
    assert_eq!(counters.dead_letters, rejected);
    let (_, body) = http::get(running.engine.http_addr, "/histograms").await;
    assert_eq!(body["counters"], serde_json::to_value(counters).unwrap());
    let told = scrape(running.engine.http_addr).await;
    assert_eq!(told.value("surgetank_dead_letters_total", &[("reason", "unknown_type")]), rejected as f64);
    assert_eq!(told.sum("surgetank_packages_total"), packages as f64);
    assert_eq!(told.value("surgetank_store_rows_total", &[("table", "position")]), accepted as f64);
    // What restarted producers had in hand was not confirmed, and is not counted.
    assert_eq!(told.sum("surgetank_log_appended_records_total"), (accepted + rejected) as f64);
    assert!(told.sum("surgetank_actor_restarts_total") > 0.0);
    running.stop().await;
}
