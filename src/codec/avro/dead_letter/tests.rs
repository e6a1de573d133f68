use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value as Avro;
use proptest::prelude::*;

use super::schema::Era;
use super::*;

pub(super) const LETTER: DeadLetter<'_> = DeadLetter {
    device_id: "truck-7",
    reason_code: "out_of_range",
    detail: "field speed is 4096, outside its range",
    origin: "decoder",
    at_us: 1_760_000_000_000_000,
    type_id: Some(1),
    version: Some(2),
    sequence: Some(u32::MAX),
    event_time_ms: None,
    payload: &[0, 255, 1],
    trace: None,
    source: None,
};

pub(super) const SOURCE: Source<'_> = Source {
    topic: "app-events",
    partition: 3,
    offset: 1234,
    timestamp_ms: Some(-1),
    key: Some(&[0xff, 0]),
    headers: &[(b"traceparent", Some(b"00-1")), (b"gone", None), (b"traceparent", Some(b""))],
    has_value: true,
};

/// `LETTER` as builds wrote it that knew of parts, after the fingerprint.
const OF_PARTS: &[u8] = b"\x0etruck-7\x18out_of_range\x4cfield speed is 4096, outside its range\x0edecoder\
    \x80\x80\xf0\xec\xbd\xad\xa0\x06\x02\x02\x02\x04\x02\xfe\xff\xff\xff\x1f\x00\x06\x00\xff\x01\x02\x02\x00\x00";
/// The same as builds before them wrote it.
const FIRST: &[u8] = OF_PARTS.split_at(OF_PARTS.len() - 4).0;

fn encoded(letter: DeadLetter<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    letter.encode(&mut bytes);
    bytes
}

#[test]
fn test_dead_letter_round_trips() {
    let bytes = encoded(LETTER);
    let read = OwnedDeadLetter::decode(&bytes).unwrap();
    assert_eq!(read.device_id, "truck-7");
    assert_eq!(read.version, Some(2));
    assert_eq!(read.sequence, Some(u32::MAX));
    assert_eq!(read.event_time_ms, None);
    assert_eq!(read.payload, [0, 255, 1]);
    assert_eq!((read.trace, read.source), (None, None));
    for len in 0..bytes.len() {
        assert!(OwnedDeadLetter::decode(&bytes[..len]).is_err());
    }
}

#[test]
fn test_trace_and_record_of_a_letter_round_trip() {
    let bytes = encoded(DeadLetter { trace: Some("00-1"), source: Some(SOURCE), ..LETTER });
    let read = OwnedDeadLetter::decode(&bytes).unwrap();
    assert_eq!(read.trace.as_deref(), Some("00-1"));
    let source = read.source.unwrap();
    assert_eq!((source.topic.as_str(), source.partition, source.offset), ("app-events", 3, 1234));
    assert_eq!((source.timestamp_ms, source.key, source.has_value), (Some(-1), Some(vec![0xff, 0]), true));
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let expected = [header("traceparent", Some(b"00-1")), header("gone", None), header("traceparent", Some(b""))];
    assert_eq!(source.headers, expected);
    for len in 0..bytes.len() {
        assert!(OwnedDeadLetter::decode(&bytes[..len]).is_err());
    }
}

#[test]
fn test_dead_letter_is_read_by_avro() {
    let schema = Schema::parse(&Era::Sources.schema()).unwrap();
    let read = |letter| {
        let bytes = encoded(letter);
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let mut datum = &bytes[10..];
        let Avro::Record(fields) = reader.read_value(&mut datum).unwrap() else { panic!("no record") };
        assert!(datum.is_empty());
        fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    let fields = read(LETTER);
    assert_eq!(fields[4], Avro::TimestampMicros(1_760_000_000_000_000));
    assert_eq!(fields[9], Avro::Bytes(vec![0, 255, 1]));
    let null = Avro::Union(0, Box::new(Avro::Null));
    assert!(fields[14..21].iter().all(|field| *field == null));
    assert_eq!(fields[21..], [Avro::Boolean(true)]);

    let some = |value| Avro::Union(1, Box::new(value));
    let fields = read(DeadLetter {
        trace: Some("00-1"),
        source: Some(Source { has_value: false, headers: &SOURCE.headers[..2], ..SOURCE }),
        ..LETTER
    });
    let header = |name: &str, value| {
        Avro::Record(vec![("name".to_owned(), Avro::String(name.to_owned())), ("value".to_owned(), value)])
    };
    let headers = vec![header("traceparent", some(Avro::Bytes(b"00-1".to_vec()))), header("gone", null)];
    let expected = [
        some(Avro::String("00-1".to_owned())),
        some(Avro::String("app-events".to_owned())),
        some(Avro::Int(3)),
        some(Avro::Long(1234)),
        some(Avro::TimestampMillis(-1)),
        some(Avro::Bytes(vec![0xff, 0])),
        some(Avro::Array(headers)),
        Avro::Boolean(false),
    ];
    assert_eq!(fields[14..], expected);
}

#[test]
fn test_letters_of_all_builds_are_read() {
    // As fastavro 1.13.1 has them, and as builds had them before fingerprints were those of the specification.
    let known = [
        (FIRST, [0x076d_7276_e38a_c2fd, 0x1b43_a41f_9485_48bd]),
        (OF_PARTS, [0x826b_3632_476b_173d, 0x68df_9b5f_e132_09cc]),
    ];
    let now = OwnedDeadLetter::decode(&encoded(LETTER)).unwrap();
    for (datum, fingerprints) in known {
        for fingerprint in fingerprints {
            let bytes = [&header(u64::to_be_bytes(fingerprint)), datum].concat();
            assert_eq!(OwnedDeadLetter::decode(&bytes), Ok(now.clone()), "{fingerprint:016x}");
        }
    }
    assert_eq!(dead_letter_fingerprint(), 0xf9e5_51c7_e9a5_2cb4_u64.to_be_bytes());
    let unknown = [&header([7; 8]), OF_PARTS].concat();
    assert_eq!(OwnedDeadLetter::decode(&unknown), Err(NotDeadLetter::OtherSchema));
}

#[test]
fn test_the_schema_reads_what_earlier_ones_wrote() {
    let [first, parts, now] = Era::ALL.map(|era| Schema::parse(&era.schema()).unwrap());
    for earlier in [first, parts] {
        SchemaCompatibility::can_read(&earlier, &now).unwrap();
    }
}

proptest! {
    #[test]
    fn test_arbitrary_bytes_never_panic(datum in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [&header(dead_letter_fingerprint())[..], &datum].concat();
        drop(OwnedDeadLetter::decode(&bytes));
        let bytes = [&encoded(LETTER)[..], &datum].concat();
        prop_assert!(datum.is_empty() || OwnedDeadLetter::decode(&bytes).is_err());
    }
}
