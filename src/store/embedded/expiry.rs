//! Rows that have passed their time to live, by event time.
//!
//! A sweep walks over all partitions (device and bucket) in key order and deletes the old rows at the head of each.
//! It goes in small steps between the writes, so that no write waits for it long. SQLite uses the freed pages again;
//! the file does not shrink. Whether the clock can be believed is [`SweepTime`]'s to say; the time of the last sweep is kept
//! in the file, so that the next start can tell.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::statements::{WRITTEN_AT, quoted};
use super::sweep_time::{Hold, SweepTime};
use super::writer::Shared;
use crate::schema::identity::{BUCKET, DEVICE_ID, EVENT_TIME};

/// Partitions that one step looks at.
const NUM_PARTITIONS_PER_STEP: usize = 128;
/// Rows that one step deletes, give or take rows of one event time.
const NUM_ROWS_PER_STEP: usize = 512;
/// Under load without a pause, a step is due this long after the last one.
const LONGEST_BUSY_TIME: Duration = Duration::from_secs(1);
/// Time between sweeps: a fraction of the time to live, within these bounds.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// Time between looks at a clock that is not believed.
const REST_WHILE_HELD: Duration = Duration::from_secs(1);
/// Partitions that are looked at for the newest row of a store that does not know when it was swept last.
const NUM_PARTITIONS_LOOKED_AT: usize = 20_000;
/// Where the file keeps the time of the last sweep: a number of 32 bits that SQLite leaves to its users. In minutes since
/// the Unix epoch; 0 if there was none.
const SWEPT_PRAGMA: &str = "user_version";
const MINUTE_MS: u64 = 60_000;

/// Where a sweep has come to.
struct Sweep {
    /// Tables still to do; the last is being done.
    tables: Vec<String>,
    /// The partition that was looked at last in that table.
    last_opt: Option<(Value, Value)>,
    /// Rows deleted so far.
    num_rows: u64,
}

/// Deletes old rows step by step.
pub(super) struct Expiry {
    ttl: Duration,
    time: SweepTime,
    swept_minute: u64,
    /// When the first step of this run was made.
    began: Option<Instant>,
    shared: Arc<Shared>,
    sweep_opt: Option<Sweep>,
    /// When the last step was made; the next sweep starts a rest after it.
    last_step: Option<Instant>,
}

// === impl Expiry ===

impl Expiry {
    /// Rows live this long after their event time. Looks up when they were swept last.
    pub(super) fn new(ttl: Duration, connection: &Connection, shared: Arc<Shared>) -> rusqlite::Result<Self> {
        let swept_minute = connection.pragma_query_value(None, SWEPT_PRAGMA, |row| row.get::<_, i64>(0))?;
        // Below zero is nothing that this program writes: as if nothing were known.
        let swept_minute = u64::try_from(swept_minute).unwrap_or(0);
        let known_ms = match swept_minute {
            0 => newest_event_ms(connection)?,
            minute => Some(minute * MINUTE_MS),
        };
        let time = SweepTime::new(ttl, known_ms);
        Ok(Self { ttl, time, swept_minute, began: None, shared, sweep_opt: None, last_step: None })
    }

    /// How long there is nothing to do.
    pub(super) fn time_to_next_step(&self, now: Instant) -> Duration {
        match (&self.sweep_opt, self.last_step) {
            (Some(_), _) | (None, None) => Duration::ZERO,
            (None, Some(last)) => self.rest().saturating_sub(now.saturating_duration_since(last)),
        }
    }

    /// Whether there is something to do.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.time_to_next_step(now).is_zero()
    }

    /// Whether a step is to be made although writes are waiting.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let busy_time = self.last_step.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        self.time_to_next_step(now).is_zero() && busy_time >= LONGEST_BUSY_TIME
    }

    /// One step of the sweep under way, or the first of a new one, while the wall clock shows `wall_ms` (milliseconds since
    /// the Unix epoch). Nothing while that is not believed. An error ends the sweep.
    pub(super) fn step(&mut self, connection: &Connection, wall_ms: u64, now: Instant) -> rusqlite::Result<()> {
        self.last_step = Some(now);
        self.began.get_or_insert(now);
        let looked = self.time.look(wall_ms, now);
        *self.shared.held_sweep.lock() = looked.err().map(|hold| held(hold, self.ttl, self.time.hold()));
        let Ok(now_ms) = looked else {
            self.sweep_opt = None;
            return Ok(());
        };
        let oldest_ms = i64::try_from(now_ms.saturating_sub(self.ttl.as_millis() as u64)).unwrap_or(i64::MAX);
        let mut sweep = match self.sweep_opt.take() {
            Some(sweep) => sweep,
            None => Sweep { tables: tables_with_time(connection)?, last_opt: None, num_rows: 0 },
        };
        let num_rows_before = sweep.num_rows;
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let is_finished = sweep.advance(connection, oldest_ms)?;
        self.note_time(connection, now_ms, now)?;
        transaction.commit()?;
        self.shared.num_expired.fetch_add(sweep.num_rows - num_rows_before, Ordering::Relaxed);
        if !is_finished {
            self.sweep_opt = Some(sweep);
        } else if sweep.num_rows > 0 {
            let ttl = humantime::format_duration(self.ttl);
            tracing::info!(rows = sweep.num_rows, %ttl, "deleted rows whose event time is past store.ttl");
        }
        Ok(())
    }

    fn note_time(&mut self, connection: &Connection, now_ms: u64, now: Instant) -> rusqlite::Result<()> {
        let minute = now_ms / MINUTE_MS;
        // A clock that is behind does no harm here, but what it shows would make the right one look wrong at the next
        // start: so it has to stand for as long as one that is ahead.
        let has_stood = self.began.is_some_and(|began| now.saturating_duration_since(began) >= self.time.hold());
        if minute > self.swept_minute || (minute < self.swept_minute && has_stood) {
            // Minutes of the next 4,000 years fit; beyond, nothing is known.
            connection.pragma_update(None, SWEPT_PRAGMA, i32::try_from(minute).unwrap_or(0))?;
            self.swept_minute = minute;
        }
        Ok(())
    }

    fn rest(&self) -> Duration {
        match self.time.is_held() {
            true => REST_WHILE_HELD,
            false => (self.ttl / 24).clamp(SHORTEST_REST, LONGEST_REST),
        }
    }
}

// === impl Sweep ===

impl Sweep {
    /// Goes on within the bounds of a step; true when no table is left.
    fn advance(&mut self, connection: &Connection, oldest_ms: i64) -> rusqlite::Result<bool> {
        let mut num_deleted = 0;
        let outcome = self.look_at_partitions(connection, oldest_ms, &mut num_deleted);
        self.num_rows += num_deleted as u64;
        outcome
    }

    fn look_at_partitions(
        &mut self,
        connection: &Connection,
        oldest_ms: i64,
        num_deleted: &mut usize,
    ) -> rusqlite::Result<bool> {
        for _ in 0..NUM_PARTITIONS_PER_STEP {
            let Some(table) = self.tables.last() else { return Ok(true) };
            let Some((device_id, bucket, first_ms)) = next_partition(connection, table, self.last_opt.as_ref())? else {
                self.tables.pop();
                self.last_opt = None;
                continue;
            };
            if first_ms < oldest_ms {
                *num_deleted += delete_head(connection, table, &device_id, &bucket, oldest_ms)?;
            }
            if *num_deleted >= NUM_ROWS_PER_STEP {
                // This partition may have more; the next step looks at it again.
                return Ok(false);
            }
            self.last_opt = Some((device_id, bucket));
        }
        Ok(self.tables.is_empty())
    }
}

/// Why nothing is deleted, for people.
fn held(hold: Hold, ttl: Duration, wait: Duration) -> String {
    let at = |unix_ms| humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(unix_ms));
    format!(
        "rows past store.ttl ({}) are not deleted: the clock shows {}, but by what the store knows it should show about {}; \
         deleting goes on when the clock is set right, or {} after it was set, if it is right",
        humantime::format_duration(ttl),
        at(hold.shown_ms),
        at(hold.expected_ms),
        humantime::format_duration(wait),
    )
}

/// The event time of the newest row, as far as that is found quickly.
fn newest_event_ms(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let mut newest_ms: Option<i64> = None;
    for table in tables_with_time(connection)? {
        let mut last_opt: Option<(Value, Value)> = None;
        let newest = format!(
            "SELECT {EVENT_TIME} FROM {} WHERE {DEVICE_ID} = ?1 AND {BUCKET} = ?2 ORDER BY {EVENT_TIME} DESC LIMIT 1",
            quoted(&table),
        );
        let mut statement = connection.prepare_cached(&newest)?;
        for _ in 0..NUM_PARTITIONS_LOOKED_AT {
            let Some((device_id, bucket, _)) = next_partition(connection, &table, last_opt.as_ref())? else { break };
            newest_ms = newest_ms.max(Some(statement.query_row(params![device_id, bucket], |row| row.get(0))?));
            last_opt = Some((device_id, bucket));
        }
    }
    Ok(newest_ms.map(|newest_ms| u64::try_from(newest_ms).unwrap_or(0)))
}

/// All tables of ours, also of message types that are no longer declared: their rows grow old, too. Those of routes are not
/// among them, whatever their keys are called.
fn tables_with_time(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT tables.name FROM sqlite_schema AS tables WHERE tables.type = 'table' AND 3 = ( \
             SELECT sum(iif(columns.name = ?4, -3, (columns.name, columns.pk) IN (VALUES (?1, 1), (?2, 2), (?3, 3)))) \
             FROM pragma_table_info(tables.name) AS columns)",
    )?;
    statement.query_map(params![DEVICE_ID, BUCKET, EVENT_TIME, WRITTEN_AT], |row| row.get(0))?.collect()
}

/// The first partition after `last`, with the event time of its oldest row: one look into the key tree.
fn next_partition(
    connection: &Connection,
    table: &str,
    last_opt: Option<&(Value, Value)>,
) -> rusqlite::Result<Option<(Value, Value, i64)>> {
    let key = format!("{DEVICE_ID}, {BUCKET}");
    let after = if last_opt.is_some() { format!("WHERE ({key}) > (?1, ?2)") } else { String::new() };
    let sql =
        format!("SELECT {key}, {EVENT_TIME} FROM {} {after} ORDER BY {key}, {EVENT_TIME} LIMIT 1", quoted(table),);
    let mut statement = connection.prepare_cached(&sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    match last_opt {
        Some((device_id, bucket)) => statement.query_row(params![device_id, bucket], read).optional(),
        None => statement.query_row([], read).optional(),
    }
}

/// Deletes the oldest rows of a partition, as many as a step may.
fn delete_head(
    connection: &Connection,
    table: &str,
    device_id: &Value,
    bucket: &Value,
    oldest_ms: i64,
) -> rusqlite::Result<usize> {
    let table = quoted(table);
    let partition = format!("{DEVICE_ID} = ?1 AND {BUCKET} = ?2");
    let bound_sql = format!(
        "SELECT {EVENT_TIME} FROM {table} WHERE {partition} ORDER BY {EVENT_TIME} LIMIT 1 OFFSET {}",
        NUM_ROWS_PER_STEP - 1,
    );
    let bound_ms = connection
        .prepare_cached(&bound_sql)?
        .query_row(params![device_id, bucket], |row| row.get::<_, i64>(0))
        .optional()?
        .unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!("DELETE FROM {table} WHERE {partition} AND {EVENT_TIME} < ?3 AND {EVENT_TIME} <= ?4"))?
        .execute(params![device_id, bucket, oldest_ms, bound_ms])
}
