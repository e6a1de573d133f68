//! Files that are removed or exchanged under a running log, store or engine: nothing that was written to them is
//! confirmed.

use std::path::{Path, PathBuf};

use surgetank::log::embedded::EmbeddedLog;
use surgetank::log::{AppendError, Log};
use surgetank::store::{Store, WriteError};

use super::common::device::{Device, position};
use super::common::process::Process;
use super::common::site::Site;
use super::common::until_true;
use super::store_contract::{group, simple_table};
use super::{append, open_log, open_store, settings, topic};

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn newest_journal(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max().unwrap()
}

/// The very next append after the files are gone is refused, and so are all that follow.
#[tokio::test]
async fn an_append_after_the_files_of_the_log_are_gone_is_not_confirmed() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("removed", |directory| std::fs::remove_dir_all(directory).unwrap()),
        ("moved away", |directory| std::fs::rename(directory, directory.with_extension("old")).unwrap()),
        ("exchanged for a copy", |directory| {
            let old = directory.with_extension("old");
            std::fs::rename(directory, &old).unwrap();
            copy(&old, directory);
        }),
        ("its parent moved away", |directory| {
            let parent = directory.parent().unwrap();
            std::fs::rename(parent, parent.with_extension("old")).unwrap();
        }),
        ("without its journal", |directory| std::fs::remove_file(newest_journal(directory)).unwrap()),
    ];
    for (what, harm) in harms {
        let room = tempfile::tempdir().unwrap();
        let directory = room.path().join("data/log");
        let log = open_log(&directory).await;
        append(&log, b"before").await.unwrap();
        harm(&directory);
        for _ in 0..2 {
            let outcome = append(&log, b"after").await;
            assert!(matches!(outcome, Err(AppendError::Unavailable(_))), "{what}: {outcome:?}");
        }
        let reason = log.broken().unwrap_or_else(|| panic!("{what}: not broken"));
        assert!(reason.contains("removed or exchanged under the running engine"), "{what}: {reason}");
        let conditions = log.conditions();
        assert_eq!(conditions[0].code, "data_dir_gone", "{what}");
        assert!(conditions[0].refuses_intake, "{what}");
    }
}

#[tokio::test]
async fn a_log_without_work_sees_that_its_files_are_gone() {
    for name in ["lock", "keyspaces"] {
        let room = tempfile::tempdir().unwrap();
        let log = open_log(room.path()).await;
        std::fs::rename(room.path().join(name), room.path().join("elsewhere")).unwrap();
        until_true("the log to look", async || log.broken().is_some()).await;
        assert!(log.broken().unwrap().contains(&format!("/{name}")), "{:?}", log.broken());
    }
}

/// The storage engine reads an open table without its name, and does not start without it.
#[tokio::test]
async fn a_table_that_is_removed_is_seen_while_the_log_works_and_named_at_the_next_start() {
    let room = tempfile::tempdir().unwrap();
    let log = open_log(room.path()).await;
    // Those of the storage engine itself are nobody's to look at.
    let tables = || {
        let listed = std::process::Command::new("find")
            .arg(room.path())
            .args(["-path", "*/keyspaces/[1-9]*/tables/*"])
            .output()
            .unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().map(PathBuf::from).collect::<Vec<_>>()
    };
    let value = vec![b'x'; 1 << 20];
    until_true("a table", async || {
        append(&log, &value).await.unwrap();
        !tables().is_empty()
    })
    .await;
    let table = tables().remove(0);
    std::fs::remove_file(&table).unwrap();
    until_true("the log to look", async || log.broken().is_some()).await;
    let reason = log.broken().unwrap();
    assert!(reason.contains(table.to_str().unwrap()) && reason.contains("put it back"), "{reason}");
    assert_eq!(log.conditions()[0].code, "data_dir_gone");
    drop(log);

    let error = EmbeddedLog::open(settings(room.path()), &[topic()]).err().expect("no start without it").to_string();
    assert!(error.contains(room.path().to_str().unwrap()), "{error}");
    assert!(
        error.contains("files of its tables (below keyspaces in that directory) are missing; put them back"),
        "{error}"
    );
}

/// Journals come and go while the log works: that is no harm.
#[tokio::test]
async fn a_log_that_moves_on_to_new_journals_stays_sound() {
    let room = tempfile::tempdir().unwrap();
    let log = open_log(room.path()).await;
    let first = newest_journal(room.path());
    let value = vec![b'x'; 4 << 20];
    let mut num_appends = 0;
    while first.exists() {
        append(&log, &value).await.unwrap();
        num_appends += 1;
        assert!(num_appends < 200, "the first journal does not go");
    }
    // More than the disk is left without a look for.
    for _ in 0..10 {
        append(&log, &value).await.unwrap();
    }
    assert_eq!(log.broken(), None);
}

#[tokio::test]
async fn a_write_after_the_files_of_the_store_are_gone_is_not_confirmed() {
    for (suffix, is_exchanged) in [("", false), ("", true), ("-wal", false), ("-wal", true)] {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("rows.db");
        let store = open_store(&path);
        let table = simple_table("rows");
        store.apply(std::slice::from_ref(&table)).await.unwrap();
        store.write(group(&table, "a", 0, 10)).await.unwrap();
        let file = room.path().join(format!("rows.db{suffix}"));
        std::fs::rename(&file, room.path().join("old")).unwrap();
        if is_exchanged {
            std::fs::copy(room.path().join("old"), &file).unwrap();
        }
        for first in [10, 20] {
            let outcome = store.write(group(&table, "a", first, 10)).await;
            assert!(matches!(outcome, Err(WriteError::Table(_))), "{suffix} {is_exchanged}: {outcome:?}");
        }
        let reason = store.broken().expect("broken");
        assert!(reason.contains(&format!("rows.db{suffix} ")), "{reason}");
        assert_eq!(store.conditions()[0].code, "store_file_gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_data_directory_is_removed_acknowledges_nothing_more_and_ends() {
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let mut device = Device::connect(process.devices, "truck-1").await;
    device.accepted(&[position(1, 1)]).await;
    std::fs::remove_dir_all(site.data_dir()).unwrap();
    let _ = device.send_package(&[position(2, 2)]).await;
    let status = process.exited().await;
    // What came before the end of the connection, if anything did, is no acknowledgement.
    let words = device.last_words().await;
    assert!(!format!("{words:?}").contains("Accepted"), "{words:?}");
    let told = process.told();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.lines().last().unwrap().contains("removed or exchanged under the running engine"), "{told}");

    // A new start begins with nothing, and the device sends again.
    let process = Process::start(&site).await;
    Device::connect(process.devices, "truck-1").await.accepted(&[position(2, 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_store_is_moved_away_ends_and_stores_the_rest_when_it_is_back() {
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let mut device = Device::connect(process.devices, "truck-1").await;
    device.accepted(&[position(1, 1)]).await;
    until_true("the first row", async || site.number("select count(*) from position") == 1).await;
    // As one would move it: with what belongs to it.
    let away = site.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let names = ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"];
    for name in names {
        std::fs::rename(site.data_dir().join(name), away.join(name)).unwrap();
    }
    device.accepted(&[position(2, 2)]).await;
    let status = process.exited().await;
    let told = process.told();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("the files of the store were removed or exchanged"), "{told}");

    names.iter().filter(|name| away.join(name).exists()).for_each(|name| {
        std::fs::rename(away.join(name), site.data_dir().join(name)).unwrap();
    });
    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 2);
    running.stop().await;
}
