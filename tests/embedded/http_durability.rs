//! HTTP ingest when things go wrong: what was answered with 200 is in the store, what was not is told apart, and a body
//! far larger than the memory that is allowed goes through.

use crate::common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::http::{Answer, Request};
use common::process::Process;
use common::site::Site;
use common::{in_time, until_true};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// Events in one request.
const BATCH: u32 = 20;

fn event(device_id: &str, sequence: u32) -> String {
    format!(
        r#"{{"device_id":"{device_id}","event_time":1760000000000,"sequence":{sequence},"latitude":48.1,"longitude":11.5,"altitude":520,"speed":80,"heading":90,"hdop":1,"satellites":9,"fix":"rtk","ignition":true,"fix_time":1780000000000}}"#
    )
}

fn batch(device_id: &str, first: u32) -> String {
    (first..first + BATCH).map(|sequence| event(device_id, sequence) + "\n").collect()
}

/// A client that sends batch after batch, each until it is accepted, and notes what was.
async fn send_until_told(
    device_id: String,
    target: Arc<Mutex<std::net::SocketAddr>>,
    accepted: Arc<Mutex<HashSet<(String, u32)>>>,
    stop: Arc<AtomicBool>,
) {
    let mut first = 0;
    while !stop.load(Ordering::Relaxed) {
        let to = *target.lock();
        let answer = Request::events(NDJSON, batch(&device_id, first)).try_send(to).await;
        match answer {
            Some(answer) if answer.status == 200 => {
                accepted.lock().extend((first..first + BATCH).map(|sequence| (device_id.clone(), sequence)));
                first += BATCH;
            }
            Some(answer) => assert_eq!(answer.status, 503, "{}", answer.json()),
            // The engine is away.
            None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_survives_kills() {
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let target = Arc::new(Mutex::new(process.ingest));
    let accepted = Arc::new(Mutex::new(HashSet::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (target, accepted, stop) = (Arc::clone(&target), Arc::clone(&accepted), Arc::clone(&stop));
            tokio::spawn(send_until_told(format!("client-{number}"), target, accepted, stop))
        })
        .collect();
    for _ in 0..3 {
        let before = accepted.lock().len();
        until_true("events to be accepted", async || accepted.lock().len() > before + 500).await;
        process.kill();
        process = Process::start(&site).await;
        *target.lock() = process.ingest;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        in_time("a client to end", client).await.unwrap();
    }
    process.signal("TERM");
    assert!(process.exited().await.success());
    // An engine that starts and ends in order has written everything that was in the log.
    let running = site.launch().await;
    running.catch_up().await;
    running.stop().await;
    let rows = site.rows("select device_id, sequence from position");
    let stored: HashSet<(String, u32)> =
        rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap() as u32)).collect();
    assert_eq!(stored.len(), rows.len(), "no event is there twice");
    let accepted = accepted.lock();
    let lost: Vec<_> = accepted.difference(&stored).take(5).collect();
    assert!(accepted.len() > 1500 && lost.is_empty(), "of {} accepted are lost, such as: {lost:?}", accepted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_did_not_confirm_is_told_apart() {
    let site = Site::new(&[("supervision.backoff_min", "\"1 ms\""), ("supervision.backoff_max", "\"10 ms\"")]);
    let process = Process::start_with(&site, "partition_producer=1*panic").await;
    until_true("the engine to be ready", async || {
        common::http::try_get(process.http, "/health/ready").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    // Two devices of different partitions: what the dead producer had is lost, the rest is durable. The last event is the
    // first again, and shares its fate.
    let body: String = ["a", "b", "c", "d", "e", "f", "a"].map(|device| event(device, 1) + "\n").concat();
    let answer = Request::events(NDJSON, body.clone()).send(process.ingest).await;
    let problem = answer.problem(503, "not-confirmed");
    assert!(answer.header("retry-after").is_some());
    let (accepted, retry_later) = (problem["accepted"].as_u64().unwrap(), problem["retry_later"].as_u64().unwrap());
    let duplicates = problem["duplicates"].as_u64().unwrap_or(0);
    assert!(accepted > 0 && retry_later > 0 && accepted + retry_later + duplicates == 7, "{problem}");
    let outcome = |index: u64| {
        let items = problem["items"].as_array().unwrap();
        items.iter().find(|item| item["index"] == index).map(|item| item["outcome"].as_str().unwrap().to_owned())
    };
    let expected = if outcome(0).is_none() { "duplicate" } else { "retry_later" };
    assert_eq!(outcome(6).as_deref(), Some(expected), "{problem}");
    // Sent again as a whole, all of it is there once.
    let again = until_accepted(&process, &body).await;
    assert_eq!(again.json()["duplicates"], 1);
    process.signal("TERM");
    let mut process = process;
    assert!(process.exited().await.success());
    let running = site.launch().await;
    running.catch_up().await;
    running.stop().await;
    assert_eq!(site.number("select count(*) from position"), 6);
}

async fn until_accepted(process: &Process, body: &str) -> Answer {
    common::until("all to be accepted", async || {
        let answer = Request::events(NDJSON, body).send(process.ingest).await;
        (answer.status == 200).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_larger_than_the_budget_goes_through_in_little_memory() {
    let site = Site::new(&[("memory.budget", "\"32 MiB\""), ("devices.max_package", "\"1 MiB\"")]);
    let process = Process::start(&site).await;
    Request::events(JSON, event("warm", 1)).send(process.ingest).await.accepted(1);
    let before = process.peak_memory();
    let mut stream = TcpStream::connect(process.ingest).await.unwrap();
    // 40 MiB of 230 bytes each.
    let num_events = 180_000;
    let mut line = String::new();
    let len: usize = (0..num_events).map(|sequence| event("streamed", sequence).len() + 1).sum();
    let head = format!(
        "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: {NDJSON}\r\nContent-Length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for sequence in 0..num_events {
        line.push_str(&event("streamed", sequence));
        line.push('\n');
        if line.len() > 100_000 || sequence + 1 == num_events {
            in_time("the body to be taken", stream.write_all(line.as_bytes())).await.unwrap();
            line.clear();
        }
    }
    Answer::read(&mut stream).await.expect("an answer").accepted(num_events.into());
    let grown = process.peak_memory() - before;
    assert!(grown < 100 << 20, "the process grew by {grown} bytes");
}
