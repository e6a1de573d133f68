//! Ranges for other processes: the socket in the data directory.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use surgetank::log::local::{LocalRanges, RunningLog, SOCKET_FILE};
use surgetank::log::{Log, RangeEnd, RangeStart, Ranges};

use super::{open_with_topic, settings, topic};
use crate::log_contract::{append, append_200, at, batch, offsets_of, outcome, range, reads_ranges_of_200};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_reads_the_same_ranges_and_nobody_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(open_with_topic(settings(&directory.path().join("log"))).await);
    let id = at(&topic(), 0);
    let between_ms = append_200(&*log, &id).await;
    let error = RunningLog::reach(directory.path()).await.err().unwrap().to_string();
    assert!(error.contains("in use by another process") && error.contains(SOCKET_FILE), "{error}");

    // What a killed process has left is replaced.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join(SOCKET_FILE)).unwrap());
    assert!(RunningLog::reach(directory.path()).await.is_err());
    let serving = LocalRanges::serve(directory.path(), log.clone()).unwrap();
    let mode = std::fs::metadata(directory.path().join(SOCKET_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let running = RunningLog::reach(directory.path()).await.unwrap();
    reads_ranges_of_200(&running, &id, between_ms).await;

    // More readers than are answered at once, each of which stops somewhere.
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(running.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await.unwrap());
    }
    let later = range(&running, &id, RangeStart::Offset(150), RangeEnd::Now);
    drop(readers.split_off(1));
    assert_eq!(later.await.len(), 50);
    assert_eq!(offsets_of(&mut *readers.remove(0), 64).await.len(), 200);

    drop(serving);
    assert!(!directory.path().join(SOCKET_FILE).exists());
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_and_long_paths_go_through() {
    let directory = tempfile::tempdir().unwrap();
    let long: PathBuf = directory.path().join("d".repeat(120));
    let log: Arc<dyn Log> = Arc::new(open_with_topic(settings(&long)).await);
    let id = at(&topic(), 0);
    let values: Vec<Vec<u8>> = (0..4).map(|number| vec![number; 3 << 20]).collect();
    outcome(append(&*log, &id, batch("device", &values))).await.unwrap();
    let _serving = LocalRanges::serve(&long, log.clone()).unwrap();
    let running = RunningLog::reach(&long).await.unwrap();
    let mut range = running.read_range(&id, RangeStart::Offset(1), RangeEnd::Now).await.unwrap();
    let limit = surgetank::log::ReadLimit { max_records: 100, max_bytes: 1 << 10 };
    for number in 1..4u8 {
        let batch = range.read(limit).await.unwrap().unwrap();
        assert_eq!((batch.records.len(), batch.records[0].offset), (1, u64::from(number)));
        assert_eq!(batch.records[0].key(&batch.data), b"device");
        assert!(batch.records[0].value(&batch.data) == vec![number; 3 << 20]);
    }
    assert!(range.read(limit).await.unwrap().is_none());
    log.close().await;
}
