//! When a running engine reads its config again: on SIGHUP, when a file has changed, and again later when a server did
//! not answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::signal::unix::Signal;

use super::watch::{Stamps, Watch, stamps};
use crate::config::{Config, LoadedConfig};
use crate::engine::Opened;
use crate::engine::reload::{Prepared, ReloadError, Reloadable};
use crate::flow::backoff::Backoff;
use crate::supervision::jitter;
use crate::telemetry::logging::{self, LogLevels};

/// First and longest delay before files are read again that only a server kept from being taken over.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The config file and what it names, as they were before they were read.
pub(super) struct Files {
    path: PathBuf,
    watch: Watch,
}

/// Reads the files again whenever there is reason to; never returns while the engine runs.
pub(super) async fn serve(
    opened: impl Future<Output = Option<Opened>>,
    mut files: Files,
    levels: LogLevels,
    mut hang_up: Signal,
) {
    let Some(Opened { reloader, .. }) = opened.await else { return };
    reloader.add(Arc::new(levels));
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut again: Option<Duration> = None;
    loop {
        let (config, places) = (reloader.config().await, files.all(reloader.places().await));
        tokio::select! {
            _ = hang_up.recv() => {}
            () = files.changed(&places, config.reload.look_every) => {}
            () = sleep_or_never(again) => {}
        }
        files.note(stamps(&places));
        let path = files.path.clone();
        // Reading may take long, on a file system that hangs.
        let read = tokio::task::spawn_blocking(move || LoadedConfig::load(Some(&path))).await;
        let Ok(read) = read else { continue };
        again = match reloader.reload(read).await {
            Err(error) if error.is_retryable() => Some(backoff.next_delay(jitter())),
            _ => {
                backoff.reset();
                None
            }
        };
    }
}

async fn sleep_or_never(delay: Option<Duration>) {
    match delay {
        Some(delay) => tokio::time::sleep(delay).await,
        None => std::future::pending().await,
    }
}

// === impl Files ===

impl Files {
    /// To be called before the file is read, so that no change is missed.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), watch: Watch::new(stamps(&[path.to_owned()])) }
    }

    /// The file has been read and names these places, most of which have not been read yet.
    pub(super) fn extend(&mut self, loaded: &LoadedConfig) {
        self.watch.extend(stamps(&loaded.places()));
    }

    /// The file, and what it names.
    fn all(&self, mut named: Vec<PathBuf>) -> Vec<PathBuf> {
        named.push(self.path.clone());
        named
    }

    fn note(&mut self, read: Stamps) {
        self.watch = Watch::new(read);
    }

    /// Waits until the files have changed and come to rest.
    async fn changed(&mut self, places: &[PathBuf], look_every: Option<Duration>) {
        let Some(look_every) = look_every else { return std::future::pending().await };
        loop {
            tokio::time::sleep(look_every).await;
            let places = places.to_vec();
            let Ok(seen) = tokio::task::spawn_blocking(move || stamps(&places)).await else { continue };
            if self.watch.on_look(seen) {
                return;
            }
        }
    }
}

// === impl LogLevels ===

impl Reloadable for LogLevels {
    fn prepare<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Prepared, ReloadError>> {
        Box::pin(async move {
            let levels = logging::levels(&config.logging.level);
            let levels = levels.map_err(|error| ReloadError::Refused(error.to_string()))?;
            let log = self.clone();
            Ok(Prepared { changes: Vec::new(), commit: Box::new(move || log.set(levels)) })
        })
    }
}
