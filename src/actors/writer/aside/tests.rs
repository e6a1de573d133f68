use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::super::grouping::REFUSED;
use super::super::tests::{log_of, work_on};
use super::super::work::{Ages, Confirmed, Work};
use super::*;
use crate::actors::gate::WritePermits;
use crate::schema::row::{
    Cell, Column, ColumnKind, Routed, RowOp, ScalarKind, Table, TableDescription, TableName, WriteTime,
};
use crate::store::{Grouping, RowKey, Store, StoreError, TransientKind, Written};

/// How long something may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store that fails every write in which there is a sick row, and all of them while it is down. It refuses bad rows.
#[derive(Default)]
struct Ward {
    sick: BTreeSet<i32>,
    bad: BTreeSet<i32>,
    is_down: bool,
    written: Mutex<BTreeSet<i32>>,
}

fn numbers(group: &RowGroup) -> impl Iterator<Item = i32> + '_ {
    group.cells.iter().map(|cell| match cell {
        Cell::Int(number) => *number,
        other => panic!("{other:?}"),
    })
}

impl Store for Ward {
    fn grouping(&self) -> Grouping {
        Grouping::ByTable { max_rows: 100 }
    }

    fn write(&self, group: Arc<RowGroup>) -> BoxFuture<'static, Written> {
        if numbers(&group).any(|number| self.bad.contains(&number)) {
            return Box::pin(async { Err(WriteError::Invalid("bad".to_owned())) });
        }
        let is_sick = self.is_down || numbers(&group).any(|number| self.sick.contains(&number));
        if !is_sick {
            self.written.lock().extend(numbers(&group));
        }
        let outcome =
            if is_sick { Err(WriteError::Transient(TransientKind::Timeout, "slow".into())) } else { Ok(Vec::new()) };
        Box::pin(async move { outcome })
    }

    fn judge(&self, suspects: Arc<RowGroup>, known_good: Option<Arc<RowGroup>>) -> BoxFuture<'static, Written> {
        assert!(numbers(&suspects).all(|number| self.bad.contains(&number)), "only bad rows are refused");
        assert!(known_good.is_none(), "no row of such a table is kept");
        Box::pin(async { Err(WriteError::Invalid("bad".to_owned())) })
    }

    fn apply(&self, _: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn prepare(&self, _: &[Arc<Table>]) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self, _: &TableName) -> BoxFuture<'_, Result<Option<TableDescription>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn scan<'a>(
        &'a self,
        _: &'a Table,
        _: &'a mut (dyn FnMut(RowKey) + Send),
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn rows(numbers: impl IntoIterator<Item = i32>) -> Arc<RowGroup> {
    let column = Column { name: "number".to_owned(), kind: ColumnKind::Scalar(ScalarKind::Int) };
    let table = Arc::new(Table::of_type("t", vec![column]));
    let cells = numbers.into_iter().map(Cell::Int).collect();
    Arc::new(RowGroup { table, op: RowOp::Upsert, data: Bytes::new(), cells })
}

/// Writes a group while others of the table are written all the time; its faults, none if it is not settled within this time,
/// and how often the gate was told of them.
async fn settled(work: &Rc<Work>, group: &Arc<RowGroup>, within: Duration) -> (Vec<(usize, &'static str)>, u64) {
    let permits = WritePermits::new(4);
    let admission = permits.join();
    let table = work.table(&group.table);
    let to = Confirmed { table: &table, ages: Ages::Untold, route: None };
    let others = async {
        for number in 1000.. {
            let permit = admission.enter().await;
            let other = Arc::new(RowGroup { cells: vec![Cell::Int(number)], ..RowGroup::clone(group) });
            RowWriter::new(work, &admission, to).settle(&other, permit).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let permit = admission.enter().await;
    let mut writer = RowWriter::new(work, &admission, to);
    let faults = tokio::select! {
        faults = writer.settle(group, permit) => faults,
        () = others => unreachable!("they have no end"),
        () = tokio::time::sleep(within) => return (Vec::new(), permits.num_dropped_so_far()),
    };
    (faults.iter().map(|fault| (fault.row, fault.code)).collect(), permits.num_dropped_so_far())
}

#[tokio::test]
async fn test_rows_that_alone_keep_failing_are_given_up_and_the_others_of_their_group_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Ward { sick: [3, 5].into(), ..Ward::default() });
    let log = log_of(directory.path());
    let work = work_on(Arc::clone(&store) as Arc<dyn Store>, &log, Some(Duration::from_secs(1))).await;
    let (faults, num_dropped) = settled(&work, &rows(0..8), PATIENCE).await;
    assert_eq!(faults, [(3, GAVE_UP), (5, GAVE_UP)]);
    let written: Vec<i32> = store.written.lock().iter().copied().filter(|number| *number < 1000).collect();
    assert_eq!(written, [0, 1, 2, 4, 6, 7]);
    let retries = work.counters().write_retries.total();
    assert!(num_dropped < retries, "the gate hears of the first failures only: {num_dropped} of {retries}");
}

#[tokio::test]
async fn test_a_refused_row_of_a_table_without_a_known_good_one_is_at_fault_once_others_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Ward { bad: [7].into(), ..Ward::default() });
    let log = log_of(directory.path());
    let work = work_on(Arc::clone(&store) as Arc<dyn Store>, &log, None).await;
    let group = rows([7]);
    let routed = Routed {
        route: "r".to_owned(),
        timestamp: WriteTime::Server,
        has_ttl: false,
        consistency: None,
        is_created: false,
    };
    let table = Arc::new(Table { routed: Some(routed), ..Table::clone(&group.table) });
    let group = Arc::new(RowGroup { table, ..RowGroup::clone(&group) });
    assert_eq!(settled(&work, &group, PATIENCE).await.0, [(0, REFUSED)]);
}

#[tokio::test]
async fn test_nothing_is_given_up_while_the_store_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Ward { is_down: true, ..Ward::default() });
    let log = log_of(directory.path());
    let work = work_on(Arc::clone(&store) as Arc<dyn Store>, &log, Some(Duration::from_secs(1))).await;
    let (faults, num_dropped) = settled(&work, &rows(0..8), Duration::from_secs(3)).await;
    assert_eq!(faults, []);
    assert_eq!(num_dropped, work.counters().write_retries.total(), "the gate hears of all of them");
}
