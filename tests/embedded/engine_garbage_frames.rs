//! Garbage in connections and frames. Rule 7 of the design: no input makes the engine crash, hang or grow without limit.
//! Every kind of garbage gets the refusal that docs/protocol.md promises, while an honest device is acknowledged
//! throughout.

use crate::common;

use common::device::{Device, block, bytes_of, hello, position, say};
use common::honest::Honest;
use common::site::Site;
use common::{in_time, until_true};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use surgetank::credentials::TokenKind;
use surgetank::protocol::frame::{Frame, PackageFrame};
use surgetank::protocol::hello::{Goodbye, Refused};
use surgetank::protocol::reason::{GoodbyeReason, RefusalReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn refusal(frames: &[Frame]) -> &Refused {
    match frames.last() {
        Some(Frame::Refused(refused)) => refused,
        other => panic!("no refusal but {other:?}"),
    }
}

/// Hello, then these bytes.
fn after_hello(device_id: &str, bytes: &[u8]) -> Vec<u8> {
    let mut all = bytes_of(&hello(device_id, "")).to_vec();
    all.extend_from_slice(bytes);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_get_the_refusal_that_the_protocol_names() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, "").await;

    let mut wrong_version = bytes_of(&hello("d", "")).to_vec();
    wrong_version[9] = 255;
    let mut no_device_id = bytes_of(&hello("d", "")).to_vec();
    no_device_id[11] = b' ';
    let package = bytes_of(&Frame::Package(PackageFrame { package_id: 1, block: block(&[position(0, 0)]) }));
    let before_hello = package.to_vec();
    let empty_frame = [0, 0, 0, 0];
    let mut trailing = bytes_of(&Frame::Ping { nonce: 1 }).to_vec();
    trailing[3] += 1;
    trailing.push(0);
    let cut_field = [0, 0, 0, 3, 6, 1, 2];
    let four_gib = [0xFF, 0xFF, 0xFF, 0xFF, 4, 0, 0, 0, 1];
    let above_max_frame = [0, 0x10, 0, 1, 4];
    let unknown_kind = [0, 0, 0, 2, 77, 1];

    use RefusalReason::{BadDeviceId, BadMagic, FrameTooLarge, ProtocolViolation, UnsupportedVersion};
    let cases: Vec<(&str, Vec<u8>, RefusalReason)> = vec![
        ("not a Hello", b"\x00\x00\x00\x10\x01GET / HTTP/1.1\r".to_vec(), BadMagic),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), FrameTooLarge),
        ("version 255", wrong_version, UnsupportedVersion),
        ("a device id of white space", no_device_id, BadDeviceId),
        ("4 GiB before Hello", four_gib.to_vec(), FrameTooLarge),
        ("4 GiB after Hello", after_hello("g", &four_gib), FrameTooLarge),
        ("one byte above max_frame", after_hello("g", &above_max_frame), FrameTooLarge),
        ("a frame of length 0", after_hello("g", &empty_frame), ProtocolViolation),
        ("an unknown kind", after_hello("g", &unknown_kind), ProtocolViolation),
        ("a second Hello", after_hello("g", &bytes_of(&hello("g", ""))), ProtocolViolation),
        ("a frame that ends within a field", after_hello("g", &cut_field), ProtocolViolation),
        ("a frame that goes on after its last field", after_hello("g", &trailing), ProtocolViolation),
        ("a frame of the server's", after_hello("g", &[0, 0, 0, 5, 3, 1, 0, 0, 0]), ProtocolViolation),
        ("a package before Hello", before_hello, ProtocolViolation),
    ];
    for (what, bytes, expected) in cases {
        let frames = say(server, &bytes).await;
        let refused = refusal(&frames);
        assert_eq!(refused.reason, expected, "{what}: {refused:?}");
        assert_eq!(refused.retry_after_ms, 0, "{what}: coming back without a change does not help");
        honest.goes_on().await;
    }
    honest.end().await;
    running.assert_unharmed().await;
    running.stop().await;
}

/// What a device says of itself, with a credential of this length.
fn hello_of_length(device_id: &str, credential_len: u16) -> Vec<u8> {
    let mut payload = [&b"SRGT\x01"[..], &[device_id.len() as u8], device_id.as_bytes()].concat();
    payload.extend(credential_len.to_be_bytes());
    payload.resize(payload.len() + usize::from(credential_len), b'x');
    [&(payload.len() as u32 + 1).to_be_bytes()[..], &[1], &payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_a_hello_is_read_if_the_hello_is_valid() {
    let site = Site::new(&[("credentials.file", "\"tokens.toml\"")]);
    let token = site.add_token(TokenKind::Device, "");
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let package = bytes_of(&Frame::Package(PackageFrame { package_id: 1, block: block(&[position(0, 0)]) }));
    let goodbye = Goodbye { reason: GoodbyeReason::Leaving, reconnect_after_ms: 0 };
    let rest = [package, bytes_of(&Frame::Goodbye(goodbye))].concat();
    let frames = say(server, &[&bytes_of(&hello("early", &token))[..], &rest].concat()).await;
    assert!(matches!(frames[..], [Frame::Welcome(_), Frame::Receipt(_)]), "{frames:?}");
    let frames = say(server, &[&bytes_of(&hello("early", "wrong"))[..], &rest].concat()).await;
    assert!(matches!(frames[..], [Frame::Refused(_)]), "{frames:?}");
    assert_eq!((refusal(&frames).reason, running.counters().packages), (RefusalReason::BadCredential, 1));

    // The whole frame is the only limit of a credential: this is looked at, and is no token.
    let device_id = "d".repeat(128);
    for (length, expected) in [(887, RefusalReason::BadCredential), (888, RefusalReason::FrameTooLarge)] {
        let frames = say(server, &hello_of_length(&device_id, length)).await;
        assert_eq!(refusal(&frames).reason, expected, "{length}");
    }
    running.stop().await;
}

/// The refusal has to arrive although the device goes on sending, and closing with unread bytes resets the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_device_that_goes_on_sending() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let mut rng = SmallRng::seed_from_u64(7);
    for round in 0..20 {
        let mut bytes = vec![0xFF; 4];
        bytes.extend((0..100_000).map(|_| rng.random::<u8>()));
        let bytes = if round % 2 == 0 { bytes } else { after_hello("endless", &bytes) };
        let frames = say(running.engine.devices_addr, &bytes).await;
        assert_eq!(refusal(&frames).reason, RefusalReason::FrameTooLarge, "round {round}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_and_truncated_bytes_end_their_own_connection_only() {
    let site = Site::new(&[("devices.hello_timeout", "\"300 ms\""), ("devices.idle_timeout", "\"1 s\"")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, "").await;
    let mut rng = SmallRng::seed_from_u64(1);
    let whole =
        after_hello("cut", &bytes_of(&Frame::Package(PackageFrame { package_id: 1, block: block(&[position(0, 0)]) })));
    let mut conversations = JoinSet::new();
    for round in 0..300 {
        let bytes: Vec<u8> = match round % 3 {
            0 => (0..rng.random_range(1..300)).map(|_| rng.random()).collect(),
            // One bit of an honest conversation is wrong.
            1 => {
                let mut flipped = whole.clone();
                let bit = rng.random_range(0..flipped.len() * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
                flipped
            }
            _ => whole[..rng.random_range(0..whole.len())].to_vec(),
        };
        conversations.spawn(async move {
            let mut stream = TcpStream::connect(server).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            // Half of them leave without a word, the others wait for what the server says.
            if round % 2 == 1 {
                let mut answer = Vec::new();
                let _ = in_time("the server to close", stream.read_to_end(&mut answer)).await;
            }
        });
    }
    conversations.join_all().await;
    honest.end().await;
    running.assert_unharmed().await;
    until_true("all connections to be gone", async || running.group("connection").alive == Some(0)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_a_wrong_token_are_refused() {
    let site = Site::new(&[
        ("credentials.file", "\"tokens.toml\""),
        ("devices.hello_timeout", "\"200 ms\""),
        ("devices.idle_timeout", "\"1 s\""),
    ]);
    let token = site.add_token(TokenKind::Device, "");
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, &token).await;

    let frames = say(server, &[]).await;
    let refused = refusal(&frames);
    assert_eq!(refused.reason, RefusalReason::HelloTimeout);
    assert!(refused.retry_after_ms > 0, "a slow network may come back");
    let frames = say(server, &bytes_of(&hello("half", &token))[..7]).await;
    assert_eq!(refusal(&frames).reason, RefusalReason::HelloTimeout, "half a Hello is none");

    for wrong in ["", "wrong-token", &token[1..], &format!("{token}2")] {
        let refused = Device::try_connect(server, "thief", wrong).await.err().flatten().expect("a refusal");
        assert_eq!((refused.reason, refused.retry_after_ms), (RefusalReason::BadCredential, 0), "{wrong:?}");
    }

    let mut idle = Device::try_connect(server, "idle", &token).await.ok().unwrap();
    let refused = refusal(&idle.last_words().await).clone();
    assert_eq!(refused.reason, RefusalReason::IdleTimeout);
    assert!(refused.retry_after_ms > 0);
    honest.end().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_and_a_second_one_of_a_device_are_refused() {
    let site = Site::new(&[("devices.max_connections", "2")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let mut first = Device::connect(server, "one").await;
    let mut second = Device::connect(server, "one").await;
    assert_eq!(refusal(&first.last_words().await).reason, RefusalReason::Replaced);
    second.accepted(&[position(1, 1)]).await;
    until_true("the replaced connection to be gone", async || running.group("connection").alive == Some(1)).await;

    let mut third = Device::connect(server, "two").await;
    let refused = Device::try_connect(server, "three", "").await.err().flatten().expect("a refusal");
    assert_eq!(refused.reason, RefusalReason::TooManyConnections);
    assert!(refused.retry_after_ms > 0);
    third.accepted(&[position(1, 1)]).await;
    drop(third);
    until_true("room again", async || Device::try_connect(server, "three", "").await.is_ok()).await;
    running.stop().await;
}
