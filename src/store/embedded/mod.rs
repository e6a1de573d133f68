//! The store in the data directory: SQLite.
//!
//! One thread writes, in transactions that are on disk before a write is confirmed; anyone may read the file
//! meanwhile. [`EmbeddedStore`] is the handle: it passes orders to that thread and waits for its answers.

mod bind;
mod database;
mod declared;
mod deleted;
mod expiry;
mod key_order;
mod place;
mod query;
mod readers;
mod routed;
mod rows;
mod schema;
mod sentry;
mod state;
mod statements;
mod sweep_time;
mod transaction;
mod visitor;
mod writer;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

pub use query::{Found, QueryError, QueryResult, query, query_each};

use self::expiry::Expiry;
use self::sentry::Sentry;
use self::state::StoreState;
use self::transaction::{Asked, Fault, Outcome};
use self::writer::{Job, Shared, Write, Writer};
use super::apart::take_apart;
use super::scan::{self, Chunk, NUM_KEYS_PER_CHUNK};
use super::{Cause, Grouping, RowKey, Store, StoreError, Written};
use crate::flow::health::{Condition, Gauge, Part};
use crate::schema::identity::{DEVICE_ID, EVENT_TIME, SEQUENCE};
use crate::schema::row::{RowGroup, Table, TableDescription, TableName};

/// Groups that may wait for the writing thread; further writes wait for a place.
const NUM_WAITING_GROUPS: usize = 256;

/// Most rows of one write. Those of a transaction come in several: rows that wait for it are held as cells, which take
/// several times what their records do.
const GROUP_ROWS: usize = 2048;

/// How the embedded store is to work.
#[derive(Debug, Clone)]
pub struct EmbeddedStoreSettings {
    /// The database file; its directory exists.
    pub path: PathBuf,
    /// Most rows in one transaction, from 1. More rows share one flush to disk; fewer are confirmed sooner.
    pub transaction_rows: usize,
    /// Bytes of database pages that are kept in memory.
    pub page_cache_bytes: u64,
    /// How long rows live after their event time. `None`: for ever.
    pub ttl: Option<Duration>,
}

/// The handle of the embedded store. Close it to be sure that the file is free again.
pub struct EmbeddedStore {
    path: PathBuf,
    transaction_rows: usize,
    way: Way,
    shared: Arc<Shared>,
    state: Arc<StoreState>,
}

/// The way to the writing thread.
#[derive(Clone)]
struct Way {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
}

// === impl EmbeddedStore ===

impl EmbeddedStore {
    /// Opens the database, creating it if need be, and starts the writing thread.
    pub fn open(settings: EmbeddedStoreSettings) -> Result<Self, StoreError> {
        let EmbeddedStoreSettings { path, transaction_rows, page_cache_bytes, ttl } = settings;
        let lock = database::WriterLock::take(&path)?;
        let connection = database::open_writer(&path, page_cache_bytes)?;
        let state = Arc::new(StoreState::new(&path));
        let sentry = Sentry::of(&path, state.clone()).map_err(|error| failed(path.display(), error))?;
        let (jobs, job_receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            permits: Arc::new(Semaphore::new(NUM_WAITING_GROUPS)),
            health: Mutex::new(Ok(())),
            held_sweep: Mutex::default(),
            num_expired: AtomicU64::new(0),
        });
        let expiry_opt = ttl
            .map(|ttl| Expiry::new(ttl, &connection, shared.clone()))
            .transpose()
            .map_err(|error| failed(format!("looking up when {} was swept", path.display()), error))?;
        let transaction_rows = transaction_rows.max(1);
        let writer = Writer {
            path: path.clone(),
            connection,
            _lock: lock,
            jobs: job_receiver,
            shared: shared.clone(),
            sentry,
            transaction_rows,
            expiry_opt,
        };
        thread::Builder::new()
            .name("store-writer".to_string())
            .spawn(move || writer.run())
            .map_err(|error| failed("starting the store's thread", error))?;
        let way = Way { jobs, permits: shared.permits.clone() };
        Ok(Self { path, transaction_rows, way, shared, state })
    }

    /// [`Store::scan`] of a database to which another process may be writing.
    pub async fn scan_file(
        path: &Path,
        table: &Table,
        visit: &mut (dyn FnMut(RowKey) + Send),
    ) -> Result<u64, StoreError> {
        let (chunks, chunk_receiver) = scan::channel();
        let (path, name) = (path.to_owned(), table.name.clone());
        let reader = move || {
            let outcome = database::open_reader(&path)
                .and_then(|connection| {
                    send_keys(&connection, &name, |keys| chunks.blocking_send(Chunk::Keys(keys)).is_ok())
                })
                .map_err(|error| failed(format!("reading table {name}"), error));
            // A visitor that has hung up needs no outcome.
            let _ = chunks.blocking_send(Chunk::End(outcome));
        };
        thread::Builder::new()
            .name("store-scan".to_string())
            .spawn(reader)
            .map_err(|error| failed("starting a reading thread", error))?;
        scan::visit_all(chunk_receiver, visit).await
    }

    /// Has the thread do something and waits for its answer.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        // If the thread is gone, the order and the sender of the answer in it are dropped.
        let _ = self.way.jobs.send(job(reply));
        answer.await.map_err(|_| failed(self.path.display(), CLOSED))
    }
}

const CLOSED: &str = "store closed";

// === impl Way ===

impl Way {
    /// Has a group written.
    fn ask(&self, asked: Asked) -> impl Future<Output = Outcome> + Send + 'static {
        let (done, outcome) = oneshot::channel();
        let (permits, jobs) = (self.permits.clone(), self.jobs.clone());
        // A place right away if there is one, so that the write goes on even if nobody polls the future.
        let permit_opt = permits.clone().try_acquire_owned().ok();
        let send = move |permit| drop(jobs.send(Job::Write(Write { asked, done, permit })));
        let waiting_opt = match permit_opt {
            Some(permit) => {
                send(permit);
                None
            }
            None => Some(send),
        };
        async move {
            let closed = || Fault::Busy(CLOSED.to_string());
            if let Some(send) = waiting_opt {
                let permit = permits.acquire_owned().await.map_err(|_| closed())?;
                send(permit);
            }
            outcome.await.unwrap_or_else(|_| Err(closed()))
        }
    }
}

impl Store for EmbeddedStore {
    fn grouping(&self) -> Grouping {
        Grouping::ByTable { max_rows: self.transaction_rows.min(GROUP_ROWS) }
    }

    fn write(&self, group: Arc<RowGroup>) -> BoxFuture<'static, Written> {
        let outcome = self.way.ask(Asked { group, known_good: None });
        Box::pin(async move { Ok(outcome.await?) })
    }

    fn judge(&self, suspects: Arc<RowGroup>, known_good: Option<Arc<RowGroup>>) -> BoxFuture<'static, Written> {
        let way = self.way.clone();
        let outcome = way.ask(Asked { group: suspects.clone(), known_good: known_good.clone() });
        Box::pin(async move {
            let outcome = outcome.await;
            let Err(Fault::Ended(_)) = outcome else { return Ok(outcome?) };
            take_apart(&suspects, known_good, async |group| Ok(way.ask(Asked { group, known_good: None }).await?)).await
        })
    }

    fn apply(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let tables = tables.to_vec();
        Box::pin(async move { self.ask(|reply| Job::Apply(tables, reply)).await? })
    }

    fn describe(&self, table: &TableName) -> BoxFuture<'_, Result<Option<TableDescription>, StoreError>> {
        let (path, table) = (self.path.clone(), table.clone());
        let context = format!("describing a table of {}", path.display());
        let description = tokio::task::spawn_blocking(move || {
            let connection =
                database::open_reader(&path).map_err(|error| failed(format!("opening {}", path.display()), error))?;
            routed::describe(&connection, &table)
        });
        Box::pin(async move { description.await.unwrap_or_else(|error| Err(failed(context, error))) })
    }

    fn prepare(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<(), StoreError>> {
        let tables = tables.to_vec();
        Box::pin(async move { self.ask(|reply| Job::Prepare(tables, reply)).await? })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), String>> {
        // What the last transaction came to: a question to the thread would wait behind honest work.
        Box::pin(async { self.shared.health.lock().clone() })
    }

    fn conditions(&self) -> Vec<Condition> {
        let held = self.shared.held_sweep.lock().clone();
        let held = held.map(|detail| Condition::degraded(Part::Clock, "sweep_held", "", detail));
        self.state.conditions().into_iter().chain(held).collect()
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.state.gauges()
    }

    fn broken(&self) -> Option<String> {
        self.state.broken().cloned()
    }

    fn inspect(&self, tables: &[Arc<Table>]) -> BoxFuture<'_, Result<Vec<Condition>, StoreError>> {
        let (path, tables) = (self.path.clone(), tables.to_vec());
        let context = format!("inspecting {}", path.display());
        // Beside the writing thread, which may be at work for long: whoever changes the file does so beside it, too.
        let inspection = tokio::task::spawn_blocking(move || {
            let connection =
                database::open_reader(&path).map_err(|error| failed(format!("opening {}", path.display()), error))?;
            let misshapen = |table| schema::condition(&connection, table).transpose();
            tables.iter().filter_map(misshapen).collect()
        });
        Box::pin(async move { inspection.await.unwrap_or_else(|error| Err(failed(context, error))) })
    }

    fn num_expired(&self) -> u64 {
        self.shared.num_expired.load(Ordering::Relaxed)
    }

    fn scan<'a>(
        &'a self,
        table: &'a Table,
        visit: &'a mut (dyn FnMut(RowKey) + Send),
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(Self::scan_file(&self.path, table, visit))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // A thread that has ended already is closed, too.
        Box::pin(async { self.ask(Job::Close).await.unwrap_or_default() })
    }
}

/// Reads all keys of a table and sends them in chunks, until `send` says that nobody listens.
fn send_keys(connection: &Connection, table: &str, mut send: impl FnMut(Vec<RowKey>) -> bool) -> rusqlite::Result<()> {
    let sql = format!("SELECT {DEVICE_ID}, {EVENT_TIME}, {SEQUENCE} FROM {}", statements::quoted(table));
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut chunk = Vec::with_capacity(NUM_KEYS_PER_CHUNK);
    while let Some(row) = rows.next()? {
        chunk.push(RowKey { device_id: row.get(0)?, event_time_ms: row.get(1)?, sequence: row.get(2)? });
        if chunk.len() == NUM_KEYS_PER_CHUNK && !send(std::mem::take(&mut chunk)) {
            return Ok(());
        }
    }
    send(chunk);
    Ok(())
}

/// An error of the store with what was tried.
fn failed(context: impl Display, source: impl Into<Cause>) -> StoreError {
    StoreError::failed(context.to_string(), source)
}
