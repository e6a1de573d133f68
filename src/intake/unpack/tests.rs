use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::codec::Codecs;
use crate::codec::avro::{LetterParts, OwnedDeadLetter};
use crate::codec::bits::Layout;
use crate::flow::trace::TraceContext;
use crate::log::RecordLimit;
use crate::protocol::package::Builder;
use crate::schema::TypeId;

/// The number of the shipped `position`.
const POSITION: TypeId = 1;
const RECEIVED_AT_US: u64 = 1_800_000_000_000_000;
const LIMITS: PackageLimits = PackageLimits { max_bytes: 4 << 20, max_messages: 1000 };

fn limits(max_bytes: usize) -> RecordLimits {
    RecordLimits { topics: vec![RecordLimit::new(max_bytes)], dead_letter: RecordLimit::new(max_bytes) }
}

fn unpack(block: &[u8]) -> Result<Unpacked, PackageError> {
    unpack_with(block, Trust::Sound, &limits(1 << 20))
}

fn unpack_within(block: &[u8], limits: &RecordLimits) -> Result<Unpacked, PackageError> {
    unpack_with(block, Trust::Sound, limits)
}

fn unpack_with(block: &[u8], trust: Trust, limits: &RecordLimits) -> Result<Unpacked, PackageError> {
    let codecs = Codecs::builtin().unwrap();
    let topic_of = codecs.catalog().types().iter().map(|message_type| (message_type.id, 0)).collect();
    let (max_event_time_ahead, max_event_time_behind) = (Duration::from_secs(60), Duration::from_secs(86_400));
    let rules = IntakeRules { codecs: Arc::new(codecs), topic_of, max_event_time_ahead, max_event_time_behind };
    let device_id = DeviceId::new("truck-1").unwrap();
    Unpacker::default().unpack(PackageRef { trust, ..package(block, &device_id) }, &rules, limits)
}

fn package<'a>(block: &'a [u8], device_id: &'a DeviceId) -> PackageRef<'a> {
    let (limits, received_at_us, trust) = (LIMITS, RECEIVED_AT_US, Trust::Sound);
    PackageRef { device_id, package_id: 7, block, limits, received_at_us, trust, trace: None }
}

fn header(type_id: TypeId, sequence: u32, event_time_ms: u64) -> MessageHeader {
    MessageHeader { type_id, version: 1, sequence, event_time_ms }
}

#[test]
fn test_no_memory_is_set_aside_on_the_word_of_a_package() {
    let mut builder = Builder::new(LIMITS);
    // As if all messages were as long as the first one.
    let now_ms = RECEIVED_AT_US / 1000;
    builder.push(&header(POSITION, 0, now_ms), &[0; 60_000]).unwrap();
    (1..1000).for_each(|sequence| builder.push(&header(POSITION, sequence, now_ms), &[]).unwrap());
    let size = builder.size();
    let unpacked = unpack(&builder.finish().unwrap()).unwrap();
    assert_eq!(unpacked.dead.messages.len(), 1000);
    assert!(
        unpacked.topics[0].records.values.capacity() < 2 * size,
        "{}",
        unpacked.topics[0].records.values.capacity()
    );
}

#[test]
fn test_unpacker_sends_every_message_to_one_place_with_its_outcome() {
    let codecs = Codecs::builtin().unwrap();
    let body = body_of(codecs.layout(POSITION, 1).unwrap());
    let now_ms = RECEIVED_AT_US / 1000;
    let mut builder = Builder::new(LIMITS);
    builder.push(&header(POSITION, 1, now_ms), &body).unwrap();
    builder.push(&header(POSITION, 1, now_ms), &body).unwrap();
    builder.push(&header(999, 2, now_ms), &body).unwrap();
    builder.push(&header(POSITION, 3, now_ms + 60_001), &body).unwrap();
    builder.push(&header(POSITION, 4, now_ms), &[]).unwrap();
    let unpacked = unpack(&builder.finish().unwrap()).unwrap();

    assert_eq!(unpacked.topics[0].messages, [(0, Outcome::Accepted)]);
    let rejected = [
        (2, Outcome::Rejected(RejectReason::UnknownType)),
        (3, Outcome::Rejected(RejectReason::EventTimeOutOfRange)),
        (4, Outcome::Rejected(RejectReason::Undecodable)),
    ];
    assert_eq!(unpacked.dead.messages, rejected);
    assert_eq!(unpacked.dead.records.ends.len(), 3);
    let mut receipt = unpacked.receipt;
    assert_eq!(receipt.outcome(1), Outcome::RetryLater, "a duplicate shares the fate of the first, still unknown");
    receipt.set(0, Outcome::Accepted);
    assert_eq!(receipt.outcome(1), Outcome::Duplicate);
}

#[test]
fn test_the_first_of_an_identity_that_is_taken_wins() {
    let codecs = Codecs::builtin().unwrap();
    let body = body_of(codecs.layout(POSITION, 1).unwrap());
    let mut other = body.clone();
    other[3] = 1;
    let header = header(POSITION, 1, RECEIVED_AT_US / 1000);
    let undecodable = Outcome::Rejected(RejectReason::Undecodable);
    // Messages of one identity, and what is told of each once those that were taken are durable.
    let cases: [(&[&[u8]], &[Outcome]); 4] = [
        (&[&body, &other, &body], &[Outcome::Accepted, Outcome::Duplicate, Outcome::Duplicate]),
        // What was rejected keeps nobody out, and once more it is rejected without a second dead letter.
        (&[&[], &other, &body, &[]], &[undecodable, Outcome::Accepted, Outcome::Duplicate, undecodable]),
        // A body that cannot be read is no duplicate of one that can.
        (&[&body, &[], &other, &[]], &[Outcome::Accepted, undecodable, Outcome::Duplicate, undecodable]),
        (&[&[], &[]], &[undecodable, undecodable]),
    ];
    for (bodies, expected) in cases {
        let mut builder = Builder::new(LIMITS);
        bodies.iter().for_each(|body| builder.push(&header, body).unwrap());
        let unpacked = unpack(&builder.finish().unwrap()).unwrap();
        let records = &unpacked.topics[0];
        let num_taken = expected.iter().filter(|outcome| **outcome == Outcome::Accepted).count();
        assert_eq!((records.records.ends.len(), records.messages.len()), (num_taken, num_taken), "{bodies:?}");
        let last_end = records.records.ends.last().map_or(0, |end| *end as usize);
        assert_eq!(records.records.values.len(), last_end, "nothing of a duplicate is left");
        assert_eq!(unpacked.dead.num_letters(), u64::from(expected.contains(&undecodable)), "{bodies:?}");
        let mut receipt = unpacked.receipt;
        let told = records.messages.iter().chain(&unpacked.dead.messages);
        told.for_each(|(index, outcome)| receipt.set(*index, *outcome));
        let outcomes: Vec<Outcome> = (0..).take(bodies.len()).map(|index| receipt.outcome(index)).collect();
        assert_eq!(outcomes, expected, "{bodies:?}");
    }
}

/// A body that the layout decodes.
fn body_of(layout: &Layout) -> Vec<u8> {
    (0..=layout.max_body_len()).map(|len| vec![0; len]).find(|body| layout.decode(body).is_ok()).unwrap()
}

fn letters(dead: &TopicRecords) -> Vec<OwnedDeadLetter> {
    let starts = std::iter::once(0).chain(dead.records.ends.iter().copied());
    let each = starts.zip(&dead.records.ends).map(|(start, end)| &dead.records.values[start as usize..*end as usize]);
    let mut parts = LetterParts::new(usize::MAX);
    each.filter_map(|bytes| parts.add(OwnedDeadLetter::decode(bytes).unwrap()).pop())
        .map(|whole| whole.letter)
        .collect()
}

#[test]
fn test_a_message_that_is_larger_than_its_topic_takes_is_rejected_alone() {
    let codecs = Codecs::builtin().unwrap();
    let body = body_of(codecs.layout(POSITION, 1).unwrap());
    let now_ms = RECEIVED_AT_US / 1000;
    let mut builder = Builder::new(LIMITS);
    (0..3).for_each(|sequence| builder.push(&header(POSITION, sequence, now_ms), &body).unwrap());
    let block = builder.finish().unwrap();
    let records = unpack(&block).unwrap().topics.remove(0);
    let largest = records.records.ends[0] as usize + "truck-1".len();

    let fits = unpack_within(&block, &limits(largest)).unwrap();
    assert_eq!(fits.topics[0], records, "exactly as much as allowed");
    let refused = unpack_within(&block, &limits(largest - 1)).unwrap();
    assert!(refused.topics[0].records.values.is_empty() && refused.topics[0].records.ends.is_empty());
    let rejected = Outcome::Rejected(RejectReason::TooLarge);
    assert_eq!(refused.dead.messages, [(0, rejected), (1, rejected), (2, rejected)]);
    assert_eq!(refused.dead.num_letters(), 3);
    let letters = letters(&refused.dead);
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|letter| letter.reason_code == "too_large"), "{letters:?}");
    assert_eq!(letters[2].sequence, Some(2));
}

#[test]
fn test_a_time_out_of_range_is_refused_only_by_a_clock_that_is_believed() {
    let now_ms = RECEIVED_AT_US / 1000;
    for event_time_ms in [now_ms + 60_001, now_ms - 86_400_001, 1_795_995_013] {
        let mut builder = Builder::new(LIMITS);
        builder.push(&header(POSITION, 1, event_time_ms), &[]).unwrap();
        let block = builder.finish().unwrap();
        let refused = unpack(&block).unwrap();
        let outcome = Outcome::Rejected(RejectReason::EventTimeOutOfRange);
        assert_eq!(refused.dead.messages, [(0, outcome)], "{event_time_ms}");
        let doubtful = unpack_with(&block, Trust::Doubtful, &limits(1 << 20)).unwrap();
        assert!(doubtful.dead.records.ends.is_empty() && doubtful.topics[0].records.ends.is_empty());
        assert_eq!(doubtful.receipt.outcome(0), Outcome::RetryLater);
    }
}

#[test]
fn test_dead_letters_have_the_trace_of_their_request() {
    let device_id = DeviceId::new("truck-1").unwrap();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::read([parent.as_bytes()], []).unwrap();
    let traces = |trace: Option<&TraceContext>| {
        let package = PackageRef { trace, ..package(b"no block", &device_id) };
        let dead = bury_package(package, RejectReason::BadSnappy, "not a snappy block", &limits(1 << 20));
        letters(&dead).into_iter().map(|letter| letter.trace).collect::<Vec<_>>()
    };
    assert_eq!(traces(Some(&trace)), [Some(parent.to_owned())]);
    assert_eq!(traces(None), [None]);
}

#[test]
fn test_dead_letters_of_large_packages_come_in_parts_that_fit_and_make_the_whole() {
    let device_id = DeviceId::new("truck-1").unwrap();
    let block: Vec<u8> = (0..1_000_017).map(|index| index as u8).collect();
    for max_bytes in [1 << 20, 16_288, 700] {
        let limits = limits(max_bytes);
        let dead = bury_package(package(&block, &device_id), RejectReason::BadSnappy, "not a snappy block", &limits);
        assert_eq!(dead.num_letters(), 1);
        let mut start = 0;
        for end in &dead.records.ends {
            assert!((end - start) as usize + device_id.len() <= max_bytes);
            start = *end;
        }
        let letters = letters(&dead);
        assert_eq!(letters.len(), 1);
        assert!(letters[0].payload == block && letters[0].detail == "not a snappy block");
    }
}
