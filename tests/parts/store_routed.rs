//! Tables of routes in the embedded store, beside the contract of all stores: kinds, tables that others made, what it cannot
//! serve.

use crate::store_contract::routed::{routed_group, routed_row, routed_table};
use crate::store_embedded::open;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use surgetank::schema::row::{
    Cell, Collection, Column, ColumnKind, ColumnPlace, DecimalValue, Items, Key, RowGroup, RowOp, ScalarKind, Span,
    Table, TableName,
};
use surgetank::store::embedded::query;
use surgetank::store::{Store, WriteError};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A table of a route with a column of every kind, and a row with a telling value in each and another without.
#[tokio::test]
async fn every_kind_of_a_routes_value_comes_back() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let scalar = ColumnKind::Scalar;
    let collection = |items| ColumnKind::Collection(Collection { items, is_frozen: false });
    let uuid = *b"\x01\x23\x45\x67\x89\xab\x1d\xef\x81\x23\x45\x67\x89\xab\xcd\xef";
    let decimal = DecimalValue { unscaled: 1250.into(), scale: 2 };
    let word = Span { start: 0, end: 5 };
    let cases = [
        (scalar(ScalarKind::Uuid), Cell::Uuid(uuid), json!("01234567-89ab-1def-8123-456789abcdef")),
        (scalar(ScalarKind::Bool), Cell::Bool(true), json!(1)),
        (scalar(ScalarKind::TinyInt), Cell::Int(-128), json!(-128)),
        (scalar(ScalarKind::SmallInt), Cell::Int(32_767), json!(32_767)),
        (scalar(ScalarKind::Int), Cell::Int(i32::MIN), json!(i32::MIN)),
        (scalar(ScalarKind::Long), Cell::Long(i64::MAX), json!(i64::MAX)),
        (scalar(ScalarKind::Varint), Cell::Varint(Box::new(i128::MIN.into())), json!(i128::MIN.to_string())),
        (scalar(ScalarKind::Decimal), Cell::Decimal(Box::new(decimal)), json!("12.50")),
        (scalar(ScalarKind::Float), Cell::Float(1.5), json!(1.5)),
        (scalar(ScalarKind::Double), Cell::Double(-0.1), json!(-0.1)),
        (scalar(ScalarKind::Text), Cell::Text(word), json!("zwöl")),
        (scalar(ScalarKind::Text), Cell::OwnText("".into()), json!("")),
        (scalar(ScalarKind::Ascii), Cell::OwnText("abc".into()), json!("abc")),
        (scalar(ScalarKind::Bytes), Cell::OwnBytes([0, 255].into()), json!("00ff")),
        (scalar(ScalarKind::Timestamp), Cell::Timestamp(-1), json!(-1)),
        (scalar(ScalarKind::TimeUuid), Cell::Uuid(uuid), json!("01234567-89ab-1def-8123-456789abcdef")),
        (scalar(ScalarKind::Inet), Cell::Inet("::1".parse()?), json!("::1")),
        (scalar(ScalarKind::Date), Cell::Date(-1), json!("1969-12-31")),
        (scalar(ScalarKind::Time), Cell::Time(1), json!("00:00:00.000000001")),
        (scalar(ScalarKind::Duration), Cell::Duration { months: 1, days: 2, nanoseconds: 3 }, json!("1mo2d3ns")),
        (collection(Items::List(ScalarKind::Int)), Cell::List(vec![Cell::Int(1), Cell::Int(2)]), json!("[1,2]")),
        (collection(Items::Set(ScalarKind::Uuid)), Cell::List(vec![]), json!("[]")),
        (
            collection(Items::Map(ScalarKind::Text, ScalarKind::Double)),
            Cell::Map(vec![(Cell::Text(word), Cell::Double(0.5))]),
            json!("{\"zwöl\":0.5}"),
        ),
    ];
    let column =
        |(index, (kind, ..)): (usize, &(ColumnKind, Cell, _))| Column { name: format!("c{index}"), kind: *kind };
    let columns: Vec<Column> = cases.iter().enumerate().map(column).collect();
    let created = routed_table("kinds");
    let table = Arc::new(Table {
        keyspace: Some("app".to_owned()),
        columns,
        key: Key { num_partition: 1, num_clustering: 0 },
        ..(*created).clone()
    });
    store.apply(std::slice::from_ref(&table)).await?;
    // The route finds the types that it has declared.
    let name = TableName { keyspace: table.keyspace.clone(), name: table.name.clone() };
    let described = store.describe(&name).await?.expect("is there");
    let kinds: Vec<_> = described.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, table.columns.iter().map(|column| Some(column.kind)).collect::<Vec<_>>());
    assert_eq!((&*described.columns[0].type_text, &*described.columns[14].type_text), ("uuid", "timestamp"));
    let cells = cases.iter().map(|(_, cell, _)| cell.clone()).chain([Cell::Long(7)]);
    let empty = [Cell::Uuid([0; 16])].into_iter().chain(vec![Cell::Null; cases.len() - 1]).chain([Cell::Long(8)]);
    let data = Bytes::from_static("zwölf".as_bytes());
    let cells = cells.chain(empty).collect();
    let refused = store.write(Arc::new(RowGroup { table, op: RowOp::Upsert, data, cells })).await?;
    assert!(refused.is_empty(), "{refused:?}");
    // The keyspace is a part of the table's name.
    let found = query(&path, "SELECT * FROM \"app.kinds\" ORDER BY c0 DESC")?;
    let expected: Vec<_> = cases.into_iter().map(|(.., expected)| expected).chain([json!(7)]).collect();
    assert_eq!(found.rows[0], expected);
    assert_eq!(found.columns.last().map(String::as_str), Some("_written_at"));
    let nulls = vec![json!(null); expected.len() - 2];
    assert_eq!(found.rows[1], [vec![json!("00000000-0000-0000-0000-000000000000")], nulls, vec![json!(8)]].concat());
    Ok(())
}

/// Runs statements as another program.
fn change(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).expect("open");
    connection.busy_timeout(Duration::from_secs(5)).expect("timeout");
    connection.execute_batch(sql).expect("change");
}

#[tokio::test]
async fn a_table_keeps_the_key_that_its_route_has_declared() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    let mut table = (*routed_table("made")).clone();
    table.columns.swap(1, 3);
    table.key = Key { num_partition: 2, num_clustering: 1 };
    let table = Arc::new(table);
    let places = async || -> Result<Vec<_>, Box<dyn std::error::Error>> {
        let described =
            store.describe(&TableName { keyspace: None, name: "made".to_owned() }).await?.expect("is there");
        Ok(described.columns.into_iter().map(|column| (column.name, column.type_text, column.place)).collect())
    };
    let column = |name: &str, type_text: &str, place| (name.to_owned(), type_text.to_owned(), place);
    store.apply(std::slice::from_ref(&table)).await?;
    let (first, second, then) = (ColumnPlace::Partition(0), ColumnPlace::Partition(1), ColumnPlace::Clustering(0));
    let expected = [
        column("user_id", "text", first),
        column("amount", "bigint", second),
        column("payload", "text", then),
        column("event_id", "uuid", ColumnPlace::Regular),
    ];
    assert_eq!(places().await?, expected);
    // What others make in its place is theirs, and the route may make it anew.
    change(
        &path,
        "DROP TABLE made; CREATE TABLE made(event_id TEXT, user_id TEXT, PRIMARY KEY(event_id, user_id)) STRICT",
    );
    let expected_theirs = [column("event_id", "TEXT", first), column("user_id", "TEXT", then)];
    assert_eq!(places().await?, expected_theirs);
    change(&path, "DROP TABLE made");
    store.apply(std::slice::from_ref(&table)).await?;
    assert_eq!(places().await?, expected);
    Ok(())
}

#[tokio::test]
async fn a_table_that_others_made_is_described_and_written_to() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("rows.db");
    let store = open(&path, None)?;
    change(
        &path,
        "CREATE TABLE made(payload TEXT, event_id ANY NOT NULL, amount INT, user_id TEXT NOT NULL, size REAL, body BLOB, \
         PRIMARY KEY(user_id, event_id)) STRICT; \
         CREATE TABLE loose(a TEXT PRIMARY KEY); CREATE TABLE keyless(a TEXT) STRICT; CREATE VIEW seen AS SELECT 1",
    );
    let described = async |name: &str| store.describe(&TableName { keyspace: None, name: name.to_owned() }).await;
    let columns = described("made").await?.expect("is there").columns;
    let seen: Vec<_> =
        columns.iter().map(|column| (&*column.name, &*column.type_text, column.kind, column.place)).collect();
    let scalar = |kind| Some(ColumnKind::Scalar(kind));
    let expected = [
        ("user_id", "TEXT", scalar(ScalarKind::Text), ColumnPlace::Partition(0)),
        ("event_id", "ANY", scalar(ScalarKind::Text), ColumnPlace::Clustering(0)),
        ("payload", "TEXT", scalar(ScalarKind::Text), ColumnPlace::Regular),
        ("amount", "INT", scalar(ScalarKind::Long), ColumnPlace::Regular),
        ("size", "REAL", scalar(ScalarKind::Double), ColumnPlace::Regular),
        ("body", "BLOB", scalar(ScalarKind::Bytes), ColumnPlace::Regular),
    ];
    assert_eq!(seen, expected);
    for (name, why) in [("loose", "not STRICT"), ("keyless", "without a primary key")] {
        let columns = described(name).await?.expect("is there").columns;
        assert!(columns[0].kind.is_none() && columns[0].type_text.contains(why), "{columns:?}");
    }
    assert_eq!(described("seen").await?, None);
    assert_eq!(described("nothing").await?, None);

    // Without a column for it, the time of a write does not count: the last one wins.
    let mut table = (*routed_table("made")).clone();
    table.routed.as_mut().expect("routed").is_created = false;
    let table = Arc::new(table);
    store.prepare(std::slice::from_ref(&table)).await?;
    let row = |text: &str, time| routed_row(1, Cell::OwnText(text.into()), Cell::Null, time);
    for (text, time) in [("first", 20), ("last", 10)] {
        assert!(store.write(routed_group(&table, RowOp::Upsert, [row(text, time)])).await?.is_empty());
    }
    let sql = "SELECT payload, amount FROM made";
    assert_eq!(query(&path, sql)?.rows, [[json!("last"), json!(null)]]);
    // Their triggers are heard.
    change(
        &path,
        "CREATE TRIGGER no_seven BEFORE INSERT ON made WHEN new.payload = 'seven' BEGIN SELECT RAISE(IGNORE); END; \
         CREATE TRIGGER kept BEFORE DELETE ON made WHEN old.payload = 'kept' BEGIN SELECT RAISE(IGNORE); END;",
    );
    let rows = [row("kept", 1), routed_row(2, Cell::OwnText("seven".into()), Cell::Null, 1)];
    let refused = store.write(routed_group(&table, RowOp::Upsert, rows)).await?;
    assert_eq!(refused.iter().map(|refused| refused.row).collect::<Vec<_>>(), [1]);
    let gone = |event| routed_row(event, Cell::Null, Cell::Null, 1);
    let refused = store.write(routed_group(&table, RowOp::Delete, [gone(3), gone(1)])).await?;
    assert_eq!(refused.iter().map(|refused| refused.row).collect::<Vec<_>>(), [1], "{refused:?}");
    assert_eq!(query(&path, sql)?.rows, [[json!("kept"), json!(null)]]);

    // What keeps its rows from being written is said, and the others go on.
    change(&path, "ALTER TABLE made RENAME COLUMN amount TO sum");
    let conditions = store.inspect(std::slice::from_ref(&table)).await?;
    assert_eq!(conditions.iter().map(|condition| condition.code).collect::<Vec<_>>(), ["column_missing"]);
    let outcome = store.write(routed_group(&table, RowOp::Upsert, [row("x", 1)])).await;
    assert!(
        matches!(&outcome, Err(WriteError::Table(reason)) if reason.contains("made.amount is missing")),
        "{outcome:?}"
    );
    change(&path, "ALTER TABLE made RENAME COLUMN sum TO amount");
    assert!(store.write(routed_group(&table, RowOp::Upsert, [row("x", 1)])).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_route_that_the_store_cannot_serve_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let store = open(&directory.path().join("rows.db"), None)?;
    let refused = async |change: fn(&mut Table)| {
        let mut table = (*routed_table("routed")).clone();
        change(&mut table);
        let tables = [Arc::new(table)];
        let error = store.apply(&tables).await.expect_err("refused");
        store.prepare(&tables).await.expect_err("refused");
        error.to_string()
    };
    let ttl = refused(|table| table.routed.as_mut().expect("routed").has_ttl = true).await;
    assert!(ttl.starts_with("route routed gives its rows a ttl"), "{ttl}");
    let name = refused(|table| table.columns[3].name = "_Written_at".to_owned()).await;
    assert!(name.starts_with("route routed fills a column _written_at"), "{name}");
    Ok(())
}
