//! What lies behind the log: the store, and everything on the way to it. Built once the store is there, which intake does
//! not wait for, and taken down on its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Actor;
use actix_rt::ArbiterHandle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use super::awaited_store::AwaitedStore;
use super::backends::{consumed_topics, dead_letter_topic, record_topics};
use super::build::supervise;
use super::routes::{LiveRoutes, order_of};
use super::run::{PROBE_INTERVAL, broken};
use super::{EngineError, health};
use crate::actors::batch_slots::BatchSlots;
use crate::actors::coordinator::Coordinator;
use crate::actors::gate::Gate;
use crate::actors::group::Group;
use crate::actors::schemas::Schemas;
use crate::actors::writer::{Tables, Unconfirmed, Writer, WriterParts};
use crate::config::{Config, LogKind};
use crate::flow::consumption::{ConsumptionSettings, Size};
use crate::flow::health::Part;
use crate::intake::routes::TopicRoute;
use crate::log::{Log, Subscription};
use crate::observe::View;
use crate::store::Store;
use crate::supervision::{ActorRef, ChildSpec};

/// What delivery is built from.
pub(super) struct Delivery {
    pub(super) config: Arc<Config>,
    pub(super) view: View,
    /// Where its actors run.
    pub(super) homes: Vec<ArbiterHandle>,
    pub(super) log: Arc<dyn Log>,
    pub(super) schemas: Arc<Schemas>,
    /// The routes, with what they are compiled of.
    pub(super) routes: LiveRoutes,
    pub(super) dead_letter: TopicRoute,
}

/// Delivery at work, sink last.
struct Running {
    group_stop: oneshot::Sender<()>,
    group: JoinHandle<()>,
    subscription: Box<dyn Subscription>,
    fleet: Option<RunningCoordinator>,
    store: Arc<dyn Store>,
}

/// This pod's place among those that share a budget.
struct RunningCoordinator {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

// === impl Delivery ===

impl Delivery {
    /// Waits for the store, shows it in the slot, and carries records there until `stop` says until when to have ended. An
    /// error is one that the engine cannot go on with.
    pub(super) async fn run(
        self,
        awaited: AwaitedStore,
        slot: watch::Sender<Option<Arc<dyn Store>>>,
        mut stop: oneshot::Receiver<Instant>,
    ) -> Result<(), EngineError> {
        let store = tokio::select! {
            store = awaited.retry_until_ready() => store?,
            _ = &mut stop => return Ok(()),
        };
        let mut running = self.start(&store)?;
        let _ = slot.send(Some(Arc::clone(&store)));
        tokio::select! {
            deadline = stop => {
                running.drain(deadline.unwrap_or_else(|_| Instant::now())).await;
                Ok(())
            }
            ended = &mut running.group => Err(broken(format!("consumption ended: {ended:?}"))),
            reason = store_broken(&*store) => Err(broken(reason)),
            () = health::inspect_store(&self.view, &*store, &self.schemas, &self.routes) => unreachable!("inspection has no end"),
        }
    }

    fn start(&self, store: &Arc<dyn Store>) -> Result<Running, EngineError> {
        let Self { config, view, .. } = self;
        let writers = self.writers(store);
        let gate = self.gate();
        let fleet = self.fleet(store)?;
        let (subscription, assignments) = self.log.subscribe(&consumed_topics(config))?;
        let group = Group {
            supervisor: view.supervisor.clone(),
            homes: self.homes.clone(),
            gate,
            writers,
            settings: ConsumptionSettings {
                full: Size { records: config.consumer.read_records.get(), bytes: config.consumer.read_bytes },
                max_batches_in_flight: config.consumer.max_batches_in_flight.get(),
            },
            slots: BatchSlots::new(config.consumer.large_batches.get()),
            drain_timeout: config.shutdown.drain_timeout / 2,
            memory: view.memory.clone(),
            telemetry: Arc::clone(&view.telemetry),
            lags: view.lags.clone(),
            is_in_order: Arc::new(order_of(config)),
        };
        let (group_stop, on_group_stop) = oneshot::channel();
        let group = tokio::spawn(group.run(assignments, on_group_stop));
        view.status.heard_of(Part::Consume);
        Ok(Running { group_stop, group, subscription, fleet, store: Arc::clone(store) })
    }

    fn writers(&self, store: &Arc<dyn Store>) -> Vec<ActorRef<Writer>> {
        let config = &self.config.writer;
        let tables = Arc::new(Tables::new(self.config.store.ttl, Arc::clone(&self.view.telemetry)));
        let unconfirmed = Arc::new(Unconfirmed::new(dead_letter_topic(&self.config).name));
        let watched = (Arc::clone(&tables), Arc::clone(&unconfirmed));
        self.view.status.watch(move || watched.0.conditions().into_iter().chain(watched.1.condition()).collect());
        let parts = Arc::new(WriterParts {
            store: Arc::clone(store),
            schemas: Arc::clone(&self.schemas),
            routing: Arc::clone(&self.routes.routing),
            dead_letter: self.dead_letter.clone(),
            unconfirmed,
            retry: (config.retry_min, config.retry_max),
            give_up_after: config.give_up_after,
            memory: self.view.memory.clone(),
            telemetry: Arc::clone(&self.view.telemetry),
            tables,
        });
        let start = |index: usize| {
            let parts = Arc::clone(&parts);
            let build = move |lifeline| Writer::new(Arc::clone(&parts), lifeline);
            let home = self.homes[index % self.homes.len()].clone();
            supervise(&self.view, "writer", index.to_string(), home, config.mailbox_batches.get() as u32, build)
        };
        (0..config.actors.get()).map(start).collect()
    }

    fn gate(&self) -> ActorRef<Gate> {
        let gate = ActorRef::new(1);
        let (reference, control) = (gate.clone(), Arc::clone(&self.view.gate));
        self.view.supervisor.supervise(ChildSpec {
            group: "gate",
            name: "store".to_owned(),
            home: self.homes[0].clone(),
            edge: None,
            start: Arc::new(move |lifeline| {
                reference.point_to(Gate::new(Arc::clone(&control), lifeline).start());
            }),
        });
        gate
    }

    /// Joins the pods that share this log, if it has a channel for that.
    fn fleet(&self, store: &Arc<dyn Store>) -> Result<Option<RunningCoordinator>, EngineError> {
        let name = match &self.config.log.kind {
            LogKind::Kafka(kafka) => kafka.instance_id.clone(),
            LogKind::Embedded(_) => None,
        };
        let pod = name.unwrap_or_else(|| format!("pod-{:08x}", rand::random::<u32>()));
        let Some(control) = self.log.control(&pod)? else { return Ok(None) };
        let gate = Arc::clone(&self.view.gate);
        gate.join_fleet(&pod, record_topics(&self.config).iter().map(|topic| topic.num_partitions).sum());
        let fleet = Coordinator::new(pod, control, gate, Arc::clone(store));
        let (stop, on_stop) = oneshot::channel();
        Ok(Some(RunningCoordinator { stop, task: tokio::spawn(fleet.run(on_stop)) }))
    }
}

// === impl Running ===

impl Running {
    /// Consumers finished and committed, then the group and the fleet left, then the store closed.
    async fn drain(self, deadline: Instant) {
        let left = || deadline.saturating_duration_since(Instant::now());
        let _ = self.group_stop.send(());
        if timeout(left(), self.group).await.is_err() {
            warn!("writes were still in flight; their rows are written again at the next start");
        }
        if timeout(left(), self.subscription.close()).await.is_err() {
            warn!("the log did not confirm the last commits; some rows are written again at the next start");
        }
        drop(self.subscription);
        // After the partitions: until then it had its share of the budget.
        if let Some(RunningCoordinator { stop, task }) = self.fleet {
            let _ = stop.send(());
            if timeout(left().max(Duration::from_secs(1)), task).await.is_err() {
                warn!("the fleet was not left in time; it will notice by itself");
            }
        }
        if timeout(left().max(Duration::from_secs(1)), self.store.close()).await.is_err() {
            warn!("the store did not close in time");
        }
    }
}

/// Returns when the store can never take a row again.
async fn store_broken(store: &dyn Store) -> String {
    let mut look = tokio::time::interval(PROBE_INTERVAL);
    loop {
        look.tick().await;
        if let Some(reason) = store.broken() {
            return format!("{reason}; what has no row yet is in the log");
        }
    }
}
