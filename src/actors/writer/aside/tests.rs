use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::super::tests::{log_of, work_on};
use super::super::work::{Ages, Confirmed, Work};
use super::*;
use crate::actors::gate::WritePermits;
use crate::schema::row::{Cell, Column, ColumnKind, RowOp, ScalarKind, Table, TableDescription, TableName};
use crate::store::{Grouping, RowKey, Store, StoreError, TransientKind, Written};

/// A store that fails every write in which there is a sick row, and all of them while it is down.
#[derive(Default)]
struct Ward {
    sick: BTreeSet<i32>,
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
        let is_sick = self.is_down || numbers(&group).any(|number| self.sick.contains(&number));
        if !is_sick {
            self.written.lock().extend(numbers(&group));
        }
        let outcome =
            if is_sick { Err(WriteError::Transient(TransientKind::Timeout, "slow".into())) } else { Ok(Vec::new()) };
        Box::pin(async move { outcome })
    }

    fn judge(&self, _: Arc<RowGroup>, _: Option<Arc<RowGroup>>) -> BoxFuture<'static, Written> {
        panic!("no row is refused")
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

/// Writes a group while others of the table are written all the time; its faults, and how often the gate was told of them.
async fn settled(work: &Rc<Work>, group: &Arc<RowGroup>) -> (Vec<(usize, &'static str)>, u64) {
    let permits = WritePermits::new(4);
    let admission = permits.join();
    let table = work.table(&group.table);
    let to = Confirmed { table: &table, ages: Ages::Untold, route: None };
    let others = async {
        for number in 1000.. {
            let permit = admission.enter().await;
            RowWriter::new(work, &admission, to).settle(&rows([number]), permit).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let permit = admission.enter().await;
    let mut writer = RowWriter::new(work, &admission, to);
    let faults = tokio::select! {
        faults = writer.settle(group, permit) => faults,
        () = others => unreachable!("they have no end"),
        () = tokio::time::sleep(Duration::from_secs(3)) => return (Vec::new(), permits.num_dropped_so_far()),
    };
    (faults.iter().map(|fault| (fault.row, fault.code)).collect(), permits.num_dropped_so_far())
}

#[tokio::test]
async fn test_rows_that_alone_keep_failing_are_given_up_and_the_others_of_their_group_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Ward { sick: [3, 5].into(), ..Ward::default() });
    let log = log_of(directory.path());
    let work = work_on(Arc::clone(&store) as Arc<dyn Store>, &log, Some(Duration::from_secs(1))).await;
    let (faults, num_dropped) = settled(&work, &rows(0..8)).await;
    assert_eq!(faults, [(3, GAVE_UP), (5, GAVE_UP)]);
    let written: Vec<i32> = store.written.lock().iter().copied().filter(|number| *number < 1000).collect();
    assert_eq!(written, [0, 1, 2, 4, 6, 7]);
    let retries = work.counters().write_retries.total();
    assert!(num_dropped < retries, "the gate hears of the first failures only: {num_dropped} of {retries}");
}

#[tokio::test]
async fn test_nothing_is_given_up_while_the_store_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Ward { is_down: true, ..Ward::default() });
    let log = log_of(directory.path());
    let work = work_on(Arc::clone(&store) as Arc<dyn Store>, &log, Some(Duration::from_secs(1))).await;
    let (faults, num_dropped) = settled(&work, &rows(0..8)).await;
    assert_eq!(faults, []);
    assert_eq!(num_dropped, work.counters().write_retries.total(), "the gate hears of all of them");
}
