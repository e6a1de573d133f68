//! The running data path, and how it is taken down: from the source downwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::rooms::Rooms;
use super::sources::Sources;
use crate::actors::schemas::Schemas;
use crate::config::Shutdown;
use crate::intake::rules::LiveIntakeRules;
use crate::log::Subscription;
use crate::observe::View;

/// The running data path, sink last.
pub(super) struct Pipeline {
    pub(super) sources: Sources,
    pub(super) group_stop: oneshot::Sender<()>,
    pub(super) group: JoinHandle<()>,
    pub(super) subscription: Box<dyn Subscription>,
    pub(super) fleet: Option<RunningFleet>,
    pub(super) rooms: Rooms,
    pub(super) schemas: Arc<Schemas>,
    pub(super) rules: LiveIntakeRules,
}

/// This pod's place among those that share a budget.
pub(super) struct RunningFleet {
    pub(super) stop: oneshot::Sender<()>,
    pub(super) task: JoinHandle<()>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Stops from the source downwards: no new connections, devices sent away, what they sent answered, consumers
    /// finished and committed, then the rooms.
    pub(super) async fn drain(self, view: &View, shutdown: &Shutdown) {
        let deadline = Instant::now() + shutdown.drain_timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        info!("draining");
        self.sources.drain(Instant::now() + left() / 2).await;
        view.supervisor.stop_restarting();
        let _ = self.group_stop.send(());
        if timeout(left(), self.group).await.is_err() {
            warn!("writes were still in flight; their rows are written again at the next start");
        }
        if timeout(left(), self.subscription.close()).await.is_err() {
            warn!("the log did not confirm the last commits; some rows are written again at the next start");
        }
        drop(self.subscription);
        // After the partitions: until then it had its share of the budget.
        if let Some(RunningFleet { stop, task }) = self.fleet {
            let _ = stop.send(());
            if timeout(left().max(Duration::from_secs(1)), task).await.is_err() {
                warn!("the fleet was not left in time; it will notice by itself");
            }
        }
        if timeout(left().max(Duration::from_secs(1)), self.rooms.log.close()).await.is_err() {
            warn!("the log did not close in time");
        }
        if timeout(left().max(Duration::from_secs(1)), self.rooms.store.close()).await.is_err() {
            warn!("the store did not close in time");
        }
        info!("drained");
    }
}
