//! Who is let in: tokens made by the command line, kept as hashes in a file, presented by devices.

use crate::common;

use common::device::{Device, block, position};
use common::http::{Answer, Request};
use common::process::{arg, run, told};
use common::site::{Running, Site};
use common::{http, until_true};
use surgetank::credentials::TokenKind;
use surgetank::protocol::frame::Frame;
use surgetank::protocol::reason::RefusalReason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A site whose config names the file of tokens.
fn site() -> Site {
    Site::new(&[("credentials.file", "\"tokens.toml\"")])
}

async fn assert_refused(server: std::net::SocketAddr, device_id: &str, token: &str) {
    let refused = Device::try_connect(server, device_id, token).await.err().flatten().expect("a refusal");
    assert_eq!((refused.reason, refused.retry_after_ms), (RefusalReason::BadCredential, 0), "{device_id} {token}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_let_in_as_itself_only() {
    let site = site();
    let (old, new) = (site.add_token(TokenKind::Device, ""), site.add_token(TokenKind::Device, "name = \"new\""));
    let own = site.add_token(TokenKind::Device, "device = \"truck-1\"");
    let app = site.add_token(TokenKind::Http, "types = [\"position\"]");
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    for (number, (device_id, token)) in
        [("truck-1", &own), ("truck-1", &old), ("truck-2", &old), ("truck-2", &new)].into_iter().enumerate()
    {
        let mut device = Device::try_connect(server, device_id, token).await.unwrap_or_else(|refused| {
            panic!("{device_id} is refused: {refused:?}");
        });
        device.accepted(&[position(number as u32, 1)]).await;
    }
    for (device_id, token) in [("truck-2", own.as_str()), ("truck-1", &app), ("truck-1", ""), ("truck-1", &own[1..])] {
        assert_refused(server, device_id, token).await;
    }
    running.stop().await;
}

/// Takes away what has been added to `tokens.toml` since it was as in `text`.
async fn withdraw(running: &Running, site: &Site, text: &str) {
    std::fs::write(site.path().join("tokens.toml"), text).unwrap();
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_connected_by_a_token_that_is_withdrawn_gets_its_receipts_and_has_to_leave() {
    let site = site();
    let stays = site.add_token(TokenKind::Device, "");
    let text = std::fs::read_to_string(site.path().join("tokens.toml")).unwrap();
    let own = site.add_token(TokenKind::Device, "device = \"truck-1\"");
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let mut truck = Device::try_connect(server, "truck-1", &own).await.ok().unwrap();
    let mut silent = Device::try_connect(server, "truck-2", &stays).await.ok().unwrap();
    let package_ids =
        [truck.send_block(block(&[position(1, 1)])).await, truck.send_block(block(&[position(2, 2)])).await];
    until_true("the packages to be read", async || running.counters().packages == 2).await;
    withdraw(&running, &site, &text).await;
    let mut words = truck.last_words().await;
    let Some(Frame::Refused(told)) = words.pop() else { panic!("instead of a refusal: {words:?}") };
    assert_eq!(told.reason, RefusalReason::BadCredential);
    assert!(told.retry_after_ms > 0, "it may have a new one by now");
    let receipts: Vec<_> = words
        .iter()
        .map(|frame| match frame {
            Frame::Receipt(receipt) => receipt.package_id,
            other => panic!("instead of a receipt: {other:?}"),
        })
        .collect();
    assert_eq!(receipts, package_ids);
    assert_refused(server, "truck-1", &own).await;
    silent.accepted(&[position(1, 1)]).await;
    let mut truck = Device::try_connect(server, "truck-1", &stays).await.ok().unwrap();
    // Another reload leaves everybody where they are.
    withdraw(&running, &site, &text).await;
    site.add_token(TokenKind::Device, "");
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap();
    truck.accepted(&[position(3, 3)]).await;
    let (_, figures) = http::get(running.engine.http_addr, "/histograms").await;
    assert_eq!(figures["admission"]["refused"]["bad_credential"], 2, "{figures}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_whose_token_is_withdrawn_is_told_to_come_back_spread_out() {
    const RETRY_DELAY_MS: u32 = 100;
    let site = Site::new(&[
        ("credentials.file", "\"tokens.toml\""),
        ("devices.retry_delay", "\"100 ms\""),
        ("shutdown.reconnect_spread", "\"10 min\""),
    ]);
    site.add_token(TokenKind::Device, "");
    let text = std::fs::read_to_string(site.path().join("tokens.toml")).unwrap();
    let fleet = site.add_token(TokenKind::Device, "");
    let running = site.launch().await;
    let mut devices = Vec::new();
    for number in 0..10 {
        let device = Device::try_connect(running.engine.devices_addr, &format!("truck-{number}"), &fleet).await;
        devices.push(device.ok().unwrap());
    }
    withdraw(&running, &site, &text).await;
    let mut delays = Vec::new();
    for mut device in devices {
        let Some(Frame::Refused(told)) = device.last_words().await.pop() else { panic!("not refused") };
        delays.push(told.retry_after_ms);
    }
    assert!(delays.iter().all(|delay| (1..=600_000).contains(delay)), "{delays:?}");
    // That all ten of them draw so short a delay happens once in 10^35 times.
    assert!(delays.iter().any(|&delay| delay > 2 * RETRY_DELAY_MS), "{delays:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_asks_for_the_token_at_each_request_of_a_connection() {
    let site = site();
    site.add_token(TokenKind::Device, "");
    let text = std::fs::read_to_string(site.path().join("tokens.toml")).unwrap();
    let app = site.add_token(TokenKind::Http, "name = \"app\"");
    let running = site.launch().await;
    let mut stream = TcpStream::connect(running.engine.ingest_addr.unwrap()).await.unwrap();
    // Nothing of an event, so what is told is what is wrong with it.
    let request = Request::events("application/json", "{}").header("Authorization", &format!("Bearer {app}")).lasting();
    stream.write_all(&request.bytes()).await.unwrap();
    Answer::read(&mut stream).await.unwrap().problem(422, "rejected");
    withdraw(&running, &site, &text).await;
    stream.write_all(&request.bytes()).await.unwrap();
    Answer::read(&mut stream).await.unwrap().problem(401, "unauthorized");
    running.stop().await;
}

#[test]
fn token_new_prints_a_token_once_and_lines_that_the_file_takes() {
    let site = site();
    let new = |arguments: &[&str]| told(&run(&[&["token", "new"][..], arguments].concat()));
    let mut tokens = Vec::new();
    let mut file = String::new();
    for arguments in [
        &["--kind", "device", "--device", "truck-1", "--name", "of \"one\" truck"][..],
        &["--kind", "device"],
        &["--kind", "http", "--types", "position,harsh_event", "--name", "app"],
        &["--kind", "observer", "--name", "metrics"],
        &["--kind", "operator"],
    ] {
        let (code, stdout, stderr) = new(arguments);
        assert_eq!((code, stderr.lines().count()), (0, 1), "{stderr}");
        assert!(!stdout.contains(stderr.trim()), "the lines hold the hash, not the token");
        tokens.push(stderr.trim().to_owned());
        file.push_str(&stdout);
    }
    std::fs::write(site.path().join("tokens.toml"), &file).unwrap();
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 0, "{stderr}");

    let credentials = surgetank::credentials::Credentials::parse("tokens.toml", &file).unwrap();
    let truck = surgetank::protocol::device_id::DeviceId::new("truck-1").unwrap();
    assert!(credentials.device(&truck, tokens[0].as_bytes()).is_ok());
    assert!(credentials.device(&truck, tokens[1].as_bytes()).is_ok());
    let grant = credentials.http(Some(&tokens[2])).unwrap();
    assert_eq!((grant.name(), grant.may_send("position"), grant.may_send("engine_health")), ("app", true, false));
    assert!(credentials.observer(Some(&tokens[3])).is_ok() && credentials.operator(Some(&tokens[3])).is_err());
    assert!(credentials.observer(Some(&tokens[4])).is_ok() && credentials.operator(Some(&tokens[4])).is_ok());

    for arguments in [
        &["--kind", "http", "--device", "d"][..],
        &["--kind", "operator", "--types", "position"],
        &["--kind", "observer", "--device", "d"],
        &["--kind", "device", "--device", "not an id"],
    ] {
        let (code, stdout, stderr) = new(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    }
}

#[test]
fn check_and_run_refuse_a_file_of_tokens_that_cannot_be_used() {
    let site = site();
    for command in ["check", "run"] {
        let (code, _, stderr) = told(&run(&[command, "--config", arg(&site.config_path())]));
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("tokens.toml: cannot be read"), "{stderr}");
    }
    std::fs::write(site.path().join("tokens.toml"), "\n[[device]]\nhash = \"hunter2\"\n").unwrap();
    for command in ["check", "run"] {
        let (code, _, stderr) = told(&run(&[command, "--config", arg(&site.config_path())]));
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("tokens.toml:3: device.hash: is not the hash of a token; write"), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn check_finds_a_type_that_no_layout_has() {
    let site = site();
    site.add_token(TokenKind::Http, "name = \"app\"\ntypes = [\"positoin\"]");
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("token \"app\" may send type \"positoin\", for which there is no layout"), "{stderr}");
}
