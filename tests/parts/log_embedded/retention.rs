//! What is removed from the log, and when.

use std::path::Path;
use std::time::Duration;

use surgetank::log::embedded::{EmbeddedLog, EmbeddedLogSettings};
use surgetank::log::{Log, RangeEnd, RangeError, RangeStart, Ranges, ReadLimit};

use super::{fill, fill_topic, open_with_topic, settings, topic};
#[cfg(feature = "failpoints")]
use crate::CLOCK;
use crate::log_contract::{Consumption, at, read, spec, until};

fn first_offset(log: &EmbeddedLog) -> u64 {
    let id = at(&topic(), 0);
    let range = futures_util::FutureExt::boxed(log.read_range(&id, RangeStart::Earliest, RangeEnd::Now));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| scope.spawn(move || runtime.block_on(range).unwrap().offsets().start).join().unwrap())
}

#[tokio::test]
async fn retention_removes_only_what_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        EmbeddedLogSettings { retention: Duration::ZERO, write_buffer: 2 << 20, ..settings(directory.path()) };
    // What nobody reads goes at once, which shows that retention has looked at the log.
    let unread = spec("unread", 1);
    let log = EmbeddedLog::open(settings, &[topic(), unread.clone()]).unwrap();
    log.apply(&[topic(), unread.clone()]).await.unwrap();
    let mut consumption = Consumption::start(&log, &topic()).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    fill(&log, 12).await.unwrap();
    fill_topic(&log, &unread, 12).await.unwrap();
    until("retention acts", || log.num_removed() > 0).await;
    assert_eq!(first_offset(&log), 0, "nothing is committed, so nothing goes");

    let num_records = 12 * 16 * 64;
    reader.offsets().commit(num_records / 2);
    until("the committed half goes", || first_offset(&log) > num_records / 3).await;
    assert!(first_offset(&log) <= num_records / 2);
    let got = read(&mut **reader, 64).await;
    assert!(got.first().unwrap().0 <= num_records / 2, "a reader that was behind goes on at the oldest that is left");
    reader.rewind().await.unwrap();
    assert_eq!(read(&mut **reader, 1).await.first().unwrap().0, num_records / 2);
}

#[tokio::test]
async fn retention_by_size_applies_to_topics_that_nobody_reads() {
    let directory = tempfile::tempdir().unwrap();
    let settings = EmbeddedLogSettings {
        retention_bytes: 4 << 20,
        write_buffer: 2 << 20,
        disk_budget: 8 << 20,
        ..settings(directory.path())
    };
    let log = open_with_topic(settings).await;
    fill(&log, 1).await.unwrap();
    let id = at(&topic(), 0);
    let mut range = log.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await.unwrap();
    let limit = ReadLimit { max_records: 10, max_bytes: 1 << 20 };
    assert_eq!(range.read(limit).await.unwrap().unwrap().next_offset, 10);
    fill(&log, 15).await.expect("unread dead letters do not fill the budget");
    let num_records = 16 * 16 * 64;
    until("the oldest go", || first_offset(&log) > num_records / 2).await;
    assert!(first_offset(&log) <= num_records * 3 / 4, "what fits into the bound stays");

    let gone = range.read(limit).await.err();
    assert!(matches!(gone, Some(RangeError::Gone { from: 10, first, .. }) if first > num_records / 2), "{gone:?}");
    let gone = log.read_range(&id, RangeStart::Offset(7), RangeEnd::Now).await.err();
    assert!(matches!(gone, Some(RangeError::Gone { from: 7, first, .. }) if first > num_records / 2), "{gone:?}");
}

/// The wall clock of this process: whoever sets it holds [`CLOCK`].
#[cfg(feature = "failpoints")]
fn set_clock(file: &Path, seconds: i64) {
    std::fs::write(file, seconds.to_string()).unwrap();
    fail::cfg("wall_clock", &format!("return({})", file.display())).unwrap();
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn retention_removes_nothing_because_the_clock_was_set() {
    let _alone = CLOCK.lock().await;
    let (directory, clocks) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = clocks.path().join("clock");
    // By size a quarter goes, so that it shows when retention has looked.
    let settings = EmbeddedLogSettings {
        retention: Duration::from_secs(3600),
        retention_bytes: 12 << 20,
        write_buffer: 2 << 20,
        ..settings(directory.path())
    };
    set_clock(&file, -2 * 86_400);
    let log = open_with_topic(settings.clone()).await;
    fill(&log, 4).await.unwrap();
    set_clock(&file, 0);
    fill(&log, 4).await.unwrap();
    log.close().await;
    drop(log);
    // Once more in the other direction, and at a start.
    set_clock(&file, 60 * 86_400);
    let log = open_with_topic(settings).await;
    fill(&log, 8).await.unwrap();
    until("retention by size acts", || log.num_removed() > 0).await;
    set_clock(&file, 0);
    let num_records = 16 * 16 * 64;
    assert!(first_offset(&log) < num_records / 2, "{} of {num_records}", first_offset(&log));
    assert_eq!(log.num_removed(), first_offset(&log), "what is removed is counted");
    fail::remove("wall_clock");
}
