//! Events and packages over HTTP, and that what is answered is what is stored.

use crate::common;

use bytes::BytesMut;
use common::device::{Device, block, position_at};
use common::events::{JSON, NDJSON, PACKAGE, RECEIPT, address, event, gzip, lines, snappy, snappy_frames, zstd};
use common::http::{Answer, Request};
use common::ledger::dead_letters;
use common::site::Site;
use common::{in_time, now_ms, until_true};
use serde_json::{Value, json};
use surgetank::codec::avro::OwnedDeadLetter;
use surgetank::protocol::frame::{self, Frame};
use surgetank::protocol::reason::RejectReason;
use surgetank::protocol::receipt::{Outcome, Verdict};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

type Packer = fn(&[u8]) -> Vec<u8>;

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
async fn the_trace_of_a_request_is_in_the_dead_letters_of_its_package() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let mut unknown = position_at(1, 1, now_ms());
    unknown.0.type_id = 999;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let package = |device: &str, body: &[u8]| {
        let request = Request::new("POST", "/v1/packages").header("Content-Type", PACKAGE);
        request.header("Surgetank-Device", device).body(body.to_vec())
    };
    let messages = block(&[position_at(0, 0, now_ms()), unknown]);
    package("a", &messages).header("traceparent", parent).send(to).await;
    package("b", b"not snappy").header("traceparent", parent).send(to).await.problem(422, "rejected");
    package("c", &messages).send(to).await;
    package("d", &messages).header("traceparent", "00-1").send(to).await;
    let letters = dead_letters(&site.config(), &*running.started.backends.log);
    let trace_of = |letter: OwnedDeadLetter| (letter.device_id, letter.trace);
    let mut traces: Vec<_> = letters.into_iter().map(trace_of).collect();
    traces.sort_unstable();
    let expected = [("a", Some(parent)), ("b", Some(parent)), ("c", None), ("d", None)];
    assert_eq!(traces, expected.map(|(device, trace)| (device.to_owned(), trace.map(str::to_owned))));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_of_which_nothing_is_accepted_is_refused_however_its_type_is_written() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let message = |sequence, type_id| {
        let (mut header, body) = position_at(sequence, sequence, now_ms());
        header.type_id = type_id;
        (header, body)
    };
    let package = |messages: &[_], media_type: &str| {
        let request = Request::new("POST", "/v1/packages").header("Content-Type", media_type);
        request.header("Surgetank-Device", "d").body(block(messages).to_vec())
    };
    let wrong = [message(1, 999), message(2, 999)];
    let problem = package(&wrong, PACKAGE).send(to).await.problem(422, "rejected");
    let told = (&problem["accepted"], &problem["rejected"], &problem["items"][1]["reason"]);
    assert_eq!(told, (&json!(0), &json!(2), &json!("unknown_type")));
    let receipt = package(&wrong, PACKAGE).header("Accept", &RECEIPT.to_uppercase()).send(to).await;
    assert_eq!((receipt.status, receipt.header("content-type")), (422, Some(RECEIPT)));
    let position = position_at(3, 3, now_ms());
    let mixed = [message(1, 999), position.clone()];
    assert_eq!(package(&mixed, PACKAGE).send(to).await.status, 200, "something was accepted");
    for media_type in ["application/vnd.surgetank.package; charset=binary", "APPLICATION/VND.SURGETANK.PACKAGE"] {
        package(std::slice::from_ref(&position), media_type).send(to).await.accepted(1);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_of_an_identity_that_is_taken_is_the_row_over_tcp_and_http_alike() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let now = now_ms();
    // The first cannot be read, and keeps nobody out; the third has another body, and the last is the first once more.
    let mut broken = position_at(1, 1, now);
    broken.1.truncate(3);
    let messages = [broken.clone(), position_at(1, 2, now), position_at(1, 3, now), position_at(1, 2, now), broken];
    let rejected = Outcome::Rejected(RejectReason::Undecodable);
    let expected = [rejected, Outcome::Accepted, Outcome::Duplicate, Outcome::Duplicate, rejected];
    let mut device = Device::connect(running.engine.devices_addr, "tcp").await;
    assert_eq!(device.deliver(&messages).await, expected);

    let listed = |answer: &Answer| -> Vec<(u64, String)> {
        let body = answer.json();
        assert_eq!((answer.status, &body["accepted"], &body["duplicates"]), (200, &json!(1), &json!(2)), "{body}");
        let item = |item: &Value| (item["index"].as_u64().unwrap(), item["outcome"].as_str().unwrap().to_owned());
        body["items"].as_array().unwrap().iter().map(item).collect()
    };
    let same = [(0, "rejected"), (2, "duplicate"), (3, "duplicate"), (4, "rejected")];
    let same = same.map(|(index, outcome)| (index, outcome.to_owned()));
    let request = Request::new("POST", "/v1/packages").header("Content-Type", PACKAGE);
    let request = request.header("Surgetank-Device", "http").body(block(&messages).to_vec());
    assert_eq!(listed(&request.send(to).await), same);
    assert_eq!(running.counters().dead_letters, 2, "one for the same bytes twice");

    let events = [None, Some(2), Some(3), Some(2), None].map(|odometer| {
        let mut event = event("events", 1);
        event["odometer"] = json!(odometer.unwrap_or(-1));
        event
    });
    let answer = Request::events(NDJSON, lines(events)).send(to).await;
    assert_eq!(listed(&answer), same);
    running.catch_up().await;
    let rows = site.rows("select device_id, sequence, odometer from position order by device_id");
    assert_eq!(rows, ["events", "http", "tcp"].map(|device_id| vec![json!(device_id), json!(1), json!(2)]));
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_read_is_a_400_and_one_of_which_nothing_is_valid_a_422() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let (good, cut) = (event("d", 1).to_string(), "{\"device_id\": \"d\"");
    let send = async |media_type, body: String| Request::events(media_type, body).send(to).await;
    // The body ends, or goes on, where no event can begin: what was read before counts.
    for (media_type, body, accepted, unread_from) in [
        (JSON, String::new(), 0, 0),
        (JSON, "7".to_owned(), 0, 0),
        (JSON, cut.to_owned(), 0, 0),
        (JSON, format!("[{good},"), 1, 1),
        (JSON, format!("[{good}] 7"), 1, 1),
        (JSON, format!("[{good} {good}]"), 1, 1),
    ] {
        let problem = send(media_type, body.clone()).await.problem(400, "malformed-body");
        let told = (problem["accepted"].as_u64().unwrap_or(0), problem["unread_from"].as_u64().unwrap_or(0));
        assert_eq!(told, (accepted, unread_from), "{body}: {problem}");
    }
    // Events that are not valid on their own.
    for (media_type, body) in
        [(JSON, "{}"), (JSON, "{\"a\": nonsense}"), (JSON, "[{\"a\": nonsense}]"), (NDJSON, "no json"), (NDJSON, cut)]
    {
        send(media_type, body.to_owned()).await.problem(422, "rejected");
    }
    let mixed = send(NDJSON, format!("no json\n{good}\n{cut}\n")).await;
    assert_eq!((mixed.status, mixed.json()["rejected"].as_u64()), (200, Some(2)), "{mixed:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_408_or_429_is_accepted_when_it_is_sent_again() {
    let site = Site::new(&[("limits.address_packages", "2"), ("ingest.body_timeout", "\"1 s\"")]);
    let running = site.launch().await;
    let to = address(&running);
    let request = Request::events(JSON, event("d", 1).to_string());
    let bytes = request.bytes();
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
    Answer::read(&mut stream).await.expect("an answer").problem(408, "body-too-slow");
    let refused = in_time("to send too much", async {
        loop {
            let answer = request.send(to).await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    let problem = refused.problem(429, "over-rate");
    assert!(problem["retry_after_ms"].as_u64() > Some(0), "{problem}");
    until_true("to be let in again", async || request.send(to).await.status == 200).await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_order_mark_and_other_ways_to_write_the_same_are_taken() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let event = event("d", 1);
    for (media_type, body) in [
        (JSON, format!("\u{feff}{event}")),
        (JSON, format!("\u{feff} [{event}]")),
        (NDJSON, format!("\u{feff}{event}\n")),
        (NDJSON, format!("\u{feff}\n{event}")),
    ] {
        let request = |body: Vec<u8>| Request::events(media_type, body);
        request(body.clone().into()).send(to).await.accepted(1);
        for (coding, pack) in [("gzip", gzip as Packer), ("snappy", snappy)] {
            request(pack(body.as_bytes())).header("Content-Encoding", coding).send(to).await.accepted(1);
        }
    }
    let body = event.to_string();
    for path in ["/v1/events/position?from=here&n=1", "/v1/events/posi%74ion", "/v1/events/%70osition?"] {
        Request::new("POST", path).header("content-TYPE", JSON).body(body.clone()).send(to).await.accepted(1);
    }
    let len = body.len();
    let head = "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let chunk = format!("Transfer-Encoding: chunked\r\n\r\n{len:x};name=value\r\n{body}\r\n0\r\nTrailer: 1\r\n\r\n");
    let old = head.replace("1.1", "1.0");
    for request in [
        format!("{head}Connection: close\r\n{chunk}"),
        format!("{old}Content-Length: {len}\r\n\r\n{body}"),
        // The client asks before it sends.
        format!("{head}Connection: close\r\nExpect: 100-continue\r\nContent-Length: {len}\r\n\r\n{body}"),
    ] {
        let told = common::http::say(to, request.as_bytes(), false).await;
        Answer::parse(told.as_bytes()).unwrap_or_else(|| panic!("{request}: {told}")).accepted(1);
    }
    // Pipelined: each has its answer, in order.
    let first = Request::events(JSON, body.clone()).lasting().bytes();
    let second = Request::events("text/csv", body.clone()).bytes();
    let told = common::http::say(to, &[first, second].concat(), false).await;
    let statuses: Vec<&str> = told.matches("HTTP/1.1 200 OK").chain(told.matches("HTTP/1.1 415 ")).collect();
    assert_eq!(statuses.len(), 2, "{told}");
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 1);
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
    answer.problem(400, "bad-header");
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
