//! The Cassandra store against a real cluster: the contract of all stores, and what is its own (write timestamps,
//! native types). Set `SURGETANK_TEST_CASSANDRA=host:port`, otherwise the tests say that they were skipped.

use crate::store_contract;

use std::sync::Arc;
use std::time::{Duration, Instant};

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use store_contract::{DAY_MS, GroupBuilder, Room, check_all, every_kind, group, keys, simple_table, table};
use surgetank::flow::health::Condition;
use surgetank::schema::row::{Cell, ColumnKind, ScalarKind, Table};
use surgetank::store::cassandra::{CassandraSettings, CassandraStore, Consistency};
use surgetank::store::{Store, StoreError, WriteError};
use tokio::runtime::Handle;

pub type TestResult = Result<(), Box<dyn std::error::Error>>;

pub const KEYSPACE: &str = "surgetank_test";

/// The address to test against, or a note that there is none.
pub fn node() -> Option<String> {
    let node = std::env::var("SURGETANK_TEST_CASSANDRA").ok();
    if node.is_none() {
        println!("skipped: SURGETANK_TEST_CASSANDRA is not set");
    }
    node
}

pub fn settings(node: &str, ttl: Option<Duration>) -> CassandraSettings {
    CassandraSettings {
        nodes: vec![node.to_string()],
        datacenter: None,
        rack: None,
        keyspace: KEYSPACE.to_string(),
        route_keyspaces: Vec::new(),
        replication: "{'class': 'SimpleStrategy', 'replication_factor': 1}".to_string(),
        consistency: Consistency::LocalQuorum,
        credentials: None,
        request_timeout: Duration::from_secs(5),
        connections_per_node: 2,
        batch_rows: 64,
        batch_bytes: 32 << 10,
        ttl,
        tls: None,
    }
}

pub async fn connect(node: &str, ttl: Option<Duration>) -> Result<CassandraStore, Box<dyn std::error::Error>> {
    Ok(CassandraStore::connect(settings(node, ttl), Handle::current()).await?)
}

/// A session that knows nothing of the store.
pub async fn other_session(node: &str) -> Result<Arc<Session>, Box<dyn std::error::Error>> {
    Ok(Arc::new(SessionBuilder::new().known_node(node).build().await?))
}

pub async fn texts(session: &Session, cql: &str) -> Vec<String> {
    let rows = session.query_unpaged(cql, ()).await.expect("query").into_rows_result().expect("rows");
    let mut texts: Vec<String> = rows.rows::<(String,)>().expect("text").map(|row| row.expect("row").0).collect();
    texts.sort();
    texts
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(future))
}

/// Cassandra's `isValueCompatibleWith`, as far as these types go.
fn is_compatible(from: ColumnKind, to: ColumnKind) -> bool {
    use ScalarKind::{Bytes, Int, Long, Timestamp, Unsigned};
    match (from, to) {
        (ColumnKind::List(from), ColumnKind::List(to)) => {
            is_compatible(ColumnKind::Scalar(from), ColumnKind::Scalar(to))
        }
        (_, ColumnKind::Scalar(Bytes)) => true,
        (ColumnKind::Scalar(from), ColumnKind::Scalar(to)) => {
            matches!((from, to), (Int | Long, Unsigned) | (Timestamp, Long | Unsigned) | (Long, Timestamp))
        }
        _ => false,
    }
}

pub async fn room(node: &str, store: &Arc<CassandraStore>) -> Result<Room, Box<dyn std::error::Error>> {
    let (reader, dropper) = (other_session(node).await?, other_session(node).await?);
    Ok(Room {
        store: store.clone(),
        read: Box::new(move |table| {
            // Values as the server spells them, and the write timestamp beside them.
            let values = wait(texts(&reader, &format!("SELECT JSON * FROM {KEYSPACE}.{table}")));
            let written = "SELECT JSON device_id, sequence, writetime(received_at), writetime(value) FROM";
            let times = wait(texts(&reader, &format!("{written} {KEYSPACE}.{table}")));
            values.into_iter().zip(times).map(|(values, times)| format!("{values} {times}")).collect()
        }),
        drop_table: Box::new(move |table| {
            // The keyspace may not be there yet.
            let _ = wait(dropper.query_unpaged(format!("DROP TABLE IF EXISTS {KEYSPACE}.{table}"), ()));
        }),
        is_compatible: Box::new(is_compatible),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let store = Arc::new(connect(&node, None).await?);
    let room = room(&node, &store).await?;
    check_all(&room).await;
    store.close().await;
    let outcome = store.write(group(&simple_table("contract_found"), "a", 0, 1)).await;
    assert!(matches!(&outcome, Err(WriteError::Transient(_, cause)) if cause == "store closed"), "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_comes_back() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    // With a time to live, so that the options for it meet a server, too.
    let store = connect(&node, Some(Duration::from_secs(30 * 24 * 3600 * 20))).await?;
    let (table, rows) = every_kind("kinds");
    store.apply(std::slice::from_ref(&table)).await?;
    store.prepare(std::slice::from_ref(&table)).await?;
    store.write(rows.clone()).await?;
    let session = other_session(&node).await?;
    let cql = format!("SELECT JSON * FROM {KEYSPACE}.kinds");
    let found: serde_json::Value = serde_json::from_str(&texts(&session, &cql).await[0])?;
    let expected = serde_json::json!({
        "c_bool": true, "c_int": i32::MIN, "c_long": i64::MIN, "c_small": 200, "c_large": u64::MAX,
        "c_float": 1.5, "c_double": -0.1, "c_text": "zwölf", "c_symbol": "OPEN", "c_bytes": "0x0001ff",
        "c_empty": "0x", "c_time": "2026-01-01 00:00:00.000Z", "c_numbers": [0, 128, u64::MAX],
        "c_words": ["zwölf", "SHUT"], "c_json": "[{\"a\":1}]",
    });
    for (name, value) in expected.as_object().ok_or("object")? {
        assert_eq!(&found[name], value, "{name}");
    }
    let written = texts(&session, &format!("SELECT JSON writetime(c_int) FROM {KEYSPACE}.kinds")).await;
    assert_eq!(written, [format!("{{\"writetime(c_int)\": {}}}", (DAY_MS + 1) * 1000)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_over_the_servers_limits_is_refused() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let store = connect(&node, None).await?;
    let table = table("large", &[("c_bytes", ColumnKind::Scalar(ScalarKind::Bytes))]);
    store.apply(std::slice::from_ref(&table)).await?;
    store.prepare(std::slice::from_ref(&table)).await?;
    let rows = |num_bytes| {
        let mut rows = GroupBuilder::new(&table);
        let span = rows.span(&vec![7; num_bytes]);
        rows.row("a", DAY_MS, 1, vec![Cell::Bytes(span)]).build()
    };
    store.write(rows(4 << 20)).await?;
    // A frame has 16 MiB at most, so this row can never be written.
    let outcome = store.write(rows(20 << 20)).await;
    assert!(matches!(outcome, Err(WriteError::Invalid(_))), "{outcome:?}");
    store.write(rows(1 << 10)).await?;
    let refused = store.judge(rows(20 << 20), Some(rows(1 << 10))).await?;
    assert_eq!(refused.len(), 1, "{refused:?}");
    Ok(())
}

/// Why statements say the types of their values: the driver prepares again by itself, and takes no notice of new types.
#[tokio::test(flavor = "multi_thread")]
async fn typed_markers_keep_values_out_of_columns_of_another_type() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    connect(&node, None).await?.apply(&[simple_table("markers_keyspace")]).await?;
    let session = other_session(&node).await?;
    let make = async |kind: &str| -> TestResult {
        session.query_unpaged(format!("DROP TABLE IF EXISTS {KEYSPACE}.markers"), ()).await?;
        let cql = format!("CREATE TABLE {KEYSPACE}.markers (key text PRIMARY KEY, value {kind})");
        session.query_unpaged(cql, ()).await?;
        Ok(())
    };
    make("double").await?;
    let insert = |markers: &str| format!("INSERT INTO {KEYSPACE}.markers (key, value) VALUES ({markers})");
    let typed = session.prepare(insert("(text)?, (double)?")).await?;
    let untyped = session.prepare(insert("?, ?")).await?;
    session.execute_unpaged(&typed, ("typed", 15.5)).await?;
    make("bigint").await?;
    let outcome = session.execute_unpaged(&typed, ("typed", 15.5)).await;
    assert!(outcome.is_err(), "{outcome:?}");
    session.execute_unpaged(&untyped, ("untyped", 15.5)).await?;
    let found = texts(&session, &format!("SELECT JSON * FROM {KEYSPACE}.markers")).await;
    assert_eq!(found, [r#"{"key": "untyped", "value": 4624915342332788736}"#]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_cluster_is_named() -> TestResult {
    // Needs no cluster: nothing listens on the discard port.
    let Err(error) = connect("127.0.0.1:9", None).await else { return Err("connected to nothing".into()) };
    assert!(error.to_string().starts_with("connecting to 127.0.0.1:9: "), "{error}");
    Ok(())
}

/// What is wrong with a keyspace, by codes.
async fn found(store: &CassandraStore, tables: &[Arc<Table>]) -> Result<Vec<Condition>, StoreError> {
    let mut found = store.inspect(tables).await?;
    found.sort_by_key(|condition| condition.code);
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_rows_from_being_written_is_found() -> TestResult {
    const KEYSPACE: &str = "surgetank_inspect";
    let Some(node) = node() else { return Ok(()) };
    let day = Duration::from_secs(86_400);
    let store_of = async |ttl, change: fn(&mut CassandraSettings)| {
        let mut settings = CassandraSettings { keyspace: KEYSPACE.to_owned(), ..settings(&node, ttl) };
        change(&mut settings);
        CassandraStore::connect(settings, Handle::current()).await
    };
    let other = other_session(&node).await?;
    let tell = async |cql: &str| other.query_unpaged(cql, ()).await.map(drop);
    tell(&format!("DROP KEYSPACE IF EXISTS {KEYSPACE}")).await?;
    let tables = [simple_table("first"), simple_table("second")];
    let store = store_of(None, |_| {}).await?;
    let codes = async |store: &CassandraStore| -> Result<Vec<(&'static str, String)>, StoreError> {
        let found = found(store, &tables).await?;
        Ok(found.into_iter().map(|condition| (condition.code, condition.subject)).collect())
    };
    let at = |code: &'static str, table: &str| (code, format!("{KEYSPACE}.{table}"));

    assert_eq!(codes(&store).await?, [("keyspace_missing", KEYSPACE.to_owned())]);
    // Beyond what this server can keep: said before a table is made of it.
    let eternal = store_of(Some(day * 7300), |_| {}).await?;
    let conditions = found(&eternal, &tables).await?;
    let beyond: Vec<_> = conditions.iter().filter(|condition| condition.code == "ttl_beyond_server").collect();
    assert_eq!(beyond.len(), 2, "{conditions:?}");
    assert!(beyond[0].refuses_start && beyond[0].detail.contains("2038-01-19"), "{}", beyond[0]);

    store.apply(&tables).await?;
    store.prepare(&tables).await?;
    assert_eq!(codes(&store).await?, []);
    assert_eq!(
        codes(&store_of(Some(day * 30), |_| {}).await?).await?,
        [at("ttl_differs", "first"), at("ttl_differs", "second")]
    );
    // It is the table's own that counts.
    tell(&format!("ALTER TABLE {KEYSPACE}.first WITH default_time_to_live = 630720000")).await?;
    assert_eq!(codes(&store).await?, [at("ttl_beyond_server", "first"), at("ttl_differs", "first")]);
    tell(&format!("ALTER TABLE {KEYSPACE}.first WITH default_time_to_live = 0")).await?;

    tell(&format!(
        "ALTER KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 3}}"
    ))
    .await?;
    assert_eq!(codes(&store).await?, [("consistency_unreachable", "the cluster".to_owned())]);
    let one = store_of(None, |settings| settings.consistency = Consistency::LocalOne).await?;
    assert_eq!(codes(&one).await?, [("too_few_nodes", "the cluster".to_owned())]);
    tell(&format!(
        "ALTER KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    ))
    .await?;

    tell(&format!("ALTER KEYSPACE {KEYSPACE} WITH durable_writes = false")).await?;
    assert_eq!(codes(&store).await?, [("durable_writes_off", KEYSPACE.to_owned())]);
    tell(&format!("ALTER KEYSPACE {KEYSPACE} WITH durable_writes = true")).await?;
    assert_eq!(codes(&store).await?, []);

    tell(&format!("ALTER TABLE {KEYSPACE}.first DROP value")).await?;
    tell(&format!("DROP TABLE {KEYSPACE}.second")).await?;
    assert_eq!(codes(&store).await?, [at("column_missing", "first"), at("table_missing", "second")]);
    tell(&format!("DROP TABLE {KEYSPACE}.first")).await?;
    store.apply(&tables).await?;
    tell(&format!("DROP TABLE {KEYSPACE}.first")).await?;
    tell(&format!(
        "CREATE TABLE {KEYSPACE}.first (device_id text, bucket timestamp, event_time timestamp, sequence bigint, \
         received_at timestamp, version int, value text, PRIMARY KEY ((device_id, bucket), event_time, sequence))"
    ))
    .await?;
    assert_eq!(codes(&store).await?, [at("table_differs", "first")]);
    tell(&format!("DROP KEYSPACE {KEYSPACE}")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_data_centre_is_used_if_the_cluster_has_it() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let names = texts(&*other_session(&node).await?, "SELECT data_center FROM system.local").await;
    let place = |datacenter: &str, rack: Option<&str>| CassandraSettings {
        datacenter: Some(datacenter.to_owned()),
        rack: rack.map(str::to_owned),
        ..settings(&node, None)
    };
    let error = CassandraStore::connect(place("elsewhere", None), Handle::current()).await.err().ok_or("connected")?;
    assert!(matches!(error, StoreError::Unfit(_)), "{error}");
    assert!(error.to_string().contains(&format!("only {}", names[0])), "{error}");

    let store = CassandraStore::connect(place(&names[0], Some("no-such-rack")), Handle::current()).await?;
    let table = simple_table("of_a_place");
    store.apply(std::slice::from_ref(&table)).await?;
    store.prepare(std::slice::from_ref(&table)).await?;
    store.write(group(&table, "a", 0, 3)).await?;
    let found = found(&store, std::slice::from_ref(&table)).await?;
    assert_eq!(found.iter().map(|condition| condition.code).collect::<Vec<_>>(), ["unknown_rack"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_tells_the_time() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let reading = connect(&node, None).await?.clock().await?.ok_or("no time")?;
    let own_ms = surgetank::telemetry::now_us() / 1000;
    assert!(own_ms.abs_diff(reading.expected_ms(Instant::now())) < 5_000, "{reading:?} beside {own_ms}");
    Ok(())
}

/// Writes from several tasks at once and finds every row; says how fast.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_lose_nothing() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let store = Arc::new(connect(&node, None).await?);
    let table = simple_table("many");
    store.apply(std::slice::from_ref(&table)).await?;
    store.prepare(std::slice::from_ref(&table)).await?;
    let started = Instant::now();
    let num_groups = 200;
    for round in 0..num_groups / 50 {
        let writes = (0..50).map(|device| store.write(group(&table, &format!("device-{device}"), round * 64, 64)));
        for outcome in futures_util::future::join_all(writes).await {
            outcome?;
        }
    }
    println!("{} rows in {:?}", num_groups * 64, started.elapsed());
    assert_eq!(keys(&*store, &table).await.len() as i64, num_groups * 64);
    Ok(())
}
