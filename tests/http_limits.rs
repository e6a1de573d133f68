//! What HTTP ingest does not take, and that whoever sends it is told why and disturbs nobody.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::task::Poll;

use common::device::{block, position_at};
use common::events::{JSON, NDJSON, PACKAGE, address, event, gzip, lines};
use common::http::{Answer, Request, say};
use common::site::Site;
use common::{in_time, now_ms, until, until_true};
use serde_json::json;
use surgetank::credentials::TokenKind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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
        (Request::new("POST", "/v1/events"), 404, "not-found"),
        (Request::new("POST", "/v1/events/"), 404, "not-found"),
        (Request::new("POST", "/v1/events/position/x"), 404, "not-found"),
        (Request::new("POST", "/v1/eventsposition"), 404, "not-found"),
        (Request::new("GET", "/v1/events/position"), 405, "method-not-allowed"),
        (Request::new("OPTIONS", "/v1/events/position"), 405, "method-not-allowed"),
        (Request::new("PUT", "/v1/packages").body("x"), 405, "method-not-allowed"),
        (Request::new("POST", "/v1/packages/"), 404, "not-found"),
        (Request::new("POST", "/v1/events/posi%2ftion").header("Content-Type", JSON).body("{}"), 404, "unknown-type"),
        (Request::new("POST", "/v1/events/%ff").header("Content-Type", JSON).body("{}"), 404, "unknown-type"),
        (
            Request::new("POST", "/v1/events/nothing").header("Content-Type", JSON).body(good.clone()),
            404,
            "unknown-type",
        ),
        (events("text/csv", &good), 415, "unsupported-media-type"),
        (Request::new("POST", "/v1/events/position").body(good.clone()), 415, "unsupported-media-type"),
        (events(JSON, &good).header("Content-Encoding", "br"), 415, "unsupported-encoding"),
        (
            events(JSON, &good).header("Content-Encoding", "gzip").header("Content-Encoding", "gzip"),
            415,
            "unsupported-encoding",
        ),
        (events(JSON, &good).header("Content-Type", NDJSON), 400, "bad-header"),
        (
            events(JSON, &good).header("Authorization", "Bearer a").header("Authorization", "Bearer b"),
            400,
            "bad-header",
        ),
        (events(JSON, &good).header("Idempotency-Key", "a").header("Idempotency-Key", "b"), 400, "bad-header"),
        (
            Request::events(NDJSON, &gzip(good.as_bytes())[..60]).header("Content-Encoding", "gzip"),
            400,
            "malformed-body",
        ),
        (
            Request::new("POST", "/v1/events/position")
                .header("Content-Type", JSON)
                .header("Content-Length", "18446744073709551615"),
            413,
            "body-too-large",
        ),
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
            "method-not-allowed" => {
                assert_eq!(
                    (request.send(to).await.header("allow"), &problem["detail"]),
                    (Some("post"), &json!("the path takes POST"))
                );
            }
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
async fn a_body_that_is_broken_off_is_told_in_our_words() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    let head = "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n";
    let event = event("d", 1);
    for (rest, and_no_more) in [
        (format!("Content-Length: 5000\r\n\r\n{event}\n"), true),
        (format!("Transfer-Encoding: chunked\r\n\r\nffff\r\n{event}\n"), true),
        ("Transfer-Encoding: chunked\r\n\r\nnonsense\r\n".to_owned(), false),
    ] {
        let told = say(to, format!("{head}{rest}").as_bytes(), and_no_more).await;
        let answer = Answer::parse(told.as_bytes()).unwrap_or_else(|| panic!("{rest}: {told}"));
        let problem = answer.problem(400, "malformed-body");
        assert_eq!(problem["detail"], "it ended too early, or its chunks are not as they should be");
    }
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_read_to_its_end_if_that_is_near() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let to = address(&running);
    // The answer comes after the body, and the connection is good for the next request.
    let mut stream = TcpStream::connect(to).await.unwrap();
    let bytes = Request::events("text/csv", vec![b'x'; 30_000]).lasting().bytes();
    for _ in 0..2 {
        let (head, rest) = bytes.split_at(bytes.len() - 20_000);
        stream.write_all(head).await.unwrap();
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), stream.readable()).await;
        assert!(early.is_err(), "an answer before the body has come");
        stream.write_all(rest).await.unwrap();
        Answer::read(&mut stream).await.unwrap().problem(415, "unsupported-media-type");
    }
    // Over HTTP/2 no stream is reset: not even once the answer to another one, which came later, is there.
    let stream = TcpStream::connect(to).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let request = http::Request::post("http://surgetank/nothing").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        for is_last in [false, true] {
            body.send_data(vec![b'x'; 10_000].into(), is_last).unwrap();
        }
        let mut answer = in_time("an answer", answer).await.unwrap();
        assert_eq!(answer.status(), 404);
        while let Some(data) = in_time("its body", answer.body_mut().data()).await {
            data.unwrap();
        }
        bodies.push(body);
    }
    for body in &mut bodies {
        let reset = std::future::poll_fn(|context| Poll::Ready(body.poll_reset(context))).await;
        assert!(reset.is_pending(), "{reset:?}");
    }
    // One that never ends is cut off, however slowly it comes.
    let chunked = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    let told = say(to, chunked, false).await;
    Answer::parse(told.as_bytes()).unwrap().problem(404, "not-found");
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
    // While as many as allowed are under way, others are told to come later: the one that asks, or a slow one that came
    // while that one was asking.
    let answer = in_time("to be sent away", async {
        loop {
            let mut stream = TcpStream::connect(to).await.unwrap();
            let head = "POST /v1/events/position HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{";
            stream.write_all(head.as_bytes()).await.unwrap();
            slow_bodies.push(stream);
            // Nothing that the disk is waited for: on a busy machine that may outlast the slow bodies.
            let answer = Request::events(JSON, "{}").send(to).await;
            if answer.status != 422 {
                return answer;
            }
        }
    })
    .await;
    answer.problem(503, "busy");
    assert!(answer.header("retry-after").is_some());
    let mut num_cut_off = 0;
    for stream in &mut slow_bodies {
        let answer = Answer::read(stream).await.expect("an answer");
        match answer.status {
            503 => answer.problem(503, "busy"),
            _ => {
                num_cut_off += 1;
                answer.problem(408, "body-too-slow")
            }
        };
    }
    assert!(num_cut_off >= 3, "{num_cut_off}");
    for stream in &mut slow_heads {
        Answer::read(stream).await.expect("an answer").problem(408, "head-too-slow");
    }
    Request::events(JSON, event("d", 1).to_string()).send(to).await.accepted(1);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_no_head_or_none_that_can_be_read_is_told_and_cut_off() {
    let site = Site::new(&[("ingest.head_timeout", "\"500 ms\""), ("ingest.idle_timeout", "\"1 s\"")]);
    let running = site.launch().await;
    let (ingest, operators) = (address(&running), running.engine.http_addr);
    let problem = |told: &str, status, slug| {
        Answer::parse(told.as_bytes()).unwrap_or_else(|| panic!("no answer: {told:?}")).problem(status, slug);
    };
    let slow =
        [(ingest, ""), (ingest, "POST /v1"), (ingest, "PRI * HTTP"), (operators, ""), (operators, "GET /health")];
    let told = slow.map(async |(server, head): (_, &str)| say(server, head.as_bytes(), false).await);
    for told in futures_util::future::join_all(told).await {
        problem(&told, 408, "head-too-slow");
    }
    // A head after a request that was answered: with that, and some time later.
    let first = Request::events(JSON, "{}").lasting().bytes();
    let told = say(ingest, &[&first[..], b"POST /v1"].concat(), false).await;
    problem(&told, 422, "rejected");
    let mut stream = TcpStream::connect(ingest).await.unwrap();
    stream.write_all(&first).await.unwrap();
    Answer::read(&mut stream).await.unwrap().problem(422, "rejected");
    stream.write_all(b"POST /v1").await.unwrap();
    Answer::read(&mut stream).await.expect("an answer").problem(408, "head-too-slow");
    // Between requests nothing is said.
    let told = say(ingest, &first, false).await;
    assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");

    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n", "x".repeat(200_000));
    for server in [ingest, operators] {
        for head in [
            "GE(T / HTTP/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            problem(&say(server, head.as_bytes(), false).await, 400, "broken-request");
        }
        problem(&say(server, long.as_bytes(), false).await, 431, "head-too-large");
    }
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
    let none = answer.problem(401, "unauthorized");
    assert!(none["detail"].as_str().unwrap().starts_with("there is no token"), "{none}");
    assert_eq!(answer.header("www-authenticate"), Some("bearer"));
    for token in ["nonsense", &truck, &app[1..]] {
        let answer = bearer(position(), token).send(to).await;
        assert_eq!(answer.problem(401, "unauthorized")["detail"], "the token is not valid");
        assert_eq!(answer.header("www-authenticate"), Some("bearer error=\"invalid_token\""));
    }
    for value in ["Bearer", "Bearer ", "Basic YTpi", "nonsense"] {
        let problem = position().header("Authorization", value).send(to).await.problem(401, "unauthorized");
        assert!(problem["detail"].as_str().unwrap().starts_with("Authorization has no bearer token"), "{problem}");
    }
    bearer(position(), &app).send(to).await.accepted(1);
    position().header("authorization", &format!("bearer  {app}")).send(to).await.accepted(1);
    let other = Request::new("POST", "/v1/events/engine_health").header("Content-Type", JSON).body("{}");
    bearer(other.clone(), &app).send(to).await.problem(403, "forbidden");
    bearer(other, &all).send(to).await.problem(422, "rejected");

    let package = |device_id: &str| {
        let request = Request::new("POST", "/v1/packages").header("Content-Type", PACKAGE);
        request.header("Surgetank-Device", device_id).body(block(&[position_at(1, 1, now_ms())]).to_vec())
    };
    bearer(package("truck-1"), &truck).send(to).await.accepted(1);
    let problem = bearer(package("truck-2"), &truck).send(to).await.problem(403, "forbidden");
    assert_eq!(problem["detail"], "the token is another device's");
    package("truck-1").send(to).await.problem(401, "unauthorized");
    bearer(package("truck-1"), "nonsense").send(to).await.problem(401, "unauthorized");
    let nameless = Request::new("POST", "/v1/packages").header("Content-Type", PACKAGE).body("x");
    nameless.send(to).await.problem(401, "unauthorized");
    bearer(nameless, &truck).send(to).await.problem(400, "bad-header");
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
