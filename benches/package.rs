//! What a package costs before any body is looked at, with the bare minimum beside each step.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use surgetank::protocol::message::MessageHeader;
use surgetank::protocol::package::{self, Builder, Duplicates, Entry, Messages, PackageLimits};

const LIMITS: PackageLimits = PackageLimits { max_bytes: 1 << 20, max_messages: 1000 };
const NUM_MESSAGES: u32 = 50;
const BODY_LEN: usize = 30;

/// Messages as a fleet sends them: the same fields with slowly changing values, so that Snappy finds something.
fn builder() -> Builder {
    let mut builder = Builder::new(LIMITS);
    for sequence in 0..NUM_MESSAGES {
        let header = MessageHeader { type_id: 1, version: 2, sequence, event_time_ms: 1_780_000_000_123 };
        let body: [u8; BODY_LEN] =
            std::array::from_fn(|i| if i < 12 { (sequence as usize * 31 + i * 7) as u8 } else { i as u8 });
        assert!(builder.push(&header, &body).is_ok(), "the limits are wide enough");
    }
    builder
}

fn bench_checksum(criterion: &mut Criterion) {
    let bytes = [0x5a; 1024];
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(1024));
    group.bench_function("crc32c of 1 KiB", |bencher| bencher.iter(|| package::checksum(black_box(&bytes))));
    group.finish();
}

fn bench_walk(criterion: &mut Criterion) {
    let plain = builder().plain().to_vec();
    let block = builder().finish().unwrap_or_default();
    let mut scratch = Vec::new();
    let mut group = criterion.benchmark_group("package of 50");
    group.throughput(Throughput::Elements(NUM_MESSAGES.into()));
    group.bench_function("baseline: snappy alone", |bencher| {
        let mut out = vec![0; plain.len()];
        bencher.iter(|| snap::raw::Decoder::new().decompress(black_box(&block), &mut out));
    });
    group.bench_function("decompress and walk", |bencher| {
        bencher.iter(|| {
            let decompressed = package::decompress(black_box(&block), LIMITS, &mut scratch);
            decompressed
                .and_then(|()| Messages::new(&scratch, LIMITS).map(|messages| messages.map(weight).sum::<usize>()))
        });
    });
    group.bench_function("build and compress", |bencher| bencher.iter(|| builder().finish()));
    group.finish();
}

/// Makes the optimiser look at every message.
fn weight(entry: Entry<'_>) -> usize {
    match entry {
        Entry::Message(message) => usize::from(message.crc_ok) + message.body.len(),
        Entry::Tail(tail) => tail.raw.len(),
    }
}

fn bench_duplicates(criterion: &mut Criterion) {
    let plain = builder().plain().to_vec();
    let Ok(messages) = Messages::new(&plain, LIMITS) else { return };
    let messages: Vec<_> =
        messages.filter_map(|entry| if let Entry::Message(message) = entry { Some(message) } else { None }).collect();
    let mut duplicates = Duplicates::default();
    let mut group = criterion.benchmark_group("duplicates in 50");
    group.throughput(Throughput::Elements(NUM_MESSAGES.into()));
    group.bench_function("baseline: a new HashSet of the bytes", |bencher| {
        bencher.iter(|| messages.iter().map(|message| message.raw).collect::<std::collections::HashSet<_>>().len());
    });
    group.bench_function("table", |bencher| {
        bencher.iter(|| {
            duplicates.begin(NUM_MESSAGES as u16);
            messages.iter().filter(|message| duplicates.first_of(black_box(&plain), message).is_some()).count()
        });
    });
    group.finish();
}

criterion_group!(benches, bench_checksum, bench_walk, bench_duplicates);
criterion_main!(benches);
