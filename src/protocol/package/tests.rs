use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: PackageLimits = PackageLimits { max_bytes: 1 << 16, max_messages: 500 };

fn header(sequence: u32) -> MessageHeader {
    MessageHeader { type_id: 1, version: 2, sequence, event_time_ms: 1_750_000_000_000 }
}

fn package(bodies: &[&[u8]]) -> Vec<u8> {
    let mut builder = Builder::new(LIMITS);
    for (sequence, body) in bodies.iter().enumerate() {
        builder.push(&header(sequence as u32), body).unwrap();
    }
    builder.plain().to_vec()
}

fn entries(package: &[u8]) -> Vec<Entry<'_>> {
    Messages::new(package, LIMITS).unwrap().collect()
}

fn messages(package: &[u8]) -> Vec<Message<'_>> {
    let message = |entry| match entry {
        Entry::Message(message) => message,
        Entry::Tail(tail) => panic!("{tail:?}"),
    };
    entries(package).into_iter().map(message).collect()
}

fn duplicates(package: &[u8]) -> Vec<Option<Repeat>> {
    let messages = messages(package);
    let mut table = Duplicates::default();
    table.begin(messages.len() as u16);
    messages.iter().map(|message| table.first_of(package, message)).collect()
}

fn headers() -> impl Strategy<Value = MessageHeader> {
    (any::<u16>(), any::<u8>(), any::<u32>(), 0..EVENT_TIME_END_MS).prop_map(
        |(type_id, version, sequence, event_time_ms)| MessageHeader { type_id, version, sequence, event_time_ms },
    )
}

proptest! {
    #[test]
    fn test_package_round_trips(sent in vec((headers(), vec(any::<u8>(), 0..40)), 0..60)) {
        let mut builder = Builder::new(LIMITS);
        for (header, body) in &sent {
            builder.push(header, body).unwrap();
        }
        let size = builder.size();
        let block = builder.finish().unwrap();
        let mut scratch = Vec::new();
        decompress(&block, LIMITS, &mut scratch).unwrap();
        prop_assert_eq!(scratch.len(), size);

        let messages = messages(&scratch);
        prop_assert_eq!(messages.len(), sent.len());
        for (index, (message, (header, body))) in messages.iter().zip(&sent).enumerate() {
            prop_assert_eq!(usize::from(message.index), index);
            prop_assert_eq!(&message.header, header);
            prop_assert_eq!(message.body, &body[..]);
            prop_assert!(message.crc_ok);
            prop_assert_eq!(&scratch[message.offset..message.offset + message.raw.len()], message.raw);
        }
    }

    /// However a package is broken: every index is accounted for exactly once and no byte is lost.
    #[test]
    fn test_package_of_arbitrary_bytes_is_fully_accounted_for(
        count in 0u16..8,
        lengths in vec(0u16..30, 0..8),
        noise in vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = count.to_be_bytes().to_vec();
        let mut noise = noise.into_iter();
        for length in lengths {
            bytes.extend(noise.by_ref().take(MESSAGE_OVERHEAD - 2));
            bytes.extend(length.to_be_bytes());
        }
        bytes.extend(noise);
        if let Ok(walk) = Messages::new(&bytes, LIMITS) {
            let mut next_index = 0;
            let mut seen = COUNT_LEN;
            for entry in walk {
                match entry {
                    Entry::Message(message) => {
                        prop_assert_eq!(message.index, next_index);
                        next_index += 1;
                        seen += message.raw.len();
                    }
                    Entry::Tail(tail) => {
                        prop_assert_eq!(tail.first_index, next_index);
                        next_index = count;
                        seen += tail.raw.len();
                    }
                }
            }
            prop_assert_eq!(next_index, count);
            prop_assert_eq!(seen, bytes.len());
        }
    }

    #[test]
    fn test_decompress_of_arbitrary_bytes_stays_within_limits(block in vec(any::<u8>(), 0..200)) {
        let limits = PackageLimits { max_bytes: 1000, max_messages: 10 };
        let mut scratch = Vec::new();
        let result = decompress(&block, limits, &mut scratch);
        prop_assert!(scratch.capacity() <= limits.max_bytes);
        prop_assert!(result.is_err() || scratch.len() <= limits.max_bytes);
    }

    #[test]
    fn test_duplicates_agree_with_comparing_everything(choices in vec(0usize..6, 0..50)) {
        let mut builder = Builder::new(LIMITS);
        for choice in &choices {
            builder.push(&header(*choice as u32), &vec![7; choice % 3]).unwrap();
        }
        let expected: Vec<Option<Repeat>> = choices
            .iter()
            .enumerate()
            .map(|(index, choice)| choices[..index].iter().position(|earlier| earlier == choice))
            .map(|first| first.map(|index| Repeat::Bytes(index as u16)))
            .collect();
        prop_assert_eq!(duplicates(builder.plain()), expected);
    }

    /// Identities with several bodies, some of which are rejected, against a plain list of what came before.
    #[test]
    fn test_duplicates_agree_with_a_list(choices in vec((0u32..4, 0u8..3, any::<bool>()), 0..40)) {
        let mut builder = Builder::new(LIMITS);
        for (sequence, body, _) in &choices {
            builder.push(&header(*sequence), &[*body]).unwrap();
        }
        let package = builder.plain();
        let mut table = Duplicates::default();
        table.begin(choices.len() as u16);
        // What was decided of each message: the same body has the same fate.
        let mut looked_at: Vec<(u16, u32, u8, bool)> = Vec::new();
        for (message, (sequence, body, rejected)) in messages(package).iter().zip(&choices) {
            let same = looked_at.iter().find(|known| (known.1, known.2) == (*sequence, *body));
            let taken = looked_at.iter().find(|known| known.1 == *sequence && known.3);
            let expected = same.map(|known| Repeat::Bytes(known.0)).or(taken.map(|known| Repeat::Identity(known.0)));
            prop_assert_eq!(table.first_of(package, message), expected);
            if same.is_none() && *rejected {
                table.reject(message);
                looked_at.push((message.index, *sequence, *body, false));
            } else if expected.is_none() {
                looked_at.push((message.index, *sequence, *body, true));
            }
        }
    }
}

#[test]
fn test_checksum_is_crc32c() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
    assert_eq!(checksum(b""), 0);
    assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn test_package_single_bit_errors_break_the_checksum() {
    let whole = package(&[b"body"]);
    let body_len = COUNT_LEN + MESSAGE_OVERHEAD - 2..COUNT_LEN + MESSAGE_OVERHEAD;
    for place in (COUNT_LEN..whole.len()).filter(|place| !body_len.contains(place)) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        assert!(!messages(&bytes)[0].crc_ok, "byte {place}");
    }
}

#[test]
fn test_package_broken_in_the_middle_yields_the_tail_once() {
    let mut bytes = package(&[b"one", b"two", b"three"]);
    let second = COUNT_LEN + MESSAGE_OVERHEAD + 3;
    bytes[second + MESSAGE_OVERHEAD - 2] = 0xff;
    let entries = entries(&bytes);
    assert_eq!(entries.len(), 2);
    assert!(matches!(entries[0], Entry::Message(Message { index: 0, crc_ok: true, body: b"one", .. })));
    assert_eq!(entries[1], Entry::Tail(Tail { first_index: 1, raw: &bytes[second..] }));
}

#[test]
fn test_package_whose_bodies_swallow_the_last_message_still_tells_its_index() {
    let mut bytes = package(&[b"one", b""]);
    let length = COUNT_LEN + MESSAGE_OVERHEAD - 1;
    bytes[length] = 3 + MESSAGE_OVERHEAD as u8;
    let entries = entries(&bytes);
    assert!(matches!(entries[0], Entry::Message(Message { index: 0, crc_ok: false, .. })));
    assert_eq!(entries[1..], [Entry::Tail(Tail { first_index: 1, raw: &[] })]);
}

#[test]
fn test_package_with_bytes_after_the_last_message_yields_them() {
    let mut bytes = package(&[b"one"]);
    bytes.push(9);
    assert_eq!(entries(&bytes)[1..], [Entry::Tail(Tail { first_index: 1, raw: &[9] })]);
}

#[test]
fn test_package_count_is_checked_against_limit_and_size() {
    let too_many = PackageError::TooManyMessages { claimed: 501, limit: 500 };
    assert_eq!(Messages::new(&501u16.to_be_bytes(), LIMITS).unwrap_err(), too_many);

    let mut bytes = package(&[b"", b""]);
    bytes.pop();
    let malformed = PackageError::Malformed { claimed: 2, bytes: bytes.len() };
    assert_eq!(Messages::new(&bytes, LIMITS).unwrap_err(), malformed);
    assert_eq!(malformed.reason(), RejectReason::MalformedPackage);
    assert!(Messages::new(&[0], LIMITS).is_err());
    // Bytes that belong to no message would be forgotten by their device as if they were settled.
    let nothing = PackageError::Malformed { claimed: 0, bytes: 42 };
    assert_eq!(Messages::new(&[0; 42], LIMITS).unwrap_err(), nothing);
    assert_eq!(entries(&[0, 0]), []);
}

#[test]
fn test_decompress_refuses_claims_before_allocating() {
    let mut scratch = Vec::new();
    // 4 GiB - 1 as a varint, then nothing.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let too_large = PackageError::TooLarge { claimed: u32::MAX as usize, limit: LIMITS.max_bytes };
    assert_eq!(decompress(&huge, LIMITS, &mut scratch), Err(too_large));
    // Within the limit, but more than five bytes can stand for.
    let thin = [0x80, 0x80, 0x02, 0, 0];
    assert_eq!(decompress(&thin, LIMITS, &mut scratch), Err(PackageError::BadSnappy));
    assert_eq!(decompress(&[], LIMITS, &mut scratch), Err(PackageError::BadSnappy));
    assert_eq!(scratch.capacity(), 0);
}

#[test]
fn test_decompress_takes_the_densest_blocks() {
    let zeros = vec![0; LIMITS.max_bytes];
    let block = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    let mut scratch = Vec::new();
    decompress(&block, LIMITS, &mut scratch).unwrap();
    assert_eq!(scratch, zeros);
}

/// The generator polynomial of CRC-32C in the order in which bits enter it. Adding it to a message adds a multiple of
/// the divisor, so the remainder stays the same.
const COLLIDER: [u8; 5] = [0xf1, 0x76, 0xec, 0x05, 0x01];

#[test]
fn test_duplicates_do_not_lose_a_message_to_a_checksum_collision() {
    let mut builder = Builder::new(LIMITS);
    // The collider lies over the sequence and the highest byte of the event time.
    let first = header(1);
    let sequence = first.sequence ^ u32::from_be_bytes(*COLLIDER.first_chunk().unwrap());
    let event_time_ms = first.event_time_ms ^ u64::from(COLLIDER[4]) << 40;
    builder.push(&first, &[0; 5]).unwrap();
    (0..2).for_each(|_| builder.push(&MessageHeader { sequence, event_time_ms, ..first }, &[0; 5]).unwrap());
    let package = builder.plain().to_vec();
    let messages = messages(&package);
    assert_eq!(messages[0].crc, messages[1].crc, "the collision was constructed");
    assert!(messages[1].crc_ok);
    assert_eq!(duplicates(&package), [None, None, Some(Repeat::Bytes(1))]);
}

#[test]
fn test_duplicates_are_of_one_identity_whatever_the_version_and_the_body() {
    let mut builder = Builder::new(LIMITS);
    let first = header(1);
    builder.push(&first, &[0]).unwrap();
    builder.push(&first, &[1]).unwrap();
    builder.push(&MessageHeader { version: first.version + 1, ..first }, &[0]).unwrap();
    builder.push(&MessageHeader { type_id: first.type_id + 1, ..first }, &[0]).unwrap();
    builder.push(&MessageHeader { sequence: 2, ..first }, &[0]).unwrap();
    builder.push(&MessageHeader { event_time_ms: first.event_time_ms + 1, ..first }, &[0]).unwrap();
    let package = builder.plain().to_vec();
    let repeat = Some(Repeat::Identity(0));
    assert_eq!(duplicates(&package), [None, repeat, repeat, None, None, None]);
}

#[test]
fn test_duplicates_do_not_believe_the_identity_of_a_broken_message() {
    // Each of the three broken in turn, by its body.
    for broken in 0..3usize {
        let mut builder = Builder::new(LIMITS);
        [1, 2, 3].iter().for_each(|body| builder.push(&header(1), &[*body]).unwrap());
        let mut package = builder.plain().to_vec();
        package[COUNT_LEN + (broken + 1) * (MESSAGE_OVERHEAD + 1) - 1] = 9;
        let expected = match broken {
            0 => [None, None, Some(Repeat::Identity(1))],
            1 => [None, None, Some(Repeat::Identity(0))],
            _ => [None, Some(Repeat::Identity(0)), None],
        };
        assert_eq!(duplicates(&package), expected, "{broken}");
    }
}

#[test]
fn test_duplicates_give_up_on_many_of_one_identity_without_losing_any() {
    // All are rejected, so that each is remembered at the same place.
    let mut builder = Builder::new(LIMITS);
    (0..=255).for_each(|body| builder.push(&header(1), &[body]).unwrap());
    let package = builder.plain().to_vec();
    let mut table = Duplicates::default();
    table.begin(256);
    for message in messages(&package) {
        assert_eq!(table.first_of(&package, &message), None);
        table.reject(&message);
    }
    assert_eq!(table.slots.iter().flatten().count(), 16, "no further search than that");
}

#[test]
fn test_duplicates_do_not_allocate_again() {
    let package = package(&[&b"a"[..]; 100]);
    let mut table = Duplicates::default();
    table.begin(100);
    let capacity = table.slots.capacity();
    for _ in 0..3 {
        table.begin(100);
        for message in messages(&package) {
            table.first_of(&package, &message);
        }
    }
    assert_eq!(table.slots.capacity(), capacity);
}

#[test]
fn test_builder_keeps_within_the_limits() {
    let limits = PackageLimits { max_bytes: COUNT_LEN + 2 * MESSAGE_OVERHEAD + 3, max_messages: 3 };
    let mut builder = Builder::new(limits);
    assert_eq!(builder.push(&header(0), &[0; 30]), Err(PushError::BodyTooLong(30)));
    builder.push(&header(0), &[0; 3]).unwrap();
    assert_eq!(builder.push(&header(1), &[0; 1]), Err(PushError::Full));
    builder.push(&header(1), &[]).unwrap();
    assert_eq!((builder.num_messages(), builder.size()), (2, limits.max_bytes));
    builder.finish().unwrap();
    assert_eq!((builder.num_messages(), builder.size()), (0, COUNT_LEN));

    let late = MessageHeader { event_time_ms: EVENT_TIME_END_MS, ..header(0) };
    assert_eq!(builder.push(&late, &[]), Err(PushError::EventTime(EVENT_TIME_END_MS)));
    let mut counted = Builder::new(PackageLimits { max_messages: 1, ..LIMITS });
    counted.push(&header(0), &[]).unwrap();
    assert_eq!(counted.push(&header(1), &[]), Err(PushError::Full));
}

#[test]
fn test_a_package_weighs_its_block_and_its_records() {
    let block = snap::raw::Encoder::new().compress_vec(&vec![7; 20_000]).unwrap();
    assert_eq!(weight(&block, LIMITS), block.len() + 2 * 20_000);
    // What decompression would refuse before it allocates anything weighs only itself.
    assert_eq!(weight(&block, PackageLimits { max_bytes: 19_999, ..LIMITS }), block.len());
    assert_eq!(weight(&[0xFF, 0xFF, 0x03, 0], LIMITS), 4);
    assert_eq!(weight(&[0xFF; 7], LIMITS), 7);
    assert_eq!(weight(&[], LIMITS), 0);
}
