//! Takes a refused group apart until each row that is refused is alone.

use std::ops::Range;
use std::sync::Arc;

use super::{RefusedRow, WriteError, Written, first_confirmed};
use crate::schema::row::RowGroup;

/// Halves a group that was refused as a whole, and the halves that are refused, and tells the rows at fault, as
/// [`Store::judge`](super::Store::judge) does. `write` writes one group in the place where all are to be written; for a
/// single row its `Err(Invalid)` is the refusal of that row.
///
/// The known-good row is written before, which spares a table that takes nothing all the halves, and again behind the last
/// refusal, as rows may be refused from some moment on.
pub(super) async fn take_apart<F>(
    suspects: &Arc<RowGroup>,
    known_good: Option<Arc<RowGroup>>,
    write: impl Fn(Arc<RowGroup>) -> F,
) -> Written
where
    F: Future<Output = Written>,
{
    let mut good = known_good;
    if let Some(known_good) = &good {
        taken(write(Arc::clone(known_good)).await)?;
    }
    let mut refused = Vec::new();
    // As a whole they were refused.
    let mut open = Vec::from(halves(0..suspects.num_rows()));
    open.retain(|rows| !rows.is_empty());
    while let Some(rows) = open.pop() {
        let part = Arc::new(suspects.part(rows.clone()));
        let outcome = write(Arc::clone(&part)).await;
        match outcome {
            Ok(of_part) => {
                if good.is_none() {
                    good = first_confirmed(part.num_rows(), &of_part).map(|row| Arc::new(part.part(row..row + 1)));
                }
                refused.extend(of_part.into_iter().map(|one| RefusedRow { row: rows.start + one.row, ..one }));
            }
            Err(WriteError::Invalid(reason)) if rows.len() == 1 => refused.push(RefusedRow { row: rows.start, reason }),
            Err(WriteError::Invalid(_)) => open.extend(halves(rows)),
            Err(other) => return Err(other),
        }
    }
    let Some(first) = refused.first() else { return Ok(refused) };
    let Some(good) = good else { return Err(WriteError::Invalid(first.reason.clone())) };
    taken(write(good).await)?;
    Ok(refused)
}

/// The first half is on top.
fn halves(rows: Range<usize>) -> [Range<usize>; 2] {
    let middle = rows.start + rows.len() / 2;
    [middle..rows.end, rows.start..middle]
}

/// What a refusal of a row means that was confirmed before: the row is good, so the table is not.
fn taken(outcome: Written) -> Result<(), WriteError> {
    let refusal = match outcome {
        Ok(refused) => refused.into_iter().next().map(|one| one.reason),
        Err(WriteError::Invalid(reason)) => Some(reason),
        Err(other) => return Err(other),
    };
    refusal.map_or(Ok(()), |reason| Err(WriteError::Table(reason)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::row::{Cell, Column, ColumnKind, RowOp, ScalarKind, Table};

    fn rows(numbers: Range<i64>) -> Arc<RowGroup> {
        let column = Column { name: "sequence".to_owned(), kind: ColumnKind::Scalar(ScalarKind::Long) };
        let table = Arc::new(Table::of_type("t", vec![column]));
        Arc::new(RowGroup { table, op: RowOp::Upsert, data: Bytes::new(), cells: numbers.map(Cell::Long).collect() })
    }

    /// A store that refuses a group with a bad row in it, as a whole.
    #[derive(Default)]
    struct Model {
        bad: BTreeSet<i64>,
        written: RefCell<BTreeSet<i64>>,
        num_writes: RefCell<u32>,
        /// Refuses everything from this write on.
        ends: Option<u32>,
    }

    impl Model {
        fn judge(&self, suspects: &Arc<RowGroup>, known_good: Option<Arc<RowGroup>>) -> Written {
            let write = async |group: Arc<RowGroup>| {
                let number = self.num_writes.replace_with(|number| *number + 1);
                let numbers =
                    || group.cells.iter().filter_map(|cell| if let Cell::Long(n) = cell { Some(*n) } else { None });
                if self.ends.is_some_and(|ends| number >= ends) || numbers().any(|number| self.bad.contains(&number)) {
                    return Err(WriteError::Invalid("no".to_owned()));
                }
                self.written.borrow_mut().extend(numbers());
                Ok(Vec::new())
            };
            take_apart(suspects, known_good, write).now_or_never().expect("nothing waits")
        }
    }

    proptest! {
        #[test]
        fn test_exactly_the_bad_rows_are_at_fault_and_all_others_written(
            num_rows in 1i64..130,
            bad in proptest::collection::btree_set(0i64..130, 0..5),
            is_known in any::<bool>(),
        ) {
            let model = Model { bad, ..Model::default() };
            let outcome = model.judge(&rows(0..num_rows), is_known.then(|| rows(1000..1001)));
            let bad: Vec<usize> = (0..num_rows as usize).filter(|row| model.bad.contains(&(*row as i64))).collect();
            if bad.len() == num_rows as usize && !is_known {
                prop_assert!(matches!(outcome, Err(WriteError::Invalid(_))), "{outcome:?}");
                return Ok(());
            }
            let refused: Vec<usize> = outcome.expect("judged").into_iter().map(|one| one.row).collect();
            prop_assert_eq!(&refused, &bad);
            prop_assert!((0..num_rows).all(|row| model.written.borrow().contains(&row) != model.bad.contains(&row)));
            let levels = (num_rows as u32).next_power_of_two().ilog2();
            prop_assert!(*model.num_writes.borrow() <= 4 + (bad.len() as u32).max(1) * 2 * levels);
        }

        #[test]
        fn test_no_row_is_at_fault_if_the_table_takes_nothing_in_the_end(
            num_rows in 1i64..130,
            ends in 0u32..300,
            is_known in any::<bool>(),
        ) {
            let model = Model { ends: Some(ends), ..Model::default() };
            let outcome = model.judge(&rows(0..num_rows), is_known.then(|| rows(1000..1001)));
            prop_assert!(outcome.as_ref().map_or(true, Vec::is_empty), "{outcome:?}");
        }
    }
}
