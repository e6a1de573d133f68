//! Limits at the edge: who comes in, how fast a frame has to arrive, how much each may send. Whoever is over a limit is
//! told so and for how long, and nobody else is disturbed.

use crate::common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use common::device::{Device, block, bytes_of, hello, position};
use common::honest::Honest;
use common::http::Request;
use common::process::Process;
use common::site::{Running, Site};
use common::{http, in_time, until, until_true};
use serde_json::{Value, json};
use surgetank::credentials::TokenKind;
use surgetank::protocol::frame::{Frame, PackageFrame};
use surgetank::protocol::hello::{Pong, Refused};
use surgetank::protocol::reason::RefusalReason;
use surgetank::protocol::receipt::{Receipt, Verdict};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn door(running: &Running) -> Value {
    http::get(running.engine.http_addr, "/histograms").await.1["admission"].take()
}

async fn refused(server: SocketAddr, device_id: &str, token: &str) -> Refused {
    match Device::try_connect(server, device_id, token).await {
        Err(Some(refused)) => refused,
        Err(None) => panic!("turned away in silence"),
        Ok(_) => panic!("let in"),
    }
}

async fn last_refusal(device: &mut Device) -> Refused {
    match device.last_words().await.pop() {
        Some(Frame::Refused(refused)) => refused,
        other => panic!("instead of a refusal: {other:?}"),
    }
}

/// The delay of a receipt that says "retry later"; `None` of one that accepts.
fn delay_ms(receipt: &Receipt) -> Option<u32> {
    match &receipt.verdict {
        Verdict::RetryLater { retry_after_ms } => Some(*retry_after_ms),
        Verdict::PerMessage { exceptions, .. } if exceptions.is_empty() => None,
        other => panic!("neither accepted nor retry later: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_another_address_has_its_own() {
    let site = Site::new(&[("limits.address_connections", "2")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let first = Device::connect(server, "first").await;
    let _second = Device::connect(server, "second").await;
    let told = refused(server, "third", "").await;
    assert_eq!(told.reason, RefusalReason::TooManyFromAddress);
    assert!(told.retry_after_ms > 0);
    assert!(Device::try_connect_from(ELSEWHERE, server, "elsewhere", "").await.is_ok());
    assert_eq!(door(&running).await["refused"]["too_many_from_address"], 1);
    drop(first);
    until_true("room for the third", async || Device::try_connect(server, "third", "").await.is_ok()).await;
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_guesses_tokens_is_kept_out_for_a_while() {
    let site = Site::new(&[("credentials.file", "\"tokens.toml\""), ("limits.failed_attempts", "60")]);
    let token = site.add_token(TokenKind::Device, "");
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let mut connected = Device::try_connect(server, "connected", &token).await.ok().unwrap();
    for attempt in 0..60 {
        let told = refused(server, "guesser", "wrong-horse").await;
        assert_eq!(told.reason, RefusalReason::BadCredential, "attempt {attempt}");
    }
    // The attempt is counted after it was answered.
    let told = until("the address to be kept out", async || {
        Device::try_connect(server, "guesser", "wrong-horse")
            .await
            .err()
            .unwrap()
            .filter(|told| told.retry_after_ms > 0)
    })
    .await;
    assert_eq!(told.reason, RefusalReason::TooManyAttempts);
    // Neither those who are in nor those elsewhere notice.
    connected.accepted(&[position(1, 1)]).await;
    assert!(Device::try_connect_from(ELSEWHERE, server, "elsewhere", &token).await.is_ok());
    // An attempt a second comes back.
    until_true("the address to be let in again", async || Device::try_connect(server, "honest", &token).await.is_ok())
        .await;
    assert!(door(&running).await["refused"]["bad_credential"].as_u64().unwrap() >= 60);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bearer_tokens_are_slowed_and_keep_nobody_out() {
    let site = Site::new(&[("credentials.file", "\"tokens.toml\""), ("limits.failed_attempts", "30")]);
    let truck = site.add_token(TokenKind::Device, "");
    let app = site.add_token(TokenKind::Http, "");
    let running = site.launch().await;
    let (devices, ingest) = (running.engine.devices_addr, running.engine.ingest_addr.unwrap());
    let events = |token: &str| {
        let request = Request::events("application/json", "{}");
        request.header("Authorization", &format!("Bearer {token}"))
    };
    for _ in 0..30 {
        events("wrong-horse").send(ingest).await.problem(401, "unauthorized");
    }
    // From now on they wait: all at once as long as one, and not more of them than there are places.
    let began = Instant::now();
    let wrong = (0..300).map(|_| async {
        let answer = events("wrong-horse").send(ingest).await;
        (answer.status, began.elapsed())
    });
    let (answers, ()) = tokio::join!(futures_util::future::join_all(wrong), async {
        until_true("they to wait", async || door(&running).await["failed_requests"].as_u64() > Some(200)).await;
        // Who has a valid token comes in, at either door.
        assert!(Device::try_connect(devices, "truck-1", &truck).await.is_ok());
        events(&app).send(ingest).await.problem(422, "rejected");
    });
    let num = |status: u16| answers.iter().filter(|(told, _)| *told == status).count();
    assert_eq!(num(401) + num(429), 300, "{answers:?}");
    assert!(num(401) >= 256 && num(429) > 0, "{answers:?}");
    let held = answers.iter().filter(|(status, _)| *status == 401).map(|(_, after)| *after).min().unwrap();
    assert!(held >= Duration::from_millis(900), "{held:?}");
    assert_eq!(door(&running).await["failed_requests"], 330);
    assert_eq!(door(&running).await["refused"], json!({}));
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_has_to_arrive_at_a_pace() {
    let site = Site::new(&[("limits.frame_grace", "\"1 s\""), ("limits.frame_rate", "\"1 KiB\"")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, "").await;
    let mut slow = Device::connect(server, "slow").await;
    let frame = bytes_of(&Frame::Package(PackageFrame { package_id: 1, block: vec![0; 100_000].into() }));
    let began = Instant::now();
    for byte in &frame {
        if slow.stream.write_all(&[*byte]).await.is_err() || began.elapsed() > Duration::from_secs(30) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A second, and 20 ms for each 20 bytes that came in it: long before the 33 minutes that the whole would take.
    assert!(began.elapsed() < Duration::from_secs(30), "it goes on and on");
    let told = last_refusal(&mut slow).await;
    assert_eq!(told.reason, RefusalReason::TooSlow);
    assert!(told.retry_after_ms > 0);
    honest.end().await;

    // A slow Hello is late as a whole, and is an attempt that failed.
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&bytes_of(&hello("slower", ""))[..5]).await.unwrap();
    until_true("it to be told", async || door(&running).await["refused"]["too_slow"] == 2).await;
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_fast_is_not_held_for_as_long_as_it_could_have_taken() {
    let site = Site::new(&[("limits.frame_grace", "\"1 s\""), ("limits.frame_rate", "\"1 KiB\"")]);
    let running = site.launch().await;
    let mut slow = Device::connect(running.engine.devices_addr, "slow").await;
    let most = &bytes_of(&Frame::Package(PackageFrame { package_id: 1, block: vec![0; 900_000].into() }))[..300_000];
    let began = Instant::now();
    slow.stream.write_all(most).await.unwrap();
    assert_eq!(last_refusal(&mut slow).await.reason, RefusalReason::TooSlow);
    // Not the five minutes of 300 kB at 1 KiB a second.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(door(&running).await["refused"]["too_slow"], 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_is_not_read_from_and_has_to_leave() {
    let site = Site::new(&[
        ("devices.hello_timeout", "\"1 s\""),
        ("devices.idle_timeout", "\"2 s\""),
        // Pings count, and the system keeps megabytes of them.
        ("limits.device_packages", "1000000"),
    ]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = Device::greet(socket.connect(server).await.unwrap(), "deaf", "").await.ok().unwrap();
    let pings = bytes_of(&Frame::Ping { nonce: 1 }).repeat(1000);
    // It ends because nothing more is taken, and then because the server has closed.
    in_time("the server to close", async { while deaf.stream.write_all(&pings).await.is_ok() {} }).await;
    until_true("it to be counted", async || door(&running).await["refused"] == json!({"not_heard": 1})).await;
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_pongs_over_the_rate_hold_up_who_sends_them_and_pings_are_answered() {
    const NUM_PINGS: u64 = 7;
    const NUM_PONGS: u64 = 4;
    let site = Site::new(&[("limits.device_packages", "2")]);
    let running = site.launch().await;
    let mut eager = Device::connect(running.engine.devices_addr, "eager").await;
    let began = Instant::now();
    for nonce in 0..NUM_PINGS {
        eager.stream.write_all(&bytes_of(&Frame::Ping { nonce })).await.unwrap();
    }
    for nonce in 0..NUM_PINGS {
        assert!(matches!(eager.next().await, Some(Frame::Pong(pong)) if pong.nonce == nonce));
    }
    // Two of them may come at once, and two more each second.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let num_over = async || door(&running).await["over_device_rate"].as_u64().unwrap();
    let before = num_over().await;
    assert!(before >= 2);
    let pong = bytes_of(&Frame::Pong(Pong { nonce: 0, server_time_ms: 0 }));
    eager.stream.write_all(&pong.repeat(NUM_PONGS as usize)).await.unwrap();
    until_true("pongs to be over the rate", async || num_over().await >= before + NUM_PONGS / 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_not_complete_share_a_bounded_pool() {
    let site = Site::new(&[("limits.frame_buffers", "\"2 MiB\"")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let most = &bytes_of(&Frame::Package(PackageFrame { package_id: 1, block: vec![0; 1_000_000].into() }))[..500_000];
    let (mut first, mut second) = (Device::connect(server, "first").await, Device::connect(server, "second").await);
    for device in [&mut first, &mut second] {
        device.stream.write_all(most).await.unwrap();
    }
    until_true("both to be held", async || door(&running).await["frame_buffers_bytes"].as_u64() > Some(900_000)).await;
    // What counts is the memory behind the bytes, which is up to twice as much: at most four find room.
    let mut others = Vec::new();
    for number in 2..5 {
        let mut device = Device::connect(server, &format!("d-{number}")).await;
        // It may fail because the server has closed.
        let _ = device.stream.write_all(most).await;
        others.push(device);
    }
    let refusals = futures_util::future::join_all(
        others
            .iter_mut()
            .map(|device| async { tokio::time::timeout(Duration::from_secs(2), last_refusal(device)).await.ok() }),
    )
    .await;
    let told = refusals.into_iter().flatten().next().expect("that one is refused");
    assert_eq!(told.reason, RefusalReason::Unavailable);
    assert!(told.retry_after_ms > 0);
    // Usual packages need nothing of the pool.
    Device::connect(server, "small").await.accepted(&[position(1, 1)]).await;
    drop((first, second, others));
    until_true("all to be given back", async || door(&running).await["frame_buffers_bytes"] == 0).await;
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_over_its_rate_is_told_to_wait_and_nothing_is_lost() {
    let site = Site::new(&[("limits.device_packages", "20"), ("devices.max_unacknowledged_packages", "64")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let mut wild = Device::connect(server, "wild").await;
    let began = Instant::now();
    let mut waiting: Vec<u32> = (0..60).collect();
    let mut num_sent_back = 0;
    while !waiting.is_empty() {
        let mut under_way = std::collections::HashMap::new();
        for sequence in std::mem::take(&mut waiting) {
            under_way.insert(wild.send_block(block(&[position(sequence, sequence)])).await, sequence);
        }
        // Every package has its answer, whether the device waits or not.
        while !under_way.is_empty() {
            let receipt = in_time("a receipt", wild.receipt()).await;
            let sequence = under_way.remove(&receipt.package_id).expect("a receipt of a package under way");
            if let Some(delay_ms) = delay_ms(&receipt) {
                assert!(delay_ms >= 50, "{delay_ms}");
                num_sent_back += 1;
                waiting.push(sequence);
            }
        }
        // The other one has a rate of its own.
        Device::connect(server, "other").await.accepted(&[position(1, 1)]).await;
    }
    // Twenty at once, forty more at twenty a second.
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    let seen = door(&running).await;
    assert_eq!(seen["over_device_rate"], num_sent_back);
    assert_eq!(seen["over_address_rate"], 0);
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position where device_id = 'wild'"), 60);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_an_address_are_shared_by_its_devices() {
    let site = Site::new(&[("limits.address_bytes", "\"1 KiB\"")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let (mut first, mut second) = (Device::connect(server, "first").await, Device::connect(server, "second").await);
    let mut elsewhere = Device::try_connect_from(ELSEWHERE, server, "elsewhere", "").await.ok().unwrap();
    let many: Vec<_> = (0..200).map(|sequence| position(sequence, sequence * 7919)).collect();
    // More than a second's worth: taken on credit, and the next one has to wait for it.
    first.accepted(&many).await;
    second.send_package(&[position(1, 1)]).await;
    assert!(delay_ms(&second.receipt().await).unwrap() >= 1000);
    elsewhere.accepted(&[position(1, 1)]).await;
    assert!(door(&running).await["over_address_rate"].as_u64().unwrap() >= 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_are_kept_for_the_log_and_the_store() {
    let site = Site::new(&[]);
    let process = Process::start_with_open_files(&site, 256).await;
    until_true("the engine to be ready", async || {
        http::try_get(process.http, "/health/ready").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    process.tells("128 devices may connect").await;
    let mut devices = Vec::new();
    for number in 0..128 {
        devices.push(Device::connect(process.devices, &format!("d-{number}")).await);
    }
    for number in 0..50 {
        let told = refused(process.devices, &format!("late-{number}"), "").await;
        assert_eq!(told.reason, RefusalReason::TooManyConnections);
    }
    for (number, device) in devices.iter_mut().enumerate() {
        device.accepted(&[position(number as u32, 1)]).await;
    }
    let (status, _) = http::get(process.http, "/health/ready").await;
    assert_eq!(status, 200);
}
