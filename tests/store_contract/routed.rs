//! What every store keeps for the tables of routes, which belong to others: rows are built here, written through the trait,
//! and read back by means of the test's own.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use surgetank::schema::row::{
    Cell, Column, ColumnKind, ColumnPlace, Key, Routed, RowGroup, RowOp, ScalarKind, Table, TableName, WriteTime,
};
use surgetank::store::{StoreError, WriteError};

use super::{at_fault, stopped, stopped_soon, written};

/// A store under test.
pub struct RoutedRoom {
    pub room: super::Room,
    /// All rows of a table as objects, by the value of their column `at`.
    pub rows: Box<dyn Fn(&str) -> Vec<Value>>,
    /// Takes a column from a table behind the store's back.
    pub drop_column: Box<dyn Fn(&str, &str)>,
    /// Gives a column of numbers to a table behind the store's back.
    pub add_column: Box<dyn Fn(&str, &str)>,
}

/// The table of a route that may create it: partition key, clustering key, then other columns.
pub fn routed_table(
    name: &str,
    partition: &[(&str, ColumnKind)],
    clustering: &[(&str, ColumnKind)],
    others: &[(&str, ColumnKind)],
    timestamp: WriteTime,
    has_ttl: bool,
) -> Table {
    let columns = partition.iter().chain(clustering).chain(others);
    let routed = Routed { route: format!("to_{name}"), timestamp, has_ttl, consistency: None, is_created: true };
    Table {
        keyspace: None,
        name: name.to_owned(),
        columns: columns.map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect(),
        key: Key { num_partition: partition.len(), num_clustering: clustering.len() },
        routed: Some(routed),
    }
}

/// Events of users: key ((user), at), columns kind and amount, the record's time.
pub fn events_table(name: &str) -> Table {
    let (text, long) = (ColumnKind::Scalar(ScalarKind::Text), ColumnKind::Scalar(ScalarKind::Long));
    routed_table(name, &[("user", text)], &[("at", long)], &[("kind", text), ("amount", long)], WriteTime::Cell, false)
}

/// A group of rows, each with all its cells.
pub fn routed_group(table: &Arc<Table>, op: RowOp, rows: impl IntoIterator<Item = Vec<Cell>>) -> Arc<RowGroup> {
    let cells: Vec<Cell> = rows.into_iter().flatten().collect();
    assert_eq!(cells.len() % table.row_len(), 0, "whole rows");
    Arc::new(RowGroup { table: Arc::clone(table), op, data: Bytes::new(), cells })
}

fn text(text: &str) -> Cell {
    Cell::OwnText(text.into())
}

/// A row of [`events_table`].
fn event(at: i64, kind: Cell, amount: Cell, written_at: i64) -> Vec<Cell> {
    vec![text("ann"), Cell::Long(at), kind, amount, Cell::Long(written_at)]
}

fn upsert(table: &Arc<Table>, rows: impl IntoIterator<Item = Vec<Cell>>) -> Arc<RowGroup> {
    routed_group(table, RowOp::Upsert, rows)
}

async fn ready(room: &RoutedRoom, table: &Table) -> Arc<Table> {
    (room.room.drop_table)(&table.name);
    let tables = [Arc::new(table.clone())];
    room.room.store.apply(&tables).await.expect("apply");
    room.room.store.prepare(&tables).await.expect("prepare");
    let [table] = tables;
    table
}

/// Everything that does not depend on the room.
pub async fn check_routed(room: &RoutedRoom) {
    a_created_table_is_described(room).await;
    values_are_written_cleared_and_left(room).await;
    rows_are_deleted(room).await;
    an_older_row_changes_nothing(room).await;
    two_routes_fill_one_table(room).await;
    rows_without_a_key_are_at_fault(room).await;
    only_declared_tables_are_created(room).await;
    a_lost_column_stops_its_routes_alone(room).await;
    a_dropped_table_goes_on_when_it_is_back(room).await;
}

async fn a_created_table_is_described(room: &RoutedRoom) {
    let (store, table) = (&room.room.store, events_table("routed_described"));
    let name = TableName { keyspace: None, name: table.name.clone() };
    (room.room.drop_table)(&table.name);
    assert_eq!(store.describe(&name).await.expect("described"), None);
    let tables = [Arc::new(table)];
    let error = store.prepare(&tables).await.expect_err("nothing is there yet");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert_eq!(store.apply(&tables).await.expect("created").len(), 1);
    assert_eq!(store.apply(&tables).await.expect("again"), Vec::<String>::new());
    (room.add_column)("routed_described", "another");
    assert_eq!(store.apply(&tables).await.expect("with a column of others"), Vec::<String>::new());
    store.prepare(&tables).await.expect("prepare");
    let described = store.describe(&name).await.expect("described").expect("is there");
    let mut places: Vec<_> = described.columns.iter().map(|column| (column.name.as_str(), column.place)).collect();
    places[2..].sort_by_key(|(name, _)| *name);
    let regular = ColumnPlace::Regular;
    let expected = [
        ("user", ColumnPlace::Partition(0)),
        ("at", ColumnPlace::Clustering(0)),
        ("amount", regular),
        ("another", regular),
        ("kind", regular),
    ];
    assert_eq!(places, expected);
    assert!(described.columns.iter().all(|column| column.kind.is_some()), "{described:?}");
}

async fn values_are_written_cleared_and_left(room: &RoutedRoom) {
    let table = ready(room, &events_table("routed_values")).await;
    let rows = (1..=4).map(|at| event(at, text("visit"), Cell::Long(at * 10), 1_000));
    room.room.store.write(upsert(&table, rows)).await.expect("new rows");
    let later = [
        event(1, text("left"), Cell::Null, 2_000),
        event(2, Cell::Null, Cell::Clear, 2_000),
        event(3, Cell::Clear, Cell::Long(7), 2_000),
        event(5, Cell::Null, Cell::Null, 2_000),
    ];
    room.room.store.write(upsert(&table, later)).await.expect("some of their values");
    let row = |at: i64, kind: Value, amount: Value| json!({"user": "ann", "at": at, "kind": kind, "amount": amount});
    let expected = [
        row(1, json!("left"), json!(10)),
        row(2, json!("visit"), Value::Null),
        row(3, Value::Null, json!(7)),
        row(4, json!("visit"), json!(40)),
        row(5, Value::Null, Value::Null),
    ];
    assert_eq!((room.rows)(&table.name), expected);
}

async fn rows_are_deleted(room: &RoutedRoom) {
    let table = ready(room, &events_table("routed_deleted")).await;
    let rows = (1..=6).map(|at| event(at, text("visit"), Cell::Long(at), 1_000));
    room.room.store.write(upsert(&table, rows)).await.expect("rows");
    let gone = |at| event(at, Cell::Null, Cell::Clear, 2_000);
    room.room.store.write(routed_group(&table, RowOp::Delete, [gone(2)])).await.expect("one");
    room.room.store.write(routed_group(&table, RowOp::Delete, [gone(3), gone(5), gone(9)])).await.expect("several");
    let left = || (room.rows)(&table.name).iter().map(|row| row["at"].as_i64().expect("number")).collect::<Vec<_>>();
    assert_eq!(left(), [1, 4, 6]);
    // What is written again behind its deletion is older than that; what is newer is there.
    let again = [event(2, text("old"), Cell::Null, 1_000), event(3, text("new"), Cell::Null, 3_000)];
    room.room.store.write(upsert(&table, again)).await.expect("again");
    assert_eq!(left(), [1, 3, 4, 6]);
}

async fn an_older_row_changes_nothing(room: &RoutedRoom) {
    let table = ready(room, &events_table("routed_order")).await;
    let newer = upsert(&table, [event(1, text("newer"), Cell::Long(2), 2_000)]);
    let older = upsert(&table, [event(1, text("older"), Cell::Long(1), 1_000)]);
    for rows in [&newer, &older, &newer] {
        room.room.store.write(rows.clone()).await.expect("written");
        let expected = [json!({"user": "ann", "at": 1, "kind": "newer", "amount": 2})];
        assert_eq!((room.rows)(&table.name), expected);
    }
}

async fn two_routes_fill_one_table(room: &RoutedRoom) {
    let all = ready(room, &events_table("routed_shared")).await;
    let mut some = Table::clone(&all);
    some.columns.remove(2);
    let routed = some.routed.as_mut().expect("routed");
    (routed.route, routed.is_created) = ("other".to_owned(), false);
    let some = Arc::new(some);
    room.room.store.prepare(std::slice::from_ref(&some)).await.expect("other columns");
    room.room.store.write(upsert(&all, [event(1, text("visit"), Cell::Long(1), 1_000)])).await.expect("all");
    let row = vec![text("ann"), Cell::Long(1), Cell::Long(2), Cell::Long(2_000)];
    room.room.store.write(upsert(&some, [row])).await.expect("some");
    room.room.store.write(upsert(&all, [event(2, text("visit"), Cell::Long(5), 1_000)])).await.expect("all");
    let row = |at: i64, amount: i64| json!({"user": "ann", "at": at, "kind": "visit", "amount": amount});
    assert_eq!((room.rows)(&all.name), [row(1, 2), row(2, 5)]);
}

async fn rows_without_a_key_are_at_fault(room: &RoutedRoom) {
    let table = ready(room, &events_table("routed_keys")).await;
    let good = event(1, text("visit"), Cell::Null, 1_000);
    for null in [Cell::Null, Cell::Clear] {
        let mut bad = event(2, text("visit"), Cell::Null, 1_000);
        bad[1] = null;
        let rows = upsert(&table, [good.clone(), bad.clone()]);
        let outcome = match room.room.store.write(rows.clone()).await {
            Err(WriteError::Invalid(_)) => room.room.store.judge(rows, None).await,
            outcome => outcome,
        };
        assert_eq!(at_fault(outcome), [1]);
    }
    assert_eq!((room.rows)(&table.name).len(), 1);
}

async fn only_declared_tables_are_created(room: &RoutedRoom) {
    let mut table = events_table("routed_others");
    (room.room.drop_table)(&table.name);
    let declared = Arc::new(table.clone());
    table.routed.as_mut().expect("routed").is_created = false;
    let tables = [Arc::new(table)];
    let store = &room.room.store;
    for error in [store.apply(&tables).await.expect_err("missing"), store.prepare(&tables).await.expect_err("missing")]
    {
        assert!(matches!(error, StoreError::RouteTable { code: "table_missing", .. }), "{error}");
        assert!(error.to_string().contains("of route to_routed_others is missing"), "{error}");
    }
    store.apply(&[declared]).await.expect("made by somebody");
    store.prepare(&tables).await.expect("is there");
    (room.drop_column)("routed_others", "kind");
    for error in [store.apply(&tables).await.expect_err("column"), store.prepare(&tables).await.expect_err("column")] {
        assert!(matches!(error, StoreError::RouteTable { code: "column_missing", .. }), "never altered: {error}");
    }
}

async fn a_lost_column_stops_its_routes_alone(room: &RoutedRoom) {
    let [hurt, sound] = [events_table("routed_hurt"), events_table("routed_sound")];
    let (hurt, sound) = (ready(room, &hurt).await, ready(room, &sound).await);
    let of = |table: &Arc<Table>, at| upsert(table, [event(at, text("visit"), Cell::Long(1), 1_000)]);
    room.room.store.write(of(&hurt, 1)).await.expect("written");
    (room.add_column)(&hurt.name, "another");
    written(&room.room, &of(&hurt, 2)).await;
    (room.drop_column)(&hurt.name, "kind");
    stopped_soon(&room.room, &of(&hurt, 3)).await;
    let Err(WriteError::Table(reason)) = room.room.store.write(of(&hurt, 3)).await else { panic!("stopped") };
    assert!(reason.contains("routed_hurt.kind, which route to_routed_hurt fills, is missing"), "{reason}");
    written(&room.room, &of(&sound, 1)).await;
    let found = room.room.store.inspect(&[hurt.clone(), sound]).await.expect("inspected");
    let codes: Vec<_> = found.iter().map(|condition| (condition.code, condition.refuses_start)).collect();
    assert_eq!(codes, [("column_missing", false)]);
    assert!(found[0].subject.ends_with("routed_hurt"), "{}", found[0].subject);
}

async fn a_dropped_table_goes_on_when_it_is_back(room: &RoutedRoom) {
    let table = ready(room, &events_table("routed_dropped")).await;
    let rows = upsert(&table, [event(1, text("visit"), Cell::Long(1), 1_000)]);
    room.room.store.write(rows.clone()).await.expect("written");
    (room.room.drop_table)(&table.name);
    stopped(&room.room, &rows).await;
    room.room.store.apply(std::slice::from_ref(&table)).await.expect("made again");
    written(&room.room, &rows).await;
    assert_eq!((room.rows)(&table.name).len(), 1);
}
