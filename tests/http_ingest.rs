//! Events and packages over HTTP, and that what is answered is what is stored.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write;
use std::net::SocketAddr;

use bytes::BytesMut;
use common::device::{block, position_at};
use common::http::{Answer, Request};
use common::site::{Running, Site};
use common::{in_time, now_ms, until, until_true};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use surgetank::credentials::TokenKind;
use surgetank::protocol::frame::{self, Frame};
use surgetank::protocol::receipt::{Outcome, Verdict};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const PACKAGE: &str = "application/vnd.surgetank.package";
const RECEIPT: &str = "application/vnd.surgetank.receipt";

type Packer = fn(&[u8]) -> Vec<u8>;

/// An event of type `position` whose odometer says `sequence`.
fn event(device_id: &str, sequence: u32) -> Value {
    json!({
        "device_id": device_id, "event_time": 1_760_000_000_000u64 + u64::from(sequence), "sequence": sequence,
        "latitude": 48.1371079, "longitude": 11.5753822, "altitude": 519.5, "speed": 83.4, "heading": 271.3,
        "hdop": 1.2, "satellites": 11, "fix": "rtk", "ignition": true, "fix_time": "2026-05-28T20:26:40.123Z",
        "odometer": sequence, "driver": "card-00042",
    })
}

fn lines(events: impl IntoIterator<Item = Value>) -> String {
    events.into_iter().map(|event| event.to_string() + "\n").collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).unwrap()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

fn snappy_frames(plain: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(plain).unwrap();
    encoder.into_inner().unwrap()
}

fn address(running: &Running) -> SocketAddr {
    running.engine.ingest_addr.expect("ingest is on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_a_row_and_the_same_event_is_the_same_row() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    for _ in 0..2 {
        let body = event("truck-7", 4711).to_string();
        Request::events("Application/JSON; charset=utf-8", body).send(address(&running)).await.accepted(1);
    }
    running.catch_up().await;
    let rows = site.rows(
        "select device_id, event_time, sequence, version, latitude, longitude, altitude, speed, heading, hdop, \
         satellites, fix, ignition, fix_time, odometer, driver from position",
    );
    let expected = json!([
        "truck-7",
        1_760_000_004_711u64,
        4711,
        2,
        48.1371079,
        11.5753822,
        519.5,
        83.4,
        271.3,
        1.2,
        11,
        "rtk",
        1,
        1_780_000_000_123u64,
        4711,
        "card-00042"
    ]);
    assert_eq!(rows, [expected.as_array().unwrap().clone()]);
    assert_eq!(running.counters().accepted, 2);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_come_in_every_form_and_every_coding() {
    // Small pieces, so that a body is many of them.
    let site = Site::new(&[("ingest.piece", "\"4 KiB\""), ("ingest.max_pieces", "2")]);
    let running = site.launch().await;
    let mut sequence = 0;
    let codings: [(&str, Packer); 5] =
        [("identity", <[u8]>::to_vec), ("gzip", gzip), ("zstd", zstd), ("snappy", snappy), ("snappy", snappy_frames)];
    for (name, pack) in codings {
        for form in 0..3 {
            let events: Vec<Value> =
                (0..300).map(|number| event(&format!("d-{}", number % 7), sequence + number)).collect();
            let (media_type, body, num_events) = match form {
                0 => (NDJSON, lines(events), 300),
                1 => (JSON, serde_json::to_string_pretty(&events).unwrap(), 300),
                _ => (JSON, events[0].to_string(), 1),
            };
            sequence += num_events;
            let request = Request::events(media_type, pack(body.as_bytes())).header("Content-Encoding", name);
            request.send(address(&running)).await.accepted(num_events.into());
        }
    }
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), i64::from(sequence));
    assert_eq!(site.number("select sum(odometer) from position"), i64::from(sequence * (sequence - 1) / 2));
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_accepted_is_listed_with_line_path_and_reason() {
    let site = Site::new(&[("ingest.piece", "\"4 KiB\""), ("ingest.max_event", "\"1 KiB\"")]);
    let running = site.launch().await;
    let mut fast = event("d", 2);
    fast["speed"] = json!(1200.5);
    let mut unknown = event("d", 3);
    unknown["colour"] = json!("red");
    let mut lacking = event("d", 4);
    lacking.as_object_mut().unwrap().remove("latitude");
    let mut early = event("d", 5);
    early["event_time"] = json!(now_ms() + 2 * 86_400_000);
    let mut long = event("d", 6);
    long["driver"] = json!("x".repeat(2000));
    let mut nameless = event("d", 7);
    nameless.as_object_mut().unwrap().remove("sequence");
    let bad = [fast, unknown, lacking, early, long, nameless];
    let good = (100..200).map(|sequence| event("d", sequence));
    let body = format!(
        "{}\n\n{}not json\n{}{}",
        event("d", 1),
        lines(bad),
        lines(good),
        // The first again, many pieces later, and once more.
        lines([event("d", 1), event("d", 1)]),
    );
    let answer = Request::events(NDJSON, body).send(address(&running)).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!((&body["accepted"], &body["duplicates"], &body["rejected"]), (&json!(101), &json!(2), &json!(7)));
    assert_eq!(body.get("retry_later"), None);
    let listed: Vec<(u64, u64, &str, &str)> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap_or_default();
            let reason = if item["outcome"] == "rejected" { text("reason") } else { text("outcome") };
            (item["index"].as_u64().unwrap(), item["line"].as_u64().unwrap(), reason, text("path"))
        })
        .collect();
    let expected = [
        (1, 3, "out_of_range", "$.speed"),
        (2, 4, "unknown_field", "$.colour"),
        (3, 5, "missing_field", "$.latitude"),
        (4, 6, "event_time_out_of_range", "$.event_time"),
        (5, 7, "too_large", "$"),
        (6, 8, "missing_field", "$.sequence"),
        (7, 9, "malformed", "$"),
        (108, 110, "duplicate", ""),
        (109, 111, "duplicate", ""),
    ];
    assert_eq!(listed, expected);
    assert_eq!(body["items"][7]["of"], 0);
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 101);
    let counters = running.counters();
    assert_eq!((counters.accepted, counters.duplicates, counters.rejected), (101, 2, 7));
    assert_eq!(counters.dead_letters, 0, "who sent it was told");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_taken_are_told_why() {
    let site = Site::new(&[
        ("ingest.max_body", "\"64 KiB\""),
        ("ingest.max_event", "\"1 KiB\""),
        ("ingest.max_events", "50"),
        ("ingest.max_listed", "5"),
    ]);
    let running = site.launch().await;
    let to = address(&running);
    let good = event("d", 1).to_string();
    let events = |media_type: &str, body: &str| Request::events(media_type, body);
    let many = |num: u32| lines((0..num).map(|sequence| event("d", sequence)));
    let mut wrong = event("d", 1);
    wrong["speed"] = json!("fast");
    let wrong = wrong.to_string();
    let cases = [
        (Request::new("GET", "/"), 404, "not-found"),
        (Request::new("GET", "/v1/events/position"), 405, "method-not-allowed"),
        (
            Request::new("POST", "/v1/events/nothing").header("Content-Type", JSON).body(good.clone()),
            404,
            "unknown-type",
        ),
        (events("text/csv", &good), 415, "unsupported-media-type"),
        (Request::new("POST", "/v1/events/position").body(good.clone()), 415, "unsupported-media-type"),
        (events(JSON, &good).header("Content-Encoding", "br"), 415, "unsupported-encoding"),
        (events(JSON, &good).header("Content-Encoding", "gzip, gzip"), 415, "unsupported-encoding"),
        (events(JSON, &good).header("Content-Encoding", "gzip"), 400, "malformed-body"),
        (events(JSON, &good).header("Content-Encoding", "zstd"), 400, "malformed-body"),
        (events(JSON, &good).header("Content-Encoding", "snappy"), 400, "malformed-body"),
        (events(JSON, &good).header("Idempotency-Key", &"x".repeat(300)), 400, "bad-header"),
        (events(JSON, &good).header("Idempotency-Key", "two words"), 400, "bad-header"),
        (events(JSON, ""), 400, "malformed-body"),
        (events(JSON, "7"), 400, "malformed-body"),
        (events(JSON, &good[..50]), 400, "malformed-body"),
        (events(JSON, &format!("[{good},")), 400, "malformed-body"),
        (events(JSON, &wrong), 422, "rejected"),
        (events(JSON, &format!("[{wrong}]")), 422, "rejected"),
        (events(NDJSON, &wrong), 422, "rejected"),
        (events(NDJSON, &vec!["{}"; 40].join("\n")), 422, "too-many-rejected"),
        (events(JSON, &format!("{{\"driver\":\"{}\"}}", "x".repeat(2000))), 413, "body-too-large"),
        (events(NDJSON, &" \n".repeat(40_000)), 413, "body-too-large"),
        (events(NDJSON, &many(60)), 413, "too-many-events"),
        (Request::events(NDJSON, gzip(&[b' '; 70_000])).header("Content-Encoding", "gzip"), 413, "body-too-large"),
    ];
    for (request, status, slug) in cases {
        let problem = request.send(to).await.problem(status, slug);
        match slug {
            "method-not-allowed" => assert_eq!(request.send(to).await.header("allow"), Some("post")),
            "too-many-events" => assert_eq!((&problem["accepted"], &problem["unread_from"]), (&json!(50), &json!(50))),
            "too-many-rejected" => assert_eq!(problem["items"].as_array().unwrap().len(), 5),
            _ => {}
        }
    }
    let single = events(JSON, &format!("\n{wrong}")).send(to).await.problem(422, "rejected");
    assert_eq!(
        (&single["path"], &single["reason"], &single["line"]),
        (&json!("$.speed"), &json!("wrong_kind"), &json!(2))
    );
    // Nobody's connection or request stays behind.
    events(JSON, &good).send(to).await.accepted(1);
    until_true("all memory to be given back", async || running.started.view.memory.snapshot().packages_bytes == 0)
        .await;
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_a_sequence_are_known_by_the_idempotency_key() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let events = (0..10).map(|_| {
        let mut event = event("d", 1);
        event.as_object_mut().unwrap().remove("sequence");
        event
    });
    let body = lines(events);
    for key in ["order-1", "order-1", "order-2"] {
        Request::events(NDJSON, body.clone()).header("Idempotency-Key", key).send(address(&running)).await.accepted(10);
    }
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 20, "sent again they are the same rows");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_over_http_is_a_package() {
    let site = Site::new(&[("devices.max_frame", "\"64 KiB\"")]);
    let running = site.launch().await;
    let to = address(&running);
    let now = now_ms();
    let mut messages: Vec<_> = (0..5).map(|sequence| position_at(sequence, sequence, now)).collect();
    messages.push(messages[1].clone());
    messages.push({
        let (mut header, body) = position_at(9, 9, now);
        header.type_id = 999;
        (header, body)
    });
    let package = |body: Vec<u8>| {
        Request::new("POST", "/v1/packages")
            .header("Content-Type", PACKAGE)
            .header("Surgetank-Device", "truck-ü")
            .body(body)
    };
    let request = package(block(&messages).to_vec());
    let answer = request.send(to).await;
    let items = json!([
        {"index": 5, "outcome": "duplicate"},
        {"index": 6, "outcome": "rejected", "reason": "unknown_type"},
    ]);
    let expected = json!({"accepted": 5, "duplicates": 1, "rejected": 1, "items": items});
    assert_eq!((answer.status, answer.json()), (200, expected));
    let answer = request.clone().header("Accept", &format!("{RECEIPT};q=1, */*;q=0.1")).send(to).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(RECEIPT)));
    let Some(Frame::Receipt(receipt)) = frame::decode(&mut BytesMut::from(&answer.body[..]), 1 << 20).unwrap() else {
        panic!("no receipt: {answer:?}")
    };
    let outcomes: Vec<_> = receipt.outcomes(7).unwrap().collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Accepted).count(), 5);
    assert_eq!(outcomes[5], Outcome::Duplicate);
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position where device_id = 'truck-ü'"), 5);

    let problem = package(b"not snappy at all".to_vec()).send(to).await.problem(422, "rejected");
    assert_eq!(problem["reason"], "bad_snappy");
    let answer = package(b"not snappy at all".to_vec()).header("Accept", RECEIPT).send(to).await;
    let Some(Frame::Receipt(receipt)) = frame::decode(&mut BytesMut::from(&answer.body[..]), 1 << 20).unwrap() else {
        panic!("no receipt: {answer:?}")
    };
    assert!(matches!(receipt.verdict, Verdict::Rejected(_)) && answer.status == 422, "{receipt:?}");
    let bare = Request::new("POST", "/v1/packages").header("Content-Type", PACKAGE).body("x");
    bare.send(to).await.problem(400, "bad-header");
    bare.clone().header("Surgetank-Device", "a b").send(to).await.problem(400, "bad-header");
    package(Vec::new()).send(to).await.problem(422, "rejected");
    package(vec![0; 70_000]).send(to).await.problem(413, "body-too-large");
    package(vec![0; 10]).header("Content-Encoding", "gzip").send(to).await.problem(415, "unsupported-encoding");
    Request::new("POST", "/v1/packages")
        .header("Surgetank-Device", "d")
        .body("x")
        .send(to)
        .await
        .problem(415, "unsupported-media-type");
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_bombs_are_cut_off_early() {
    let site = Site::new(&[("memory.budget", "\"64 MiB\"")]);
    let running = site.launch().await;
    let to = address(&running);
    let blanks = vec![b' '; 64 << 20];
    let bombs = [("gzip", gzip(&blanks)), ("zstd", zstd::encode_all(&blanks[..], 19).unwrap())];
    for (name, bomb) in bombs {
        let request = Request::events(NDJSON, bomb).header("Content-Encoding", name);
        let problem = request.send(to).await.problem(413, "expands-too-much");
        assert_eq!(problem["accepted"], 0);
    }
    let block = snap::raw::Encoder::new().compress_vec(&blanks).unwrap();
    Request::events(NDJSON, block).header("Content-Encoding", "snappy").send(to).await.problem(413, "body-too-large");
    assert!(running.started.view.memory.snapshot().packages_bytes < 1 << 20);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_off_and_others_go_on() {
    let site = Site::new(&[
        ("ingest.head_timeout", "\"1 s\""),
        ("ingest.body_timeout", "\"2 s\""),
        ("ingest.max_requests", "3"),
    ]);
    let running = site.launch().await;
    let to = address(&running);
    let mut slow_heads = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(b"POST /v1/events/position HTTP/1.1\r\nHost").await.unwrap();
        slow_heads.push(stream);
    }
    let mut slow_bodies = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let head = "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow_bodies.push(stream);
    }
    // While as many as allowed are under way, others are told to come later.
    let answer = in_time("to be sent away", async {
        loop {
            let answer = Request::events(JSON, event("d", 1).to_string()).send(to).await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    answer.problem(503, "busy");
    assert!(answer.header("retry-after").is_some());
    for stream in &mut slow_bodies {
        Answer::read(stream).await.expect("an answer").problem(408, "body-too-slow");
    }
    for stream in &mut slow_heads {
        // Told, or just closed.
        assert!(Answer::read(stream).await.is_none_or(|answer| answer.status == 408));
    }
    Request::events(JSON, event("d", 1).to_string()).send(to).await.accepted(1);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_in_memory_clients_are_told_to_come_later() {
    // Rates are not what is to be met first.
    let site = Site::new(&[
        ("memory.budget", "\"32 MiB\""),
        ("ingest.piece", "\"1 MiB\""),
        ("limits.http_bytes", "\"1 GiB\""),
        ("limits.address_bytes", "\"1 GiB\""),
    ]);
    let running = site.launch().await;
    let to = address(&running);
    let mut half_sent = Vec::new();
    let head = "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 5000000\r\n\r\n";
    let memory = running.started.view.memory.clone();
    let refused = loop {
        let before = memory.snapshot();
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let is_refused = until("the body to be taken in or refused", async || {
            let now = memory.snapshot();
            let is_refused = now.refused_packages > before.refused_packages;
            (is_refused || now.packages_bytes > before.packages_bytes).then_some(is_refused)
        })
        .await;
        if is_refused {
            break Answer::read(&mut stream).await.expect("an answer");
        }
        half_sent.push(stream);
    };
    refused.problem(503, "memory-full");
    assert!(refused.header("retry-after").is_some());
    // 2 MiB for each, and half of the budget is theirs in any case.
    assert!((7..=16).contains(&half_sent.len()), "{} bodies were taken in", half_sent.len());
    drop(half_sent);
    until_true("room to be there again", async || memory.snapshot().packages_bytes == 0).await;
    Request::events(JSON, event("d", 1).to_string()).send(to).await.accepted(1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_is_answered_before_the_engine_ends() {
    let site = Site::new(&[]);
    let mut running = site.launch().await;
    let to = address(&running);
    let body = lines((0..10).map(|sequence| event("d", sequence)));
    let bytes = Request::events(NDJSON, body.clone()).bytes();
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 100]).await.unwrap();
    // It is under way when its memory is reserved.
    until_true("the request to be under way", async || running.started.view.memory.snapshot().packages_bytes > 0).await;
    running.engine.stop();
    until_true("the engine to drain", async || {
        common::http::get(running.engine.http_addr, "/health/ready").await.0 == 503
    })
    .await;
    stream.write_all(&bytes[bytes.len() - 100..]).await.unwrap();
    Answer::read(&mut stream).await.expect("an answer").accepted(10);
    running.stop().await;
    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 10);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_of_allowed_origins_may_send() {
    let site = Site::new(&[("ingest.cors_origins", "[\"https://app.example\"]")]);
    let running = site.launch().await;
    let to = address(&running);
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/v1/events/position")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type, idempotency-key, authorization")
    };
    let answer = preflight("https://app.example").send(to).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "{}", answer.head);
    let answer = preflight("https://evil.example").send(to).await;
    assert_eq!(answer.header("access-control-allow-origin"), None, "{}", answer.head);
    let answer = Request::events(JSON, "7").header("Origin", "https://app.example").send(to).await;
    answer.problem(400, "malformed-body");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "problems can be read too");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_without_tls_is_spoken() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let stream = TcpStream::connect(address(&running)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    // Several streams of one connection at once.
    let mut answers = Vec::new();
    for sequence in 0..8u32 {
        let request = http::Request::post("http://surgetank/v1/events/position").header("content-type", JSON);
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(event("d", sequence).to_string().into(), true).unwrap();
        answers.push(answer);
    }
    for answer in answers {
        let mut answer = in_time("an answer", answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = in_time("its body", answer.body_mut().data()).await.unwrap().unwrap();
        assert_eq!(&body[..], br#"{"accepted":1}"#);
    }
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 8);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_describes_itself_and_can_be_left_out() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let answer = Request::new("GET", "/openapi.json").send(address(&running)).await;
    let document = answer.json();
    assert_eq!((answer.status, document["openapi"].as_str().map(|version| &version[..4])), (200, Some("3.1.")));
    assert!(document["paths"]["/v1/events/position"]["post"].is_object());
    running.stop().await;
    site.configure(&[("ingest.listen", "\"\"")]);
    let running = site.launch().await;
    assert_eq!(running.engine.ingest_addr, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_may_send_is_taken_in_and_only_so_much() {
    let site = Site::new(&[
        ("credentials.file", "\"tokens.toml\""),
        ("limits.http_requests", "20"),
        ("limits.device_packages", "1"),
        ("limits.failed_attempts", "1000"),
    ]);
    let app = site.add_token(TokenKind::Http, "name = \"app\"\ntypes = [\"position\"]");
    let all = site.add_token(TokenKind::Http, "name = \"all\"");
    let truck = site.add_token(TokenKind::Device, "device = \"truck-1\"");
    let running = site.launch().await;
    let to = address(&running);
    let bearer = |request: Request, token: &str| request.header("Authorization", &format!("Bearer {token}"));
    let position = || Request::events(JSON, event("d", 1).to_string());
    let answer = position().send(to).await;
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some("bearer"));
    for token in ["", "nonsense", &truck, &app[1..]] {
        bearer(position(), token).send(to).await.problem(401, "unauthorized");
    }
    bearer(position(), &app).send(to).await.accepted(1);
    let other = Request::new("POST", "/v1/events/engine_health").header("Content-Type", JSON).body("{}");
    bearer(other.clone(), &app).send(to).await.problem(403, "forbidden");
    bearer(other, &all).send(to).await.problem(422, "rejected");

    let package = |device_id: &str| {
        let request = Request::new("POST", "/v1/packages").header("Content-Type", PACKAGE);
        request.header("Surgetank-Device", device_id).body(block(&[position_at(1, 1, now_ms())]).to_vec())
    };
    bearer(package("truck-1"), &truck).send(to).await.accepted(1);
    bearer(package("truck-2"), &truck).send(to).await.problem(401, "unauthorized");
    bearer(package("truck-2"), &all).send(to).await.accepted(1);
    bearer(package("truck-2"), &app).send(to).await.problem(403, "forbidden");

    // A token is worth so many requests in a second; another one goes on.
    let over = in_time("to send too much", async {
        loop {
            let answers = (0..10).map(|_| async { bearer(position(), &app).send(to).await });
            let answers = futures_util::future::join_all(answers).await;
            if let Some(over) = answers.into_iter().find(|answer| answer.status != 200) {
                return over;
            }
        }
    })
    .await;
    over.problem(429, "over-rate");
    assert!(over.header("retry-after").is_some());
    bearer(position(), &all).send(to).await.accepted(1);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_counted_as_they_come_whether_their_length_is_told_or_not() {
    let site = Site::new(&[("credentials.file", "\"tokens.toml\""), ("limits.http_bytes", "\"1 KiB\"")]);
    let tokens: Vec<_> = ["told", "chunked", "unread"]
        .map(|name| site.add_token(TokenKind::Http, &format!("name = {name:?}")))
        .into_iter()
        .collect();
    let running = site.launch().await;
    let to = address(&running);
    // Spaces count as much as anything else.
    let body = format!("{}{}", " ".repeat(20_000), event("d", 1));
    let told = |token: &str| Request::events(JSON, body.clone()).header("Authorization", &format!("Bearer {token}"));
    told(&tokens[0]).send(to).await.accepted(1);
    let chunked = format!(
        "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        tokens[1],
        body.len()
    );
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(chunked.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await.unwrap().accepted(1);
    // What is turned away by its head has taken nothing.
    told(&tokens[2]).header("Content-Encoding", "br").send(to).await.problem(415, "unsupported-encoding");
    for token in &tokens[..2] {
        let problem = told(token).send(to).await.problem(429, "over-rate");
        assert!(problem["retry_after_ms"].as_u64() > Some(10_000), "{problem}");
    }
    told(&tokens[2]).send(to).await.accepted(1);
    running.stop().await;
}
