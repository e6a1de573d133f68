//! The embedded log: the contract of every log, and what is its own: group commit, retention, disk budget, crashes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/log_contract.rs"]
mod log_contract;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use log_contract::{Consumption, Room, append, at, batch, outcome, read, spec, until};
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
    log.scan(&topic(), &mut |_, offset, _, _| {
        assert_eq!(offset, count);
        count += 1;
    })
    .unwrap();
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
    log.scan(&topic(), &mut |_, offset, _, value| found.push((offset, value[0], value.len()))).unwrap();
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
    let values = vec![vec![b'x'; 1_024]; 64];
    for _ in 0..num_mib * 16 {
        outcome(append(log, &at(&topic(), 0), batch("device", &values))).await?;
    }
    Ok(())
}

fn first_offset(log: &EmbeddedLog) -> u64 {
    let mut first = None;
    log.scan(&topic(), &mut |_, offset, _, _| {
        first.get_or_insert(offset);
    })
    .unwrap();
    first.unwrap()
}

#[tokio::test]
async fn retention_removes_only_what_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        EmbeddedLogSettings { retention: Duration::ZERO, write_buffer: 2 << 20, ..settings(directory.path()) };
    let log = open_with_topic(settings).await;
    let mut consumption = Consumption::start(&log, &topic()).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    fill(&log, 12).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
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
    fill(&log, 16).await.expect("unread dead letters do not fill the budget");
    let num_records = 16 * 16 * 64;
    until("the oldest go", || first_offset(&log) > num_records / 2).await;
    assert!(first_offset(&log) <= num_records * 3 / 4, "what fits into the bound stays");
}

/// The wall clock of this process; other tests here do not mind.
#[cfg(feature = "failpoints")]
fn set_clock(file: &Path, seconds: i64) {
    std::fs::write(file, seconds.to_string()).unwrap();
    fail::cfg("wall_clock", &format!("return({})", file.display())).unwrap();
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn retention_removes_nothing_because_the_clock_was_set() {
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

fn newest_journal(directory: &Path) -> PathBuf {
    let journals = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    journals.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max_by_key(number).unwrap()
}

/// Writes ten groups of one record, damages the journal's tail, and expects the first nine to be there.
async fn survives_damage(damage: impl Fn(&mut Vec<u8>, usize)) {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_topic(settings(directory.path())).await;
    for number in 0..10 {
        let values = [format!("{number}-{}", "x".repeat(20_000))];
        outcome(append(&log, &at(&topic(), 0), batch("device", &values))).await.unwrap();
    }
    drop(log);
    let journal = newest_journal(directory.path());
    let mut bytes = std::fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    damage(&mut bytes, end);
    std::fs::write(&journal, bytes).unwrap();

    let log = open_with_topic(settings(directory.path())).await;
    let mut seen = Vec::new();
    log.scan(&topic(), &mut |_, offset, _, value| {
        assert!(value.starts_with(format!("{offset}-").as_bytes()));
        seen.push(offset);
    })
    .unwrap();
    assert_eq!(seen, (0..9).collect::<Vec<_>>());
    outcome(append(&log, &at(&topic(), 0), batch("device", &["after"]))).await.unwrap();
    drop(log);
    let log = open_with_topic(settings(directory.path())).await;
    let mut last = None;
    log.scan(&topic(), &mut |_, offset, _, value| last = Some((offset, value.to_vec()))).unwrap();
    assert_eq!(last, Some((9, b"after".to_vec())));
}

#[tokio::test]
async fn journal_cut_off_in_its_last_group_opens() {
    survives_damage(|bytes, end| bytes.truncate(end - 5_000)).await;
}

#[tokio::test]
async fn journal_with_a_hole_in_its_last_group_opens() {
    // As after a power failure in the middle of a flush: pages reach the disk in any order.
    survives_damage(|bytes, end| bytes[end - 10_000..end - 6_000].fill(0)).await;
}

#[tokio::test]
async fn journal_that_lost_the_end_of_its_last_group_opens() {
    survives_damage(|bytes, end| bytes[end - 10_000..end].fill(0)).await;
}

#[tokio::test]
async fn journal_damaged_below_receipted_records_is_not_opened_silently() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with_topic(settings(directory.path())).await;
    for _ in 0..10 {
        outcome(append(&log, &at(&topic(), 0), batch("device", &["x".repeat(20_000)]))).await.unwrap();
    }
    drop(log);
    let journal = newest_journal(directory.path());
    let mut bytes = std::fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end / 2..end / 2 + 100].fill(0);
    std::fs::write(&journal, bytes).unwrap();
    let error = open(directory.path()).err().expect("damage in the middle is reported");
    assert!(matches!(error, LogError::Failed { .. }), "{error}");
}

const CHILD_DIRECTORY: &str = "SURGETANK_TEST_LOG_DIRECTORY";

/// Not a test of its own: the process that gets killed. It appends and prints each number once it is receipted.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let log = open_with_topic(settings(Path::new(&directory))).await;
    for number in 0u64.. {
        outcome(append(&log, &at(&topic(), 0), batch("device", &[number.to_string()]))).await.unwrap();
        println!("receipted {number}");
    }
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_receipted() {
    let directory = tempfile::tempdir().unwrap();
    let mut next = 0u64;
    for num_receipts in [1, 50, 300] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut receipted: Vec<u64> = Vec::new();
        for line in lines {
            if let Some(number) = line.strip_prefix("receipted ").and_then(|number| number.parse().ok()) {
                receipted.push(number);
            }
            if receipted.len() == num_receipts {
                child.kill().unwrap(); // SIGKILL
            }
        }
        child.wait().unwrap();
        assert!(receipted.len() >= num_receipts);

        let log = open_with_topic(settings(directory.path())).await;
        let mut values = Vec::new();
        log.scan(&topic(), &mut |_, offset, _, value| {
            assert_eq!(offset, values.len() as u64, "offsets have no gap");
            values.push(String::from_utf8(value.to_vec()).unwrap().parse::<u64>().unwrap());
        })
        .unwrap();
        let of_this_child = &values[next as usize..];
        assert!(of_this_child.starts_with(&receipted), "every receipted record is there once, in order");
        assert!(of_this_child.len() <= receipted.len() + 1, "at most the one on its way is there unreceipted");
        next = values.len() as u64;
    }
}

const CHILD_DISK: &str = "SURGETANK_TEST_LOG_FAILING_DISK";

/// Not a test of its own: the process whose disk takes no more. It says how the log answers.
#[tokio::test]
async fn child_whose_disk_fails() {
    let Ok(directory) = std::env::var(CHILD_DISK) else { return };
    // Nothing leaves the journal, so that it grows into the limit.
    let log = open_with_topic(EmbeddedLogSettings { write_buffer: 1 << 30, ..settings(Path::new(&directory)) }).await;
    let mut num_receipts = 0;
    let failure = loop {
        match outcome(append(&log, &at(&topic(), 0), batch("device", &[vec![b'x'; 1 << 20]]))).await {
            Ok(()) => num_receipts += 1,
            Err(failure) => break failure,
        }
    };
    assert!(matches!(failure, AppendError::Unavailable(_)), "{failure}");
    for _ in 0..3 {
        let later = outcome(append(&log, &at(&topic(), 0), batch("device", &["small enough"]))).await;
        assert!(matches!(later, Err(AppendError::Unavailable(_))), "no second try after a failed write");
    }
    assert!(log.health().unwrap_err().contains("writing to the log failed"));
    println!("receipted {num_receipts}");
}

#[tokio::test]
async fn failed_write_ends_all_appends_until_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    // A limit on the size of files, its signal ignored, makes writes fail like a broken disk.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 70000; exec \"$0\" --exact child_whose_disk_fails --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_DISK, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let receipted =
        said.lines().find_map(|line| line.split_once("receipted ")).unwrap().1.trim().parse::<u64>().unwrap();

    let log = open_with_topic(settings(directory.path())).await;
    let mut count = 0;
    log.scan(&topic(), &mut |_, _, _, _| count += 1).unwrap();
    assert_eq!(count, receipted, "what was receipted before the failure is there");
    outcome(append(&log, &at(&topic(), 0), batch("device", &["v"]))).await.unwrap();
}
