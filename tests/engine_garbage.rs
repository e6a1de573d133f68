//! Rule 7: no input makes the engine crash, hang or grow without limit. Every kind of garbage gets the refusal or the
//! reject reason that docs/protocol.md promises, while an honest device is acknowledged throughout.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::device::{Device, Message, block, bytes_of, hello, plain, position, position_at, say};
use common::ledger::dead_letters;
use common::site::{Running, Site};
use common::{http, in_time, now_ms, until, until_true};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use surgetank::protocol::avro::OwnedDeadLetter;
use surgetank::protocol::frame::{Frame, PackageFrame};
use surgetank::protocol::hello::Refused;
use surgetank::protocol::reason::{RefusalReason, RejectReason};
use surgetank::protocol::receipt::{Outcome, Receipt, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

/// A device that sends packages one after the other, and insists that each is accepted.
struct Honest {
    num_accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Honest {
    async fn start(server: SocketAddr, token: &'static str) -> Self {
        let (num_accepted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&num_accepted), Arc::clone(&stop));
        let mut device = Device::try_connect(server, "honest", token).await.expect("the honest device is welcome");
        let task = tokio::spawn(async move {
            for sequence in 0.. {
                device.accepted(&[position(sequence, sequence)]).await;
                count.fetch_add(1, Ordering::Relaxed);
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // A pace, so that the tests have the machine for themselves.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { num_accepted, stop, task }
    }

    /// Waits for an acknowledgement that was not there before.
    async fn goes_on(&self) {
        let before = self.num_accepted.load(Ordering::Relaxed);
        until_true("the honest device to be acknowledged", async || {
            self.num_accepted.load(Ordering::Relaxed) > before || self.task.is_finished()
        })
        .await;
        assert!(!self.task.is_finished(), "the honest device was disturbed");
    }

    async fn end(self) {
        self.goes_on().await;
        self.stop.store(true, Ordering::Relaxed);
        in_time("the honest device to end", self.task).await.unwrap();
    }
}

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

fn rejected(receipt: &Receipt) -> RejectReason {
    match receipt.verdict {
        Verdict::Rejected(reason) => reason,
        ref other => panic!("not rejected as a whole: {other:?}"),
    }
}

/// The dead letters of a device, once there are as many.
async fn letters_of(site: &Site, running: &Running, device_id: &str, num: usize) -> Vec<OwnedDeadLetter> {
    until(&format!("{num} dead letters of {device_id}"), async || {
        let all = dead_letters(&site.config(), &*running.started.rooms.log);
        let letters: Vec<_> = all.into_iter().filter(|letter| letter.device_id == device_id).collect();
        (letters.len() == num).then_some(letters)
    })
    .await
}

/// Every actor runs and none was ever restarted.
async fn assert_unharmed(running: &Running) {
    let (status, _) = http::get(running.engine.http_addr, "/health/ready").await;
    assert_eq!(status, 200);
    for group in running.started.view.supervisor.tree().snapshot() {
        assert_eq!(group.panicked.unwrap_or(0), 0, "{group:?}");
        for actor in &group.actors {
            assert_eq!(actor.restarts, 0, "{group:?}");
        }
    }
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
    assert_unharmed(&running).await;
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
    assert_unharmed(&running).await;
    until_true("all connections to be gone", async || running.group("connection").alive == Some(0)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_a_wrong_token_are_refused() {
    let site = Site::new(&[
        ("devices.token", "\"right-token\""),
        ("devices.hello_timeout", "\"200 ms\""),
        ("devices.idle_timeout", "\"1 s\""),
    ]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, "right-token").await;

    let frames = say(server, &[]).await;
    let refused = refusal(&frames);
    assert_eq!(refused.reason, RefusalReason::HelloTimeout);
    assert!(refused.retry_after_ms > 0, "a slow network may come back");
    let frames = say(server, &bytes_of(&hello("half", "right-token"))[..7]).await;
    assert_eq!(refusal(&frames).reason, RefusalReason::HelloTimeout, "half a Hello is none");

    for token in ["", "wrong-token", "right-toke", "right-token2"] {
        let refused = Device::try_connect(server, "thief", token).await.err().flatten().expect("a refusal");
        assert_eq!((refused.reason, refused.retry_after_ms), (RefusalReason::BadCredential, 0), "{token:?}");
    }

    let mut idle = Device::try_connect(server, "idle", "right-token").await.ok().unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_packages_are_rejected_as_a_whole_and_kept() {
    let site = Site::new(&[("devices.max_messages", "100"), ("devices.max_package", "\"2 MiB\"")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, "").await;
    let compress = |plain: &[u8]| Bytes::from(snap::raw::Encoder::new().compress_vec(plain).unwrap());
    let good = block(&[position(1, 1)]);

    // The varint in front of a block claims its size: here almost 4 GiB in 5 bytes.
    let claims_4_gib = Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00, 0x00]);
    // A thousand times its own size, and within max_package: more than Snappy can hold.
    let claims_1000_to_1 = Bytes::from([&[0x80, 0x80, 0x40][..], &[0; 1045]].concat());
    // As dense as Snappy gets, 21 times its own size.
    let real_bomb = compress(&vec![0; 64 << 20]);
    let too_many: Vec<Message> = (0..101).map(|sequence| position(sequence, 0)).collect();
    let cases = [
        ("claims 4 GiB", claims_4_gib, RejectReason::PackageTooLarge),
        ("claims 1000:1", claims_1000_to_1, RejectReason::BadSnappy),
        ("a bomb of 64 MiB zipped", real_bomb.slice(..900_000), RejectReason::PackageTooLarge),
        ("no Snappy at all", Bytes::from_static(b"\x20hello, this is not a block"), RejectReason::BadSnappy),
        ("a block that is cut off", good.slice(..good.len() - 3), RejectReason::BadSnappy),
        ("101 messages", block(&too_many), RejectReason::TooManyMessages),
        ("claims 65535 messages", compress(&[0xFF, 0xFF]), RejectReason::TooManyMessages),
        ("claims 100 messages in 4 bytes", compress(&[0, 100, 1, 2]), RejectReason::MalformedPackage),
        ("no count", compress(&[7]), RejectReason::MalformedPackage),
        ("empty block", Bytes::new(), RejectReason::BadSnappy),
    ];
    for (number, (what, bytes, expected)) in cases.into_iter().enumerate() {
        let device_id = format!("package-{number}");
        let before_us = surgetank::telemetry::now_us();
        let mut device = Device::connect(server, &device_id).await;
        device.send_block(bytes.clone()).await;
        assert_eq!(rejected(&device.receipt().await), expected, "{what}");
        // The connection goes on: only the package was at fault.
        device.accepted(&[position(1, 1)]).await;
        // Longer ones are kept in parts.
        let num_letters = bytes.len().div_ceil(512 * 1024).max(1);
        let letters = letters_of(&site, &running, &device_id, num_letters).await;
        let letter = &letters[0];
        assert_eq!(letter.reason_code, expected.name(), "{what}");
        let kept: Vec<u8> = letters.iter().flat_map(|letter| letter.payload.clone()).collect();
        assert_eq!(kept, bytes, "{what}: the bytes are kept as they came");
        assert_eq!(letter.origin, "decoder", "{what}");
        assert!(!letter.detail.is_empty(), "{what}");
        assert!((before_us..=surgetank::telemetry::now_us()).contains(&letter.at_us), "{what}");
        honest.goes_on().await;
    }
    honest.end().await;
    assert_unharmed(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_messages_are_rejected_one_by_one_and_kept() {
    let site = Site::new(&[("devices.max_event_time_ahead", "\"1 h\"")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let honest = Honest::start(server, "").await;

    let retyped = |type_id, version| {
        let (mut header, body) = position(1, 1);
        (header.type_id, header.version) = (type_id, version);
        (header, body)
    };
    let cut = {
        let (header, mut body) = position(1, 1);
        body.truncate(body.len() / 2);
        (header, body)
    };
    let longer = {
        let (header, mut body) = position(1, 1);
        body.extend([0; 8]);
        (header, body)
    };
    // Latitude beyond the pole.
    let out_of_range = {
        let (header, mut body) = position(1, 1);
        body[..4].copy_from_slice(&1_000_000_000u32.to_be_bytes());
        (header, body)
    };
    let cases: Vec<(&str, Message, RejectReason)> = vec![
        ("an unknown type", retyped(999, 1), RejectReason::UnknownType),
        ("version 255", retyped(1, 255), RejectReason::UnknownVersion),
        ("half a body", cut, RejectReason::Undecodable),
        ("a body with more behind it", longer, RejectReason::Undecodable),
        ("an empty body", (position(1, 1).0, Vec::new()), RejectReason::Undecodable),
        ("a latitude of 100 degrees", out_of_range, RejectReason::OutOfRange),
        ("tomorrow", position_at(1, 1, now_ms() + 86_400_000), RejectReason::EventTimeOutOfRange),
        ("the end of time", position_at(1, 1, (1 << 48) - 1), RejectReason::EventTimeOutOfRange),
    ];
    for (number, (what, broken, expected)) in cases.into_iter().enumerate() {
        let device_id = format!("message-{number}");
        let mut device = Device::connect(server, &device_id).await;
        let messages = [position(10, 1), broken.clone(), position(11, 1)];
        let outcomes = device.deliver(&messages).await;
        assert_eq!(outcomes, [Outcome::Accepted, Outcome::Rejected(expected), Outcome::Accepted], "{what}");
        let letters = letters_of(&site, &running, &device_id, 1).await;
        let letter = &letters[0];
        assert_eq!((letter.reason_code.as_str(), letter.origin.as_str()), (expected.name(), "decoder"), "{what}");
        let raw = &plain(std::slice::from_ref(&broken))[2..];
        assert_eq!(letter.payload, raw, "{what}: the bytes are kept as they came");
        let header = broken.0;
        assert_eq!(letter.type_id, Some(header.type_id), "{what}");
        assert_eq!(letter.version, Some(header.version), "{what}");
        assert_eq!(letter.sequence, Some(header.sequence), "{what}");
        assert_eq!(letter.event_time_ms, Some(header.event_time_ms), "{what}");
        assert!(!letter.detail.is_empty(), "{what}");
    }
    honest.end().await;
    assert_unharmed(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_checksum_costs_its_message_and_a_broken_structure_all_after_it() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let compress = |plain: &[u8]| Bytes::from(snap::raw::Encoder::new().compress_vec(plain).unwrap());
    let messages: Vec<Message> = (0..4).map(|sequence| position(sequence, 1)).collect();
    let one_len = (plain(&messages).len() - 2) / 4;

    let mut flipped = plain(&messages);
    flipped[2 + one_len + 25] ^= 1;
    let mut device = Device::connect(server, "checksum").await;
    device.send_block(compress(&flipped)).await;
    let outcomes: Vec<Outcome> = device.receipt().await.outcomes(4).unwrap().collect();
    let bad = Outcome::Rejected(RejectReason::BadChecksum);
    assert_eq!(outcomes, [Outcome::Accepted, bad, Outcome::Accepted, Outcome::Accepted]);
    let letters = letters_of(&site, &running, "checksum", 1).await;
    assert_eq!(letters[0].payload, flipped[2 + one_len..2 + 2 * one_len]);
    assert_eq!(letters[0].sequence, None, "a header with a bad checksum is not believed");

    let mut overlong = plain(&messages);
    overlong[2 + one_len + 17..2 + one_len + 19].copy_from_slice(&[0xFF, 0xFF]);
    let mut device = Device::connect(server, "structure").await;
    device.send_block(compress(&overlong)).await;
    let outcomes: Vec<Outcome> = device.receipt().await.outcomes(4).unwrap().collect();
    let lost = Outcome::Rejected(RejectReason::Undecodable);
    assert_eq!(outcomes, [Outcome::Accepted, lost, lost, lost]);
    let letters = letters_of(&site, &running, "structure", 1).await;
    assert_eq!(letters[0].payload, overlong[2 + one_len..]);

    let twice = [messages[0].clone(), messages[1].clone(), messages[0].clone()];
    let mut device = Device::connect(server, "twice").await;
    assert_eq!(device.deliver(&twice).await, [Outcome::Accepted, Outcome::Accepted, Outcome::Duplicate]);
    running.stop().await;
}
