//! A disk that answers EIO: nothing is acknowledged that was not written, and nothing acknowledged before is lost. Needs a C
//! compiler, for the library that stands for the disk (`eio.c`); otherwise the tests say that they were skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use surgetank::log::{AppendError, Log};

use super::common::device::{Device, position};
use super::common::process::Process;
use super::common::site::Site;
use super::common::{http, until_true};
use super::{append, open_log};

/// What fails: flushes, or writes.
const ORDERS: [&str; 2] = ["fsync fdatasync", "write writev pwrite pwrite64"];

/// Where the child of a test finds its directory.
const DIRECTORY: &str = "SURGETANK_TEST_EIO_DIRECTORY";

/// A disk that fails on demand.
struct Disk {
    directory: tempfile::TempDir,
    library: PathBuf,
}

impl Disk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("eio.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/embedded/disk_faults/eio.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler");
            return None;
        }
        Some(Self { directory, library })
    }

    fn order(&self) -> PathBuf {
        self.directory.path().join("order")
    }

    /// From now on these calls fail.
    fn fail(&self, calls: &str) {
        // Whole, or not at all.
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, calls).unwrap();
        std::fs::rename(draft, self.order()).unwrap();
    }

    fn mend(&self) {
        std::fs::remove_file(self.order()).unwrap();
    }

    /// What makes a process have this disk below a path.
    fn environment(&self, below: &Path) -> [(&'static str, PathBuf); 3] {
        [("LD_PRELOAD", self.library.clone()), ("EIO_BELOW", below.to_owned()), ("EIO_ORDER", self.order())]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_disk_fails_acknowledges_nothing_more_and_a_new_start_has_everything_acknowledged() {
    for calls in ORDERS {
        let Some(disk) = Disk::new() else { return };
        let site = Site::new(&[]);
        let mut process = Process::start_under(&site, &disk.environment(&site.data_dir().join("log"))).await;
        let mut device = Device::connect(process.devices, "truck-1").await;
        for sequence in 1..=20 {
            device.accepted(&[position(sequence, 1)]).await;
        }
        disk.fail(calls);
        let last = [position(21, 1)];
        let _ = device.send_package(&last).await;
        let status = process.exited().await;
        let words = device.last_words().await;
        assert!(!format!("{words:?}").contains("Accepted"), "{calls}: {words:?}");
        let told = process.told();
        assert_eq!(status.code(), Some(1), "{told}");
        let reason = told.lines().last().unwrap();
        assert!(reason.contains("writing to the log failed: ") && reason.contains("os error 5"), "{calls}: {told}");

        let running = site.launch().await;
        running.catch_up().await;
        assert_eq!(site.number("select count(*) from position where sequence <= 20"), 20, "{calls}");
        Device::connect(running.engine.devices_addr, "truck-1").await.accepted(&last).await;
        running.catch_up().await;
        assert_eq!(site.number("select count(*) from position"), 21, "{calls}: sent again, it is the same row");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_wait_for_a_store_whose_disk_fails_and_health_says_why() {
    let Some(disk) = Disk::new() else { return };
    let site = Site::new(&[("writer.retry_max", "\"100 ms\"")]);
    let process = Process::start_under(&site, &disk.environment(&site.store_path())).await;
    let mut device = Device::connect(process.devices, "truck-1").await;
    device.accepted(&[position(1, 1)]).await;
    until_true("the first row", async || site.number("select count(*) from position") == 1).await;
    disk.fail(ORDERS[1]);
    device.accepted(&[position(2, 2)]).await;
    until_true("health to tell", async || {
        let (_, told) = http::get(process.http, "/health").await;
        told["store"]["state"] == "failing" && told["store"].to_string().contains("disk I/O error")
    })
    .await;
    disk.mend();
    until_true("the second row", async || site.number("select count(*) from position") == 2).await;
}

/// What the log itself says, before an engine has ended because of it.
#[test]
fn a_log_whose_disk_fails_says_so() {
    for calls in ORDERS {
        let Some(disk) = Disk::new() else { return };
        let room = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "disk_faults::eio::child_on_a_disk_that_fails", "--ignored"]);
        child.envs(disk.environment(room.path())).env(DIRECTORY, room.path()).env("EIO_CALLS", calls);
        let output = child.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{calls}: {told}");
    }
}

#[tokio::test]
#[ignore = "run by the test above, on a disk that fails"]
async fn child_on_a_disk_that_fails() {
    let variable = |name| std::env::var(name).unwrap();
    let log = open_log(Path::new(&variable(DIRECTORY))).await;
    append(&log, b"before").await.unwrap();
    std::fs::write(variable("EIO_ORDER"), variable("EIO_CALLS")).unwrap();
    for _ in 0..2 {
        let outcome = append(&log, b"after").await;
        assert!(matches!(outcome, Err(AppendError::Unavailable(_))), "{outcome:?}");
    }
    let conditions = log.conditions();
    assert_eq!(conditions[0].code, "log_broken", "{conditions:?}");
    assert!(conditions[0].refuses_intake && conditions[0].detail.contains("os error 5"), "{conditions:?}");
}
