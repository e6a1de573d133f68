//! What the gate costs each write: leave from the budget, the measurements, and giving the place back.

#![allow(clippy::expect_used)] // a benchmark may end by a panic

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use surgetank::actors::gate::WritePermits;
use surgetank::telemetry::Recorder;

fn permit(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate");
    for num_partitions in [1, 8, 64] {
        let write_permits = WritePermits::new(128);
        let admissions: Vec<_> = (0..num_partitions).map(|_| write_permits.join()).collect();
        group.bench_function(format!("enter_and_confirm/{num_partitions}_partitions"), |b| {
            let mut next = admissions.iter().cycle();
            b.iter(|| {
                let admission = next.next().expect("a cycle does not end");
                // There is always room, so that it never waits.
                admission.enter().now_or_never().expect("room").confirmed(black_box(10));
            });
        });
    }
    group.finish();
}

fn record(c: &mut Criterion) {
    let recorder = Recorder::new();
    let mut value = 1u64;
    c.bench_function("record_latency", |b| {
        b.iter(|| {
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 44;
            recorder.record(black_box(value));
        });
    });
}

criterion_group!(benches, permit, record);
criterion_main!(benches);
