//! Who may send, and how much of memory, requests and bytes.

use surgetank::credentials::TokenKind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::device::{block, position_at};
use crate::common::events::{JSON, PACKAGE, address, event};
use crate::common::http::{Answer, Request};
use crate::common::site::Site;
use crate::common::{in_time, now_ms, until, until_true};

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
