//! What can be seen of an engine over HTTP, and that it is true.

use crate::common;

use common::device::{Device, position_at, say as say_to_device};
use common::http::{Request, get, say, try_get};
use common::process::Process;
use common::site::Site;
use common::{now_ms, until, until_true};
use serde_json::Value;
use surgetank::credentials::TokenKind;
use surgetank::engine::Engine;
use surgetank::protocol::frame::Frame;
use surgetank::protocol::reason::RefusalReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const STAGES: [&str; 9] = [
    "acknowledge",
    "admission",
    "append",
    "decode",
    "device_to_row",
    "read_records",
    "receive_to_row",
    "store_write",
    "write_rows",
];

fn group<'a>(groups: &'a Value, name: &str) -> &'a Value {
    groups.as_array().unwrap().iter().find(|group| group["group"] == name).unwrap_or_else(|| panic!("{name}: {groups}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_is_always_and_ready_is_true_until_the_engine_stops_and_health_tells_of_the_store() {
    let site = Site::new(&[("writer.retry_max", "\"100 ms\"")]);
    let mut running = site.launch().await;
    let address = running.engine.http_addr;
    assert_eq!(get(address, "/health/live").await, (200, serde_json::json!({"live": true})));
    let (status, body) = get(address, "/health/ready").await;
    assert_eq!(status, 200);
    let expected = serde_json::json!({"ready": true, "reasons": [], "state": {"phase": "running"}});
    assert_eq!(body, expected);
    assert_eq!(get(address, "/nothing").await.0, 404);

    let (status, body) = get(address, "/health").await;
    assert_eq!((status, &body["verdict"], &body["store"]["state"]), (200, &"ok".into(), &"ok".into()), "{body}");
    assert_eq!(get(address, "/health/started").await.0, 200);

    // A store that cannot write fails, and says why; messages are acknowledged all the same.
    let blocked = site.block_store();
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    device.accepted(&[position_at(1, 1, now_ms())]).await;
    let body = until("the store to fail", async || {
        let (status, body) = get(address, "/health").await;
        (status == 503).then_some(body)
    })
    .await;
    assert_eq!((&body["verdict"], &body["store"]["state"]), (&"failing".into(), &"failing".into()), "{body}");
    assert!(body["store"]["reason"].is_string() && body["store"]["since"].is_string(), "{body}");
    assert_eq!(get(address, "/health/live").await.0, 200, "restarting the process would not help the store");
    assert_eq!(get(address, "/health/ready").await.0, 200, "a database outage is no device outage");
    device.accepted(&[position_at(2, 1, now_ms())]).await;
    drop(blocked);
    until_true("to be well again", async || get(address, "/health").await.1["verdict"] == "ok").await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 2);

    running.engine.stop();
    running.engine.ended().await.unwrap();
    assert!(try_get(address, "/health/live").await.is_none(), "nobody answers after the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_ready_while_starting() {
    // Nobody listens on port 1 of this machine: the engine waits for its log, and answers while it waits.
    let site = Site::new(&[
        ("log.kind", "\"kafka\""),
        ("log.kafka.brokers", "[\"127.0.0.1:1\"]"),
        ("log.kafka.delivery_timeout", "\"1 s\""),
    ]);
    let mut engine = Engine::launch(site.loaded()).unwrap();
    // Before the first attempt has failed, nothing is known, and that is not well.
    let (status, told) = until("health", async || try_get(engine.http_addr, "/health").await).await;
    assert_eq!((status, &told["verdict"]), (200, &"degraded".into()), "{told}");
    for part in ["log", "store", "consume"] {
        assert_eq!(told[part]["conditions"][0]["code"], "starting", "{told}");
        assert_eq!(told[part]["reason"], "not connected yet", "{told}");
    }
    let body = until("the reason", async || {
        let (status, body) = try_get(engine.http_addr, "/health/ready").await?;
        assert_eq!(status, 503, "{body}");
        // The first reason is that it has only begun; then it is the broker.
        body["state"]["waiting_for"].as_str()?.contains("127.0.0.1:1").then_some(body)
    })
    .await;
    assert_eq!(body["state"]["phase"], "starting");
    assert!(body["reasons"][0].as_str().unwrap().starts_with("starting: waiting for"), "{body}");
    assert_eq!(get(engine.http_addr, "/health/live").await.0, 200);
    assert_eq!(get(engine.http_addr, "/health/started").await.0, 503);
    let told = until("health to say so", async || {
        let (_, told) = get(engine.http_addr, "/health").await;
        (told["verdict"] == "failing").then_some(told)
    })
    .await;
    assert_eq!(told["log"]["conditions"][0]["code"], "start_waits", "{told}");
    engine.stop();
    common::in_time("an engine that waits to stop", engine.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_the_engine_starts_is_told_at_once_when_to_come_again() {
    let site = Site::new(&[
        ("log.kind", "\"kafka\""),
        ("log.kafka.brokers", "[\"127.0.0.1:1\"]"),
        ("credentials.file", "\"tokens.toml\""),
        // Who comes too early has done nothing wrong.
        ("limits.failed_attempts", "1"),
    ]);
    let token = site.add_token(TokenKind::Device, "");
    let mut engine = Engine::launch(site.loaded()).unwrap();
    let ingest = engine.ingest_addr.unwrap();
    until_true("it to wait for the log", async || {
        let told = try_get(engine.http_addr, "/health/ready").await.map(|(_, body)| body["reasons"][0].clone());
        told.is_some_and(|told| told == "starting: waiting for the log" || told.to_string().contains("127.0.0.1:1"))
    })
    .await;
    for request in [
        Request::events("application/json", "{}"),
        Request::new("POST", "/v1/packages").body("x"),
        Request::new("GET", "/openapi.json"),
    ] {
        let answer = request.send(ingest).await;
        let problem = answer.problem(503, "starting");
        assert_eq!(problem["detail"], "the server is starting: it waits for the log", "and not where it is");
        assert!(problem["retry_after_ms"].as_u64() > Some(0) && answer.header("retry-after").is_some(), "{problem}");
    }
    Request::new("GET", "/").send(ingest).await.problem(404, "not-found");
    Request::new("GET", "/v1/packages").send(ingest).await.problem(405, "method-not-allowed");

    let mut delays = Vec::new();
    for number in 0..10 {
        let refused = Device::try_connect(engine.devices_addr, &format!("d-{number}"), &token).await;
        let refused = refused.err().flatten().expect("a refusal");
        assert_eq!(refused.reason, RefusalReason::Unavailable);
        assert_eq!(refused.text, "the server is starting: it waits for the log");
        delays.push(refused.retry_after_ms);
    }
    assert!(delays.iter().all(|delay| (50..10_000).contains(delay)), "{delays:?}");
    let (first, last) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(last - first > 50, "a fleet does not come back at once: {delays:?}");
    // Not even Hello is waited for.
    let told = say_to_device(engine.devices_addr, b"").await;
    assert!(matches!(&told[..], [Frame::Refused(told)] if told.reason == RefusalReason::Unavailable), "{told:?}");
    assert_eq!(get(engine.http_addr, "/histograms").await.1["admission"]["refused"]["unavailable"], 11);
    engine.stop();
    common::in_time("an engine that waits to stop", engine.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_can_be_asked_by_head_and_tells_the_methods_that_it_takes() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let (operators, ingest) = (running.engine.http_addr, running.engine.ingest_addr.unwrap());
    let paths = [
        "/health/live",
        "/health",
        "/health/ready",
        "/health/started",
        "/health/reload",
        "/histograms",
        "/actors",
        "/gate",
    ];
    for (server, path) in paths.map(|path| (operators, path)).into_iter().chain([(ingest, "/openapi.json")]) {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let told = say(server, head.as_bytes(), false).await;
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("\r\n\r\n"), "{path}: {told}");
        let told = told.to_ascii_lowercase();
        assert!(
            told.contains("content-type: application/json") && !told.contains("content-length: 0"),
            "{path}: {told}"
        );
        for method in ["POST", "DELETE", "OPTIONS"] {
            let answer = Request::new(method, path).send(server).await;
            answer.problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), Some("get, head"), "{path}");
        }
        Request::new("GET", &format!("{path}/x")).send(server).await.problem(404, "not-found");
    }
    let told = say(operators, b"HEAD /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false).await;
    assert!(told.starts_with("HTTP/1.1 404 ") && told.ends_with("\r\n\r\n"), "{told}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histograms_count_what_happened() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let (status, body) = get(address, "/histograms").await;
    assert_eq!(status, 200);
    let names: Vec<&str> = body["stages"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, STAGES);
    for (name, stage) in body["stages"].as_object().unwrap() {
        assert_eq!(stage["count"], 0, "{name}: {stage}");
        assert!(["us", "records", "rows"].contains(&stage["unit"].as_str().unwrap()), "{name}: {stage}");
        assert!(stage["last_interval"].is_object(), "{name}: {stage}");
    }

    let time = now_ms();
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    for package in 0..10 {
        let messages: Vec<_> = (0..7).map(|number| position_at(package * 7 + number, 1, time)).collect();
        device.accepted(&messages).await;
    }
    running.catch_up().await;
    let (_, body) = get(address, "/histograms").await;
    let count = |stage: &str| body["stages"][stage]["count"].as_u64().unwrap();
    assert_eq!((count("decode"), count("append"), count("acknowledge")), (10, 10, 10));
    assert_eq!((count("receive_to_row"), count("device_to_row")), (70, 70));
    assert!((1..=10).contains(&count("store_write")));
    assert_eq!(count("store_write"), count("write_rows"));
    assert_eq!(count("store_write"), count("admission"));
    for stage in ["decode", "append", "acknowledge", "receive_to_row"] {
        let stage = &body["stages"][stage];
        let at = |quantile: &str| stage[quantile].as_u64().unwrap_or_else(|| panic!("{quantile} in {stage}"));
        assert!(at("p50") <= at("p99") && at("p99") <= at("max"), "{stage}");
        assert!(at("max") > 0, "{stage}");
    }
    assert_eq!(body["counters"]["accepted"], 70);
    assert_eq!(body["counters"]["rows"], 70);
    assert_eq!(body["counters"]["packages"], 10);
    assert_eq!(body["lag_records"], serde_json::json!({"telemetry/0": 0, "telemetry/1": 0}));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_are_listed_with_state_restarts_and_bounds() {
    let site = Site::new(&[
        ("decoder.actors", "3"),
        ("decoder.mailbox_packages", "5"),
        ("producer.mailbox_batches", "6"),
        ("writer.actors", "2"),
        ("writer.mailbox_batches", "7"),
        ("gate.max_writes", "9"),
    ]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let device = Device::connect(running.engine.devices_addr, "d").await;
    let groups = until("all actors to run", async || {
        let (status, groups) = get(address, "/actors").await;
        assert_eq!(status, 200);
        let consumers = groups.as_array()?.iter().find(|group| group["group"] == "partition_consumer")?;
        (consumers["actors"].as_array()?.len() == 2).then_some(())?;
        let all = groups.as_array()?.iter().flat_map(|group| group["actors"].as_array().into_iter().flatten());
        all.clone().all(|actor| actor["state"] == "running").then_some(groups.clone())
    })
    .await;
    let expected = [
        ("listener", 1, Some(1)),
        ("decoder", 3, Some(5)),
        ("partition_producer", 3, Some(6)),
        ("partition_consumer", 2, None),
        ("writer", 2, Some(7)),
        ("gate", 1, None),
    ];
    for (name, num, bound) in expected {
        let actors = group(&groups, name)["actors"].as_array().unwrap();
        assert_eq!(actors.len(), num, "{name}");
        for actor in actors {
            assert_eq!((&actor["restarts"], &actor["last_exit"]), (&0.into(), &Value::Null), "{name}: {actor}");
            match bound {
                Some(bound) => {
                    assert_eq!(actor["mailbox"]["bound"], bound, "{name}: {actor}");
                    assert_eq!(actor["mailbox"]["depth"], 0, "{name}: {actor}");
                    assert!(actor["mailbox"]["waited_us"].is_u64(), "{name}: {actor}");
                }
                None => assert!(actor["mailbox"].is_null(), "{name}: {actor}"),
            }
        }
    }
    let connections = group(&groups, "connection");
    assert_eq!((&connections["alive"], &connections["started"]), (&1.into(), &1.into()));
    drop(device);
    until_true("the connection to be gone", async || {
        let (_, groups) = get(address, "/actors").await;
        group(&groups, "connection")["alive"] == 0
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_cannot_fill_the_log() {
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let before = process.told();
    for address in [process.http, process.ingest] {
        for nonsense in
            ["\x16\x03\x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "GET /\0 a b\r\n\r\n"]
        {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(nonsense.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    // What was logged for the requests has been read once the process has ended.
    process.signal("TERM");
    assert!(process.exited().await.success());
    let told = process.told();
    let since: Vec<_> =
        told[before.len()..].trim().lines().filter(|line| !line.contains("\"level\":\"INFO\"")).collect();
    assert!(since.is_empty(), "{since:#?}");
}
