//! Figures of the embedded log, not checks: `cargo test --release --test parts log_figures -- --ignored --nocapture`.
//! `SURGETANK_TEST_DIR` says on which disk; `/var/tmp` otherwise.

use crate::log_contract;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use log_contract::{Consumption, at, batch, spec, until};
use surgetank::log::Log;
use surgetank::log::embedded::{EmbeddedLog, EmbeddedLogSettings};

fn settings(directory: &Path) -> EmbeddedLogSettings {
    EmbeddedLogSettings {
        directory: directory.to_owned(),
        retention: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        disk_budget: 1 << 30,
        write_buffer: 32 << 20,
        tail_cache: 16 << 20,
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(std::env::var("SURGETANK_TEST_DIR").unwrap_or("/var/tmp".to_owned())).unwrap()
}

/// How much the log takes when nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, does not check"]
async fn throughput() {
    for (num_values, num_appenders, in_flight, num_appends) in
        [(50, 8, 16, 60_000), (1, 8, 64, 300_000), (50, 8, 1, 10_000)]
    {
        let directory = directory();
        let topics = [spec("telemetry", 8)];
        let log = EmbeddedLog::open(settings(directory.path()), &topics).unwrap();
        log.apply(&topics).await.unwrap();
        let log = Arc::new(log);
        let started = std::time::Instant::now();
        let mut tasks = Vec::new();
        for appender in 0..num_appenders {
            let log = log.clone();
            let topic = topics[0].clone();
            tasks.push(tokio::spawn(async move {
                let one = batch("device-00000001", &vec![vec![b'x'; 50]; num_values]);
                let credits = Arc::new(tokio::sync::Semaphore::new(in_flight));
                for _ in 0..num_appends / num_appenders {
                    let permit = credits.clone().acquire_owned().await.unwrap();
                    let done = surgetank::log::Completion::new(move |outcome| {
                        outcome.unwrap();
                        drop(permit);
                    });
                    log.append(&at(&topic, appender as u32), one.clone(), done);
                }
                drop(credits.acquire_many(in_flight as u32).await.unwrap());
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{num_values} records per append, {num_appenders} appenders with {in_flight} in flight: {:.0} records/s, {:.0} appends/s, {:.0} flushes/s",
            (num_appends * num_values) as f64 / seconds,
            num_appends as f64 / seconds,
            log.num_groups() as f64 / seconds,
        );
    }
}

/// Appends and reads everything for a while, and says how long the slowest receipts took, how
/// much memory the process has at the end, and how much disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, does not check"]
async fn sustained() {
    const RATE: u64 = 6_000;
    const SECONDS: u64 = 30;
    let directory = directory();
    let topics = [spec("telemetry", 8)];
    let settings = EmbeddedLogSettings { retention: Duration::ZERO, ..settings(directory.path()) };
    let log = Arc::new(EmbeddedLog::open(settings, &topics).unwrap());
    log.apply(&topics).await.unwrap();
    println!("memory when idle: {} MiB", resident_mib());
    let mut consumption = Consumption::start(&*log, &topics[0]).await;
    let num_read = Arc::new(std::sync::atomic::AtomicU64::new(0));
    for (_, mut reader) in consumption.readers.drain() {
        let num_read = num_read.clone();
        tokio::spawn(async move {
            loop {
                let limit = surgetank::log::ReadLimit { max_records: 8_192, max_bytes: 2 << 20 };
                let got = reader.read(limit).await.unwrap();
                reader.offsets().commit(got.next_offset);
                num_read.fetch_add(got.records.len() as u64, std::sync::atomic::Ordering::Relaxed);
            }
        });
    }
    let latencies = Arc::new(std::sync::Mutex::new(hdrhistogram::Histogram::<u64>::new(3).unwrap()));
    let one = batch("device-00000001", &vec![vec![b'x'; 50]; 50]);
    let started = std::time::Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(SECONDS) {
        while sent < started.elapsed().as_millis() as u64 * RATE / 1_000 {
            let (latencies, at_start) = (latencies.clone(), std::time::Instant::now());
            let done = surgetank::log::Completion::new(move |outcome| {
                outcome.unwrap();
                latencies.lock().unwrap().record(at_start.elapsed().as_micros() as u64).unwrap();
            });
            log.append(&at(&topics[0], (sent % 8) as u32), one.clone(), done);
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until("everything is read", || num_read.load(std::sync::atomic::Ordering::Relaxed) == sent * 50).await;
    let latencies = latencies.lock().unwrap();
    println!(
        "{} records/s read back; receipts: median {} us, p99 {} us, p99.9 {} us, max {} us; {:.0} flushes/s; {} MiB resident",
        sent * 50 / SECONDS,
        latencies.value_at_quantile(0.5),
        latencies.value_at_quantile(0.99),
        latencies.value_at_quantile(0.999),
        latencies.max(),
        log.num_groups() as f64 / SECONDS as f64,
        resident_mib(),
    );
    let du = Command::new("du").args(["-sm", directory.path().to_str().unwrap()]).output().unwrap();
    println!("disk: {} MiB of {} MiB written", String::from_utf8_lossy(&du.stdout).trim(), (sent * 2_600) >> 20);
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}
