//! Life and death, rules 5 and 8 of the design: any actor may panic at any moment, a stop settles what is in flight, and
//! neither loses what was acknowledged.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]

use crate::common;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::device::{Device, block, position, position_at};
use common::events::{JSON, event};
use common::http::{Answer, Request};
use common::ledger::{Load, assert_nothing_lost, compare, fleet};
use common::metrics::scrape;
use common::process::Process;
use common::site::{QUICK_RESTARTS, Running, Site};
use common::{http, in_time, now_ms, until_true};
use fail::FailScenario;
use surgetank::engine::Engine;
use surgetank::protocol::frame::Frame;
use surgetank::protocol::reason::{GoodbyeReason, RefusalReason};
use surgetank::protocol::receipt::Verdict;
use surgetank::supervision::NodeState;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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
    let told = scrape(running.engine.http_addr).await;
    let labels = [("group", failpoint)];
    assert_eq!(told.value("surgetank_actor_panics_total", &labels), 1.0);
    assert_eq!(told.value("surgetank_actor_restarts_total", &labels), if is_crowd { 0.0 } else { 1.0 });
    load.acked(2_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    match failpoint {
        "connection" => assert!(report.reconnects >= 1, "nobody had to connect again"),
        "decoder" | "partition_producer" => assert!(report.retried >= 1, "nobody was told to send again"),
        _ => {}
    }
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
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
    assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
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
    let found = compare(report.ledger, &site.config(), &running.started.backends).await;
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

/// A package is at the producer when its device opens another connection: its receipt comes before the refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_under_way_gets_its_receipt_before_its_connection_is_replaced() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let mut first = Device::connect(server, "d").await;
    fail::cfg("partition_producer", "pause").unwrap();
    let package_id = first.send_package(&[position(1, 1)]).await;
    until_true("the batch to be at the producer", async || running.depth("partition_producer") == 1).await;
    let mut second = Device::connect(server, "d").await;
    second.answers_only_ping().await;
    fail::remove("partition_producer");
    let words = first.last_words().await;
    let [Frame::Receipt(receipt), Frame::Refused(told)] = &words[..] else { panic!("last words: {words:?}") };
    assert_eq!((receipt.package_id, told.reason), (package_id, RefusalReason::Replaced));
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

// === Its ports while it starts ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_at_the_doors_comes_in_once_the_engine_has_started_and_nobody_is_left_without_an_answer() {
    let _scenario = FailScenario::setup();
    fail::cfg("start", "return").unwrap();
    let site = Site::new(&[("shutdown.reconnect_spread", "\"0 s\"")]);
    let mut engine = Engine::launch(site.loaded()).unwrap();
    let (devices, ingest) = (engine.devices_addr, engine.ingest_addr.unwrap());
    let request = Request::events(JSON, event("d", 1).to_string());
    let mut waiting = TcpStream::connect(ingest).await.unwrap();
    waiting.write_all(&request.clone().lasting().bytes()).await.unwrap();
    Answer::read(&mut waiting).await.unwrap().problem(503, "starting");
    let refused = Device::try_connect(devices, "early", "").await.err().flatten().expect("a refusal");
    assert_eq!(refused.reason, RefusalReason::Unavailable);

    // One after the other, on connections of their own, until they are let in.
    let sending = tokio::spawn(async move {
        let mut num_refused = 0;
        while let 503 = request.try_send(ingest).await.expect("an answer").status {
            num_refused += 1;
        }
        num_refused
    });
    let coming = tokio::spawn(async move {
        let mut num_refused = 0;
        while let Err(refused) = Device::try_connect(devices, "truck-1", "").await {
            assert_eq!(refused.expect("a word").reason, RefusalReason::Unavailable);
            num_refused += 1;
        }
        num_refused
    });
    until_true("some to be refused", async || {
        let told = http::get(engine.http_addr, "/histograms").await.1["admission"]["refused"]["unavailable"].as_u64();
        told > Some(10)
    })
    .await;
    assert_eq!(http::get(engine.http_addr, "/health/ready").await.0, 503);
    fail::remove("start");
    in_time("the start", engine.started()).await.expect("an engine that takes messages");
    let num_refused = (in_time("a request", sending).await.unwrap(), in_time("a device", coming).await.unwrap());
    assert!(num_refused.0 > 0 && num_refused.1 > 0, "{num_refused:?}");
    waiting.write_all(&Request::events(JSON, event("d", 2).to_string()).bytes()).await.unwrap();
    Answer::read(&mut waiting).await.unwrap().accepted(1);
    engine.stop();
    in_time("the end", engine.ended()).await.unwrap();

    // One that is told to stop while it waits does so at once.
    fail::cfg("start", "return").unwrap();
    let mut engine = Engine::launch(site.loaded()).unwrap();
    let mut waiting = TcpStream::connect(engine.ingest_addr.unwrap()).await.unwrap();
    waiting.write_all(&Request::events(JSON, "{}").lasting().bytes()).await.unwrap();
    Answer::read(&mut waiting).await.unwrap().problem(503, "starting");
    let since = Instant::now();
    engine.stop();
    in_time("the end", engine.ended()).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}
