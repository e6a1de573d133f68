//! Rows that alone keep failing while others of their table are confirmed, tried aside of the others: without a permit of
//! the gate, few at a time, and with no word to the gate of how they fare. When that is, and when they are given up, is
//! [`Sickness`]'s to say.
//!
//! Of a group the rows that are well are found by halving it, so that only those that are sick remain.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::grouping::{GAVE_UP, REFUSED};
use super::rows::RowWriter;
use crate::flow::backoff::Backoff;
use crate::flow::sick::{Advice, Sickness};
use crate::schema::row::RowGroup;
use crate::store::{RefusedRow, WriteError};
use crate::supervision::jitter;

/// A row that will never be in its table.
pub(super) struct Fault {
    /// Its place in the group.
    pub(super) row: usize,
    /// Why, in a word.
    pub(super) code: &'static str,
    /// Why, by the store.
    pub(super) reason: String,
}

/// Rows that are tried together.
struct Part {
    rows: Range<usize>,
    sickness: Sickness,
    backoff: Backoff,
    has_failed: bool,
}

// === impl Fault ===

impl Fault {
    pub(super) fn refused(RefusedRow { row, reason }: RefusedRow) -> Self {
        Self { row, code: REFUSED, reason }
    }
}

// === impl RowWriter ===

impl RowWriter<'_> {
    /// Returns when every row is settled; with those that never will be rows, in their order.
    pub(super) async fn aside(&mut self, rows: &Arc<RowGroup>, sickness: Sickness) -> Vec<Fault> {
        let part = |rows, sickness| Part {
            rows,
            sickness,
            backoff: self.work.backoff(super::rows::LONGEST_DELAY),
            has_failed: false,
        };
        let mut open = VecDeque::from([part(0..rows.num_rows(), sickness)]);
        let mut faults = Vec::new();
        while let Some(mut one) = open.pop_front() {
            if one.has_failed {
                tokio::time::sleep(one.backoff.next_delay(jitter())).await;
            }
            let group = if one.rows.len() == rows.num_rows() {
                Arc::clone(rows)
            } else {
                Arc::new(rows.part(one.rows.clone()))
            };
            let first = one.rows.start;
            let turn = self.table.turn_aside().await;
            let started = Instant::now();
            let outcome = self.work.try_write(&group).await;
            drop(turn);
            match outcome {
                Ok(refused) => {
                    self.work.confirmed(self.to.part(&one.rows), &group, &refused, started);
                    faults.extend(refused.into_iter().map(|one| Fault { row: first + one.row, ..Fault::refused(one) }));
                }
                Err(error @ WriteError::Transient(..)) => {
                    self.note(&error);
                    if one.rows.len() > 1 && !error.is_of_one_partition() {
                        let middle = first + one.rows.len() / 2;
                        open.push_front(part(middle..one.rows.end, one.sickness.clone()));
                        open.push_front(part(first..middle, one.sickness));
                        continue;
                    }
                    match self.table.advice(&mut one.sickness, self.work.give_up_after()) {
                        Advice::GiveUp => {
                            let reason = format!(
                                "it failed for longer than writer.give_up_after while other rows of table {} were confirmed: {}",
                                group.table.full_name(),
                                error.cause()
                            );
                            warn!(
                                table = group.table.full_name(),
                                num_rows = one.rows.len(),
                                reason,
                                "rows are given up; they go to the dead-letter topic"
                            );
                            faults.extend(one.rows.map(|row| Fault { row, code: GAVE_UP, reason: reason.clone() }));
                        }
                        Advice::Aside | Advice::TryAgain => {
                            self.probe().await;
                            one.has_failed = true;
                            open.push_back(one);
                        }
                    }
                }
                // What is wrong now is another thing, which concerns the table: as at the beginning.
                Err(WriteError::Table(_) | WriteError::Invalid(_)) => {
                    let permit = self.admission.enter().await;
                    let to = self.to.part(&one.rows);
                    let mut writer = RowWriter::new(self.work, self.admission, to);
                    let of_part = Box::pin(writer.settle(&group, permit)).await;
                    faults.extend(of_part.into_iter().map(|fault| Fault { row: first + fault.row, ..fault }));
                }
            }
        }
        faults.sort_by_key(|fault| fault.row);
        faults
    }

    /// Where nobody else writes, a row that was confirmed before tells whether the table takes any.
    async fn probe(&mut self) {
        let Some(known_good) = self.table.probe() else { return };
        if let Ok(refused) = self.work.store().write(Arc::clone(&known_good)).await
            && refused.is_empty()
        {
            self.table.confirmed(&known_good, 0, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
