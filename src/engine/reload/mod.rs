//! Takes a newer config over while the engine runs: all of it, or nothing.
//!
//! Every part that can change prepares what it would do, and only when all of them could, all are swapped, which cannot
//! fail. The layouts are prepared last, because they alone change something outside of this process: columns in the
//! store and schemas in the log, which are there before the first record can need them. Nobody is
//! disconnected but who came in by a token or a certificate that is not valid any more.

mod parts;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tracing::{error, info};

pub(super) use parts::{Layouts, Limits, edge_limits, intake_limits, intake_rules, public_paths};

use super::EngineError;
use crate::config::{Config, ConfigErrors, LoadedConfig, Renewal};
use crate::observe::Reloads;
use crate::schema::Withdrawn;
use crate::telemetry::now_us;

/// A part of the engine that can take another config over while it runs.
pub trait Reloadable: Send + Sync {
    /// Reads and checks everything that the part needs of this config, files that it names among it. Changes nothing.
    fn prepare<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Prepared, ReloadError>>;
}

/// A part that is ready.
pub struct Prepared {
    /// What is new in the files that the config names, one line for each; changed keys are told by others.
    pub changes: Vec<String>,
    /// Swaps the part over.
    pub commit: Box<dyn FnOnce() + Send>,
}

/// Why a config was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It is wrong in itself, or does not go together with what needs a restart.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A layout is missing.
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    /// The layouts, the log or the store do not go together.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A part refuses it.
    #[error("{0}")]
    Refused(String),
}

/// Takes newer configs over.
pub struct Reloader {
    /// Everything but the layouts.
    parts: Mutex<Vec<Arc<dyn Reloadable>>>,
    layouts: Arc<dyn Reloadable>,
    /// Held for as long as a reload takes, so that there is one at a time.
    in_force: tokio::sync::Mutex<LoadedConfig>,
    record: Arc<Reloads>,
}

// === impl Reloader ===

impl Reloader {
    pub(super) fn new(loaded: LoadedConfig, limits: Limits, layouts: Layouts, record: Arc<Reloads>) -> Self {
        let parts: Vec<Arc<dyn Reloadable>> = vec![Arc::new(limits)];
        Self { parts: Mutex::new(parts), layouts: Arc::new(layouts), in_force: tokio::sync::Mutex::new(loaded), record }
    }

    /// Makes another part take over what is reloaded from now on.
    pub fn add(&self, part: Arc<dyn Reloadable>) {
        self.parts.lock().push(part);
    }

    /// The config in force.
    pub async fn config(&self) -> Config {
        self.in_force.lock().await.config.clone()
    }

    /// The files that the config in force was made of, beside its own, and those that it names.
    pub async fn places(&self) -> Vec<PathBuf> {
        self.in_force.lock().await.places()
    }

    /// Takes over what was read, as far as a running engine can. After an error everything is as it was, but that the
    /// store may have got columns, and the log schemas, that nobody uses yet. The outcome is logged and recorded.
    pub async fn reload(&self, read: Result<LoadedConfig, ConfigErrors>) -> Result<(), ReloadError> {
        let mut in_force = self.in_force.lock().await;
        let outcome = self.take_over(&mut in_force, read).await;
        let at_ms = now_us() / 1000;
        match &outcome {
            Ok((changes, needs_restart)) => {
                let generation = self.record.taken(at_ms, changes, needs_restart);
                let (num_changes, changes) = (changes.len(), changes.join(", "));
                let needs_restart = needs_restart.join(", ");
                match (num_changes, needs_restart.is_empty()) {
                    (0, true) => info!(generation, "config read again: nothing has changed"),
                    (_, true) => info!(generation, changes, "config taken over"),
                    (0, false) => {
                        info!(generation, needs_restart, "config read again: what has changed needs a restart")
                    }
                    (_, false) => info!(generation, changes, needs_restart, "config taken over in part"),
                }
            }
            Err(reason) => {
                let reason = one_line(&reason.to_string());
                error!(reason, "config not taken over, everything is as it was");
                self.record.refused(at_ms, reason);
            }
        }
        outcome.map(drop)
    }

    async fn take_over(
        &self,
        in_force: &mut LoadedConfig,
        read: Result<LoadedConfig, ConfigErrors>,
    ) -> Result<(Vec<String>, Vec<String>), ReloadError> {
        let Renewal { loaded, taken: mut changes, needs_restart } = in_force.renewed_by(read?)?;
        let mut parts = self.parts.lock().clone();
        parts.push(Arc::clone(&self.layouts));
        let mut commits = Vec::with_capacity(parts.len());
        for part in parts {
            let Prepared { changes: more, commit } = part.prepare(&loaded.config).await?;
            changes.extend(more);
            commits.push(commit);
        }
        // The layouts first: by then writers must know what decoders will make.
        commits.into_iter().rev().for_each(|commit| commit());
        *in_force = loaded;
        Ok((changes, needs_restart))
    }
}

// === impl ReloadError ===

impl ReloadError {
    /// Whether the same files may be taken over later, because only a server did not answer.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_retryable())
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
