use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::device_id::DeviceId;
use crate::protocol::hello::{Credential, MAX_CREDENTIAL_LEN, MAX_REFUSAL_TEXT_LEN};
use crate::protocol::reason::{GoodbyeReason, RejectReason};
use crate::protocol::receipt::{Outcome, ReceiptBuilder};

const LIMIT: usize = 1 << 20;

fn encoded(frame: &Frame) -> BytesMut {
    let mut buf = BytesMut::new();
    frame.encode(&mut buf);
    buf
}

fn receipts() -> impl Strategy<Value = Receipt> {
    let outcomes = prop_oneof![
        4 => Just(Outcome::Accepted),
        1 => Just(Outcome::Duplicate),
        1 => proptest::sample::select(RejectReason::ALL).prop_map(Outcome::Rejected),
        1 => Just(Outcome::RetryLater),
    ];
    let per_message = (any::<u32>(), vec(outcomes, 0..60), any::<u32>()).prop_map(|(id, outcomes, retry_after_ms)| {
        let mut builder = ReceiptBuilder::new(id, outcomes.len() as u16);
        for (index, outcome) in outcomes.into_iter().enumerate() {
            builder.set(index as u16, outcome);
        }
        builder.build(retry_after_ms)
    });
    prop_oneof![
        per_message,
        (any::<u32>(), proptest::sample::select(RejectReason::ALL)).prop_map(|(id, r)| Receipt::rejected(id, r)),
        (any::<u32>(), any::<u32>()).prop_map(|(id, delay)| Receipt::retry_later(id, delay)),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    let hello = ("[!-~äß]{1,64}", vec(any::<u8>(), 0..40)).prop_map(|(id, credential)| {
        Frame::Hello(Hello {
            device_id: DeviceId::new(&id).unwrap(),
            credential: Credential::new(credential.into()).unwrap(),
        })
    });
    let welcome = (any::<[u32; 3]>(), any::<[u16; 2]>(), any::<u64>()).prop_map(|(wide, narrow, server_time_ms)| {
        Frame::Welcome(Welcome {
            max_frame: wide[0],
            max_package: wide[1],
            max_messages: narrow[0],
            max_unacknowledged: narrow[1],
            idle_timeout_ms: wide[2],
            server_time_ms,
        })
    });
    let refused = (proptest::sample::select(RefusalReason::ALL), any::<u32>(), ".{0,40}")
        .prop_map(|(reason, retry_after_ms, text)| Frame::Refused(Refused { reason, retry_after_ms, text }));
    let package = (any::<u32>(), vec(any::<u8>(), 0..300))
        .prop_map(|(package_id, block)| Frame::Package(PackageFrame { package_id, block: block.into() }));
    let goodbye = (proptest::sample::select(GoodbyeReason::ALL), any::<u32>())
        .prop_map(|(reason, reconnect_after_ms)| Frame::Goodbye(Goodbye { reason, reconnect_after_ms }));
    prop_oneof![
        hello,
        welcome,
        refused,
        package,
        receipts().prop_map(Frame::Receipt),
        any::<u64>().prop_map(|nonce| Frame::Ping { nonce }),
        any::<[u64; 2]>().prop_map(|[nonce, server_time_ms]| Frame::Pong(Pong { nonce, server_time_ms })),
        goodbye,
    ]
}

proptest! {
    #[test]
    fn test_frame_round_trips(frame in frames()) {
        let mut buf = encoded(&frame);
        prop_assert_eq!(decode(&mut buf, LIMIT).unwrap(), Some(frame));
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn test_frame_split_anywhere_gives_the_same_frames(frames in vec(frames(), 1..4)) {
        let mut whole = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut whole);
        }
        for split in 0..=whole.len() {
            let mut buf = BytesMut::new();
            let mut seen = Vec::new();
            for part in [&whole[..split], &whole[split..]] {
                buf.extend_from_slice(part);
                while let Some(frame) = decode(&mut buf, LIMIT).unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(&seen, &frames);
            prop_assert!(buf.is_empty());
        }
    }

    #[test]
    fn test_frame_decodes_arbitrary_bytes_without_panic_or_growth(
        bytes in vec(any::<u8>(), 0..400),
        claim in any::<Option<u16>>(),
        kind in 0u8..10,
    ) {
        let mut buf = BytesMut::new();
        if let Some(claim) = claim {
            buf.put_u32(u32::from(claim) % 400);
            buf.put_u8(kind);
        }
        buf.extend_from_slice(&bytes);
        let capacity = buf.capacity();
        while let Ok(Some(frame)) = decode(&mut buf, HANDSHAKE_FRAME_LIMIT) {
            if let Frame::Receipt(Receipt { verdict: crate::protocol::receipt::Verdict::PerMessage { exceptions, .. }, .. }) = &frame {
                prop_assert!(exceptions.capacity() <= HANDSHAKE_FRAME_LIMIT);
            }
            // Whatever could be read can be written, and reads the same again.
            prop_assert_eq!(decode(&mut encoded(&frame), LIMIT).unwrap(), Some(frame));
        }
        prop_assert!(buf.capacity() <= capacity);
    }

    #[test]
    fn test_frame_changed_in_one_byte_never_panics(frame in frames(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut buf = encoded(&frame);
        let place = place.index(buf.len());
        buf[place] = byte;
        let _ = decode(&mut buf, LIMIT);
    }
}

#[test]
fn test_frame_incomplete_leaves_the_buffer_alone() {
    let whole = encoded(&Frame::Ping { nonce: 7 });
    for len in 0..whole.len() {
        let mut buf = BytesMut::from(&whole[..len]);
        assert_eq!(decode(&mut buf, LIMIT), Ok(None));
        assert_eq!(buf, whole[..len]);
    }
}

#[test]
fn test_frame_length_is_refused_before_anything_else_arrives() {
    let mut four_gib = BytesMut::from(&[0xff; 4][..]);
    let error = decode(&mut four_gib, HANDSHAKE_FRAME_LIMIT).unwrap_err();
    assert_eq!(error, FrameError::TooLarge { length: u32::MAX, limit: HANDSHAKE_FRAME_LIMIT });
    assert_eq!(error.refusal(), RefusalReason::FrameTooLarge);
    assert_eq!(decode(&mut BytesMut::from(&[0; 4][..]), LIMIT), Err(FrameError::Empty));
}

#[test]
fn test_frame_of_other_protocols_is_refused_at_once() {
    for start in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n", b"SRGT"] {
        let mut buf = BytesMut::from(start);
        assert!(matches!(decode(&mut buf, HANDSHAKE_FRAME_LIMIT), Err(FrameError::TooLarge { .. })), "{start:?}");
    }
}

#[test]
fn test_frame_kind_is_refused_before_its_payload_arrives() {
    for kind in [0, 9, 0xff] {
        let mut buf = BytesMut::from(&[0, 0, 0, 9, kind][..]);
        assert_eq!(decode(&mut buf, LIMIT), Err(FrameError::UnknownKind(kind)));
    }
}

#[test]
fn test_frame_longest_hello_and_refused_fit_the_handshake_limit() {
    let hello = Frame::Hello(Hello {
        device_id: DeviceId::new(&"d".repeat(128)).unwrap(),
        credential: Credential::new(vec![0; MAX_CREDENTIAL_LEN].into()).unwrap(),
    });
    assert_eq!(decode(&mut encoded(&hello), HANDSHAKE_FRAME_LIMIT), Ok(Some(hello)));

    let text = "ä".repeat(MAX_REFUSAL_TEXT_LEN);
    let refused = Frame::Refused(Refused { reason: RefusalReason::BadCredential, retry_after_ms: 0, text });
    let Ok(Some(Frame::Refused(cut))) = decode(&mut encoded(&refused), HANDSHAKE_FRAME_LIMIT) else {
        panic!("not refused");
    };
    assert_eq!(cut.text, "ä".repeat(MAX_REFUSAL_TEXT_LEN / 2));
}

#[test]
fn test_frame_hello_names_what_is_wrong_with_it() {
    let hello = |bytes: &[u8]| {
        let mut buf = BytesMut::new();
        buf.put_u32(bytes.len() as u32 + 1);
        buf.put_u8(KIND_HELLO);
        buf.put_slice(bytes);
        decode(&mut buf, HANDSHAKE_FRAME_LIMIT).unwrap_err()
    };
    assert_eq!(hello(b"SRGX\x01\x01d\0\0"), FrameError::BadMagic);
    assert_eq!(hello(b"SRG"), FrameError::BadMagic);
    // Only the version is read of a Hello of another version.
    assert_eq!(hello(b"SRGT\x02"), FrameError::UnsupportedVersion(2));
    assert_eq!(hello(b"SRGT\x01\x00\0\0"), FrameError::BadDeviceId(BadDeviceId::Length(0)));
    assert_eq!(hello(b"SRGT\x01\x02d \0\0"), FrameError::BadDeviceId(BadDeviceId::Characters));
    assert_eq!(hello(b"SRGT\x01\x05d"), FrameError::Truncated);
    assert_eq!(hello(b"SRGT\x01\x01d\0\0!"), FrameError::Trailing(1));
}

#[test]
fn test_frame_package_block_is_not_copied() {
    let mut buf = encoded(&Frame::Package(PackageFrame { package_id: 1, block: Bytes::from_static(&[7; 100]) }));
    let place = buf[LENGTH_LEN + 5..].as_ptr();
    let Ok(Some(Frame::Package(package))) = decode(&mut buf, LIMIT) else { panic!("not a package") };
    assert_eq!(package.block.as_ptr(), place);
}

#[test]
fn test_frame_credential_does_not_show_in_debug_output() {
    let credential = Credential::new(Bytes::from_static(b"secret")).unwrap();
    assert_eq!(format!("{credential:?}"), "Credential(6 bytes)");
    assert!(Credential::new(vec![0; MAX_CREDENTIAL_LEN + 1].into()).is_none());
}
