//! What is known of each table: when a row of it was confirmed last, whether it takes rows, and why not. All writers share
//! it, and `/health` reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::known_good::{KnownGood, max_age};
use super::refusal_log::RefusalLog;
use crate::flow::health::{Condition, Part};
use crate::flow::sick::{Advice, Sickness};
use crate::schema::row::{RowGroup, Table};
use crate::telemetry::Telemetry;
use crate::telemetry::counters::TableCounts;

/// Rows that were asked for and not confirmed for this long are told.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who has failed before rows are confirmed again after so long without is about to be written, too.
const SILENCE: Duration = Duration::from_secs(2);

/// Writes of one table that are tried aside at the same time.
const MAX_ASIDE: usize = 4;

/// The tables that were written to.
pub struct Tables {
    epoch: Instant,
    /// Whether rows live for ever, unless they say so themselves.
    live_on: bool,
    telemetry: Arc<Telemetry>,
    known_good_age: Duration,
    states: RwLock<Vec<(Arc<Table>, Arc<TableState>)>>,
}

/// One table, as rows of one column set find it.
pub(super) struct TableState {
    name: String,
    /// What the table's column sets all count in.
    counts: Arc<TableCounts>,
    epoch: Instant,
    known_good_age: Duration,
    lives_on: bool,
    num_unconfirmed: AtomicU32,
    /// When rows were first asked for while no others were, in microseconds since `epoch`; as all that follow.
    asked_us: AtomicU64,
    confirmed_us: AtomicU64,
    /// When rows were confirmed again after a while without.
    resumed_us: AtomicU64,
    /// When another known-good row is wanted.
    keep_us: AtomicU64,
    is_in_trouble: AtomicBool,
    inner: Mutex<Inner>,
    /// Held by the one write that tries a stopped table.
    pub(super) trial: tokio::sync::Mutex<()>,
    /// Held by the one write that looks for a row that is confirmed, while none is known.
    pub(super) exploration: tokio::sync::Mutex<()>,
    aside: Semaphore,
}

#[derive(Default)]
struct Inner {
    known_good: KnownGood,
    trouble: Option<Trouble>,
    /// Writes that have failed and are tried again.
    failing: BTreeMap<u64, Failing>,
    next_id: u64,
    refusals: RefusalLog,
}

/// A write that has failed.
struct Failing {
    since: Duration,
    last: Duration,
    reason: String,
}

struct Trouble {
    kind: TroubleKind,
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TroubleKind {
    /// Whatever is written is refused.
    Stopped,
    /// Rows were refused, and no row is known that would tell whether they are at fault.
    Unproven,
}

/// Rows that are asked for, until this is dropped.
pub(super) struct Ask {
    state: Arc<TableState>,
    id_opt: Option<u64>,
}

// === impl Tables ===

impl Tables {
    /// No table yet. Rows live for `ttl_opt` after they were written.
    pub fn new(ttl_opt: Option<Duration>, telemetry: Arc<Telemetry>) -> Self {
        let known_good_age = max_age(ttl_opt);
        let live_on = ttl_opt.is_none();
        Self { epoch: Instant::now(), live_on, telemetry, known_good_age, states: RwLock::default() }
    }

    /// The state of a table. Whoever writes often keeps it.
    pub(super) fn of(&self, table: &Arc<Table>) -> Arc<TableState> {
        let find = |states: &[(Arc<Table>, Arc<TableState>)]| {
            states.iter().find(|(known, _)| known == table).map(|(_, state)| Arc::clone(state))
        };
        if let Some(state) = find(&self.states.read()) {
            return state;
        }
        let mut states = self.states.write();
        find(&states).unwrap_or_else(|| {
            let name = table.full_name();
            let counts = self.telemetry.counters.tables.of(&Arc::from(name.as_str()));
            let lives_on = self.live_on && table.ttl_cell().is_none();
            let state = Arc::new(TableState::new(&name, counts, self.epoch, self.known_good_age, lives_on));
            states.push((Arc::clone(table), Arc::clone(&state)));
            state
        })
    }

    /// What keeps rows from being written.
    pub fn conditions(&self) -> Vec<Condition> {
        let now = self.epoch.elapsed();
        self.states.read().iter().filter_map(|(_, state)| state.condition(now)).collect()
    }
}

// === impl TableState ===

impl TableState {
    fn new(name: &str, counts: Arc<TableCounts>, epoch: Instant, known_good_age: Duration, lives_on: bool) -> Self {
        Self {
            name: name.to_owned(),
            counts,
            epoch,
            known_good_age,
            lives_on,
            num_unconfirmed: AtomicU32::new(0),
            asked_us: AtomicU64::new(0),
            confirmed_us: AtomicU64::new(0),
            resumed_us: AtomicU64::new(0),
            keep_us: AtomicU64::new(0),
            is_in_trouble: AtomicBool::new(false),
            inner: Mutex::default(),
            trial: tokio::sync::Mutex::default(),
            exploration: tokio::sync::Mutex::default(),
            aside: Semaphore::new(MAX_ASIDE),
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The table, with its keyspace if that is not the store's own.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The table's counters.
    pub(super) fn counts(&self) -> &TableCounts {
        &self.counts
    }

    /// Rows are about to be written.
    pub(super) fn ask(self: &Arc<Self>) -> Ask {
        if self.num_unconfirmed.fetch_add(1, Ordering::Relaxed) == 0 {
            self.asked_us.store(self.now().as_micros() as u64, Ordering::Relaxed);
        }
        Ask { state: Arc::clone(self), id_opt: None }
    }

    /// Whether a row was confirmed after this moment.
    pub(super) fn is_confirmed_since(&self, moment: Instant) -> bool {
        let since_us = moment.saturating_duration_since(self.epoch).as_micros() as u64;
        self.confirmed_us.load(Ordering::Relaxed) > since_us
    }

    /// The store has confirmed rows of a group at `at`, this one among them.
    pub(super) fn confirmed(&self, group: &RowGroup, row: usize, at: Instant) {
        let now = at.saturating_duration_since(self.epoch);
        let now_us = now.as_micros() as u64;
        let before_us = self.confirmed_us.swap(now_us, Ordering::Relaxed);
        if now_us.saturating_sub(before_us) > SILENCE.as_micros() as u64 {
            self.resumed_us.store(now_us, Ordering::Relaxed);
        }
        let is_wanted = now_us >= self.keep_us.load(Ordering::Relaxed);
        if !is_wanted && !self.is_in_trouble.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = self.inner.lock();
        self.keep_us.store(inner.known_good.keep(group, row, now).as_micros() as u64, Ordering::Relaxed);
        inner.trouble = None;
        self.is_in_trouble.store(false, Ordering::Relaxed);
    }

    /// A row that was confirmed lately.
    pub(super) fn known_good(&self) -> Option<Arc<RowGroup>> {
        self.inner.lock().known_good.get(self.known_good_age, self.now())
    }

    /// A write of the table has failed: what is to be done with it.
    pub(super) fn advice(&self, sickness: &mut Sickness, give_up_after: Option<Duration>) -> Advice {
        let confirmed = match self.confirmed_us.load(Ordering::Relaxed) {
            0 => None,
            confirmed_us => Some(Duration::from_micros(confirmed_us)),
        };
        sickness.failed(self.now(), confirmed, give_up_after)
    }

    /// Waits for the right to try a write aside.
    pub(super) async fn turn_aside(&self) -> SemaphorePermit<'_> {
        let Ok(permit) = self.aside.acquire().await else { unreachable!("it is never closed") };
        permit
    }

    /// A row that was confirmed before, if none was for a while and it does no harm to write it again and again.
    pub(super) fn probe(&self) -> Option<Arc<RowGroup>> {
        let confirmed = Duration::from_micros(self.confirmed_us.load(Ordering::Relaxed));
        let is_silent = self.now().saturating_sub(confirmed) > SILENCE;
        if is_silent && self.lives_on { self.known_good() } else { None }
    }

    /// Whether the table takes nothing.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_in_trouble.load(Ordering::Relaxed)
            && self.inner.lock().trouble.as_ref().is_some_and(|trouble| trouble.kind == TroubleKind::Stopped)
    }

    /// The table takes nothing, for this reason.
    pub(super) fn stop(&self, reason: &str) {
        self.set_trouble(TroubleKind::Stopped, reason);
    }

    /// Rows were refused for this reason, and nothing is known that tells whether they are at fault.
    pub(super) fn hold(&self, reason: &str) {
        self.set_trouble(TroubleKind::Unproven, reason);
    }

    fn set_trouble(&self, kind: TroubleKind, reason: &str) {
        self.inner.lock().trouble = Some(Trouble { kind, reason: reason.to_owned() });
        self.is_in_trouble.store(true, Ordering::Relaxed);
    }

    /// A row became a dead letter. `Some` if that is to be logged: how many did for this reason since the last line.
    pub(super) fn refused(&self, reason: &str) -> Option<u64> {
        self.inner.lock().refusals.note(reason, self.now())
    }

    fn condition(&self, now: Duration) -> Option<Condition> {
        let (name, inner) = (&self.name, self.inner.lock());
        let failing = |code, detail: String| Some(Condition::failing(Part::Store, code, name, detail));
        if let Some(Trouble { kind, reason }) = &inner.trouble {
            return match kind {
                TroubleKind::Stopped => failing(
                    "table_refused",
                    format!(
                        "table {name} takes no rows: {reason}; records wait in the log, uncommitted, and rows are \
                         written again by themselves once the table, permission or setting is right"
                    ),
                ),
                TroubleKind::Unproven => failing(
                    "rows_held",
                    format!(
                        "rows of table {name} are refused: {reason}; no row of it was confirmed lately, so that it may \
                         be a setting as well as these rows: they are held until one is confirmed"
                    ),
                ),
            };
        }
        if self.num_unconfirmed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let since =
            |moment_us: &AtomicU64| now.saturating_sub(Duration::from_micros(moment_us.load(Ordering::Relaxed)));
        let silence = since(&self.asked_us).min(since(&self.confirmed_us));
        if silence >= PATIENCE {
            let reason =
                inner.failing.values().next_back().map_or("the store has not answered yet", |failing| &failing.reason);
            let seconds = silence.as_secs();
            return failing(
                "no_rows_confirmed",
                format!(
                    "no row of table {name} was confirmed for {seconds} s, though there are some to write: {reason}"
                ),
            );
        }
        let resumed = Duration::from_micros(self.resumed_us.load(Ordering::Relaxed));
        let again = || inner.failing.values().filter(|failing| failing.last > resumed);
        let oldest = again().next()?;
        let waited = now.saturating_sub(oldest.since);
        (waited >= PATIENCE).then(|| {
            let (num, seconds, reason) = (again().count(), waited.as_secs(), &oldest.reason);
            let detail = format!(
                "{num} writes to table {name} fail again and again, the first for {seconds} s, while others are \
                 confirmed: {reason}"
            );
            Condition::degraded(Part::Store, "rows_wait", name, detail)
        })
    }
}

// === impl Ask ===

impl Ask {
    /// They were not written, and will be tried again.
    pub(super) fn failed(&mut self, reason: &str) {
        let mut inner = self.state.inner.lock();
        let now = self.state.now();
        let id = *self.id_opt.get_or_insert_with(|| {
            inner.next_id += 1;
            inner.next_id
        });
        let since = inner.failing.get(&id).map_or(now, |failing| failing.since);
        inner.failing.insert(id, Failing { since, last: now, reason: reason.to_owned() });
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.state.num_unconfirmed.fetch_sub(1, Ordering::Relaxed);
        if let Some(id) = self.id_opt {
            self.state.inner.lock().failing.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::flow::health::Verdict;
    use crate::schema::row::{Cell, Column, ColumnKind, RowOp, ScalarKind};

    fn rows() -> RowGroup {
        let column = Column { name: "sequence".to_owned(), kind: ColumnKind::Scalar(ScalarKind::Long) };
        let table = Arc::new(Table::of_type("t", vec![column]));
        RowGroup { table, op: RowOp::Upsert, data: Bytes::new(), cells: vec![Cell::Long(1)] }
    }

    fn state() -> Arc<TableState> {
        Arc::new(TableState::new("t", Arc::default(), Instant::now(), max_age(None), true))
    }

    /// What is told of a table so many seconds after its beginning.
    fn told(state: &TableState, second: u64) -> Option<(Verdict, &'static str)> {
        let condition = state.condition(Duration::from_secs(second))?;
        assert_eq!((condition.part, condition.subject.as_str()), (Part::Store, "t"));
        Some((condition.verdict, condition.code))
    }

    #[test]
    fn test_a_table_is_told_while_rows_are_asked_for_and_none_is_confirmed() {
        let state = state();
        assert_eq!(told(&state, 100), None, "nobody asks");
        let ask = state.ask();
        assert_eq!(told(&state, 14), None);
        assert_eq!(told(&state, 16), Some((Verdict::Failing, "no_rows_confirmed")));
        state.confirmed(&rows(), 0, state.epoch + Duration::from_secs(20));
        assert_eq!(told(&state, 30), None);
        assert_eq!(told(&state, 36), Some((Verdict::Failing, "no_rows_confirmed")));
        drop(ask);
        assert_eq!(told(&state, 100), None);
    }

    #[test]
    fn test_writes_that_fail_while_others_do_not_are_told() {
        let state = state();
        let mut ask = state.ask();
        ask.failed("away");
        for second in 1..30 {
            state.confirmed(&rows(), 0, state.epoch + Duration::from_secs(second));
        }
        assert_eq!(told(&state, 30), Some((Verdict::Degraded, "rows_wait")));
        // All failed, and the others were first.
        state.confirmed(&rows(), 0, state.epoch + Duration::from_secs(40));
        assert_eq!(told(&state, 41), None);
        drop(ask);
        assert_eq!(told(&state, 41), None);
    }

    #[test]
    fn test_a_stopped_table_is_told_at_once_until_a_row_is_confirmed() {
        let state = state();
        assert!(state.known_good().is_none());
        state.hold("bad value");
        assert_eq!((told(&state, 1), state.is_stopped()), (Some((Verdict::Failing, "rows_held")), false));
        state.stop("dropped");
        assert_eq!((told(&state, 1), state.is_stopped()), (Some((Verdict::Failing, "table_refused")), true));
        state.confirmed(&rows(), 0, Instant::now());
        assert_eq!((told(&state, 1), state.is_stopped()), (None, false));
        assert!(state.known_good().is_some());
    }
}
