//! Rows of one group until each is settled: confirmed by the store, or at fault for certain.
//!
//! A refusal by itself says nothing about a row: settings, guardrails and tables that have changed are answered with the
//! code of a bad value. So rows that were refused are at fault only if another row is taken after them in the same place:
//! one of their own group, or one that was confirmed before ([`Store::judge`](crate::store::Store::judge)). All that were
//! refused in a group are settled by that one row. If it is refused, too, the table is stopped: one write tries whether it
//! takes rows again, all others wait for that. While no such row is known, which is so until the first row of a table is
//! confirmed, a group whose rows are all refused is held, and tried again. Only one such group at a time is taken apart,
//! but each is written once when it comes, and the first row that is confirmed tells of the rest.
//!
//! A group that alone keeps failing for a time is tried aside (`aside.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;

use super::aside::Fault;
use super::tables::{Ask, TableState};
use super::work::{Confirmed, Work};
use crate::actors::gate::{Admission, WritePermit};
use crate::flow::backoff::Backoff;
use crate::flow::sick::{Advice, Sickness};
use crate::schema::row::RowGroup;
use crate::store::{RefusedRow, WriteError};
use crate::supervision::jitter;

/// The longest delay between two looks at a table that takes nothing, whatever `writer.retry_max` is.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The shortest time from one group to the next that is taken apart while no row is known that would tell.
const EXPLORATION_PAUSE: Duration = Duration::from_millis(20);

/// Writes groups of one table.
pub(super) struct RowWriter<'a> {
    pub(super) work: &'a Work,
    pub(super) admission: &'a Admission,
    pub(super) table: &'a Arc<TableState>,
    pub(super) to: Confirmed<'a>,
    ask: Ask,
}

// === impl RowWriter ===

impl<'a> RowWriter<'a> {
    pub(super) fn new(work: &'a Work, admission: &'a Admission, to: Confirmed<'a>) -> Self {
        let table = to.table;
        Self { work, admission, table, to, ask: table.ask() }
    }

    /// Returns when every row is settled, however long that takes; with the rows that never will be in the table, in their
    /// order.
    pub(super) async fn settle(&mut self, rows: &Arc<RowGroup>, permit: WritePermit) -> Vec<Fault> {
        let mut permit_opt = Some(permit);
        let (mut is_suspect, mut trial, mut exploration) = (false, None, None);
        let (mut backoff, mut sickness) = (self.work.backoff(Duration::MAX), Sickness::default());
        let (mut slow_backoff, mut held_backoff) = (self.backoff(), self.backoff());
        let mut refused_at = None;
        loop {
            if is_suspect && exploration.is_none() && self.table.known_good().is_none() {
                // In this order: who explores may wait for the trial.
                drop(trial.take());
                exploration = self.explore().await;
            }
            if trial.is_none() && self.table.is_stopped() {
                permit_opt = None;
                trial = self.reopen().await;
            }
            let permit = match permit_opt.take() {
                Some(permit) => permit,
                None => self.admission.enter().await,
            };
            let known_good = if is_suspect { self.table.known_good() } else { None };
            let started = Instant::now();
            let outcome = if is_suspect {
                self.work.store().judge(Arc::clone(rows), known_good.clone()).await
            } else {
                self.work.try_write(rows).await
            };
            match outcome {
                Ok(refused) => {
                    // Several writes are no latency.
                    if !is_suspect {
                        permit.confirmed((rows.num_rows() - refused.len()) as u32);
                    }
                    self.work.confirmed(self.to, rows, &refused, started);
                    if refused.len() == rows.num_rows()
                        && let Some(known_good) = &known_good
                    {
                        self.table.confirmed(known_good, 0, Instant::now());
                    }
                    return refused.into_iter().map(Fault::refused).collect();
                }
                Err(error @ WriteError::Transient(..)) => {
                    if error.is_of_one_partition() {
                        drop(permit);
                    } else {
                        permit.dropped();
                    }
                    if self.table.advice(&mut sickness, self.work.give_up_after()) != Advice::TryAgain {
                        self.note(&error);
                        drop((exploration, trial));
                        // Not part of every write's state.
                        return Box::pin(self.aside(rows, sickness)).await;
                    }
                    self.try_again(&error, &mut backoff).await;
                }
                Err(error @ WriteError::Table(_)) => {
                    drop(permit);
                    self.table.stop(error.cause());
                    self.try_again(&error, &mut slow_backoff).await;
                }
                Err(WriteError::Invalid(reason)) => {
                    drop(permit);
                    let was_suspect = std::mem::replace(&mut is_suspect, true);
                    if self.table.known_good().is_some() {
                        continue;
                    }
                    self.ask.failed(&reason);
                    self.table.hold(&reason);
                    if was_suspect {
                        // No row is kept of some tables of routes: another one that was taken between two refusals tells.
                        if refused_at.is_some_and(|at| self.table.is_confirmed_since(at)) {
                            let all = (0..rows.num_rows()).map(|row| RefusedRow { row, reason: reason.clone() });
                            return all.map(Fault::refused).collect();
                        }
                        refused_at.get_or_insert_with(Instant::now);
                        drop((exploration.take(), trial.take()));
                        tokio::time::sleep(held_backoff.next_delay(jitter())).await;
                        // As a whole first: that is one request, and tells as much if it was a setting.
                        is_suspect = false;
                    }
                }
            }
        }
    }

    /// Returns when the table takes rows again; or with the right to try rows of one's own, if no other row is known.
    pub(super) async fn reopen(&mut self) -> Option<MutexGuard<'a, ()>> {
        let table: &'a TableState = self.table;
        let trial = table.trial.lock().await;
        let mut backoff = self.backoff();
        while table.is_stopped() {
            let Some(known_good) = table.known_good() else { return Some(trial) };
            tokio::time::sleep(backoff.next_delay(jitter())).await;
            let permit = self.admission.enter().await;
            match self.work.store().write(Arc::clone(&known_good)).await {
                Ok(refused) => match refused.into_iter().next() {
                    None => {
                        permit.confirmed(1);
                        table.confirmed(&known_good, 0, Instant::now());
                    }
                    // Others were taken: they end this once they are confirmed.
                    Some(one) => {
                        drop(permit);
                        self.ask.failed(&one.reason);
                    }
                },
                Err(WriteError::Transient(_, reason)) => {
                    permit.dropped();
                    self.ask.failed(&reason);
                }
                Err(WriteError::Table(reason) | WriteError::Invalid(reason)) => {
                    drop(permit);
                    self.ask.failed(&reason);
                    table.stop(&reason);
                }
            }
        }
        None
    }

    /// Waits for the right to take a group apart.
    async fn explore(&self) -> Option<MutexGuard<'a, ()>> {
        let table: &'a TableState = self.table;
        let exploration = table.exploration.lock().await;
        if table.known_good().is_some() {
            return None;
        }
        tokio::time::sleep(EXPLORATION_PAUSE).await;
        Some(exploration)
    }

    /// The rows were not written, and will be tried again.
    pub(super) fn note(&mut self, error: &WriteError) {
        self.work.counters().write_retries.add(&error.retry_reason(), 1);
        self.ask.failed(error.cause());
    }

    async fn try_again(&mut self, error: &WriteError, backoff: &mut Backoff) {
        self.note(error);
        tokio::time::sleep(backoff.next_delay(jitter())).await;
    }

    fn backoff(&self) -> Backoff {
        self.work.backoff(LONGEST_DELAY)
    }
}
