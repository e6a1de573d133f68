//! Tables of routes on a real cluster: the contract of all stores, values of all types read back by the driver's own means,
//! tables in keyspaces of others. Set `SURGETANK_TEST_CASSANDRA=host:port`, otherwise the tests say that they were skipped.

use std::sync::Arc;

use crate::store_cassandra::{KEYSPACE, TestResult, connect, node, other_session, room, texts, wait};
use crate::store_contract::routed::{RoutedRoom, check_routed};

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_routes_keep_the_contract() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let store = Arc::new(connect(&node, None).await?);
    let (reader, changer) = (other_session(&node).await?, other_session(&node).await?);
    let change = move |cql: String| {
        let _ = wait(changer.query_unpaged(cql, ())).expect("change of the schema");
    };
    let change = Arc::new(change);
    let adder = Arc::clone(&change);
    let room = RoutedRoom {
        room: room(&node, &store).await?,
        rows: Box::new(move |table| {
            let rows = wait(texts(&reader, &format!("SELECT JSON * FROM {KEYSPACE}.{table}")));
            let mut rows: Vec<serde_json::Value> =
                rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
            rows.sort_by_key(|row| row["at"].as_i64());
            rows
        }),
        drop_column: Box::new(move |table, column| change(format!("ALTER TABLE {KEYSPACE}.{table} DROP {column}"))),
        add_column: Box::new(move |table, column| adder(format!("ALTER TABLE {KEYSPACE}.{table} ADD {column} bigint"))),
    };
    check_routed(&room).await;
    Ok(())
}
