//! The running data path, and how it is taken down: from the source downwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::doors::Doors;
use super::rooms::Rooms;
use crate::actors::schemas::Schemas;
use crate::config::Shutdown;
use crate::intake::rules::LiveIntakeRules;
use crate::log::Subscription;
use crate::observe::View;

/// The running data path, sink last.
pub(super) struct Pipeline {
    pub(super) doors: Doors,
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
        let crowd = Arc::clone(&self.doors.crowd);
        info!(connections = crowd.num_alive(), "draining");
        // Accepts no more, and ends when the requests under way are answered.
        let ingest = self.doors.close(true).map(actix_rt::spawn);
        self.doors.edge.dismiss_all();
        if timeout(left() / 2, self.all_connections_gone()).await.is_err() {
            warn!(connections = crowd.num_alive(), "connections cut off; their devices send again what has no receipt");
        }
        if let Some(ingest) = ingest
            && timeout(left() / 2, ingest).await.is_err()
        {
            warn!("requests cut off; their clients send again what has no answer");
        }
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

    async fn all_connections_gone(&self) {
        while self.doors.crowd.num_alive() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
