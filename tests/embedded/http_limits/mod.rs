//! What HTTP ingest does not take, and that whoever sends it is told why and disturbs nobody.

mod budget;
use crate::common;
mod slow;

use std::task::Poll;

use common::events::{JSON, NDJSON, address, event, gzip, lines};
use common::http::{Answer, Request, say};
use common::site::Site;
use common::{in_time, until_true};
use serde_json::json;
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
