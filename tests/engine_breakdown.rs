//! What only a restart can mend ends the process with exit code 1, so that whoever runs it starts it again, and loses
//! nothing. The same for the group on Kafka is in `engine_faults.rs`.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]
// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::ledger::{Load, assert_nothing_lost, fleet};
use common::process::Process;
use common::site::Site;

/// After a failed flush nobody knows what is on disk: only a new start, which reads it, finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_ends_the_process_and_the_next_one_has_everything_acknowledged() {
    let site = Site::new(&[]);
    // Late enough for something to be acknowledged before, and in the middle of what comes after.
    let mut process = Process::start_with(&site, "flush=50*off->return").await;
    let (devices, http) = (process.devices.to_string(), process.http.to_string());
    let load = Load::start(fleet(process.devices));
    let status = process.exited().await;
    let told = process.told();
    assert_eq!(status.code(), Some(1), "{told}");
    let reason = told.lines().last().unwrap();
    assert!(reason.starts_with("surgetank: writing to the log failed: storage engine: "), "{told}");
    assert!(reason.ends_with("a new start finds out what is durable"), "{told}");
    assert!(!told.contains("actor ended by itself"), "{told}");
    assert!(load.progress.acked.get() > 0, "nothing was acknowledged before the failure");

    // The same place, so that the fleet finds it again.
    site.configure(&[("devices.listen", &format!("{devices:?}")), ("http.listen", &format!("{http:?}"))]);
    let running = site.launch().await;
    load.acked(1_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.rooms).await;
    running.stop().await;
}
