//! Keeps an eye on the database's files from the writing thread: before a transaction is confirmed, and once a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tracing::debug;

use super::database;
use super::place::{StorePlace, beside};
use super::readers::Readers;
use super::state::StoreState;
use super::transaction::{Fault, Outcome};
use crate::disk::Space;

/// How often the files are looked at, busy or not.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The writing thread's eye on its files.
pub(super) struct Sentry {
    place: StorePlace,
    state: Arc<StoreState>,
    directory: PathBuf,
    index: PathBuf,
    looked_at: Instant,
}

// === impl Sentry ===

impl Sentry {
    /// Watches over a database that has just been opened.
    pub(super) fn of(path: &Path, state: Arc<StoreState>) -> std::io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let (place, index) = (StorePlace::of(path)?, beside(path, "-shm"));
        Ok(Self { place, state, directory, index, looked_at: Instant::now() })
    }

    /// What becomes of a transaction's outcomes: what was written to files without a name is not confirmed, so that the
    /// offsets of its records are not committed.
    pub(super) fn confirm(&mut self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        if self.state.broken().is_none()
            && let Err(reason) = self.place.verify()
        {
            self.state.break_down(reason);
        }
        match self.state.broken() {
            None => outcomes,
            Some(reason) => outcomes.iter().map(|_| Err(Fault::Database(reason.clone()))).collect(),
        }
    }

    /// Looks at the files if it is time.
    pub(super) fn look(&mut self, connection: &Connection, is_idle: bool) {
        if self.looked_at.elapsed() < LOOK_INTERVAL || self.state.broken().is_some() {
            return;
        }
        self.looked_at = Instant::now();
        if let Err(reason) = self.place.look() {
            return self.state.break_down(reason);
        }
        let is_large = self.state.set_wal_bytes(self.place.wal_bytes());
        // While rows are written, each commit tries to copy the log into the database; otherwise nobody would.
        if is_large && is_idle {
            match database::cut_wal_back(connection) {
                Ok(()) => _ = self.state.set_wal_bytes(self.place.wal_bytes()),
                Err(error) => debug!(%error, "the write-ahead log cannot be cut back yet"),
            }
        }
        let readers = if is_large { Readers::of(&self.index) } else { Readers::default() };
        self.state.set_seen(Space::of(&self.directory).ok(), readers);
    }
}
