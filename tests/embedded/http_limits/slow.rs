//! Clients that are slow, or say nothing that can be read.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::events::{JSON, address, event};
use crate::common::http::{Answer, Request, say};
use crate::common::in_time;
use crate::common::site::Site;

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
