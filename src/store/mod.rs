//! The database: one trait, two backends (`cassandra`, `embedded`).
//!
//! Writes are idempotent by construction: keys and write timestamps come from the rows. Nothing here retries or
//! limits; the writer and the gate do.

mod apart;
pub mod cassandra;
pub mod embedded;
mod scan;

use std::error::Error;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::flow::budget::StorePressure;
use crate::flow::clock::Reading;
use crate::flow::cluster::StoreCluster;
use crate::flow::health::{Condition, Gauge};
use crate::schema::row::{RowGroup, Table, TableDescription, TableName};

/// How rows want to be grouped for this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// One group holds rows of one table and one database partition (`device_id`, `bucket`), up to these bounds.
    ByPartition {
        /// Most rows in a group.
        max_rows: usize,
        /// Most bytes of records in a group (one row may exceed it alone).
        max_bytes: usize,
    },
    /// One group holds rows of one table, up to this many: a local store wants long transactions.
    ByTable {
        /// Most rows in a group.
        max_rows: usize,
    },
}

/// What kept a store from taking rows that it may take the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransientKind {
    /// It did not answer, or did not confirm, in time.
    Timeout,
    /// It said that it has too much to do.
    Overloaded,
    /// Too few replicas are there.
    Unavailable,
    /// There is no connection, or it was lost, or the store is closed.
    Connection,
    /// The database partition of these rows has had more writes in this second than the table allows. That says nothing of
    /// the store's load, nor of other rows.
    RowLimited,
}

/// Why rows were not written. Told apart by the codes that stores answer with, never by their texts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The store could not take them now, and its load may be why: timeout, overload, too few replicas,
    /// connection lost (but see [`TransientKind::RowLimited`]). Write the same group again, with fewer writes in flight.
    #[error("store unavailable: {1}")]
    Transient(TransientKind, String),
    /// The table, or the store as a whole, takes nothing as things are: a table dropped or altered, a permission, a
    /// setting, a full disk. An operator can mend it, and then the same rows are good; it says nothing of the load.
    #[error("not writable: {0}")]
    Table(String),
    /// The store refused the rows, or one of them, with a code that bad values share with settings and guardrails, and
    /// nothing tells what is at fault. [`Store::judge`] finds out.
    #[error("rows refused by the store: {0}")]
    Invalid(String),
}

/// What an error of the store comes from. The store's errors say it in their own text, too.
pub type Cause = Box<dyn Error + Send + Sync>;

/// A row that the store refused for what it holds: another row of the table was taken after it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its place in the group.
    pub row: usize,
    /// What the store said.
    pub reason: String,
}

/// What became of a group: all of its rows are confirmed but these, which come in the order of the group.
pub type Written = Result<Vec<RefusedRow>, WriteError>;

/// The first row of a group that is not among those refused.
pub fn first_confirmed(num_rows: usize, refused: &[RefusedRow]) -> Option<usize> {
    let first = (0..).zip(refused).take_while(|(row, one)| *row == one.row).count();
    (first < num_rows).then_some(first)
}

/// Every reason for which a write is tried again; rows that were refused for what they hold are not.
pub const RETRY_REASONS: [&str; 6] = ["timeout", "overloaded", "unavailable", "connection", "row_limited", "table"];

/// Why the store could not be opened, prepared or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A table is missing or lacks columns.
    #[error(
        "{what} is missing: run `surgetank apply` (embedded store: stop the engine first), or restart with store.apply_on_start = true"
    )]
    Missing {
        /// The keyspace, table or column.
        what: String,
    },
    /// Something exists with another shape than the layouts ask for.
    #[error("{what} is {actual} but the layouts need {expected}")]
    Conflict {
        /// The table or column.
        what: String,
        /// What the database has.
        actual: String,
        /// What is needed.
        expected: String,
    },
    /// The table of a route is not as the route needs it, and is not ours to change.
    #[error("{reason}")]
    RouteTable {
        /// The table, with its keyspace if that is not the store's own.
        table: String,
        /// In a word: `keyspace_missing`, `table_missing`, `column_missing`, `table_differs` or `list_doubles`.
        code: &'static str,
        /// What is wrong, of which route, and what to do.
        reason: String,
    },
    /// It is set up so that nothing would be written, which only an operator can mend.
    #[error("{0}")]
    Unfit(String),
    /// Another process has the database file open for writing.
    #[error(
        "{path} is in use by another process: stop that one first (an engine, most likely); a second engine needs a data_dir of its own"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// The server answers and does not accept the login. A wrong password looks like this, and so does a cluster whose nodes
    /// with the roles are away.
    #[error("{context}: the server does not accept the login (store.cassandra.username, password): {reason}")]
    LoginRefused {
        /// What was tried.
        context: String,
        /// What the server said.
        reason: String,
    },
    /// Anything else, with what was tried.
    #[error("{context}: {source}")]
    Failed {
        /// What was tried.
        context: String,
        /// What the store said.
        source: Cause,
    },
}

impl StoreError {
    /// Something that was tried did not succeed, for this reason.
    pub fn failed(context: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Failed { context: context.into(), source: source.into() }
    }
}

// === impl WriteError ===

impl WriteError {
    /// What the store said.
    pub fn cause(&self) -> &str {
        let (Self::Transient(_, cause) | Self::Table(cause) | Self::Invalid(cause)) = self;
        cause
    }

    /// Whether it concerns one partition of the database, and says nothing of the store's load.
    pub const fn is_of_one_partition(&self) -> bool {
        matches!(self, Self::Transient(TransientKind::RowLimited, _))
    }

    /// In a word, from a fixed list ([`RETRY_REASONS`]): why the same rows are written again.
    pub const fn retry_reason(&self) -> &'static str {
        match self {
            Self::Transient(TransientKind::Timeout, _) => "timeout",
            Self::Transient(TransientKind::Overloaded, _) => "overloaded",
            Self::Transient(TransientKind::Unavailable, _) => "unavailable",
            Self::Transient(TransientKind::Connection, _) => "connection",
            Self::Transient(TransientKind::RowLimited, _) => "row_limited",
            Self::Table(_) => "table",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// The key of a stored row, for ledgers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// The device.
    pub device_id: String,
    /// Event time in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// The device's sequence number.
    pub sequence: u32,
}

/// The database behind the writers.
pub trait Store: Send + Sync {
    /// How groups are to be formed.
    fn grouping(&self) -> Grouping;

    /// Writes one group; `Ok` only when the store has confirmed every row but those that it names. The future is driven by
    /// the store's own threads: dropping it does not take the write back. The caller bounds what is in flight.
    fn write(&self, group: Arc<RowGroup>) -> BoxFuture<'static, Written>;

    /// Tells who is at fault when rows were refused as [`WriteError::Invalid`]: takes them apart, one request at a time and
    /// in one place of the store, and has it take a row after that which is good, be it this one, which was confirmed
    /// before, or one of theirs. If that is refused, too, it is [`WriteError::Table`]. [`WriteError::Invalid`] again means
    /// that all of them were refused, and that no other row is known. After another error some may have been written.
    fn judge(&self, suspects: Arc<RowGroup>, known_good: Option<Arc<RowGroup>>) -> BoxFuture<'static, Written>;

    /// Creates what is missing (keyspace, tables, columns) and says what it did, one line per change.
    fn apply(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;

    /// Prepares for writing these tables; the first missing or different thing is the error.
    fn prepare(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What the database says of a table; `None` if there is no such table.
    fn describe(&self, table: &TableName) -> BoxFuture<'_, Result<Option<TableDescription>, StoreError>>;

    /// `Ok` while the store answers; otherwise why not. Bounded by a short time limit.
    fn health(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Everything that is wrong with the store, as far as is known without asking it: answers within microseconds.
    fn conditions(&self) -> Vec<Condition> {
        Vec::new()
    }

    /// Numbers about the store for `/histograms`, from memory.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// Why this process can never write a row again, if that is so: only a new start helps, so the engine ends then.
    fn broken(&self) -> Option<String> {
        None
    }

    /// Asks the store for everything that may keep rows of these tables from being written or kept: shapes, replicas,
    /// settings, limits. An error if it cannot be asked.
    fn inspect(&self, _tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<Condition>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What time it is by the store's own clocks; `None` if it has none beside this machine's. Bounded by a short time
    /// limit.
    fn clock(&self) -> BoxFuture<'_, Result<Option<Reading>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// How many rows this process has deleted because they were past their time to live.
    fn num_expired(&self) -> u64 {
        0
    }

    /// What the store says of its own load; `None` if it says nothing. Asked once a second at most.
    fn pressure(&self) -> BoxFuture<'_, Result<Option<StorePressure>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Asks the store's servers how they are, for what operators see; these are the engine's own tables. `None` if the store
    /// has no servers. Those that are silent are part of the answer, which takes seconds then.
    fn cluster(&self, _tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Option<StoreCluster>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// Visits the key of every row of a table once, for ledgers and checks.
    fn scan<'a>(
        &'a self,
        table: &'a Table,
        visit: &'a mut (dyn FnMut(RowKey) + Send),
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Finishes what is under way and closes.
    fn close(&self) -> BoxFuture<'_, ()>;
}
