//! Log and store for commands that only read them, also while an engine runs on them: what one process alone can open, the
//! running engine is asked for ([`crate::log::local`]), or is read beside it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::backends::{STORE_FILE, open_log, open_store, tables};
use crate::config::Config;
use crate::log::local::{NotReached, RunningLog};
use crate::log::{Log, LogError, Ranges};
use crate::schema::Catalog;
use crate::schema::row::Table;
use crate::store::embedded::EmbeddedStore;
use crate::store::{RowKey, Store, StoreError};

/// A log whose ranges can be read.
pub enum ReadableLog {
    /// Opened by this process.
    Own(Arc<dyn Log>),
    /// That of the engine that runs in the data directory.
    Running(RunningLog),
}

/// A store whose keys can be read.
pub enum ReadableStore {
    /// Opened by this process.
    Own(Arc<dyn Store>),
    /// The file of an embedded one to which an engine writes.
    Running(PathBuf),
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadableLogError {
    /// It cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another process has it, and cannot be asked.
    #[error(transparent)]
    NotReached(#[from] NotReached),
}

// === impl ReadableLog ===

impl ReadableLog {
    /// Opens the log that the config names, or reaches the engine that has it open.
    pub async fn open(config: &Config) -> Result<Self, ReadableLogError> {
        match open_log(config) {
            Ok(log) => Ok(Self::Own(log)),
            Err(LogError::Locked { .. }) => Ok(Self::Running(RunningLog::reach(&config.data_dir).await?)),
            Err(error) => Err(error.into()),
        }
    }

    /// What reads its ranges.
    pub fn ranges(&self) -> &dyn Ranges {
        match self {
            Self::Own(log) => &**log,
            Self::Running(log) => log,
        }
    }

    /// Gives up what was opened.
    pub async fn close(self) {
        if let Self::Own(log) = self {
            log.close().await;
        }
    }
}

// === impl ReadableStore ===

impl ReadableStore {
    /// Opens the store that the config names and prepares its tables, unless an engine has done both. The database driver
    /// runs on `driver`.
    pub async fn open(config: &Config, catalog: &Catalog, driver: Handle) -> Result<Self, StoreError> {
        match open_store(config, driver).await {
            Ok(store) => {
                store.prepare(&tables(config, catalog)).await?;
                Ok(Self::Own(store))
            }
            Err(StoreError::Locked { .. }) => Ok(Self::Running(config.data_dir.join(STORE_FILE))),
            Err(error) => Err(error),
        }
    }

    /// Reads every key of a table, as [`Store::scan`] does.
    pub async fn scan(&self, table: &Table, visit: &mut (dyn FnMut(RowKey) + Send)) -> Result<u64, StoreError> {
        match self {
            Self::Own(store) => store.scan(table, visit).await,
            Self::Running(path) => EmbeddedStore::scan_file(path, table, visit).await,
        }
    }

    /// Gives up what was opened.
    pub async fn close(self) {
        if let Self::Own(store) = self {
            store.close().await;
        }
    }
}
