//! What a message costs between socket and row: unpacking, transcoding to Avro, decoding to cells.
//!
//! The baseline is what the transcoder saves: building apache_avro's value and encoding that. It starts from a value
//! that is already there, so the comparison favours the baseline.

#![allow(clippy::expect_used)] // a bench that cannot be set up has nothing to measure

use std::hint::black_box;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use criterion::{Criterion, criterion_group, criterion_main};
use surgetank::codec::Codecs;
use surgetank::codec::avro::{HEADER_LEN, RowPlan, split_single_object};
use surgetank::protocol::message::{Identity, MessageHeader};
use surgetank::schema::{Bucket, Value};

const EVENT_TIME_MS: u64 = 1_760_000_000_000;

/// Ten fields, all present.
fn position() -> Vec<Value> {
    vec![
        Value::Double(52.5162748),
        Value::Double(13.3777001),
        Value::Double(34.5),
        Value::Double(48.7),
        Value::Double(271.3),
        Value::Symbol("three_d".into()),
        Value::Bool(true),
        Value::Timestamp(EVENT_TIME_MS as i64),
        Value::Uint(123_456_789),
        Value::Text("DE-4711-0815".into()),
    ]
}

fn decode(criterion: &mut Criterion) {
    let codecs = Codecs::builtin().expect("the shipped layouts are valid");
    let codec = codecs.by_id(1).expect("position is shipped");
    let layout = codecs.layout(1, 1).expect("position has version 1");
    let header = MessageHeader { type_id: 1, version: 1, sequence: 4711, event_time_ms: EVENT_TIME_MS };
    let identity = Identity { device_id: "truck-0815", header, received_at_us: EVENT_TIME_MS * 1000 };
    let mut body = Vec::new();
    layout.encode_fields(&position(), &mut body).expect("the values fit");
    let mut record = Vec::new();
    layout.transcode(&identity, &body, &mut record).expect("the body is valid");
    let (_, datum) = split_single_object(&record).expect("it was just written");

    let mut group = criterion.benchmark_group("ten_fields");
    group.bench_function("unpack_to_values", |bencher| bencher.iter(|| layout.decode(black_box(&body))));
    group.bench_function("transcode_to_avro", |bencher| {
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            let layout = codecs.layout(black_box(1), 1).expect("position has version 1");
            layout.transcode(black_box(&identity), black_box(&body), &mut out)
        });
    });
    group.bench_function("baseline_avro_generic_encode", |bencher| {
        let reader = GenericDatumReader::builder(&codec.schema).build();
        let value = reader.expect("a schema").read_value(&mut &record[HEADER_LEN..]).expect("a record");
        let writer = GenericDatumWriter::builder(&codec.schema).build().expect("a schema");
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            writer.write_value_ref(&mut out, black_box(&value))
        });
    });
    group.bench_function("decode_to_cells", |bencher| {
        let plan = RowPlan::compile(&codec.schema, &codec.message_type.table, Bucket::Day).expect("its own table");
        let mut cells = Vec::with_capacity(64);
        bencher.iter(|| {
            cells.clear();
            plan.decode(black_box(datum), 0, &mut cells)
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
