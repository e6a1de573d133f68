//! Instructions of the hot paths, counted by callgrind: the same for the same code, however busy the machine is.
//!
//! `BASELINE` is what each took when it was last changed on purpose; more than 5 % above it fails `.ci/run`. Who makes one
//! of them slower for a reason writes the new number here, in the same commit, and says why in its message. A newer
//! compiler may be such a reason. Numbers that have become smaller are written down too, or the gain can be lost unseen.
//!
//! Needs valgrind and `gungraun-runner` of the version in Cargo.lock; `scripts/bench-instructions` has both installed.

#![allow(clippy::expect_used)] // a bench that cannot be set up has nothing to measure
#![allow(missing_docs)] // what the macros of the bench harness make

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use surgetank::actors::gate::{Admission, WritePermits};
use surgetank::codec::Codecs;
use surgetank::codec::avro::{RowPlan, split_single_object};
use surgetank::codec::json::{EventReader, Framing, JsonExtract, Split, Splitter};
use surgetank::codec::value::{Extract, Path, PathStep};
use surgetank::flow::clock::Trust;
use surgetank::intake::routes::RecordLimits;
use surgetank::intake::rules::IntakeRules;
use surgetank::intake::unpack::{PackageRef, Unpacked, Unpacker};
use surgetank::log::{Headers, RecordLimit};
use surgetank::protocol::device_id::DeviceId;
use surgetank::protocol::frame::{self, Frame, PackageFrame};
use surgetank::protocol::message::{Identity, MessageHeader};
use surgetank::protocol::package::{Builder, PackageLimits};
use surgetank::protocol::receipt::{Outcome, Receipt, ReceiptBuilder};
use surgetank::routes::{
    ColumnSpec, Format, Made, NullRule, RecordView, RouteSpec, Source, TimestampSpec, TopicRoutes,
};
use surgetank::schema::TypeId;
use surgetank::schema::cql::parse_type;
use surgetank::schema::row::{Cell, ColumnPlace, DescribedColumn, Span, TableDescription, TableName};
use surgetank::schema::{Bucket, Value};

/// Messages, records and permits that one run goes through.
const NUM: u32 = 50;
const EVENT_TIME_MS: u64 = 1_760_000_000_000;
const POSITION: TypeId = 1;
const LIMITS: PackageLimits = PackageLimits { max_bytes: 1 << 20, max_messages: 1000 };

struct Baseline {
    unpack: u64,
    events: u64,
    values: u64,
    rows: u64,
    routes: u64,
    filtered: u64,
    permits: u64,
    frame: u64,
    receipt: u64,
}

const BASELINE: Baseline = Baseline {
    unpack: 137_053,
    events: 498_052,
    values: 427_367,
    rows: 137_990,
    routes: 923_478,
    filtered: 1_245_127,
    permits: 25_375,
    frame: 251,
    receipt: 1_836,
};

fn at_most(baseline: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, baseline + baseline / 20)]));
    config
}

/// A message of ten fields, all present; as a fleet sends them, most of it like the one before.
fn position(number: u32) -> (MessageHeader, Vec<Value>) {
    let event_time_ms = EVENT_TIME_MS + u64::from(number) * 1000;
    let moved = f64::from(number) * 0.000_1;
    let values = vec![
        Value::Double(52.516_274_8 + moved),
        Value::Double(13.377_700_1 + moved),
        Value::Double(34.5),
        Value::Double(48.7),
        Value::Double(271.3),
        Value::Symbol("three_d".into()),
        Value::Bool(true),
        Value::Timestamp(event_time_ms as i64),
        Value::Uint(123_456_789 + u64::from(number)),
        Value::Text("DE-4711-0815".into()),
    ];
    (MessageHeader { type_id: POSITION, version: 1, sequence: number, event_time_ms }, values)
}

fn codecs() -> Codecs {
    Codecs::builtin().expect("the shipped layouts are valid")
}

fn device_id() -> DeviceId {
    DeviceId::new("truck-0815").expect("a valid id")
}

fn bodies(codecs: &Codecs) -> Vec<(MessageHeader, Vec<u8>)> {
    let layout = codecs.layout(POSITION, 1).expect("position has version 1");
    let body = |number| {
        let (header, values) = position(number);
        let mut body = Vec::new();
        layout.encode_fields(&values, &mut body).expect("the values fit");
        (header, body)
    };
    (0..NUM).map(body).collect()
}

fn block(codecs: &Codecs) -> Vec<u8> {
    let mut builder = Builder::new(LIMITS);
    for (header, body) in bodies(codecs) {
        builder.push(&header, &body).expect("the limits are wide enough");
    }
    builder.finish().expect("a package").to_vec()
}

struct Packed {
    block: Vec<u8>,
    rules: IntakeRules,
    limits: RecordLimits,
    unpacker: Unpacker,
}

fn packed() -> Packed {
    let codecs = codecs();
    let block = block(&codecs);
    let rules = IntakeRules {
        codecs: Arc::new(codecs),
        topic_of: [(POSITION, 0)].into(),
        max_event_time_ahead: Duration::from_secs(60),
        max_event_time_behind: Duration::from_secs(86_400),
    };
    let limit = RecordLimit::new(1 << 20);
    let limits = RecordLimits { topics: vec![limit.clone()], dead_letter: limit };
    let mut packed = Packed { block, rules, limits, unpacker: Unpacker::default() };
    // Its buffers are kept from one package to the next.
    unpack_once(&mut packed);
    packed
}

fn unpack_once(packed: &mut Packed) -> Unpacked {
    let device_id = device_id();
    let received_at_us = (EVENT_TIME_MS + 1_000_000) * 1000;
    let Packed { block, rules, limits, unpacker } = packed;
    let package = PackageRef {
        device_id: &device_id,
        package_id: 7,
        block,
        limits: LIMITS,
        received_at_us,
        trust: Trust::Sound,
        trace: None,
    };
    unpacker.unpack(package, rules, limits).expect("a valid package")
}

// Snappy block to Avro records.
#[library_benchmark(config = at_most(BASELINE.unpack))]
#[bench::package_of_50(packed())]
fn unpack(mut packed: Packed) -> (Unpacked, Packed) {
    (black_box(unpack_once(&mut packed)), packed)
}

struct Events {
    codecs: Codecs,
    reader: EventReader,
    body: Vec<u8>,
    records: Vec<u8>,
}

fn events() -> Events {
    let mut body = String::new();
    for number in 0..NUM {
        let time = EVENT_TIME_MS + u64::from(number) * 1000;
        let moved = number * 1000;
        body += &format!(
            r#"{{"device_id":"truck-0815","event_time":{time},"sequence":{number},"latitude":52.{:07},"longitude":13.{:07},"#,
            5_162_748 + moved,
            3_777_001 + moved,
        );
        body += &format!(
            r#""altitude":34.5,"speed":48.7,"heading":271.3,"hdop":1.2,"satellites":11,"fix":"three_d","ignition":true,"fix_time":{time},"odometer":{}}}"#,
            123_456_789 + number,
        );
        body.push('\n');
    }
    let mut events =
        Events { codecs: codecs(), reader: EventReader::default(), body: body.into_bytes(), records: Vec::new() };
    // Its buffers are kept from one event to the next.
    assert_eq!(read_events(&mut events), NUM, "the events are valid");
    events
}

/// How many events became records.
fn read_events(Events { codecs, reader, body, records }: &mut Events) -> u32 {
    let plan = &codecs.by_id(POSITION).expect("position is shipped").json;
    let mut splitter = Splitter::new(Framing::Lines, 1 << 16);
    records.clear();
    let (mut start, mut num_events) = (0, 0);
    loop {
        let (num_consumed, split) = splitter.next(&body[start..], true);
        let Split::Event { range, .. } = split else { return num_events };
        let event = reader.read(plan, black_box(&body[start + range.start..start + range.end])).expect("a valid event");
        let sequence = event.sequence.expect("events have one");
        reader.write(plan, &event.identity(plan, sequence, EVENT_TIME_MS * 1000), records);
        start += num_consumed;
        num_events += 1;
    }
}

// Lines of JSON to Avro records.
#[library_benchmark(config = at_most(BASELINE.events))]
#[bench::lines_50(events())]
fn read_lines(mut events: Events) -> Events {
    read_events(&mut events);
    events
}

struct Foreign {
    extract: JsonExtract,
    records: Vec<String>,
}

/// Events of 290 bytes as others write them, of which a route takes six values.
fn foreign() -> Foreign {
    let path = |text: &str| Path { steps: text.split('.').map(|name| PathStep::Member(name.into())).collect() };
    let paths = ["id", "type", "user.id", "payload", "ts", "amount"].map(path);
    let record = |number| {
        let time = EVENT_TIME_MS + u64::from(number);
        format!(
            r#"{{"id":"0f8fad5b-d9cb-469f-a165-{number:012}","type":"Purchase","user":{{"id":"user-{number:06}","country":"DE","#
        ) + &format!(r#""plan":"pro"}},"ts":{time},"session":"c8a1f2e09b","amount":129.95,"currency":"EUR","#)
            + r#""payload":{"sku":"A-4711","qty":2,"tags":["summer","sale"],"ref":{"campaign":"n1"}},"app":"web"}"#
    };
    let mut foreign = Foreign { extract: JsonExtract::new(&paths), records: (0..NUM).map(record).collect() };
    // The order of members is kept from one record to the next.
    read_values(&mut foreign);
    foreign
}

fn read_values(Foreign { extract, records }: &mut Foreign) {
    let mut values = Vec::with_capacity(6);
    for record in records.iter() {
        extract.extract(black_box(record.as_bytes()), &mut values).expect("JSON");
        black_box(&values);
    }
}

// Records of others to the values of a route.
#[library_benchmark(config = at_most(BASELINE.values))]
#[bench::records_50(foreign())]
fn values_at_paths(mut foreign: Foreign) -> Foreign {
    read_values(&mut foreign);
    foreign
}

struct Records {
    plan: RowPlan,
    records: Vec<Vec<u8>>,
    cells: Vec<Cell>,
}

fn records() -> Records {
    let codecs = codecs();
    let codec = codecs.by_id(POSITION).expect("position is shipped");
    let layout = codecs.layout(POSITION, 1).expect("position has version 1");
    let record = |(header, body): (MessageHeader, Vec<u8>)| {
        let mut record = Vec::new();
        let identity = Identity { device_id: "truck-0815", header, received_at_us: EVENT_TIME_MS * 1000 };
        layout.transcode(&identity, &body, &mut record).expect("the body is valid");
        record
    };
    let plan = RowPlan::compile(&codec.schema, &codec.message_type.table, Bucket::Day).expect("its own table");
    Records { plan, records: bodies(&codecs).into_iter().map(record).collect(), cells: Vec::with_capacity(4096) }
}

// Avro records to the cells of rows.
#[library_benchmark(config = at_most(BASELINE.rows))]
#[bench::records_50(records())]
fn rows(mut records: Records) -> Records {
    for record in &records.records {
        let (_, datum) = split_single_object(black_box(record)).expect("a record");
        records.plan.decode(datum, 0, &mut records.cells).expect("a row");
    }
    records
}

/// JSON records of others in one buffer, and a route that makes rows of them.
struct Routed {
    routes: TopicRoutes,
    data: Bytes,
    values: Vec<Span>,
}

const NUM_OF_OTHERS: usize = 100;

fn routed(filter: Option<&str>) -> Routed {
    let columns = [
        ("user_id", "text", "$.user.id", ColumnPlace::Partition(0)),
        ("event_id", "uuid", "uuid($.id)", ColumnPlace::Clustering(0)),
        ("event_type", "text", "$.type", ColumnPlace::Regular),
        ("payload", "text", "json($.payload)", ColumnPlace::Regular),
        ("timestamp", "timestamp", "timestamp($.ts, 'ms')", ColumnPlace::Regular),
        ("source", "text", "'app'", ColumnPlace::Regular),
        ("day", "timestamp", "bucket('day', timestamp)", ColumnPlace::Regular),
    ];
    let made_of =
        columns.map(|(name, _, from, _)| (name.to_owned(), ColumnSpec { from: from.to_owned(), type_text: None }));
    let spec = RouteSpec {
        name: "user_events".to_owned(),
        from: Source::Topics(vec!["app-events".to_owned()]),
        table: TableName { keyspace: Some("app".to_owned()), name: "user_events".to_owned() },
        filter: filter.map(str::to_owned),
        columns: made_of.into(),
        key: None,
        timestamp: TimestampSpec::Record,
        ttl: None,
        consistency: None,
        null: NullRule::Write,
        on_tombstone: None,
    };
    let described = columns.map(|(name, type_text, _, place)| DescribedColumn {
        name: name.to_owned(),
        type_text: type_text.to_owned(),
        kind: parse_type(type_text),
        place,
    });
    let describe = |_: &RouteSpec| Some(TableDescription { columns: described.to_vec() });
    let extractor = |paths: &[Path]| -> Box<dyn Extract> { Box::new(JsonExtract::new(paths)) };
    let routes = TopicRoutes::compile(Format::Json, &[spec], describe, extractor).expect("a valid route");
    let (mut data, mut values) = (String::new(), Vec::new());
    for number in 0..NUM_OF_OTHERS {
        let start = data.len() as u32;
        data += &format!(
            r#"{{"id":"6f9619ff-8b86-d011-b42d-00c04fc9{number:04x}","type":"page_view","user":{{"id":"user-{number}","plan":"pro"}},"#,
        );
        data += &format!(
            r#""payload":{{"page":"/products/{number}","referrer":"https://example.org/","ms":{number}}},"ts":{}}}"#,
            EVENT_TIME_MS + number as u64 * 1000,
        );
        values.push(Span { start, end: data.len() as u32 });
    }
    let mut routed = Routed { routes, data: data.into(), values };
    // Its buffers are kept from one record to the next, and the names of members are where they were.
    assert_eq!(route_all(&mut routed), NUM_OF_OTHERS, "the records are valid");
    routed
}

/// How many records became rows.
fn route_all(Routed { routes, data, values }: &mut Routed) -> usize {
    let mut num_rows = 0;
    for (offset, value) in values.iter().enumerate() {
        let record = RecordView {
            data,
            key: None,
            value: Some(*value),
            headers: Headers::none(),
            timestamp_ms: Some(EVENT_TIME_MS as i64),
            topic: "app-events",
            partition: 0,
            offset: offset as u64,
            now_ms: EVENT_TIME_MS as i64,
        };
        routes.apply(black_box(&record), |_, made, cells| {
            num_rows += usize::from(matches!(made, Made::Row(_)));
            black_box(cells);
        });
    }
    num_rows
}

// JSON records of others to the cells of rows.
#[library_benchmark(config = at_most(BASELINE.routes))]
#[bench::records_100(routed(None))]
fn routes(mut routed: Routed) -> Routed {
    route_all(&mut routed);
    routed
}

// The same with a filter.
#[library_benchmark(config = at_most(BASELINE.filtered))]
#[bench::records_100(routed(Some("value.type != 'ping' && kafka.partition < 10")))]
fn filtered_routes(mut routed: Routed) -> Routed {
    route_all(&mut routed);
    routed
}

fn admission() -> Admission {
    WritePermits::new(128).join()
}

// Leave to write, its measurements, and giving the place back.
#[library_benchmark(config = at_most(BASELINE.permits))]
#[bench::writes_50(admission())]
fn permits(admission: Admission) -> Admission {
    for _ in 0..NUM {
        let permit = admission.enter().now_or_never().expect("room");
        permit.confirmed(black_box(10));
    }
    admission
}

fn frame_bytes() -> BytesMut {
    let mut out = BytesMut::new();
    Frame::Package(PackageFrame { package_id: 7, block: block(&codecs()).into() }).encode(&mut out);
    out
}

// Bytes off a socket to a package frame.
#[library_benchmark(config = at_most(BASELINE.frame))]
#[bench::package_of_50(frame_bytes())]
fn frame_of(mut bytes: BytesMut) -> Option<Frame> {
    frame::decode(black_box(&mut bytes), 1 << 20).expect("a valid frame")
}

// The receipt of a package, from outcomes to bytes.
#[library_benchmark(config = at_most(BASELINE.receipt))]
#[bench::package_of_50(ReceiptBuilder::new(7, NUM as u16))]
fn receipt(mut builder: ReceiptBuilder) -> BytesMut {
    for index in 0..NUM as u16 {
        builder.set(index, Outcome::Accepted);
    }
    let receipt: Receipt = builder.build(500);
    let mut out = BytesMut::with_capacity(256);
    Frame::Receipt(receipt).encode(&mut out);
    out
}

library_benchmark_group!(name = hot_paths; benchmarks = unpack, read_lines, values_at_paths, rows, routes, filtered_routes, permits, frame_of, receipt);
main!(library_benchmark_groups = hot_paths);
