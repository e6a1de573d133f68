//! The embedded log: the contract of every log, and what is its own: group commit, retention, disk budget, crashes.

mod crashes;
use crate::log_contract;
mod local;
mod retention;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log_contract::{Consumption, Room, append, at, batch, outcome, read, scan, spec, until};
use surgetank::log::embedded::{EmbeddedLog, EmbeddedLogSettings};
use surgetank::log::{AppendError, Log, LogError, TopicSpec};

struct Directory(tempfile::TempDir);

impl Room for Directory {
    fn open(&self) -> Arc<dyn Log> {
        Arc::new(open(self.0.path()).unwrap())
    }

    fn topic(&self) -> &str {
        "telemetry"
    }
}

fn room() -> Directory {
    Directory(tempfile::tempdir().unwrap())
}

fn settings(directory: &Path) -> EmbeddedLogSettings {
    EmbeddedLogSettings {
        directory: directory.to_owned(),
        retention: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        disk_budget: 1 << 30,
        write_buffer: 8 << 20,
        tail_cache: 1 << 20,
    }
}

fn open(directory: &Path) -> Result<EmbeddedLog, LogError> {
    EmbeddedLog::open(settings(directory), &[topic()])
}

fn topic() -> TopicSpec {
    spec("telemetry", 1)
}

async fn open_with_topic(settings: EmbeddedLogSettings) -> EmbeddedLog {
    let log = EmbeddedLog::open(settings, &[topic()]).unwrap();
    log.apply(&[topic()]).await.unwrap();
    log
}

log_contract::contract!(Some(room()));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_records_of_a_topic_that_the_config_no_longer_names_are_told() {
    let (room, renamed) = (room(), [spec("renamed", 1)]);
    let log = open_with_topic(settings(room.0.path())).await;
    outcome(append(&log, &at(&topic(), 0), batch("device", &["a", "b", "c"]))).await.unwrap();
    let consumption = Consumption::start(&log, &topic()).await;
    consumption.readers[&0].offsets().commit(1);
    assert_eq!(log.inspect(&[topic()]).await.unwrap(), []);
    consumption.close().await;
    log.close().await;
    drop(log);

    let log = open(room.0.path()).unwrap();
    let found = log.inspect(&renamed).await.unwrap();
    assert_eq!((found.len(), found[0].code, &*found[0].subject), (1, "topic_abandoned", "telemetry"));
    assert!(found[0].detail.contains("2 records"), "{}", found[0].detail);
    let consumption = Consumption::start(&log, &topic()).await;
    consumption.readers[&0].offsets().commit(3);
    assert_eq!(log.inspect(&renamed).await.unwrap(), [], "what is read is done with");
    consumption.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_appends_share_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let log = Arc::new(open_with_topic(settings(directory.path())).await);
    let mut tasks = Vec::new();
    for task in 0..64 {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..20 {
                let values = [format!("{task}-{round}")];
                outcome(append(&*log, &at(&topic(), 0), batch("device", &values))).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(log.num_groups() < 64 * 20 / 2, "{} flushes for {} appends", log.num_groups(), 64 * 20);
    let mut count = 0;
    scan(&*log, &topic(), |_, offset, _, _| {
        assert_eq!(offset, count);
        count += 1;
    });
    assert_eq!(count, 64 * 20);
}

#[tokio::test]
async fn second_open_is_locked_out() {
    let directory = tempfile::tempdir().unwrap();
    let _log = open(directory.path()).unwrap();
    assert!(matches!(open(directory.path()), Err(LogError::Locked { .. })));
}

#[tokio::test]
async fn unknown_partition_and_inconsistent_batch_are_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_topic(settings(directory.path())).await;
    assert!(matches!(
        outcome(append(&log, &at(&topic(), 7), batch("device", &["v"]))).await,
        Err(AppendError::Unavailable(_))
    ));
    let mut crooked = batch("device", &["v"]);
    crooked.ends = vec![5];
    assert!(matches!(outcome(append(&log, &at(&topic(), 0), crooked)).await, Err(AppendError::Refused(_))));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_cut_and_only_a_record_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_topic(settings(directory.path())).await;
    let max_bytes = log.record_limit(&topic().name).max_bytes();
    let values: Vec<Vec<u8>> = (0..5).map(|number| vec![number; 10 << 20]).collect();
    outcome(append(&log, &at(&topic(), 0), batch("device", &values))).await.unwrap();
    let mut found = Vec::new();
    scan(&log, &topic(), |_, offset, _, value| found.push((offset, value[0], value.len())));
    assert_eq!(found, (0..5).map(|number| (u64::from(number), number, 10 << 20)).collect::<Vec<_>>());

    let too_large = [vec![0; 10], vec![0; max_bytes]];
    let refused = outcome(append(&log, &at(&topic(), 0), batch("device", &too_large))).await;
    assert!(matches!(refused, Err(AppendError::TooLarge(_))), "{refused:?}");
}

#[tokio::test]
async fn reader_that_is_behind_reads_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_topic(EmbeddedLogSettings { tail_cache: 10_000, ..settings(directory.path()) }).await;
    let mut consumption = Consumption::start(&log, &topic()).await;
    for round in 0..200 {
        let values: Vec<_> = (0..50).map(|number| format!("{round}-{number}-{}", "x".repeat(100))).collect();
        outcome(append(&log, &at(&topic(), 0), batch("device", &values))).await.unwrap();
    }
    let got = read(&mut **consumption.readers.get_mut(&0).unwrap(), 10_000).await;
    assert!((0..).zip(&got).all(|(offset, record)| record.0 == offset));
    assert!(got.last().unwrap().2.starts_with("199-49-"));
}

/// Appends about `num_mib` MiB.
async fn fill(log: &EmbeddedLog, num_mib: usize) -> Result<(), AppendError> {
    fill_topic(log, &topic(), num_mib).await
}

async fn fill_topic(log: &EmbeddedLog, topic: &TopicSpec, num_mib: usize) -> Result<(), AppendError> {
    let values = vec![vec![b'x'; 1_024]; 64];
    for _ in 0..num_mib * 16 {
        outcome(append(log, &at(topic, 0), batch("device", &values))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn full_log_refuses_until_it_has_drained() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_topic(EmbeddedLogSettings { disk_budget: 2 << 20, ..settings(directory.path()) }).await;
    let consumption = Consumption::start(&log, &topic()).await;
    let refused = fill(&log, 4).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Full(text) if text.contains("disk_budget is 2097152")), "{refused}");
    assert!(log.health().unwrap_err().contains("log full"));
    let unread = log.num_unread_bytes();
    assert!((2 << 20..3 << 20).contains(&unread), "{unread}");

    let end = unread / 1_024;
    consumption.readers[&0].offsets().commit(end);
    until("it takes appends again", || log.health().is_ok()).await;
    outcome(append(&log, &at(&topic(), 0), batch("device", &["v"]))).await.unwrap();
}
