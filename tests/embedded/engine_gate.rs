//! The gate in a running engine: it stops reading what the store does not take, lets it go on, and says why.

use crate::common;

use std::net::SocketAddr;

use common::ledger::{Load, assert_nothing_lost, fleet};
use common::site::{QUICK_MARKS, Site};
use common::{http, until_true};
use serde_json::Value;

async fn gate(address: SocketAddr) -> Value {
    let (status, body) = http::get(address, "/gate").await;
    assert_eq!(status, 200);
    body
}

fn all_partitions(gate: &Value, state: &str) -> bool {
    let partitions = gate["partitions"].as_object().unwrap();
    !partitions.is_empty() && partitions.values().all(|partition| partition["state"] == state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_pause_while_the_store_takes_nothing_and_all_go_on_afterwards() {
    let site = Site::new(&QUICK_MARKS);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let load = Load::start(fleet(running.engine.devices_addr));
    load.acked(2_000).await;
    for _ in 0..2 {
        let blocked = site.block_store();
        until_true("all partitions to be paused", async || all_partitions(&gate(address).await, "paused")).await;
        let paused = gate(address).await;
        let partition = paused["partitions"].as_object().unwrap().values().next().unwrap();
        assert_eq!(partition["reason"], "writes wait too long for a permit", "{partition}");
        // The log takes what the store does not.
        load.acked(4_000).await;
        drop(blocked);
        until_true("all partitions to be read again", async || all_partitions(&gate(address).await, "open")).await;
        load.acked(2_000).await;
    }
    let report = load.end().await;
    running.catch_up().await;
    assert!(all_partitions(&gate(address).await, "open"));
    assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_tells_what_it_decides_by() {
    let site = Site::new(&[("gate.max_writes", "5")]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let load = Load::start(fleet(running.engine.devices_addr));
    load.acked(2_000).await;
    load.end().await;
    running.catch_up().await;
    until_true("a window of writes to be told", async || {
        let gate = gate(address).await;
        gate["recent"].as_array().unwrap().iter().any(|window| window["num_writes"].as_u64().unwrap() > 0)
    })
    .await;
    let gate = gate(address).await;
    assert!((1..=5).contains(&gate["limit"].as_u64().unwrap()), "{gate}");
    assert_eq!(gate["num_in_flight"], 0);
    assert_eq!(gate["limiter"]["limiter"], "adaptive");
    assert!(gate["limiter"]["baseline_us"].as_f64().unwrap() > 0.0, "{gate}");
    assert!(!gate["limiter"]["reason"].as_str().unwrap().is_empty());
    let rows: u64 = gate["partitions"].as_object().unwrap().values().map(|of| of["num_rows"].as_u64().unwrap()).sum();
    assert!(rows >= 2_000, "{gate}");
    running.stop().await;
}
