//! Processes that are killed, journals that are damaged, disks that take no more: what was receipted is there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use surgetank::log::embedded::EmbeddedLogSettings;
use surgetank::log::{AppendError, Log, LogError};

use super::{open, open_with_topic, settings, topic};
use crate::log_contract::{append, at, batch, outcome, scan};

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
    scan(&log, &topic(), |_, offset, _, value| {
        assert!(value.starts_with(format!("{offset}-").as_bytes()));
        seen.push(offset);
    });
    assert_eq!(seen, (0..9).collect::<Vec<_>>());
    outcome(append(&log, &at(&topic(), 0), batch("device", &["after"]))).await.unwrap();
    drop(log);
    let log = open_with_topic(settings(directory.path())).await;
    let mut last = None;
    scan(&log, &topic(), |_, offset, _, value| last = Some((offset, value.to_vec())));
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
            .args(["--exact", "log_embedded::crashes::child_that_is_killed", "--nocapture"])
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
        scan(&log, &topic(), |_, offset, _, value| {
            assert_eq!(offset, values.len() as u64, "offsets have no gap");
            values.push(String::from_utf8(value.to_vec()).unwrap().parse::<u64>().unwrap());
        });
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
        .args(["-c", "trap '' XFSZ; ulimit -f 70000; exec \"$0\" --exact log_embedded::crashes::child_whose_disk_fails --nocapture"])
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
    scan(&log, &topic(), |_, _, _, _| count += 1);
    assert_eq!(count, receipted, "what was receipted before the failure is there");
    outcome(append(&log, &at(&topic(), 0), batch("device", &["v"]))).await.unwrap();
}
