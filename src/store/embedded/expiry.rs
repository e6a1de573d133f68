//! Rows that have passed their time to live, by event time.
//!
//! A sweep walks over all partitions (device and bucket) in key order and deletes the old rows at the head of each.
//! It goes in small steps between the writes, so that no write waits for it long. SQLite uses the freed pages again;
//! the file does not shrink.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::schema::quoted;

/// Partitions that one step looks at.
const NUM_PARTITIONS_PER_STEP: usize = 128;
/// Rows that one step deletes, give or take rows of one event time.
const NUM_ROWS_PER_STEP: usize = 512;
/// Under load without a pause, a step is due this long after the last one.
const LONGEST_BUSY_TIME: Duration = Duration::from_secs(1);
/// Time between sweeps: a fraction of the time to live, within these bounds.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Where a sweep has come to.
struct Sweep {
    /// Tables still to do; the last is being done.
    tables: Vec<String>,
    /// The partition that was looked at last in that table.
    last_opt: Option<(Value, Value)>,
}

/// Deletes old rows step by step.
pub(super) struct Expiry {
    ttl: Duration,
    sweep_opt: Option<Sweep>,
    /// When the last step was made; the next sweep starts a rest after it.
    last_step: Option<Instant>,
}

// === impl Expiry ===

impl Expiry {
    /// Rows live this long after their event time.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, sweep_opt: None, last_step: None }
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

    /// One step of the sweep under way, or the first of a new one. An error ends the sweep.
    pub(super) fn step(&mut self, connection: &Connection, clock: SystemTime, now: Instant) -> rusqlite::Result<()> {
        self.last_step = Some(now);
        let Some(oldest) = clock.checked_sub(self.ttl).and_then(|time| time.duration_since(UNIX_EPOCH).ok()) else {
            return Ok(());
        };
        let oldest_ms = i64::try_from(oldest.as_millis()).unwrap_or(i64::MAX);
        let mut sweep = match self.sweep_opt.take() {
            Some(sweep) => sweep,
            None => Sweep { tables: tables_with_time(connection)?, last_opt: None },
        };
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let is_finished = sweep.advance(connection, oldest_ms)?;
        transaction.commit()?;
        if !is_finished {
            self.sweep_opt = Some(sweep);
        }
        Ok(())
    }

    fn rest(&self) -> Duration {
        (self.ttl / 24).clamp(SHORTEST_REST, LONGEST_REST)
    }
}

// === impl Sweep ===

impl Sweep {
    /// Goes on within the bounds of a step; true when no table is left.
    fn advance(&mut self, connection: &Connection, oldest_ms: i64) -> rusqlite::Result<bool> {
        let mut num_deleted = 0;
        for _ in 0..NUM_PARTITIONS_PER_STEP {
            let Some(table) = self.tables.last() else { return Ok(true) };
            let Some((device_id, bucket, first_ms)) = next_partition(connection, table, self.last_opt.as_ref())? else {
                self.tables.pop();
                self.last_opt = None;
                continue;
            };
            if first_ms < oldest_ms {
                num_deleted += delete_head(connection, table, &device_id, &bucket, oldest_ms)?;
            }
            if num_deleted >= NUM_ROWS_PER_STEP {
                // This partition may have more; the next step looks at it again.
                return Ok(false);
            }
            self.last_opt = Some((device_id, bucket));
        }
        Ok(self.tables.is_empty())
    }
}

/// All tables of ours, also of message types that are no longer declared: their rows grow old, too.
fn tables_with_time(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT tables.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
         WHERE tables.type = 'table' AND columns.name = 'event_time' AND columns.pk = 3",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The first partition after `last`, with the event time of its oldest row: one look into the key tree.
fn next_partition(
    connection: &Connection,
    table: &str,
    last_opt: Option<&(Value, Value)>,
) -> rusqlite::Result<Option<(Value, Value, i64)>> {
    let after = if last_opt.is_some() { "WHERE (device_id, bucket) > (?1, ?2)" } else { "" };
    let sql = format!(
        "SELECT device_id, bucket, event_time FROM {} {after} ORDER BY device_id, bucket, event_time LIMIT 1",
        quoted(table),
    );
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
    let partition = "device_id = ?1 AND bucket = ?2";
    let bound_sql = format!(
        "SELECT event_time FROM {table} WHERE {partition} ORDER BY event_time LIMIT 1 OFFSET {}",
        NUM_ROWS_PER_STEP - 1,
    );
    let bound_ms = connection
        .prepare_cached(&bound_sql)?
        .query_row(params![device_id, bucket], |row| row.get::<_, i64>(0))
        .optional()?
        .unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!("DELETE FROM {table} WHERE {partition} AND event_time < ?3 AND event_time <= ?4"))?
        .execute(params![device_id, bucket, oldest_ms, bound_ms])
}
