//! The embedded store: the contract of all stores, and what is its own (one writer, readers beside it, power cuts,
//! old rows, `query`).

use crate::{CLOCK, store_contract};

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use store_contract::others::{OthersRoom, check_others};
use store_contract::routed::check_routed;
use store_contract::{GroupBuilder, Room, check_all, every_kind, group, keys, simple_table};
use surgetank::schema::row::Cell;
use surgetank::store::embedded::{EmbeddedStore, EmbeddedStoreSettings, QueryError, query};
use surgetank::store::{Store, StoreError, WriteError};

type TestResult = Result<(), Box<dyn std::error::Error>>;

pub fn open(path: &Path, ttl: Option<Duration>) -> Result<EmbeddedStore, StoreError> {
    let page_cache_bytes = 8 << 20;
    EmbeddedStore::open(EmbeddedStoreSettings { path: path.to_path_buf(), transaction_rows: 64, page_cache_bytes, ttl })
}

/// Reads through a connection that knows nothing of the store.
fn read(path: &Path, table: &str) -> Vec<String> {
    let sql = format!("SELECT * FROM {table} ORDER BY 1, 2, 3, 4");
    query(path, &sql).expect("query").rows.into_iter().map(|row| json!(row).to_string()).collect()
}

#[tokio::test]
async fn keeps_the_contract() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = Arc::new(open(&path, None)?);
    let (read_path, drop_path) = (path.clone(), path.clone());
    let room = Room {
        store: store.clone(),
        read: Box::new(move |table| read(&read_path, table)),
        drop_table: Box::new(move |table| {
            let connection = rusqlite::Connection::open(&drop_path).expect("open");
            connection.busy_timeout(Duration::from_secs(5)).expect("timeout");
            connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}")).expect("drop");
        }),
        is_compatible: Box::new(|_, _| false),
    };
    check_all(&room).await;
    check_routed(&room).await;
    let change = |sql: fn(&str, &str) -> String| {
        let path = path.clone();
        Box::new(move |table: &str, column: &str| {
            let connection = rusqlite::Connection::open(&path).expect("open");
            connection.busy_timeout(Duration::from_secs(5)).expect("timeout");
            connection.execute_batch(&sql(table, column)).expect("altered");
        })
    };
    let others = OthersRoom {
        room,
        drop_column: change(|table, column| format!("ALTER TABLE {table} DROP COLUMN {column}")),
        add_column: change(|table, column| format!("ALTER TABLE {table} ADD COLUMN {column} INTEGER")),
    };
    check_others(&others).await;
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn every_kind_of_value_comes_back() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let (table, rows) = every_kind("kinds");
    store.apply(&[table]).await?;
    store.write(rows).await?;
    let found = query(&path, "SELECT * FROM kinds")?;
    let expected = [
        json!(1),
        json!(i32::MIN),
        json!(i64::MIN),
        json!("00000000000000000200"),
        json!("18446744073709551615"),
        json!(1.5),
        json!(-0.1),
        json!("zwölf"),
        json!("OPEN"),
        json!("0001ff"),
        json!(""),
        json!(store_contract::DAY_MS),
        json!("[0,128,18446744073709551615]"),
        json!("[\"zwölf\",\"SHUT\"]"),
        json!("[{\"a\":1}]"),
    ];
    assert_eq!(found.columns.len(), 6 + expected.len());
    assert_eq!(found.rows[0][6..], expected);
    Ok(())
}

#[tokio::test]
async fn a_second_writer_is_refused_and_readers_are_not() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    store.write(group(&table, "a", 0, 3)).await?;
    let error = open(&path, None).err().ok_or("a second writer")?;
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert_eq!(query(&path, "SELECT count(*) FROM rows")?.rows, [[json!(3)]]);
    store.close().await;
    assert_eq!(query(&path, "SELECT count(*) FROM rows")?.rows, [[json!(3)]]);
    open(&path, None)?.close().await;
    Ok(())
}

#[tokio::test]
async fn a_closed_store_says_so() -> TestResult {
    let directory = tempfile::tempdir()?;
    let store = open(&directory.path().join("rows.db"), None)?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    let under_way = store.write(group(&table, "a", 0, 3));
    store.close().await;
    under_way.await?;
    let outcome = store.write(group(&table, "a", 0, 3)).await;
    assert!(matches!(&outcome, Err(WriteError::Transient(_, cause)) if cause == "store closed"), "{outcome:?}");
    assert!(store.health().await.is_err());
    store.close().await;
    Ok(())
}

/// Refuses rows of table `rows`, and does so with the whole transaction if the word is ROLLBACK.
fn refuse(path: &Path, word: &str, when: &str) -> TestResult {
    let connection = rusqlite::Connection::open(path)?;
    let body = format!("BEGIN SELECT RAISE({word}, 'not allowed'); END");
    Ok(connection.execute_batch(&format!("CREATE TRIGGER guard BEFORE INSERT ON rows WHEN {when} {body}"))?)
}

#[tokio::test]
async fn refused_rows_of_a_group_come_in_one_answer_and_the_others_are_there() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let tables = [simple_table("rows"), simple_table("others")];
    store.apply(&tables).await?;
    refuse(&path, "ABORT", "NEW.sequence % 100 = 7")?;
    let writes = [
        store.write(group(&tables[0], "b", 0, 1000)),
        store.write(group(&tables[1], "a", 0, 10)),
        store.write(group(&tables[0], "a", 0, 10)),
    ];
    let [of_rows, of_others, of_few] = futures_util::future::join_all(writes).await.try_into().map_err(|_| "three")?;
    let of_rows = of_rows?;
    assert_eq!(of_rows.iter().map(|one| one.row).collect::<Vec<_>>(), (7..1000).step_by(100).collect::<Vec<_>>());
    assert!(of_rows.iter().all(|one| one.reason.contains("not allowed")), "{of_rows:?}");
    assert_eq!((of_others?.len(), of_few?.len()), (0, 1));
    assert_eq!((keys(&store, &tables[0]).await.len(), keys(&store, &tables[1]).await.len()), (999, 10));
    Ok(())
}

/// A row that was taken before the first refusal would prove nothing.
#[tokio::test]
async fn a_table_that_takes_no_more_from_some_row_on_is_at_fault_itself() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    refuse(&path, "ABORT", "(SELECT count(*) FROM rows) >= 50")?;
    let outcome = store.write(group(&table, "a", 0, 100)).await;
    assert!(matches!(&outcome, Err(WriteError::Table(reason)) if reason.contains("not allowed")), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn rows_that_end_the_transaction_are_found_without_harm_to_others() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let tables = [simple_table("rows"), simple_table("others")];
    store.apply(&tables).await?;
    refuse(&path, "ROLLBACK", "NEW.sequence IN (3, 60, 61)")?;
    let (suspects, known_good) = (group(&tables[0], "a", 0, 100), group(&tables[0], "b", 0, 1));
    let writes =
        [store.write(suspects.clone()), store.write(group(&tables[1], "a", 0, 10)), store.write(known_good.clone())];
    let [of_rows, of_others, of_good] = futures_util::future::join_all(writes).await.try_into().map_err(|_| "three")?;
    assert!(matches!(of_rows, Err(WriteError::Invalid(_))), "{of_rows:?}");
    assert_eq!((of_others?.len(), of_good?.len()), (0, 0));
    for known_good in [None, Some(known_good)] {
        let refused = store.judge(suspects.clone(), known_good).await?;
        assert_eq!(refused.iter().map(|one| one.row).collect::<Vec<_>>(), [3, 60, 61]);
    }
    assert_eq!(keys(&store, &tables[0]).await.len(), 98);
    Ok(())
}

#[tokio::test]
async fn a_write_goes_on_when_its_future_is_dropped() -> TestResult {
    let directory = tempfile::tempdir()?;
    let store = open(&directory.path().join("rows.db"), None)?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    drop(store.write(group(&table, "a", 0, 3)));
    store.write(group(&table, "b", 0, 1)).await?;
    assert_eq!(keys(&store, &table).await.len(), 4);
    Ok(())
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn nothing_is_deleted_by_a_clock_that_was_set_wrong() -> TestResult {
    let _alone = CLOCK.lock().await;
    let directory = tempfile::tempdir()?;
    let (path, file) = (directory.path().join("rows.db"), directory.path().join("clock"));
    let day = Duration::from_secs(86_400);
    let day_ms = day.as_millis() as i64;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let store = open(&path, None)?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    let rows = GroupBuilder::new(&table)
        .row("young", now_ms, 0, vec![Cell::Int(0)])
        .row("middle", now_ms - 10 * day_ms, 0, vec![Cell::Int(0)])
        .row("old", now_ms - 31 * day_ms, 0, vec![Cell::Int(0)]);
    store.write(rows.build()).await?;
    store.close().await;

    let set_clock = |seconds: u64| {
        std::fs::write(&file, seconds.to_string()).expect("write");
        fail::cfg("wall_clock", &format!("return({})", file.display())).expect("fail point");
    };
    let wait_for = async |store: &EmbeddedStore, code: Option<&str>, num_rows: u64| -> TestResult {
        let deadline = Instant::now() + Duration::from_secs(60);
        let seen = || -> Result<_, QueryError> {
            let code = store.conditions().first().map(|condition| condition.code);
            Ok((code, query(&path, "SELECT count(*) FROM rows")?.rows[0][0].clone()))
        };
        while seen()? != (code, json!(num_rows)) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(seen()?, (code, json!(num_rows)));
        Ok(())
    };
    for _ in 0..2 {
        set_clock(60 * 86_400);
        let store = open(&path, Some(30 * day))?;
        wait_for(&store, Some("sweep_held"), 3).await?;
        store.close().await;
    }
    set_clock(0);
    let store = open(&path, Some(30 * day))?;
    wait_for(&store, None, 2).await?;
    assert_eq!(store.num_expired(), 1);
    store.close().await;
    // The file knows now when it was swept, whatever its rows say.
    set_clock(10 * 86_400);
    let store = open(&path, Some(30 * day))?;
    wait_for(&store, Some("sweep_held"), 2).await?;
    set_clock(0);
    wait_for(&store, None, 2).await?;
    store.close().await;
    fail::remove("wall_clock");
    Ok(())
}

#[tokio::test]
async fn rows_past_their_time_are_deleted() -> TestResult {
    let _alone = CLOCK.lock().await;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, Some(Duration::from_secs(20)))?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let young_ms = now_ms + 3_600_000;
    for device in 0..300 {
        let name = format!("device-{device}");
        let mut rows = GroupBuilder::new(&table).row(&name, young_ms, 0, vec![Cell::Int(0)]);
        // One device has more old rows than a step deletes.
        for index in 1..if device == 7 { 1500 } else { 5 } {
            rows = rows.row(&name, now_ms - 40_000 + index, index, vec![Cell::Int(0)]);
        }
        store.write(rows.build()).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let count = || query(&path, "SELECT count(*) FROM rows").map(|found| found.rows[0][0].clone());
    while count()? != json!(300) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(count()?, json!(300));
    assert_eq!(keys(&store, &table).await.iter().filter(|key| key.event_time_ms == young_ms as u64).count(), 300);
    Ok(())
}

#[tokio::test]
async fn what_another_program_did_to_the_tables_is_found() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let tables = [simple_table("first"), simple_table("second"), simple_table("third")];
    store.apply(&tables).await?;
    let other = rusqlite::Connection::open(&path)?;
    other.busy_timeout(Duration::from_secs(5))?;
    let found = async || -> Result<Vec<(&str, String)>, StoreError> {
        Ok(store.inspect(&tables).await?.into_iter().map(|found| (found.code, found.subject)).collect())
    };
    assert_eq!(found().await?, []);
    other.execute_batch("ALTER TABLE first DROP COLUMN value; DROP TABLE second; DROP TABLE third;")?;
    other.execute_batch(
        "CREATE TABLE third(device_id TEXT NOT NULL, bucket INTEGER NOT NULL, event_time INTEGER NOT NULL, \
         sequence INTEGER NOT NULL, received_at INTEGER, version INTEGER, value TEXT, \
         PRIMARY KEY(device_id, bucket, event_time, sequence)) STRICT, WITHOUT ROWID",
    )?;
    let expected = [("column_missing", "first"), ("table_missing", "second"), ("table_differs", "third")];
    assert_eq!(found().await?, expected.map(|(code, table)| (code, table.to_owned())));
    Ok(())
}

#[tokio::test]
async fn queries_only_read() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    assert!(matches!(query(&path, "SELECT 1"), Err(QueryError::NoDatabase { .. })));
    let store = open(&path, None)?;
    store.apply(&[simple_table("rows")]).await?;
    let ask = |sql: &str| query(&path, sql);
    assert!(matches!(ask("DELETE FROM rows"), Err(QueryError::Writing)));
    assert!(matches!(ask("DROP TABLE rows"), Err(QueryError::Writing)));
    assert!(matches!(ask("SELECT 1; SELECT 2"), Err(QueryError::NotOneStatement)));
    assert!(matches!(ask(""), Err(QueryError::NotOneStatement)));
    assert!(matches!(ask("SELECT nothing FROM rows"), Err(QueryError::Failed(reason)) if reason.contains("nothing")));
    assert!(ask("SELECT 1; ")?.rows == [[json!(1)]]);
    std::fs::write(directory.path().join("text"), "this is no database, and long enough to show it\n".repeat(50))?;
    assert!(query(&directory.path().join("text"), "SELECT 1 FROM sqlite_schema").is_err());
    Ok(())
}

const CHILD_DIRECTORY: &str = "SURGETANK_TEST_STORE_DIRECTORY";

/// Not a test by itself: the process that [`confirmed_rows_survive_kill`] kills. It names every row once confirmed.
#[tokio::test]
async fn child_writes_until_killed() -> TestResult {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return Ok(()) };
    let store = open(&Path::new(&directory).join("rows.db"), None)?;
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await?;
    for index in 0.. {
        store.write(group(&table, "a", index * 10, 10)).await?;
        std::fs::write(Path::new(&directory).join("confirmed"), index.to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn confirmed_rows_survive_kill() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "store_embedded::child_writes_until_killed"])
        .env(CHILD_DIRECTORY, directory.path())
        .stdout(Stdio::null())
        .spawn()?;
    let confirmed =
        || -> Option<usize> { std::fs::read_to_string(directory.path().join("confirmed")).ok()?.parse().ok() };
    let deadline = Instant::now() + Duration::from_secs(60);
    while confirmed().is_none_or(|index| index < 50) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill()?;
    child.wait()?;
    // The note itself may be cut short by the kill; then the one before it would have been smaller still.
    let num_confirmed = confirmed().unwrap_or(50);
    assert!(num_confirmed >= 50);
    let store = open(&directory.path().join("rows.db"), None)?;
    let num_rows = keys(&store, &simple_table("rows")).await.len();
    assert!(num_rows >= (num_confirmed + 1) * 10, "{num_rows} rows, {num_confirmed} groups after the first confirmed");
    Ok(())
}

/// Older builds kept small numbers as INTEGER and large ones as TEXT, in a column declared ANY.
#[tokio::test]
async fn unsigned_columns_of_older_builds_become_digits_that_are_ordered() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let (table, rows) = every_kind("kinds");
    store.apply(std::slice::from_ref(&table)).await?;
    store.write(rows).await?;
    store.close().await;
    drop(store);
    let connection = rusqlite::Connection::open(&path)?;
    connection.execute_batch(
        "ALTER TABLE kinds DROP COLUMN c_small; ALTER TABLE kinds ADD COLUMN c_small ANY;
         UPDATE kinds SET c_small = 9223372036854775807;
         INSERT INTO kinds(device_id, bucket, event_time, sequence, c_small) VALUES
             ('old', 0, 0, 1, '9223372036854775808'), ('old', 0, 0, 2, 7), ('old', 0, 0, 3, NULL);
         CREATE INDEX mine ON kinds(event_time)",
    )?;
    drop(connection);

    let store = open(&path, None)?;
    assert!(matches!(store.prepare(std::slice::from_ref(&table)).await, Err(StoreError::Conflict { .. })));
    let changes = store.apply(std::slice::from_ref(&table)).await?;
    assert_eq!(changes, ["turned column kinds.c_small into TEXT of 20 digits"]);
    assert_eq!(store.apply(std::slice::from_ref(&table)).await?, Vec::<String>::new());
    store.prepare(&[table]).await?;
    store.close().await;
    let found = query(&path, "SELECT c_small FROM kinds ORDER BY c_small")?;
    let expected =
        [json!(null), json!("00000000000000000007"), json!("09223372036854775807"), json!("09223372036854775808")];
    assert_eq!(found.rows.concat(), expected);
    assert_eq!(query(&path, "SELECT name FROM sqlite_schema WHERE name = 'mine'")?.rows.len(), 1);
    Ok(())
}
