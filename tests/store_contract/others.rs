//! What every store keeps for tables of routes while others have their hands on them, beside what [`routed`](super::routed)
//! has: columns that come and go, several routes of one table, tables that are dropped.

use std::sync::Arc;

use surgetank::schema::row::{Cell, RowGroup, RowOp, Table};
use surgetank::store::WriteError;

use super::routed::{routed_group, routed_row, routed_table};
use super::{Room, at_fault, stopped, stopped_soon, written};

/// A store under test, and what others do behind its back.
pub struct OthersRoom {
    pub room: Room,
    /// Takes a column from a table.
    pub drop_column: Box<dyn Fn(&str, &str)>,
    /// Gives a column of integers to a table.
    pub add_column: Box<dyn Fn(&str, &str)>,
}

fn visit(table: &Arc<Table>, event: u8, amount: i64, written_at_us: i64) -> Arc<RowGroup> {
    let row = routed_row(event, Cell::OwnText("visit".into()), Cell::Long(amount), written_at_us);
    routed_group(table, RowOp::Upsert, [row])
}

async fn ready(room: &OthersRoom, name: &str) -> Arc<Table> {
    let tables = [routed_table(name)];
    (room.room.drop_table)(name);
    room.room.store.apply(&tables).await.expect("apply");
    room.room.store.prepare(&tables).await.expect("prepare");
    let [table] = tables;
    table
}

/// Everything that does not depend on the room.
pub async fn check_others(room: &OthersRoom) {
    two_routes_fill_one_table(room).await;
    rows_without_a_key_are_at_fault(room).await;
    a_table_of_others_is_never_altered(room).await;
    a_lost_column_stops_its_table_alone(room).await;
    a_dropped_table_goes_on_when_it_is_back(room).await;
}

async fn two_routes_fill_one_table(room: &OthersRoom) {
    let all = ready(room, "others_shared").await;
    let mut some = Table::clone(&all);
    some.columns.remove(2);
    let routed = some.routed.as_mut().expect("routed");
    (routed.route, routed.is_created) = ("other".to_owned(), false);
    let some = Arc::new(some);
    let store = &room.room.store;
    store.prepare(std::slice::from_ref(&some)).await.expect("other columns");
    store.write(visit(&all, 1, 4711, 1_000)).await.expect("all");
    let mut row = routed_row(1, Cell::Null, Cell::Long(4712), 2_000);
    row.remove(2);
    store.write(routed_group(&some, RowOp::Upsert, [row])).await.expect("some");
    store.write(visit(&all, 2, 4713, 1_000)).await.expect("all");
    let found = (room.room.read)(&all.name).join("\n");
    assert!(["4712", "4713"].iter().all(|amount| found.contains(amount)) && !found.contains("4711"), "{found}");
    assert_eq!(found.matches("visit").count(), 2, "{found}");
}

async fn rows_without_a_key_are_at_fault(room: &OthersRoom) {
    let table = ready(room, "others_keys").await;
    let good = routed_row(1, Cell::Null, Cell::Null, 1_000);
    for null in [Cell::Null, Cell::Clear] {
        let mut bad = routed_row(2, Cell::Null, Cell::Null, 1_000);
        bad[1] = null;
        let rows = routed_group(&table, RowOp::Upsert, [good.clone(), bad]);
        let outcome = match room.room.store.write(rows.clone()).await {
            Err(WriteError::Invalid(_)) => room.room.store.judge(rows, None).await,
            outcome => outcome,
        };
        assert_eq!(at_fault(outcome), [1]);
    }
    assert_eq!((room.room.read)(&table.name).len(), 1);
}

async fn a_table_of_others_is_never_altered(room: &OthersRoom) {
    let tables = [ready(room, "others_altered").await];
    let store = &room.room.store;
    (room.add_column)(&tables[0].name, "another");
    assert_eq!(store.apply(&tables).await.expect("more columns"), Vec::<String>::new());
    store.prepare(&tables).await.expect("more columns");
    (room.drop_column)(&tables[0].name, "payload");
    for error in [store.apply(&tables).await.expect_err("lost"), store.prepare(&tables).await.expect_err("lost")] {
        let error = error.to_string();
        assert!(error.contains("others_altered") && error.contains("payload"), "{error}");
    }
}

async fn a_lost_column_stops_its_table_alone(room: &OthersRoom) {
    let (hurt, sound) = (ready(room, "others_hurt").await, ready(room, "others_sound").await);
    let store = &room.room.store;
    store.write(visit(&hurt, 1, 1, 1_000)).await.expect("written");
    (room.add_column)(&hurt.name, "another");
    written(&room.room, &visit(&hurt, 2, 1, 1_000)).await;
    (room.drop_column)(&hurt.name, "payload");
    stopped_soon(&room.room, &visit(&hurt, 3, 1, 1_000)).await;
    let Err(WriteError::Table(reason)) = store.write(visit(&hurt, 3, 1, 1_000)).await else { panic!("stopped") };
    assert!(reason.contains("payload"), "{reason}");
    written(&room.room, &visit(&sound, 1, 1, 1_000)).await;
    let found = store.inspect(&[hurt, sound]).await.expect("inspected");
    let codes: Vec<_> = found.iter().map(|condition| (condition.code, condition.refuses_start)).collect();
    assert_eq!(codes, [("column_missing", false)]);
    assert!(found[0].subject.ends_with("others_hurt") && found[0].detail.contains("payload"), "{}", found[0]);
}

async fn a_dropped_table_goes_on_when_it_is_back(room: &OthersRoom) {
    let table = ready(room, "others_dropped").await;
    room.room.store.write(visit(&table, 1, 1, 1_000)).await.expect("written");
    (room.room.drop_table)(&table.name);
    stopped(&room.room, &visit(&table, 1, 1, 1_000)).await;
    room.room.store.apply(std::slice::from_ref(&table)).await.expect("made again");
    written(&room.room, &visit(&table, 1, 1, 1_000)).await;
    assert_eq!((room.room.read)(&table.name).len(), 1);
}
