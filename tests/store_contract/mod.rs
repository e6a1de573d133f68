//! What every store keeps, whichever room it is: rows are built here, written through the trait, and read back by
//! means of the test's own.

#![allow(dead_code, reason = "each test target uses its part")]
#![allow(clippy::expect_used, clippy::type_complexity, reason = "helpers of tests are tests, too")]

pub mod others;
pub mod routed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use surgetank::schema::row::{Cell, Column, ColumnKind, RowGroup, RowOp, ScalarKind, Span, Table};
use surgetank::store::{RowKey, Store, StoreError, WriteError, Written};

/// A day in 2026, as milliseconds.
pub const DAY_MS: i64 = 1_767_225_600_000;

/// How long a store may take to see that a table has changed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store under test.
pub struct Room {
    pub store: Arc<dyn Store>,
    /// All rows of a table as text, in a fixed order, with whatever the database knows beside the values.
    pub read: Box<dyn Fn(&str) -> Vec<String>>,
    /// Drops a table behind the store's back.
    pub drop_table: Box<dyn Fn(&str)>,
    /// Whether the database says of the second type that it takes values of the first.
    pub is_compatible: Box<dyn Fn(ColumnKind, ColumnKind) -> bool>,
}

/// A table with the identity columns and these.
pub fn table(name: &str, fields: &[(&str, ColumnKind)]) -> Arc<Table> {
    let identity = [
        ("device_id", ScalarKind::Text),
        ("bucket", ScalarKind::Timestamp),
        ("event_time", ScalarKind::Timestamp),
        ("sequence", ScalarKind::Long),
        ("received_at", ScalarKind::Timestamp),
        ("version", ScalarKind::Int),
    ];
    let identity = identity.iter().map(|(name, kind)| (*name, ColumnKind::Scalar(*kind)));
    let columns =
        identity.chain(fields.iter().copied()).map(|(name, kind)| Column { name: name.to_string(), kind }).collect();
    Arc::new(Table::of_type(name, columns))
}

/// A table with one number.
pub fn simple_table(name: &str) -> Arc<Table> {
    table(name, &[("value", ColumnKind::Scalar(ScalarKind::Int))])
}

/// Builds a group row by row.
pub struct GroupBuilder {
    table: Arc<Table>,
    data: Vec<u8>,
    cells: Vec<Cell>,
}

impl GroupBuilder {
    pub fn new(table: &Arc<Table>) -> Self {
        Self { table: table.clone(), data: Vec::new(), cells: Vec::new() }
    }

    pub fn span(&mut self, bytes: &[u8]) -> Span {
        let start = self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        Span { start, end: self.data.len() as u32 }
    }

    pub fn row(mut self, device: &str, event_time_ms: i64, sequence: i64, fields: Vec<Cell>) -> Self {
        let device = self.span(device.as_bytes());
        self.cells.extend([
            Cell::Text(device),
            Cell::Timestamp(event_time_ms - event_time_ms % 86_400_000),
            Cell::Timestamp(event_time_ms),
            Cell::Long(sequence),
            Cell::Timestamp(event_time_ms + 50),
            Cell::Int(1),
        ]);
        self.cells.extend(fields);
        self
    }

    pub fn build(self) -> Arc<RowGroup> {
        Arc::new(RowGroup { table: self.table, op: RowOp::Upsert, data: Bytes::from(self.data), cells: self.cells })
    }
}

/// A group of `num_rows` rows of one device and one day.
pub fn group(table: &Arc<Table>, device: &str, first: i64, num_rows: i64) -> Arc<RowGroup> {
    let rows = (first..first + num_rows).fold(GroupBuilder::new(table), |builder, index| {
        builder.row(device, DAY_MS + index, index, vec![Cell::Int(index as i32)])
    });
    rows.build()
}

pub async fn keys(store: &dyn Store, table: &Table) -> BTreeSet<RowKey> {
    let mut keys = BTreeSet::new();
    let mut visit = |key| {
        keys.insert(key);
    };
    let num_rows = store.scan(table, &mut visit).await.expect("scan");
    assert_eq!(num_rows as usize, keys.len(), "every row is visited once");
    keys
}

fn key(device: &str, index: i64) -> RowKey {
    RowKey { device_id: device.to_string(), event_time_ms: (DAY_MS + index) as u64, sequence: index as u32 }
}

async fn ready(room: &Room, table: &Arc<Table>) {
    (room.drop_table)(&table.name);
    room.store.apply(std::slice::from_ref(table)).await.expect("apply");
    room.store.prepare(std::slice::from_ref(table)).await.expect("prepare");
}

/// Everything that does not depend on the room.
pub async fn check_all(room: &Room) {
    room.store.health().await.expect("healthy");
    written_rows_are_found(room).await;
    writing_again_changes_nothing(room).await;
    order_of_writing_does_not_matter(room).await;
    missing_values_stay_missing(room).await;
    apply_is_done_once(room).await;
    a_column_is_added(room).await;
    shapes_are_checked(room).await;
    bad_rows_are_left_out_alone(room).await;
    a_dropped_table_is_no_fault_of_the_rows(room).await;
    a_row_that_is_taken_tells_who_is_at_fault(room).await;
    a_table_of_other_types_gets_nothing(room).await;
}

async fn written_rows_are_found(room: &Room) {
    let table = simple_table("contract_found");
    ready(room, &table).await;
    room.store.write(group(&table, "one", 0, 1)).await.expect("one row");
    room.store.write(group(&table, "many", 0, 40)).await.expect("many rows");
    let expected = (0..40).map(|index| key("many", index)).chain([key("one", 0)]).collect();
    assert_eq!(keys(&*room.store, &table).await, expected);
}

async fn writing_again_changes_nothing(room: &Room) {
    let table = simple_table("contract_again");
    ready(room, &table).await;
    room.store.write(group(&table, "a", 0, 10)).await.expect("first");
    let before = (room.read)(&table.name);
    room.store.write(group(&table, "a", 0, 10)).await.expect("again");
    room.store.write(group(&table, "a", 3, 1)).await.expect("one of them alone");
    assert_eq!((room.read)(&table.name), before);
    assert_eq!(before.len(), 10);
}

async fn order_of_writing_does_not_matter(room: &Room) {
    let (forward, backward) = (simple_table("contract_forward"), simple_table("contract_backward"));
    ready(room, &forward).await;
    ready(room, &backward).await;
    for index in 0..20 {
        room.store.write(group(&forward, "a", index, 1)).await.expect("forward");
        room.store.write(group(&backward, "a", 19 - index, 1)).await.expect("backward");
    }
    assert_eq!((room.read)(&forward.name), (room.read)(&backward.name));
}

async fn missing_values_stay_missing(room: &Room) {
    let table = table(
        "contract_nulls",
        &[("number", ColumnKind::Scalar(ScalarKind::Long)), ("items", ColumnKind::List(ScalarKind::Int))],
    );
    ready(room, &table).await;
    let rows = GroupBuilder::new(&table)
        .row("a", DAY_MS, 1, vec![Cell::Null, Cell::Null])
        .row("a", DAY_MS, 2, vec![Cell::Long(7), Cell::List(vec![])])
        .build();
    room.store.write(rows).await.expect("nulls");
    assert_eq!(keys(&*room.store, &table).await.len(), 2);
}

async fn apply_is_done_once(room: &Room) {
    let table = simple_table("contract_apply");
    (room.drop_table)(&table.name);
    let tables = [table];
    let error = room.store.prepare(&tables).await.expect_err("nothing is there yet");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    let changes = room.store.apply(&tables).await.expect("first");
    assert!(changes.iter().any(|change| change.contains("contract_apply")), "{changes:?}");
    assert_eq!(room.store.apply(&tables).await.expect("second"), Vec::<String>::new());
    room.store.prepare(&tables).await.expect("prepare");
}

async fn a_column_is_added(room: &Room) {
    let old = simple_table("contract_grows");
    ready(room, &old).await;
    room.store.write(group(&old, "a", 0, 3)).await.expect("old rows");
    let int = ColumnKind::Scalar(ScalarKind::Int);
    let new = table("contract_grows", &[("value", int), ("order", ColumnKind::Scalar(ScalarKind::Text))]);
    let error = room.store.prepare(std::slice::from_ref(&new)).await.expect_err("a column is missing");
    assert!(error.to_string().contains("contract_grows.order is missing"), "{error}");
    let changes = room.store.apply(std::slice::from_ref(&new)).await.expect("apply");
    assert_eq!(changes.len(), 1, "{changes:?}");
    room.store.prepare(std::slice::from_ref(&new)).await.expect("prepare");
    let mut rows = GroupBuilder::new(&new);
    let text = rows.span("naïve".as_bytes());
    let rows = rows.row("a", DAY_MS + 3, 3, vec![Cell::Int(3), Cell::Text(text)]).build();
    room.store.write(rows).await.expect("new row");
    // What was on its way when the column came keeps its form.
    room.store.write(group(&old, "a", 4, 2)).await.expect("rows of the older form");
    assert_eq!(keys(&*room.store, &new).await.len(), 6);
    assert!((room.read)("contract_grows").iter().any(|row| row.contains("naïve")));
}

async fn shapes_are_checked(room: &Room) {
    ready(room, &simple_table("contract_shape")).await;
    let other = [table("contract_shape", &[("value", ColumnKind::Scalar(ScalarKind::Text))])];
    for error in [
        room.store.prepare(&other).await.expect_err("another type"),
        room.store.apply(&other).await.expect_err("another type"),
    ] {
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
}

/// Two rows, the first of another kind.
fn half_bad(table: &Arc<Table>) -> Arc<RowGroup> {
    let mut rows = GroupBuilder::new(table);
    let text = rows.span(b"no number");
    rows.row("bad", DAY_MS + 1, 1, vec![Cell::Text(text)]).row("bad", DAY_MS + 2, 2, vec![Cell::Int(2)]).build()
}

/// Rows without a value in their key.
fn all_bad(table: &Arc<Table>, num_rows: i64) -> Arc<RowGroup> {
    let mut rows = (*group(table, "worse", 5, num_rows)).clone();
    rows.cells.chunks_exact_mut(table.columns.len()).for_each(|row| row[3] = Cell::Null);
    Arc::new(rows)
}

/// The rows at fault.
fn at_fault(outcome: Written) -> Vec<usize> {
    outcome.expect("judged").into_iter().map(|refused| refused.row).collect()
}

async fn bad_rows_are_left_out_alone(room: &Room) {
    let table = simple_table("contract_bad");
    ready(room, &table).await;
    let known_good = group(&table, "good", 0, 1);
    room.store.write(known_good.clone()).await.expect("good");
    let groups = [
        group(&table, "good", 0, 5),
        half_bad(&table),
        group(&table, "good", 5, 5),
        all_bad(&table, 3),
        group(&table, "good", 10, 5),
    ];
    // Sent at once, so that a store that writes groups together does so.
    let outcomes = futures_util::future::join_all(groups.iter().map(|rows| room.store.write(rows.clone()))).await;
    for (index, (rows, outcome)) in groups.iter().zip(outcomes).enumerate() {
        let outcome = match outcome {
            Err(WriteError::Invalid(_)) => room.store.judge(rows.clone(), Some(known_good.clone())).await,
            outcome => outcome,
        };
        let expected: &[usize] = [&[][..], &[0], &[], &[0, 1, 2], &[]][index];
        assert_eq!(at_fault(outcome), expected, "{index}");
    }
    let expected = (0..15).map(|index| key("good", index)).chain([key("bad", 2)]);
    assert_eq!(keys(&*room.store, &table).await, expected.collect());
}

async fn a_dropped_table_is_no_fault_of_the_rows(room: &Room) {
    let table = simple_table("contract_dropped");
    ready(room, &table).await;
    room.store.write(group(&table, "a", 0, 5)).await.expect("while the table is there");
    (room.drop_table)(&table.name);
    for num_rows in [1, 5] {
        stopped(room, &group(&table, "a", 0, num_rows)).await;
    }
    room.store.apply(std::slice::from_ref(&table)).await.expect("made again by an operator");
    written(room, &group(&table, "a", 0, 5)).await;
    assert_eq!(keys(&*room.store, &table).await.len(), 5);
}

/// A store may hear a little later than it happens that a table has changed; until then it may only refuse.
async fn stopped(room: &Room, rows: &Arc<RowGroup>) {
    let began = Instant::now();
    loop {
        match room.store.write(rows.clone()).await {
            Err(WriteError::Table(_)) => return,
            Err(WriteError::Invalid(_)) if began.elapsed() < PATIENCE => {}
            outcome => panic!("{outcome:?}"),
        }
    }
}

/// Types that the server itself takes for one another are told apart by looking at the table, which is done often.
async fn stopped_soon(room: &Room, rows: &Arc<RowGroup>) {
    let began = Instant::now();
    while !matches!(room.store.write(rows.clone()).await, Err(WriteError::Table(_))) {
        assert!(began.elapsed() < Duration::from_secs(3), "written on and on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// It goes on by itself.
async fn written(room: &Room, rows: &Arc<RowGroup>) {
    let began = Instant::now();
    while let Err(error) = room.store.write(rows.clone()).await {
        assert!(matches!(error, WriteError::Table(_)) && began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_row_that_is_taken_tells_who_is_at_fault(room: &Room) {
    let table = simple_table("contract_judge");
    ready(room, &table).await;
    // Without a row that was confirmed before, one of their own tells of the others, or none does.
    assert_eq!(at_fault(room.store.judge(half_bad(&table), None).await), [0]);
    let outcome = room.store.judge(all_bad(&table, 3), None).await;
    assert!(matches!(outcome, Err(WriteError::Invalid(_))), "{outcome:?}");
    let good = group(&table, "good", 0, 1);
    room.store.write(good.clone()).await.expect("good");
    assert_eq!(at_fault(room.store.judge(all_bad(&table, 3), Some(good.clone())).await), [0, 1, 2]);
    assert_eq!(at_fault(room.store.judge(all_bad(&table, 1), Some(good.clone())).await), [0]);
    let others = group(&table, "other", 0, 3);
    assert!(at_fault(room.store.judge(others.clone(), Some(good.clone())).await).is_empty(), "good after all");
    assert_eq!(keys(&*room.store, &table).await.len(), 5);
    let outcome = room.store.judge(all_bad(&table, 3), Some(all_bad(&table, 1))).await;
    assert!(matches!(outcome, Err(WriteError::Table(_))), "the row that was good is refused: {outcome:?}");
    (room.drop_table)(&table.name);
    let outcome = room.store.judge(others, Some(good)).await;
    assert!(matches!(outcome, Err(WriteError::Table(_))), "{outcome:?}");
}

/// Whatever a table is made anew as behind the store's back, it gets no value that was meant for another type.
async fn a_table_of_other_types_gets_nothing(room: &Room) {
    let scalar = ColumnKind::Scalar;
    let list = ColumnKind::List(ScalarKind::Int);
    let cases = [
        (scalar(ScalarKind::Double), Cell::Double(15.5), [scalar(ScalarKind::Long), scalar(ScalarKind::Bytes)]),
        (list, Cell::List(vec![Cell::Int(7)]), [ColumnKind::List(ScalarKind::Float), scalar(ScalarKind::Bytes)]),
    ];
    let name = "contract_types";
    for (kind, cell, others) in cases {
        let right = table(name, &[("value", kind)]);
        ready(room, &right).await;
        let rows = GroupBuilder::new(&right).row("a", DAY_MS, 1, vec![cell.clone()]);
        let rows = rows.row("a", DAY_MS, 2, vec![cell.clone()]).build();
        let row = Arc::new(RowGroup { cells: rows.cells[..7].to_vec(), ..(*rows).clone() });
        room.store.write(rows.clone()).await.expect("as prepared");
        for other in others {
            let wrong = table(name, &[("value", other)]);
            (room.drop_table)(name);
            room.store.apply(std::slice::from_ref(&wrong)).await.expect("another shape");
            if room.store.apply(std::slice::from_ref(&right)).await.is_ok() {
                continue; // Both kinds are the same type there.
            }
            let is_compatible = (room.is_compatible)(kind, other);
            for rows in [&row, &rows] {
                if is_compatible {
                    stopped_soon(room, rows).await;
                } else {
                    stopped(room, rows).await;
                }
            }
            let num_rows = keys(&*room.store, &wrong).await.len();
            assert!(is_compatible || num_rows == 0, "{kind:?} in {other:?}");
        }
        (room.drop_table)(name);
        room.store.apply(std::slice::from_ref(&right)).await.expect("right again");
        written(room, &row).await;
        written(room, &rows).await;
        assert_eq!(keys(&*room.store, &right).await.len(), 2);
    }
}

/// A table with every kind of column, and a row that has a telling value in each.
pub fn every_kind(name: &str) -> (Arc<Table>, Arc<RowGroup>) {
    let scalar = ColumnKind::Scalar;
    let table = table(
        name,
        &[
            ("c_bool", scalar(ScalarKind::Bool)),
            ("c_int", scalar(ScalarKind::Int)),
            ("c_long", scalar(ScalarKind::Long)),
            ("c_small", scalar(ScalarKind::Unsigned)),
            ("c_large", scalar(ScalarKind::Unsigned)),
            ("c_float", scalar(ScalarKind::Float)),
            ("c_double", scalar(ScalarKind::Double)),
            ("c_text", scalar(ScalarKind::Text)),
            ("c_symbol", scalar(ScalarKind::Text)),
            ("c_bytes", scalar(ScalarKind::Bytes)),
            ("c_empty", scalar(ScalarKind::Bytes)),
            ("c_time", scalar(ScalarKind::Timestamp)),
            ("c_numbers", ColumnKind::List(ScalarKind::Unsigned)),
            ("c_words", ColumnKind::List(ScalarKind::Text)),
            ("c_json", ColumnKind::Json),
        ],
    );
    let mut rows = GroupBuilder::new(&table);
    let (text, bytes, empty) = (rows.span("zwölf".as_bytes()), rows.span(&[0, 1, 255]), rows.span(b""));
    let fields = vec![
        Cell::Bool(true),
        Cell::Int(i32::MIN),
        Cell::Long(i64::MIN),
        Cell::Unsigned(200),
        Cell::Unsigned(u64::MAX),
        Cell::Float(1.5),
        Cell::Double(-0.1),
        Cell::Text(text),
        Cell::Symbol("OPEN".into()),
        Cell::Bytes(bytes),
        Cell::Bytes(empty),
        Cell::Timestamp(DAY_MS),
        Cell::List(vec![Cell::Unsigned(0), Cell::Unsigned(128), Cell::Unsigned(u64::MAX)]),
        Cell::List(vec![Cell::Text(text), Cell::Symbol("SHUT".into())]),
        Cell::Json("[{\"a\":1}]".to_string()),
    ];
    let group = rows.row("kinds", DAY_MS + 1, 9, fields).build();
    (table, group)
}
