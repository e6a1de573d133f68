//! The running data path, and how it is taken down: from the source downwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::EngineError;
use super::sources::Sources;
use crate::actors::schemas::Schemas;
use crate::config::Shutdown;
use crate::intake::rules::LiveIntakeRules;
use crate::log::Log;
use crate::observe::View;

/// The running data path, sink last.
pub(super) struct Pipeline {
    pub(super) sources: Sources,
    pub(super) rules: LiveIntakeRules,
    pub(super) schemas: Arc<Schemas>,
    /// Says until when delivery is to have ended.
    pub(super) delivery_stop: oneshot::Sender<Instant>,
    pub(super) delivery: JoinHandle<Result<(), EngineError>>,
    pub(super) log: Arc<dyn Log>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Stops from the source downwards: no new connections, devices sent away, what they sent answered, delivery
    /// ended, then the log.
    pub(super) async fn drain(self, view: &View, shutdown: &Shutdown) {
        let deadline = Instant::now() + shutdown.drain_timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        info!("draining");
        self.sources.drain(Instant::now() + left() / 2).await;
        view.supervisor.stop_restarting();
        let _ = self.delivery_stop.send(deadline);
        // It keeps to the deadline by itself.
        match self.delivery.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("{error}"),
            Err(error) => warn!(%error, "delivery did not end in order; some rows are written again at the next start"),
        }
        if timeout(left().max(Duration::from_secs(1)), self.log.close()).await.is_err() {
            warn!("the log did not close in time");
        }
        info!("drained");
    }
}
