//! A new version of a message goes live on a real Kafka and a real Cassandra, under load.
//!
//! Needs `SURGETANK_TEST_KAFKA` and `SURGETANK_TEST_CASSANDRA`; otherwise the test says that it was skipped.

// Helpers outside of `#[test]` functions are not covered by the exemption in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Instant;

use common::layouts::Layouts;
use common::ledger::{Load, assert_nothing_lost, fleet};
use common::servers::Servers;
use common::until_true;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use surgetank::telemetry::now_us;

/// Version and cargo of all rows of `position`.
async fn cargoes(session: &Session, keyspace: &str) -> Vec<(i32, Option<i32>)> {
    let cql = format!("SELECT version, cargo FROM {keyspace}.position");
    let rows = session.query_unpaged(cql, ()).await.unwrap().into_rows_result().unwrap();
    rows.rows().unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_goes_live_under_load_and_loses_nothing() {
    let Some(servers) = Servers::find() else { return };
    let name = format!("itest_{}", now_us());
    let layouts = Layouts::new();
    let site = servers.site(&name, "pod-0", &[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let before = Load::start(fleet(server));
    before.acked(4_000).await;

    layouts.add_cargo();
    let started = Instant::now();
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap_or_else(|error| panic!("{error}"));
    println!("taken over after {:?}", started.elapsed());
    let mut options = fleet(server);
    options.device_prefix = options.device_prefix.replace("truck", "train");
    let after = Load::start_with(layouts.catalog(), options);
    after.acked(4_000).await;
    before.acked(4_000).await;

    let (mut before, after) = (before.end().await, after.end().await);
    for report in [&before, &after] {
        assert_eq!((report.unacked_at_end, report.rejected, report.refused, report.reconnects), (0, 0, 0, 0));
    }
    before.ledger.devices.extend(after.ledger.devices);
    running.catch_up().await;
    until_true("every accepted message to be written", async || {
        let counters = running.counters();
        counters.rows >= counters.accepted
    })
    .await;
    let found = assert_nothing_lost(before.ledger, &site.config(), &running.started.rooms).await;
    assert_eq!(found.dead_lettered, 0);
    running.assert_unharmed().await;
    running.stop().await;

    let session = SessionBuilder::new().known_node(&servers.cassandra).build().await.unwrap();
    let rows = cargoes(&session, &name).await;
    let num_new = rows.iter().filter(|(version, _)| *version == 3).count();
    println!("{} rows, {num_new} of the new version", rows.len());
    assert!(num_new > 100);
    for (version, cargo) in rows {
        assert_eq!(version == 3, cargo.is_some(), "version {version}: {cargo:?}");
    }
}
