//! Disks that are full, read-only or slow, and a write-ahead log that somebody holds: what `/health` says, and that all is
//! well again afterwards.

use std::path::Path;
use std::process::Command;

use surgetank::flow::health::Condition;
use surgetank::log::{AppendError, Log};
use surgetank::schema::row::Cell;
use surgetank::store::Store;

use super::common::until_true;
use super::store_contract::{DAY_MS, GroupBuilder, table};
use super::{append, is_superuser, open_log, open_store};

fn has(conditions: &[Condition], code: &str) -> bool {
    conditions.iter().any(|condition| condition.code == code)
}

/// A file system in memory; gone when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path, size: &str) -> Self {
        let mount = ["-t", "tmpfs", "-o", size, "tmpfs"];
        assert!(Command::new("mount").args(mount).arg(at).status().unwrap().success());
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn appends_end_before_the_disk_is_full_and_begin_again_when_there_is_room() {
    if !is_superuser() {
        return;
    }
    let room = tempfile::tempdir().unwrap();
    let _disk = Mounted::new(room.path(), "size=64m");
    let ballast = room.path().join("ballast");
    std::fs::write(&ballast, vec![1; 32 << 20]).unwrap();
    let log = open_log(&room.path().join("log")).await;
    let value = vec![b'x'; 64 << 10];
    let mut num_appends = 0;
    let refused = loop {
        match append(&log, &value).await {
            Ok(()) => num_appends += 1,
            Err(refused) => break refused,
        }
        assert!(num_appends < 1_000, "the disk does not get full");
    };
    assert!(matches!(&refused, AppendError::Full(text) if text.contains("are free on the disk of")), "{refused}");
    let full = log.conditions();
    assert!(full.iter().any(|condition| condition.code == "disk_full" && condition.refuses_intake), "{full:?}");
    assert_eq!(log.broken(), None, "nothing failed yet, so nothing has to start anew");

    std::fs::remove_file(&ballast).unwrap();
    until_true("appends to be taken again", async || {
        assert_eq!(log.broken(), None);
        append(&log, &value).await.is_ok()
    })
    .await;
    assert!(!has(&log.conditions(), "disk_full"));
    let low = log.conditions();
    assert!(has(&low, "disk_space_low"), "a disk of 64 MiB is small for a log of 1 GiB: {low:?}");
    let gauges = log.gauges();
    assert!(gauges.iter().any(|gauge| gauge.name == "log_disk_free_bytes" && gauge.value > 0), "{gauges:?}");
}

/// A reader that keeps a transaction open lets the write-ahead log grow.
#[tokio::test]
async fn a_write_ahead_log_that_a_reader_holds_is_told_of_until_it_has_shrunk() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("rows.db");
    let store = open_store(&path);
    let table = table(
        "rows",
        &[("text", surgetank::schema::row::ColumnKind::Scalar(surgetank::schema::row::ScalarKind::Text))],
    );
    store.apply(std::slice::from_ref(&table)).await.unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM rows").unwrap();
    let wal_bytes = || store.gauges().iter().find(|gauge| gauge.name == "store_wal_bytes").unwrap().value;
    let text = vec![b'x'; 4 << 20];
    let mut sequence = 0;
    until_true("the write-ahead log to be large", async || {
        let mut rows = GroupBuilder::new(&table);
        let span = rows.span(&text);
        store.write(rows.row("a", DAY_MS, sequence, vec![Cell::Text(span)]).build()).await.unwrap();
        sequence += 1;
        has(&store.conditions(), "store_wal_large")
    })
    .await;
    assert!(wal_bytes() > 128 << 20, "{}", wal_bytes());
    assert!(store.conditions()[0].detail.contains("while a reader keeps a transaction open"));
    assert!(!store.conditions()[0].refuses_intake, "rows are written all the same");

    // Nobody writes any more; it shrinks all the same.
    reader.execute_batch("ROLLBACK").unwrap();
    until_true("the write-ahead log to shrink", async || wal_bytes() < 1 << 20).await;
    assert!(!has(&store.conditions(), "store_wal_large"));
}

#[cfg(feature = "failpoints")]
mod failing {
    use super::super::common::device::{Device, position};
    use super::super::common::process::Process;
    use super::super::common::site::Site;
    use super::super::common::{http, until_true};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_engine_without_work_whose_disk_turns_read_only_ends_with_the_reason() {
        let site = Site::new(&[]);
        let mut process = Process::start_with(&site, "disk=2*off->return").await;
        let status = process.exited().await;
        let told = process.told();
        assert_eq!(status.code(), Some(1), "{told}");
        let reason = told.lines().last().unwrap();
        assert!(reason.contains("is mounted read-only: mount it for writing"), "{told}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flush_that_does_not_end_makes_the_engine_unready_until_it_does() {
        let site = Site::new(&[]);
        let process = Process::start_with(&site, "flush=1*off->1*sleep(7000)->off").await;
        let mut device = Device::connect(process.devices, "truck-1").await;
        device.accepted(&[position(1, 1)]).await;
        let _ = device.send_package(&[position(2, 2)]).await;
        let ready = async || http::try_get(process.http, "/health/ready").await.unwrap();
        until_true("the engine to say that the disk hangs", async || {
            let (status, body) = ready().await;
            status == 503 && body.to_string().contains("the disk does not answer")
        })
        .await;
        device.receipt().await;
        until_true("the engine to be ready again", async || ready().await.0 == 200).await;
    }
}
