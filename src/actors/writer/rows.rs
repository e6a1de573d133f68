//! Rows of one group until each is settled: confirmed by the store, or at fault for certain.
//!
//! A refusal by itself says nothing about a row: settings, guardrails and tables that have changed are answered with the
//! code of a bad value. So a row that was refused is at fault only if a row that was confirmed before is taken in the same
//! place ([`Store::judge`](crate::store::Store::judge)). If that one is refused, too, the table is stopped: one write tries
//! whether it takes rows again, all others wait for that. While no such row is known, which is so until the first row of
//! a table is confirmed, refused rows are held, and tried again beside the others of their group. Of groups in which all
//! rows are refused only one at a time is taken apart, but each is written once when it comes, and the first that is
//! confirmed is the row that tells of the rest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;

use super::tables::{Ask, TableState};
use super::work::Work;
use crate::actors::gate::{Admission, WritePermit};
use crate::flow::backoff::Backoff;
use crate::schema::row::RowGroup;
use crate::store::WriteError;
use crate::supervision::jitter;

/// The longest delay between two looks at a table that takes nothing, whatever `writer.retry_max` is.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The shortest time from one group to the next that is taken apart while no row is known that would tell.
const EXPLORATION_PAUSE: Duration = Duration::from_millis(20);

/// Rows of a group, as a range.
type Rows = std::ops::Range<usize>;

/// A row that can never be written: its place in the group, and the store's reason.
pub(super) type Fault = (usize, String);

/// Why rows are not written.
enum Refusal {
    /// One of them is at fault.
    AtFault(String),
    /// One of them is, or the table is: nothing is known that would tell.
    Unproven(String),
}

/// Writes groups of one table.
pub(super) struct RowWriter<'a> {
    work: &'a Work,
    admission: &'a Admission,
    table: &'a Arc<TableState>,
    ask: Ask,
}

// === impl RowWriter ===

impl<'a> RowWriter<'a> {
    pub(super) fn new(work: &'a Work, admission: &'a Admission, table: &'a Arc<TableState>) -> Self {
        Self { work, admission, table, ask: table.ask() }
    }

    /// Returns when every row is settled, however long that takes; with the rows that are at fault.
    pub(super) async fn settle(&mut self, group: &Arc<RowGroup>, permit: WritePermit) -> Vec<Fault> {
        let (mut faults, mut held) = (Vec::new(), VecDeque::new());
        let mut open = vec![(0..group.num_rows(), Some(permit))];
        let (mut exploration, mut backoff) = (None, self.backoff());
        loop {
            while let Some((rows, permit_opt)) = open.pop() {
                let refusal = match self.write(&part(group, &rows), permit_opt).await {
                    Ok(()) => continue,
                    Err(refusal) => refusal,
                };
                match refusal {
                    Refusal::AtFault(reason) if rows.len() == 1 => faults.push((rows.start, reason)),
                    Refusal::AtFault(_) => open.extend(halves(rows)),
                    Refusal::Unproven(reason) => {
                        self.ask.failed(&reason);
                        self.table.hold(&reason);
                        if rows.len() == 1 {
                            held.push_back(rows);
                        } else if exploration.is_some() {
                            open.extend(halves(rows));
                        } else {
                            exploration = self.explore().await;
                            open.push((rows, None));
                        }
                    }
                }
            }
            let Some(next) = held.pop_front() else { return faults };
            open.push((next, None));
            drop(exploration.take());
            if self.table.known_good().is_none() {
                tokio::time::sleep(backoff.next_delay(jitter())).await;
                exploration = self.explore().await;
            }
        }
    }

    /// Writes rows until they are confirmed or refused.
    async fn write(&mut self, rows: &Arc<RowGroup>, mut permit_opt: Option<WritePermit>) -> Result<(), Refusal> {
        let (mut is_suspect, mut trial) = (false, None);
        let (mut backoff, mut slow_backoff) = (self.work.backoff(Duration::MAX), self.backoff());
        loop {
            if trial.is_none() && self.table.is_stopped() {
                permit_opt = None;
                trial = self.reopen().await;
            }
            let permit = match permit_opt.take() {
                Some(permit) => permit,
                None => self.admission.enter().await,
            };
            let judge_opt = if is_suspect { self.table.known_good() } else { None };
            let started = Instant::now();
            let outcome = match judge_opt.clone() {
                Some(known_good) => self.work.store().judge(Arc::clone(rows), known_good).await,
                None => self.work.store().write(Arc::clone(rows)).await,
            };
            match outcome {
                Ok(()) => {
                    // Two writes are no latency.
                    if judge_opt.is_none() {
                        permit.confirmed(rows.num_rows() as u32);
                    }
                    self.work.confirmed(self.table, rows, started);
                    return Ok(());
                }
                Err(error @ WriteError::Transient(..)) => {
                    permit.dropped();
                    self.try_again(&error, &mut backoff).await;
                }
                Err(error @ WriteError::Table(_)) => {
                    drop(permit);
                    self.table.stop(error.cause());
                    self.try_again(&error, &mut slow_backoff).await;
                }
                Err(WriteError::Invalid(reason)) => {
                    drop(permit);
                    let is_clear = rows.num_rows() > 1 && self.table.is_confirmed_since(started);
                    if judge_opt.is_some() || is_clear {
                        return Err(Refusal::AtFault(reason));
                    }
                    if self.table.known_good().is_none() {
                        return Err(Refusal::Unproven(reason));
                    }
                    is_suspect = true;
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
                Ok(()) => {
                    permit.confirmed(1);
                    table.confirmed(&known_good, Instant::now());
                }
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

    async fn try_again(&mut self, error: &WriteError, backoff: &mut Backoff) {
        self.work.counters().write_retries.add(&error.retry_reason(), 1);
        self.ask.failed(error.cause());
        tokio::time::sleep(backoff.next_delay(jitter())).await;
    }

    fn backoff(&self) -> Backoff {
        self.work.backoff(LONGEST_DELAY)
    }
}

/// Rows of a group as a group of their own.
fn part(group: &Arc<RowGroup>, rows: &Rows) -> Arc<RowGroup> {
    if rows.len() == group.num_rows() {
        return Arc::clone(group);
    }
    let num_columns = group.table.columns.len();
    let cells = group.cells[rows.start * num_columns..rows.end * num_columns].to_vec();
    Arc::new(RowGroup { table: Arc::clone(&group.table), data: group.data.clone(), cells })
}

/// The first half is written first.
fn halves(rows: Rows) -> [(Rows, Option<WritePermit>); 2] {
    let middle = rows.start + rows.len() / 2;
    [(middle..rows.end, None), (rows.start..middle, None)]
}
