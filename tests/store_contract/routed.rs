//! What every store keeps of the tables of routes.

use std::sync::Arc;

use bytes::Bytes;
use surgetank::schema::row::{
    Cell, Column, ColumnKind, ColumnPlace, Key, Routed, RowGroup, RowOp, ScalarKind, Table, TableName, WriteTime,
};

use super::Room;

/// The table of a route that may create it: two columns of the key, two others; the write timestamp is a cell of each row.
pub fn routed_table(name: &str) -> Arc<Table> {
    let columns = [
        ("user_id", ScalarKind::Text),
        ("event_id", ScalarKind::Uuid),
        ("payload", ScalarKind::Text),
        ("amount", ScalarKind::Long),
    ];
    let column = |(name, kind): (&str, _)| Column { name: name.to_owned(), kind: ColumnKind::Scalar(kind) };
    let routed = Routed {
        route: name.to_owned(),
        timestamp: WriteTime::Cell,
        has_ttl: false,
        consistency: None,
        is_created: true,
    };
    Arc::new(Table {
        keyspace: None,
        name: name.to_owned(),
        columns: columns.map(column).into(),
        key: Key { num_partition: 1, num_clustering: 1 },
        routed: Some(routed),
    })
}

/// A row of it, written at this time.
pub fn routed_row(event: u8, payload: Cell, amount: Cell, written_at_us: i64) -> Vec<Cell> {
    vec![Cell::OwnText("ann".into()), Cell::Uuid([event; 16]), payload, amount, Cell::Long(written_at_us)]
}

pub fn routed_group(table: &Arc<Table>, op: RowOp, rows: impl IntoIterator<Item = Vec<Cell>>) -> Arc<RowGroup> {
    let cells = rows.into_iter().flatten().collect();
    Arc::new(RowGroup { table: table.clone(), op, data: Bytes::new(), cells })
}

/// Runs all of it against a store.
pub async fn check_routed(room: &Room) {
    a_route_creates_its_table(room).await;
    a_column_without_a_value_stays_as_it_is(room).await;
    the_newer_write_wins(room).await;
    rows_are_deleted(room).await;
    a_route_does_not_create_what_it_does_not_declare(room).await;
}

async fn ready(room: &Room, table: &Arc<Table>) {
    (room.drop_table)(&table.name);
    room.store.apply(std::slice::from_ref(table)).await.expect("apply");
    room.store.prepare(std::slice::from_ref(table)).await.expect("prepare");
}

async fn write(room: &Room, table: &Arc<Table>, op: RowOp, rows: impl IntoIterator<Item = Vec<Cell>>) {
    let refused = room.store.write(routed_group(table, op, rows)).await.expect("written");
    assert!(refused.is_empty(), "{refused:?}");
}

fn text(text: &str) -> Cell {
    Cell::OwnText(text.into())
}

async fn a_route_creates_its_table(room: &Room) {
    let table = routed_table("routed_created");
    (room.drop_table)(&table.name);
    let name = TableName { keyspace: None, name: table.name.clone() };
    assert_eq!(room.store.describe(&name).await.expect("answers"), None);
    let changes = room.store.apply(std::slice::from_ref(&table)).await.expect("apply");
    assert!(changes.iter().any(|change| change.contains("routed_created")), "{changes:?}");
    assert_eq!(room.store.apply(std::slice::from_ref(&table)).await.expect("again"), Vec::<String>::new());
    let described = room.store.describe(&name).await.expect("answers").expect("is there");
    let columns: Vec<(&str, ColumnPlace)> =
        described.columns.iter().map(|column| (column.name.as_str(), column.place)).collect();
    assert_eq!(columns[..2], [("user_id", ColumnPlace::Partition(0)), ("event_id", ColumnPlace::Clustering(0))]);
    let mut others = columns[2..].to_vec();
    others.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(others, [("amount", ColumnPlace::Regular), ("payload", ColumnPlace::Regular)]);
}

async fn a_column_without_a_value_stays_as_it_is(room: &Room) {
    let table = routed_table("routed_unset");
    ready(room, &table).await;
    let rows = [
        routed_row(1, text("stays-1"), Cell::Long(4711), 10),
        routed_row(2, text("goes-2"), Cell::Long(4712), 10),
        routed_row(3, Cell::Null, Cell::Null, 10),
    ];
    write(room, &table, RowOp::Upsert, rows).await;
    let rows = [
        routed_row(1, Cell::Null, Cell::Long(4721), 11),
        routed_row(2, Cell::Clear, Cell::Null, 11),
        routed_row(3, text("comes-3"), Cell::Clear, 11),
    ];
    write(room, &table, RowOp::Upsert, rows).await;
    let found = (room.read)(&table.name);
    assert_eq!(found.len(), 3, "{found:?}");
    let found = found.join("\n");
    for there in ["stays-1", "4721", "4712", "comes-3"] {
        assert!(found.contains(there), "{there} in {found}");
    }
    for gone in ["4711", "goes-2"] {
        assert!(!found.contains(gone), "{gone} in {found}");
    }
}

async fn the_newer_write_wins(room: &Room) {
    let table = routed_table("routed_newer");
    ready(room, &table).await;
    let newer = || routed_row(1, text("newer"), Cell::Long(20), 2_000_000);
    let older = || routed_row(1, text("older"), Cell::Long(10), 1_000_000);
    for rows in [[newer(), older()], [older(), newer()], [older(), older()]] {
        for row in rows {
            write(room, &table, RowOp::Upsert, [row]).await;
        }
        let found = (room.read)(&table.name).join("\n");
        assert!(found.contains("newer") && !found.contains("older"), "{found}");
    }
    // Of one group, too, and of rows that were written before.
    write(
        room,
        &table,
        RowOp::Upsert,
        [routed_row(2, text("last"), Cell::Null, 30), routed_row(2, text("first"), Cell::Null, 20)],
    )
    .await;
    let before = (room.read)(&table.name);
    write(room, &table, RowOp::Upsert, [routed_row(2, text("last"), Cell::Null, 30), newer()]).await;
    assert_eq!((room.read)(&table.name), before);
    assert!(before.join("\n").contains("last") && !before.join("\n").contains("first"), "{before:?}");
}

async fn rows_are_deleted(room: &Room) {
    let table = routed_table("routed_deleted");
    ready(room, &table).await;
    let row = |event, time| routed_row(event, text("row"), Cell::Long(1), time);
    let gone = |event, time| routed_row(event, Cell::Null, Cell::Null, time);
    write(room, &table, RowOp::Upsert, [row(1, 10), row(2, 10), row(3, 10)]).await;
    // One of them, one that is newer, one that is not there.
    write(room, &table, RowOp::Delete, [gone(1, 11), gone(2, 9), gone(9, 11)]).await;
    assert_eq!((room.read)(&table.name).len(), 2);
    write(room, &table, RowOp::Delete, [gone(1, 11), gone(2, 10), gone(3, 12)]).await;
    assert_eq!((room.read)(&table.name), Vec::<String>::new());
    // A row that was written before it was deleted, and comes after that.
    write(room, &table, RowOp::Upsert, [row(1, 10), row(2, 9), row(9, 10)]).await;
    assert_eq!((room.read)(&table.name), Vec::<String>::new());
    write(room, &table, RowOp::Upsert, [row(1, 20)]).await;
    assert_eq!((room.read)(&table.name).len(), 1);
}

async fn a_route_does_not_create_what_it_does_not_declare(room: &Room) {
    let mut table = (*routed_table("routed_missing")).clone();
    (room.drop_table)(&table.name);
    table.routed.as_mut().expect("routed").is_created = false;
    let table = Arc::new(table);
    room.store.apply(std::slice::from_ref(&table)).await.expect_err("nothing says what it looks like");
    room.store.prepare(std::slice::from_ref(&table)).await.expect_err("it is missing");
    let name = TableName { keyspace: None, name: table.name.clone() };
    assert_eq!(room.store.describe(&name).await.expect("answers"), None);
}
