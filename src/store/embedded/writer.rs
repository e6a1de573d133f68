//! The writing thread: the only one that changes the database.
//!
//! It takes what is waiting, up to the rows of one transaction, commits, and answers. While it waits for the disk
//! the next groups are collected, so the busier the store, the fewer flushes per row.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{error, warn};

use super::database::WriterLock;
use super::expiry::Expiry;
use super::schema;
use super::sentry::{LOOK_INTERVAL, Sentry};
use super::transaction::{Asked, Fault, GroupWriter, Outcome};
use crate::schema::row::Table;
use crate::store::StoreError;
use crate::telemetry::now_us;

/// An order to the thread.
pub(super) enum Job {
    /// Write a group.
    Write(Write),
    /// Create what is missing.
    Apply(Vec<Arc<Table>>, oneshot::Sender<Result<Vec<String>, StoreError>>),
    /// Check that nothing is missing.
    Prepare(Vec<Arc<Table>>, oneshot::Sender<Result<(), StoreError>>),
    /// Finish what came before and end.
    Close(oneshot::Sender<()>),
}

/// A group on its way, with the place that it takes up.
pub(super) struct Write {
    /// The rows.
    pub(super) asked: Asked,
    /// Gets the outcome. Dropped without one if the thread dies.
    pub(super) done: oneshot::Sender<Outcome>,
    /// Given back when the group is settled.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What the store's handle sees of the thread.
pub(super) struct Shared {
    /// Places for groups; closed when the thread has ended, for whatever reason.
    pub(super) permits: Arc<Semaphore>,
    /// Whether the last transaction worked.
    pub(super) health: Mutex<Result<(), String>>,
    /// Why no old rows are deleted, if that is so.
    pub(super) held_sweep: Mutex<Option<String>>,
    /// Rows deleted because they were old.
    pub(super) num_expired: AtomicU64,
}

/// Tells the handle that the thread has ended, also when it panics.
struct EndGuard(Arc<Shared>);

/// The thread's state.
pub(super) struct Writer {
    /// The database.
    pub(super) path: PathBuf,
    /// Its only writing connection.
    pub(super) connection: Connection,
    /// Dropped after the connection, as the later field.
    pub(super) _lock: WriterLock,
    /// Where orders come from.
    pub(super) jobs: Receiver<Job>,
    /// What the handle sees.
    pub(super) shared: Arc<Shared>,
    /// Sees when the files are not there any more.
    pub(super) sentry: Sentry,
    /// Most rows in a transaction; the group that passes it is still taken.
    pub(super) transaction_rows: usize,
    /// Deletes old rows, if rows are to grow old.
    pub(super) expiry_opt: Option<Expiry>,
}

// === impl Writer ===

impl Writer {
    /// Works until told to close or until the last handle is gone.
    pub(super) fn run(self) {
        // Answered last of all: by then the file is free and the handle knows that the store is closed.
        if let Some(reply) = self.run_until_closed() {
            let _ = reply.send(());
        }
    }

    fn run_until_closed(mut self) -> Option<oneshot::Sender<()>> {
        let _end_guard = EndGuard(self.shared.clone());
        let mut group_writer = GroupWriter::default();
        let mut next_opt = None;
        loop {
            let job = match next_opt.take() {
                Some(job) => job,
                None => match self.jobs.recv_timeout(self.idle_time()) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.sentry.look(&self.connection, true);
                        if self.expiry_opt.as_ref().is_some_and(|expiry| expiry.is_due(Instant::now())) {
                            self.expire();
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        self.finish();
                        return None;
                    }
                },
            };
            match job {
                Job::Write(write) => {
                    next_opt = self.write(&mut group_writer, write);
                    self.sentry.look(&self.connection, false);
                    // Without a pause in the load old rows would stay for ever.
                    if self.expiry_opt.as_ref().is_some_and(|expiry| expiry.is_overdue(Instant::now())) {
                        self.expire();
                    }
                }
                Job::Apply(tables, reply) => {
                    // Nobody waits any more if sending fails; the tables are there all the same.
                    let _ = reply.send(schema::apply(&self.connection, &tables));
                }
                Job::Prepare(tables, reply) => {
                    let _ = reply.send(schema::check(&self.connection, &tables));
                }
                Job::Close(reply) => {
                    self.finish();
                    return Some(reply);
                }
            }
        }
    }

    /// Writes a group and those that wait behind it; returns the first job that is not a write.
    fn write(&mut self, group_writer: &mut GroupWriter, first: Write) -> Option<Job> {
        let mut num_rows = first.asked.group.num_rows();
        let mut asked = vec![first.asked];
        let mut waiting = vec![(first.done, first.permit)];
        let mut next_opt = None;
        while num_rows < self.transaction_rows {
            match self.jobs.try_recv() {
                Ok(Job::Write(write)) => {
                    num_rows += write.asked.group.num_rows();
                    asked.push(write.asked);
                    waiting.push((write.done, write.permit));
                }
                Ok(other) => {
                    next_opt = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let outcomes = self.sentry.confirm(group_writer.write(&self.connection, &asked));
        self.note_health(&outcomes);
        for ((done, permit), outcome) in waiting.into_iter().zip(outcomes) {
            drop(permit);
            let _ = done.send(outcome);
        }
        next_opt
    }

    fn note_health(&self, outcomes: &[Outcome]) {
        let failure = outcomes.iter().find_map(|outcome| match outcome {
            Err(Fault::Busy(cause) | Fault::Database(cause)) => Some(cause),
            _ => None,
        });
        let mut health = self.shared.health.lock();
        match failure {
            Some(cause) => {
                // On the edge only: a full disk would fill the log, too.
                if health.is_ok() {
                    error!(path = %self.path.display(), cause, "the embedded store cannot write");
                }
                *health = Err(format!("writing {}: {cause}", self.path.display()));
            }
            None => *health = Ok(()),
        }
    }

    fn idle_time(&self) -> Duration {
        let to_expire = self.expiry_opt.as_ref().map(|expiry| expiry.time_to_next_step(Instant::now()));
        to_expire.map_or(LOOK_INTERVAL, |time| time.min(LOOK_INTERVAL))
    }

    fn expire(&mut self) {
        let Some(expiry) = &mut self.expiry_opt else { return };
        if let Err(error) = expiry.step(&self.connection, now_us() / 1000, Instant::now()) {
            warn!(%error, path = %self.path.display(), "cannot delete old rows, will try again at the next sweep");
        }
    }

    /// Leaves one file behind, unlocked: the write-ahead log is copied into the database and goes with the connection.
    fn finish(self) {
        let checkpoint = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            warn!(%error, path = %self.path.display(), "rows stay in the write-ahead log until the next start");
        }
    }
}

// === impl EndGuard ===

impl Drop for EndGuard {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() { "the store's thread has panicked" } else { "the store is closed" };
        *self.0.health.lock() = Err(reason.to_string());
        self.0.permits.close();
    }
}
