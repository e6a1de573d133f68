//! Garbage in packages and messages. Rule 7 of the design: no input makes the engine crash, hang or grow without limit.
//! Every kind of garbage gets the reject reason that docs/protocol.md promises and is kept as a dead letter, while an
//! honest device is acknowledged throughout.

use crate::common;

use bytes::Bytes;
use common::device::{Device, Message, block, plain, position, position_at};
use common::honest::Honest;
use common::layouts::Layouts;
use common::ledger::dead_letters;
use common::site::{Running, Site};
use common::{now_ms, until};
use surgetank::codec::avro::OwnedDeadLetter;
use surgetank::protocol::message::MessageHeader;
use surgetank::protocol::reason::RejectReason;
use surgetank::protocol::receipt::{Outcome, Receipt, Verdict};

fn rejected(receipt: &Receipt) -> RejectReason {
    match receipt.verdict {
        Verdict::Rejected(reason) => reason,
        ref other => panic!("not rejected as a whole: {other:?}"),
    }
}

/// The dead letters of a device, once there are as many.
async fn letters_of(site: &Site, running: &Running, device_id: &str, num: usize) -> Vec<OwnedDeadLetter> {
    until(&format!("{num} dead letters of {device_id}"), async || {
        let all = dead_letters(&site.config(), &*running.started.backends.log);
        let letters: Vec<_> = all.into_iter().filter(|letter| letter.device_id == device_id).collect();
        (letters.len() == num).then_some(letters)
    })
    .await
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
        let letters = letters_of(&site, &running, &device_id, 1).await;
        let letter = &letters[0];
        assert_eq!(letter.reason_code, expected.name(), "{what}");
        assert_eq!(letter.payload, bytes, "{what}: the bytes are kept as they came");
        assert_eq!(letter.origin, "decoder", "{what}");
        assert!(!letter.detail.is_empty(), "{what}");
        assert!((before_us..=surgetank::telemetry::now_us()).contains(&letter.at_us), "{what}");
        honest.goes_on().await;
    }
    honest.end().await;
    running.assert_unharmed().await;
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
        ("a second in 1970", position_at(1, 1, 1), RejectReason::EventTimeOutOfRange),
        ("a time in seconds", position_at(1, 1, now_ms() / 1000), RejectReason::EventTimeOutOfRange),
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
    running.assert_unharmed().await;
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

/// Numbers that no column holds, as the last word of a layout of the test's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nan_and_the_infinities_are_out_of_range_whatever_is_declared() {
    const TYPE_ID: u16 = 77;
    let layouts = Layouts::new();
    let field = |kind| format!("{{ name = \"{kind}_value\", kind = \"{kind}\", doc = \"d\" }}");
    let fields = [field("f32"), field("f64")].join(", ");
    let head = format!("type = \"floats\"\nid = {TYPE_ID}\ndoc = \"d\"\n[[version]]\nversion = 1\n");
    layouts.write("floats.toml", &format!("{head}fields = [{fields}]\n"));
    let site = Site::new(&[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let time = now_ms();
    let values = [
        (f32::MAX, f64::MIN),
        (f32::NAN, 0.0),
        (-f32::NAN, 0.0),
        (f32::INFINITY, 0.0),
        (f32::NEG_INFINITY, 0.0),
        (0.0, f64::NAN),
        (0.0, f64::INFINITY),
        (0.0, f64::NEG_INFINITY),
        (f32::from_bits(1), f64::from_bits(1)),
    ];
    let messages: Vec<Message> = (0..)
        .zip(values)
        .map(|(sequence, (single, double))| {
            let header = MessageHeader { type_id: TYPE_ID, version: 1, sequence, event_time_ms: time };
            (header, [&single.to_be_bytes()[..], &double.to_be_bytes()].concat())
        })
        .collect();
    let outcomes = device.deliver(&messages).await;
    let rejected = [Outcome::Rejected(RejectReason::OutOfRange); 7];
    assert_eq!(outcomes, [&[Outcome::Accepted][..], &rejected, &[Outcome::Accepted]].concat());
    letters_of(&site, &running, "d", rejected.len()).await;
    running.catch_up().await;
    let sequences = site.rows("select sequence from floats order by sequence");
    assert_eq!(sequences, [[0], [8]]);
    running.assert_unharmed().await;
    running.stop().await;
}
