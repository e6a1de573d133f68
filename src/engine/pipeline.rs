//! Builds the data path from the sink upwards, and takes it down from the source downwards.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use actix::Actor;
use actix_rt::{Arbiter, ArbiterHandle};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::rooms::{Rooms, dead_letter_topic, open_log, open_store, record_topics, tables};
use super::status::{Phase, Status};
use super::{EngineError, Started, View};
use crate::actors::connection::{Edge, EdgeLimits};
use crate::actors::decoder::unpack::UnpackRules;
use crate::actors::decoder::{Decoder, DecoderParts};
use crate::actors::gate::Gate;
use crate::actors::group::{Group, Lags};
use crate::actors::listener::{Acceptor, Listener, StopAccepting};
use crate::actors::partition_producer::PartitionProducer;
use crate::actors::routes::{Routes, TopicRoute};
use crate::actors::schemas::Schemas;
use crate::actors::writer::{Writer, WriterParts};
use crate::config::{Config, LogKind, StoreKind};
use crate::flow::backoff::Backoff;
use crate::flow::credit::Credits;
use crate::http;
use crate::log::{Log, LogError, ReadLimit, Subscription, TopicPartition, TopicSpec};
use crate::protocol::layout::Catalog;
use crate::protocol::package::PackageLimits;
use crate::store::StoreError;
use crate::supervision::{ActorRef, ChildSpec, Crowd, Lifeline, RestartPolicy, Supervisor, jitter};
use crate::telemetry::Telemetry;

/// How often histogram intervals end.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// How often the store is asked whether it is there.
const STORE_PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Devices that are sent away spread their return over this time.
const RECONNECT_SPREAD: Duration = Duration::from_secs(5);

/// Everything that a start needs.
pub(super) struct Run {
    pub(super) config: Config,
    pub(super) catalog: Arc<Catalog>,
    pub(super) devices: TcpListener,
    pub(super) http: TcpListener,
    pub(super) started: watch::Sender<Option<Started>>,
}

/// The threads that actors run on.
struct Threads {
    connections: Vec<Arbiter>,
    decoders: Vec<Arbiter>,
    pipeline: Vec<Arbiter>,
}

/// The running data path, sink last.
struct Pipeline {
    listener: ActorRef<Listener>,
    edge: Arc<Edge>,
    crowd: Arc<Crowd>,
    group_stop: oneshot::Sender<()>,
    group: JoinHandle<()>,
    subscription: Box<dyn Subscription>,
    rooms: Rooms,
}

// === impl Run ===

impl Run {
    pub(super) async fn run(self, driver: Handle, mut stop: oneshot::Receiver<()>) -> Result<(), EngineError> {
        let (supervisor, mut gave_up) = Supervisor::start(self.restart_policy());
        let view = View {
            status: Arc::new(Status::new()),
            telemetry: Arc::new(Telemetry::default()),
            supervisor,
            lags: Lags::default(),
        };
        let http = http::serve(self.http.try_clone().map_err(broken)?, view.clone()).map_err(broken)?;
        let opened = tokio::select! {
            opened = self.open(&view, driver) => opened?,
            _ = &mut stop => return Ok(()),
        };
        let threads = Threads::start(&self.config);
        let mut pipeline = self.build(&view, opened, &threads)?;
        let chores = tokio::spawn(chores(view.clone(), pipeline.rooms.clone()));
        view.status.set_phase(Phase::Running);
        info!("running");
        let _ = self.started.send(Some(Started {
            rooms: pipeline.rooms.clone(),
            catalog: Arc::clone(&self.catalog),
            view: view.clone(),
        }));
        let outcome = tokio::select! {
            _ = &mut stop => Ok(()),
            gave_up = &mut gave_up => Err(gave_up.map_or_else(|_| broken("the supervisor ended"), EngineError::from)),
            ended = &mut pipeline.group => Err(broken(format!("consumption ended: {ended:?}"))),
        };
        view.status.set_phase(Phase::Draining);
        view.status.clear_log();
        if outcome.is_ok() {
            pipeline.drain(&view, self.config.shutdown.drain_timeout).await;
        }
        chores.abort();
        threads.stop();
        http.stop(false).await;
        // Says so to whoever waits for the start of an engine that has ended.
        drop(self.started);
        outcome
    }

    fn restart_policy(&self) -> RestartPolicy {
        let supervision = &self.config.supervision;
        RestartPolicy {
            backoff_min: supervision.backoff_min,
            backoff_max: supervision.backoff_max,
            max_restarts: supervision.max_restarts.get() as usize,
            period: supervision.restart_period,
        }
    }

    /// Opens the log and the store, creates or checks what they must have, and learns the schemas. What may work
    /// later is tried until it does.
    async fn open(&self, view: &View, driver: Handle) -> Result<(Rooms, Arc<Schemas>), EngineError> {
        let mut topics = record_topics(&self.config);
        topics.push(dead_letter_topic(&self.config));
        let waiting = |what: &str| view.status.set_phase(Phase::Starting { waiting_for: what.to_owned() });
        let (remote_log, remote_store) = (
            matches!(self.config.log.kind, LogKind::Kafka(_)),
            matches!(self.config.store.kind, StoreKind::Cassandra(_)),
        );

        waiting("the log");
        let log = until_there(remote_log, view, async || {
            let log = open_log(&self.config)?;
            match self.config.log.apply_on_start {
                true => log.apply(&topics).await?.iter().for_each(|change| info!("{change}")),
                false => log.check(&topics).await?,
            }
            Ok(log)
        })
        .await?;
        view.status.set_log(Arc::clone(&log));

        waiting("the schemas in the log");
        let schemas = until_there(remote_log, view, async || {
            let (log, catalog) = (Arc::clone(&log), Arc::clone(&self.catalog));
            Ok(Arc::new(Schemas::open(log, catalog, self.config.store.bucket).await?))
        })
        .await?;

        waiting("the store");
        let tables = tables(&self.catalog);
        let store = until_there(remote_store, view, async || {
            let store = open_store(&self.config, driver.clone()).await?;
            if self.config.store.apply_on_start {
                store.apply(&tables).await?.iter().for_each(|change| info!("{change}"));
            }
            store.prepare(&tables).await?;
            Ok(store)
        })
        .await?;
        Ok((Rooms { log, store }, schemas))
    }

    fn build(
        &self,
        view: &View,
        (rooms, schemas): (Rooms, Arc<Schemas>),
        threads: &Threads,
    ) -> Result<Pipeline, EngineError> {
        let config = &self.config;
        let crowd = view.supervisor.tree().add_crowd("connection");

        let dead_letter = self.topic_route(view, &rooms.log, &dead_letter_topic(config), threads);
        let writers = self.writers(view, &rooms, schemas, &dead_letter, threads);
        let gate = self.gate(view, threads);
        let (subscription, assignments) = rooms.log.subscribe(&record_topics(config))?;
        let group = Group {
            supervisor: view.supervisor.clone(),
            homes: handles(&threads.pipeline),
            gate,
            writers,
            read_limit: ReadLimit {
                max_records: config.consumer.read_records.get(),
                max_bytes: config.consumer.read_bytes,
            },
            max_batches_in_flight: config.consumer.max_batches_in_flight.get(),
            drain_timeout: config.shutdown.drain_timeout / 2,
            telemetry: Arc::clone(&view.telemetry),
            lags: view.lags.clone(),
        };
        let (group_stop, on_group_stop) = oneshot::channel();
        let group = tokio::spawn(group.run(assignments, on_group_stop));

        let routes = self.routes(view, &rooms.log, dead_letter, threads);
        let decoders = self.decoders(view, routes, threads);
        let devices = &config.devices;
        let token = devices.token.as_ref().map(|token| token.expose().to_owned());
        let limits = EdgeLimits {
            max_frame: devices.max_frame,
            max_package: devices.max_package,
            max_messages: devices.max_messages,
            max_unacknowledged_packages: devices.max_unacknowledged_packages,
            hello_timeout: devices.hello_timeout,
            idle_timeout: devices.idle_timeout,
            retry_delay: devices.retry_delay,
        };
        let edge = Arc::new(Edge::new(limits, token, decoders, Arc::clone(&view.telemetry)));
        let listener = self.listener(view, &edge, &crowd, threads)?;
        Ok(Pipeline { listener, edge, crowd, group_stop, group, subscription, rooms })
    }

    fn writers(
        &self,
        view: &View,
        rooms: &Rooms,
        schemas: Arc<Schemas>,
        dead_letter: &TopicRoute,
        threads: &Threads,
    ) -> Vec<ActorRef<Writer>> {
        let config = &self.config.writer;
        let parts = Arc::new(WriterParts {
            store: Arc::clone(&rooms.store),
            schemas,
            dead_letter: dead_letter.clone(),
            retry: (config.retry_min, config.retry_max),
            telemetry: Arc::clone(&view.telemetry),
            store_down: AtomicBool::new(false),
        });
        let start = |index: usize| {
            let parts = Arc::clone(&parts);
            let build = move |lifeline| Writer::new(Arc::clone(&parts), lifeline);
            let home = home(&threads.pipeline, index);
            supervise(view, "writer", index.to_string(), home, config.mailbox_batches.get() as u32, build)
        };
        (0..config.actors.get()).map(start).collect()
    }

    fn gate(&self, view: &View, threads: &Threads) -> ActorRef<Gate> {
        let store = Credits::new(self.config.gate.max_writes.get() as u32);
        let per_partition = self.config.gate.max_writes_per_partition.get() as u32;
        let gate = ActorRef::new(1);
        let (reference, credits) = (gate.clone(), store.clone());
        view.supervisor.supervise(ChildSpec {
            group: "gate",
            name: "store".to_owned(),
            home: home(&threads.pipeline, 0),
            edge: Some(store),
            start: Arc::new(move |lifeline| {
                reference.point_to(Gate::new(credits.clone(), per_partition, lifeline).start());
            }),
        });
        gate
    }

    fn topic_route(&self, view: &View, log: &Arc<dyn Log>, topic: &TopicSpec, threads: &Threads) -> TopicRoute {
        let start = |number: u32| {
            let partition = TopicPartition { topic: Arc::clone(&topic.name), partition: number };
            let (log, telemetry) = (Arc::clone(log), Arc::clone(&view.telemetry));
            let name = partition.to_string();
            let build =
                move |lifeline| PartitionProducer::new(partition.clone(), Arc::clone(&log), &telemetry, lifeline);
            let home = home(&threads.pipeline, number as usize);
            let bound = self.config.producer.mailbox_batches.get() as u32;
            supervise(view, "partition_producer", name, home, bound, build)
        };
        TopicRoute { partitions: (0..topic.num_partitions).map(start).collect() }
    }

    fn routes(&self, view: &View, log: &Arc<dyn Log>, dead_letter: TopicRoute, threads: &Threads) -> Routes {
        let specs = record_topics(&self.config);
        let topics = specs.iter().map(|topic| self.topic_route(view, log, topic, threads)).collect();
        let mut topic_of = HashMap::new();
        for message_type in self.catalog.types() {
            let topic = self.config.topic_of(&message_type.name);
            if let Some(index) = topic.and_then(|topic| specs.iter().position(|spec| *spec.name == *topic.name)) {
                topic_of.insert(message_type.id, index);
            }
        }
        Routes { topics, topic_of, dead_letter }
    }

    fn decoders(&self, view: &View, routes: Routes, threads: &Threads) -> Vec<ActorRef<Decoder>> {
        let devices = &self.config.devices;
        let parts = Arc::new(DecoderParts {
            catalog: Arc::clone(&self.catalog),
            routes,
            rules: UnpackRules {
                limits: PackageLimits { max_bytes: devices.max_package as usize, max_messages: devices.max_messages },
                max_event_time_ahead: devices.max_event_time_ahead,
            },
            max_wait: self.config.producer.max_wait,
            telemetry: Arc::clone(&view.telemetry),
        });
        let start = |index: usize| {
            let parts = Arc::clone(&parts);
            let build = move |lifeline| Decoder::new(Arc::clone(&parts), lifeline);
            let bound = self.config.decoder.mailbox_packages.get() as u32;
            supervise(view, "decoder", index.to_string(), home(&threads.decoders, index), bound, build)
        };
        (0..self.config.decoder.actors.get()).map(start).collect()
    }

    fn listener(
        &self,
        view: &View,
        edge: &Arc<Edge>,
        crowd: &Arc<Crowd>,
        threads: &Threads,
    ) -> Result<ActorRef<Listener>, EngineError> {
        let acceptor = Arc::new(Acceptor {
            socket: self.devices.try_clone().map_err(broken)?,
            homes: handles(&threads.connections),
            edge: Arc::clone(edge),
            crowd: Arc::clone(crowd),
            room: Credits::new(self.config.devices.max_connections.get() as u32),
        });
        let build = move |lifeline| Listener::new(Arc::clone(&acceptor), lifeline);
        Ok(supervise(view, "listener", "devices".to_owned(), home(&threads.connections, 0), 1, build))
    }
}

/// Starts an actor under supervision, with this many credits on the edge into it.
fn supervise<A: Actor<Context = actix::Context<A>>>(
    view: &View,
    group: &'static str,
    name: String,
    home: ArbiterHandle,
    num_credits: u32,
    build: impl Fn(Lifeline) -> A + Send + Sync + 'static,
) -> ActorRef<A> {
    let reference = ActorRef::new(num_credits);
    let current = reference.clone();
    let edge = Some(reference.credits().clone());
    let start = Arc::new(move |lifeline| current.point_to(build(lifeline).start()));
    view.supervisor.supervise(ChildSpec { group, name, home, edge, start });
    reference
}

// === impl Threads ===

impl Threads {
    fn start(config: &Config) -> Self {
        let start = |num: usize| (0..num).map(|_| Arbiter::new()).collect();
        Self {
            connections: start(config.threads.connections.get()),
            decoders: start(config.decoder.actors.get()),
            pipeline: start(config.threads.pipeline.get()),
        }
    }

    fn stop(self) {
        for arbiters in [self.connections, self.decoders, self.pipeline] {
            for arbiter in arbiters {
                arbiter.stop();
            }
        }
    }
}

fn handles(arbiters: &[Arbiter]) -> Vec<ArbiterHandle> {
    arbiters.iter().map(Arbiter::handle).collect()
}

fn home(arbiters: &[Arbiter], index: usize) -> ArbiterHandle {
    arbiters[index % arbiters.len()].handle()
}

// === impl Pipeline ===

impl Pipeline {
    /// Stops from the source downwards: no new connections, devices sent away, what they sent answered, consumers
    /// finished and committed, then the rooms.
    async fn drain(self, view: &View, drain_timeout: Duration) {
        let deadline = Instant::now() + drain_timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        info!(connections = self.crowd.num_alive(), "draining");
        self.listener.send(StopAccepting);
        self.edge.dismiss_all(|| RECONNECT_SPREAD.mul_f64(jitter()).as_millis() as u32);
        if timeout(left() / 2, self.all_connections_gone()).await.is_err() {
            warn!(
                connections = self.crowd.num_alive(),
                "connections cut off; their devices send again what has no receipt"
            );
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
        if timeout(left().max(Duration::from_secs(1)), self.rooms.log.close()).await.is_err() {
            warn!("the log did not close in time");
        }
        if timeout(left().max(Duration::from_secs(1)), self.rooms.store.close()).await.is_err() {
            warn!("the store did not close in time");
        }
        info!("drained");
    }

    async fn all_connections_gone(&self) {
        while self.crowd.num_alive() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Ends histogram intervals, and asks the store whether it is there.
async fn chores(view: View, rooms: Rooms) {
    let mut rotate = tokio::time::interval(INTERVAL);
    let mut probe = tokio::time::interval(STORE_PROBE_INTERVAL);
    loop {
        tokio::select! {
            _ = rotate.tick() => view.telemetry.rotate(),
            _ = probe.tick() => {
                let health = rooms.store.health().await;
                let said = health.clone();
                if view.status.set_store(health) {
                    match said {
                        Ok(()) => info!("the store answers again"),
                        Err(reason) => warn!(reason, "the store does not answer"),
                    }
                }
            }
        }
    }
}

/// Tries until it works, as long as the error is one that may pass: a server that is not there yet.
async fn until_there<T>(
    remote: bool,
    view: &View,
    attempt: impl AsyncFn() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if remote && may_pass(&error) => {
                view.status.set_phase(Phase::Starting { waiting_for: error.to_string() });
                warn!(%error, "trying again");
                tokio::time::sleep(backoff.next_delay(jitter())).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn may_pass(error: &EngineError) -> bool {
    use crate::actors::schemas::SchemaError;
    matches!(
        error,
        EngineError::Log(LogError::Failed { .. })
            | EngineError::Store(StoreError::Failed { .. })
            | EngineError::Schema(SchemaError::Log(LogError::Failed { .. }))
    )
}

fn broken(reason: impl ToString) -> EngineError {
    EngineError::Broken(reason.to_string())
}
