//! A new version of a message goes live on a real Kafka and a real Cassandra, under load.
//!
//! Needs `SURGETANK_TEST_KAFKA` and `SURGETANK_TEST_CASSANDRA`; otherwise the test says that it was skipped.

use crate::common;

use common::layouts::Layouts;
use common::ledger::add_cargo_under_load;
use common::servers::Servers;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

/// Version and cargo of all rows of `position`.
async fn cargoes(session: &Session, keyspace: &str) -> Vec<(i32, Option<i32>)> {
    let cql = format!("SELECT version, cargo FROM {keyspace}.position");
    let rows = session.query_unpaged(cql, ()).await.unwrap().into_rows_result().unwrap();
    rows.rows().unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_goes_live_under_load_and_loses_nothing() {
    let Some(servers) = Servers::find() else { return };
    let name = common::unique_name();
    let layouts = Layouts::new();
    let site = servers.site(&name, "pod-0", &[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;
    add_cargo_under_load(&site, &running, &layouts).await;
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
