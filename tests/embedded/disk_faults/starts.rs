//! Starts on a machine that cannot carry the engine, and queries by somebody else: each is told what is wrong.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::common::process::{arg, run, surgetank, told};
use super::common::site::Site;
use super::is_superuser;

#[test]
fn a_limit_of_open_files_that_is_too_low_is_named() {
    let site = Site::new(&[]);
    for limit in [20, 48, 64] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" run --config \"$1\"")]);
        let output = command.args([env!("CARGO_BIN_EXE_surgetank"), arg(&site.config_path())]).output().unwrap();
        let (code, _, stderr) = told(&output);
        assert_eq!(code, 1, "{stderr}");
        let named = format!("surgetank: the limit of open files is {limit}, and the engine needs at least ");
        assert!(stderr.lines().last().unwrap().starts_with(&named), "{stderr}");
    }
}

#[test]
fn check_notes_a_disk_that_is_smaller_than_the_log_may_grow() {
    let site = Site::new(&[("log.embedded.disk_budget", "\"1024 TiB\"")]);
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 0, "it may be checked elsewhere than it runs: {stderr}");
    assert!(stderr.contains("note: log.embedded.disk_budget = 1.0 PiB"), "{stderr}");
    site.configure(&[("log.embedded.disk_budget", "\"64 MiB\""), ("log.embedded.retention_size", "\"1 MiB\"")]);
    let (_, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert!(!stderr.contains("disk_budget"), "{stderr}");
}

#[test]
fn a_data_directory_that_takes_no_files_is_named_with_the_reason() {
    let site = Site::new(&[]);
    let start = || told(&run(&["run", "--config", arg(&site.config_path())]));
    std::fs::write(site.data_dir(), "").unwrap();
    let (code, _, stderr) = start();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("/data is a file: name a directory in data_dir"), "{stderr}");

    if !is_superuser() {
        return;
    }
    std::fs::remove_file(site.data_dir()).unwrap();
    std::fs::create_dir(site.data_dir()).unwrap();
    std::fs::set_permissions(site.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = surgetank(&["run", "--config", arg(&site.config_path())]);
    let Some((code, _, stderr)) = as_nobody(&mut command) else { return };
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("cannot write into") && stderr.contains("runs as user 65534"), "{stderr}");
}

/// Somebody who may read the database and nothing else.
#[test]
fn a_query_by_another_user_works_without_an_engine_and_says_what_it_lacks_after_a_crash() {
    if !is_superuser() {
        return;
    }
    let site = Site::new(&[]);
    told(&run(&["apply", "--config", arg(&site.config_path())]));
    std::fs::set_permissions(site.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let query = || {
        let data_dir = site.data_dir();
        as_nobody(&mut surgetank(&["query", "--data-dir", arg(&data_dir), "select count(*) as n from position"]))
    };
    let Some((code, stdout, stderr)) = query() else { return };
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.lines().any(|line| line.trim() == "0"), "{stdout}");

    // As a crash leaves it: rows in the log, and no index.
    let store = rusqlite::Connection::open(site.store_path()).unwrap();
    store.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE more (a)").unwrap();
    let kept =
        ["store.sqlite", "store.sqlite-wal"].map(|name| (name, std::fs::read(site.data_dir().join(name)).unwrap()));
    drop(store);
    kept.iter().for_each(|(name, bytes)| std::fs::write(site.data_dir().join(name), bytes).unwrap());
    let (code, _, stderr) = query().unwrap();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("store.sqlite-shm") && stderr.contains("user 65534 may not"), "{stderr}");
}

/// Runs a command as a user without rights; `None` where that one may not even run the binary.
fn as_nobody(command: &mut Command) -> Option<(i32, String, String)> {
    match command.uid(65534).gid(65534).output() {
        Ok(output) => Some(told(&output)),
        Err(error) => {
            eprintln!("skipped: another user cannot run the binary: {error}");
            None
        }
    }
}
