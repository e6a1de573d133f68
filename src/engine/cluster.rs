//! Asks the servers beside the engine how they are: rarely, off the data path, and on one pod of a fleet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};

use super::awaited_store::StoreSlot;
use super::routes::LiveRoutes;
use crate::actors::schemas::Schemas;
use crate::config::{Config, LogKind, StoreKind};
use crate::flow::cluster::{Clusters, Heard, LogCluster, Replication, StoreCluster};
use crate::log::{Log, TopicSpec};
use crate::observe::{Observed, View};

/// How often the servers are asked.
const ASK_INTERVAL: Duration = Duration::from_secs(20);

/// How often it is looked whether this is the pod that asks. It asks at once when it becomes so.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Nobody waits longer for an answer: what comes later is worth less than the next question.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is asked.
pub(super) struct ClusterWatch {
    pub(super) view: View,
    pub(super) log: Arc<dyn Log>,
    /// The store, once it is there.
    pub(super) store: StoreSlot,
    pub(super) topics: Vec<TopicSpec>,
    /// Which tables there are.
    pub(super) schemas: Arc<Schemas>,
    pub(super) routes: LiveRoutes,
    /// Which of the two have servers.
    pub(super) has_servers: HasServers,
}

/// Which backends are servers, by the config.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasServers {
    log: bool,
    store: bool,
}

// === impl HasServers ===

impl HasServers {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            log: matches!(config.log.kind, LogKind::Kafka(_)),
            store: matches!(config.store.kind, StoreKind::Cassandra(_)),
        }
    }
}

// === impl ClusterWatch ===

impl ClusterWatch {
    /// Keeps asking until it is aborted; ends at once where there are no servers.
    pub(super) async fn run(self) {
        let HasServers { log, store } = self.has_servers;
        if !log && !store {
            return;
        }
        self.view.cluster.set(Observed::Elsewhere);
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asked_at, mut known): (Option<Instant>, Option<Replication>) = (None, None);
        // A start does not wait for the store: it is asked as soon as it is there.
        let mut has_store = false;
        loop {
            ticks.tick().await;
            if !self.view.gate.is_observer() {
                if asked_at.take().is_some() {
                    info!("another pod of the fleet asks the servers how they are from now on");
                    self.view.cluster.set(Observed::Elsewhere);
                    known = None;
                }
                continue;
            }
            let has_come = self.store.borrow().is_some() && !has_store;
            if has_come || asked_at.is_none_or(|at| at.elapsed() >= ASK_INTERVAL) {
                has_store |= has_come;
                asked_at = Some(Instant::now());
                let clusters = self.ask().await;
                known = tell(known, clusters.replication());
                self.view.cluster.set(Observed::Here(Arc::new(clusters)));
            }
        }
    }

    async fn ask(&self) -> Clusters {
        let (log, store) = tokio::join!(self.ask_log(), self.ask_store());
        Clusters { log, store }
    }

    async fn ask_log(&self) -> Heard<LogCluster> {
        if !self.has_servers.log {
            return Heard::None;
        }
        heard("log", timeout(PATIENCE, self.log.cluster(&self.topics)).await)
    }

    async fn ask_store(&self) -> Heard<StoreCluster> {
        if !self.has_servers.store {
            return Heard::None;
        }
        let Some(store) = self.store.borrow().clone() else { return Heard::Silent };
        heard("store", timeout(PATIENCE, store.cluster(&self.routes.tables(&self.schemas))).await)
    }
}

fn heard<T, E: std::fmt::Display>(
    part: &str,
    answer: Result<Result<Option<T>, E>, impl std::fmt::Display>,
) -> Heard<T> {
    let silent = |reason: &dyn std::fmt::Display| {
        debug!(part, %reason, "the servers do not tell how they are");
        Heard::Silent
    };
    match answer {
        Ok(Ok(told)) => told.map_or(Heard::None, Heard::Told),
        Ok(Err(error)) => silent(&error),
        Err(late) => silent(&late),
    }
}

/// One line for each change. What is wrong, and what to do about it, is said by the conditions of `/health`. Servers that
/// have never answered are nothing new.
fn tell(before: Option<Replication>, now: Replication) -> Option<Replication> {
    if before.is_none() && now == Replication::Unknown {
        return None;
    }
    if before.unwrap_or(Replication::Ok) != now {
        info!(now = now.name(), before = before.map(Replication::name), "replication health has changed");
    }
    Some(now)
}
