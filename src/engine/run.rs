//! One run of the engine: waits for the log, builds the data path, waits for the end, takes it down.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::awaited_store::{AwaitedStore, Needs, StoreSlot};
use super::backends::{all_topics, dead_letter_topic, record_topics, tables};
use super::build::{Built, build};
use super::cluster::{ClusterWatch, HasServers};
use super::delivery::Delivery;
use super::opening::{open_ready_log, retry_until_ready};
use super::pipeline::Pipeline;
use super::reload::{Layouts, Limits, Reloader};
use super::routes::{LiveRoutes, RouteSources};
use super::secrets::{LiveSecrets, Secrets};
use super::sources::{Sockets, Sources};
use super::threads::{Threads, handles};
use super::{
    EngineError, Opened, admission, capacity, clock, counted, descriptors, gate, health, memory, registry, retained,
};
use crate::actors::gate::GateControl;
use crate::actors::group::Lags;
use crate::actors::schemas::{Schemas, brings_versions};
use crate::codec::Codecs;
use crate::config::{Config, LoadedConfig, LogKind};
use crate::flow::credit::Credits;
use crate::flow::memory::MemoryBudget;
use crate::intake::admission::AdmissionControl;
use crate::log::Log;
use crate::log::local::{LocalRanges, SOCKET_FILE};
use crate::observe::{self, BottleneckWatch, Phase, Reloads, Retained, Status, View};
use crate::supervision::{RestartPolicy, Supervisor};
use crate::telemetry::{Telemetry, lines, now_us};

/// How often histogram intervals end.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often the log and the store are asked whether they have given up; they answer from memory.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How often the engine looks at what is wrong with it; everything answers from memory.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Everything that a start needs.
pub(super) struct Run {
    pub(super) loaded: LoadedConfig,
    pub(super) codecs: Arc<Codecs>,
    pub(super) secrets: Secrets,
    pub(super) devices: TcpListener,
    pub(super) http: TcpListener,
    pub(super) ingest: Option<TcpListener>,
    pub(super) opened: watch::Sender<Option<Opened>>,
}

/// What a start needs before the first message.
struct Ground {
    log: Arc<dyn Log>,
    schemas: Arc<Schemas>,
    /// Perhaps there already.
    store: AwaitedStore,
    routes: LiveRoutes,
    /// For commands that read the log while this process has it.
    local_ranges: Option<LocalRanges>,
}

// === impl Run ===

impl Run {
    pub(super) async fn run(mut self, driver: Handle, mut stop: oneshot::Receiver<()>) -> Result<(), EngineError> {
        let config = Arc::new(self.loaded.config.clone());
        // Before anything is opened that needs one.
        if let Some(shortage) = descriptors::shortage(&config, descriptors::raise_limit()) {
            warn!("{shortage}");
        }
        if let Some(shortage) = capacity::shortage(&config) {
            warn!("{shortage}");
        }
        if let Some(notice) = self.secrets.nobody_may_look(&config) {
            warn!("{notice}");
        }
        let (supervisor, mut gave_up) = Supervisor::start(self.restart_policy());
        let status = Arc::new(Status::new());
        let admission = Arc::new(AdmissionControl::new(admission::limits(&config.limits)));
        let view = View {
            clock: clock::begin(&config, &status),
            status,
            telemetry: Arc::new(Telemetry::default()),
            supervisor,
            lags: Lags::default(),
            gate: Arc::new(GateControl::new(&gate::settings(&config.gate))),
            cluster: Arc::default(),
            memory: MemoryBudget::new(config.memory.budget),
            guard: Arc::new(self.secrets.guard(&config, &admission)),
            admission,
            reloads: Arc::new(Reloads::new(now_us() / 1000)),
            requests: Credits::new(config.ingest.max_requests.get() as u32),
            bottleneck: Arc::new(BottleneckWatch::new()),
            retained: Arc::new(Retained::new(dead_letter_topic(&config).name)),
        };
        counted::expect(&config, &self.codecs, &view.telemetry.counters);
        view.status.watch(lines::conditions);
        view.status.measure(lines::gauges);
        let socket = self.http.try_clone().map_err(broken)?;
        let tls = self.secrets.http.as_ref();
        let http = observe::serve(socket, tls, view.clone(), config.http.max_connections).map_err(broken)?;
        let background_tasks = tokio::spawn(background_tasks(view.clone()));
        let threads = Threads::start(&config);
        let sockets = Sockets { devices: self.devices.try_clone().map_err(broken)?, ingest: self.ingest.take() };
        // Senders that come before the log is there are told so.
        let sources = Sources::start(&config, sockets, &view, &self.secrets, &threads)?;
        let ground = tokio::select! {
            ground = self.open(&view, driver) => ground.map(Some),
            _ = &mut stop => Ok(None),
        };
        let Ok(Some(Ground { log, schemas, store, routes, local_ranges })) = ground else {
            sources.cut_off().await;
            background_tasks.abort();
            http.stop(false).await;
            view.supervisor.stop_restarting();
            threads.stop().await;
            return ground.map(|_| ());
        };
        let Built { rules, dead_letter } = build(&config, &self.codecs, &sources, &view, &log, &threads).await;
        let delivery = Delivery {
            config: Arc::clone(&config),
            view: view.clone(),
            homes: handles(&threads.pipeline),
            log: Arc::clone(&log),
            schemas: Arc::clone(&schemas),
            routes: routes.clone(),
            dead_letter,
        };
        let ((in_slot, slot), (delivery_stop, on_stop)) = (watch::channel(None), oneshot::channel());
        let delivery = tokio::spawn(delivery.run(store, in_slot, on_stop));
        let topics = all_topics(&config);
        let inspection =
            tokio::spawn(health::inspect_log(view.clone(), Arc::clone(&log), topics, Arc::clone(&schemas)));
        let (evidence, telemetry) = (Arc::clone(&view.clock), Arc::clone(&view.telemetry));
        let clock = tokio::spawn(clock::watch(evidence, Arc::clone(&log), slot.clone(), telemetry));
        let retained = tokio::spawn(retained::watch(view.clone(), Arc::clone(&log), dead_letter_topic(&config)));
        let cluster = ClusterWatch {
            view: view.clone(),
            log: Arc::clone(&log),
            store: slot.clone(),
            topics: all_topics(&config),
            schemas: Arc::clone(&schemas),
            routes,
            has_servers: HasServers::of(&config),
        };
        let cluster = tokio::spawn(cluster.run());
        let accounts = tokio::spawn(memory::keep_accounts(view.memory.clone(), Arc::clone(&log)));
        let mut pipeline = Pipeline { sources, rules, schemas, delivery_stop, delivery, log: Arc::clone(&log) };
        view.status.set_phase(Phase::Running);
        info!("running");
        let reloader = Arc::new(reloader(self.loaded, &view, &pipeline, slot.clone()));
        reloader.add(Arc::new(LiveSecrets { secrets: self.secrets, edge: Arc::clone(&pipeline.sources.edge) }));
        let opened = Opened { log: Arc::clone(&log), store: slot, codecs: self.codecs, reloader, view: view.clone() };
        let _ = self.opened.send(Some(opened));
        let outcome = tokio::select! {
            _ = &mut stop => Ok(()),
            gave_up = &mut gave_up => Err(gave_up.map_or_else(|_| broken("the supervisor ended"), EngineError::from)),
            reason = log_broken(&*log) => Err(broken(reason)),
            ended = &mut pipeline.delivery => Err(match ended {
                Ok(Err(error)) => error,
                Ok(Ok(())) => broken("delivery ended"),
                Err(error) => broken(format!("delivery ended: {error}")),
            }),
        };
        view.status.set_phase(Phase::Draining);
        if outcome.is_ok() {
            // Load balancers look at readiness; until they have, new devices still come here and are served.
            tokio::time::sleep(config.shutdown.notice).await;
        }
        view.status.forget_parts();
        match outcome {
            Ok(()) => pipeline.drain(&view, &config.shutdown).await,
            // Its actors end with their threads.
            Err(_) => {
                view.supervisor.stop_restarting();
                pipeline.delivery.abort();
            }
        }
        drop(local_ranges);
        background_tasks.abort();
        inspection.abort();
        clock.abort();
        cluster.abort();
        accounts.abort();
        retained.abort();
        http.stop(false).await;
        threads.stop().await;
        // Says so to whoever waits for the start of an engine that has ended.
        drop(self.opened);
        outcome
    }

    fn restart_policy(&self) -> RestartPolicy {
        let supervision = &self.loaded.config.supervision;
        RestartPolicy {
            backoff_min: supervision.backoff_min,
            backoff_max: supervision.backoff_max,
            max_restarts: supervision.max_restarts.get() as usize,
            period: supervision.restart_period,
        }
    }

    /// Opens the log, asks the store for its first answer, and learns the schemas. What may work later is tried until it
    /// does.
    async fn open(&self, view: &View, driver: Handle) -> Result<Ground, EngineError> {
        let config = Arc::new(self.loaded.config.clone());
        let log = open_ready_log(&config, view).await?;
        let local_ranges = serve_ranges(&config, &log);
        let registry = registry::open(&config, &log, view).await?;
        let catalog = self.codecs.catalog();
        let routes = LiveRoutes {
            sources: Arc::new(RouteSources::of(&config, catalog, registry.as_ref())),
            routing: Arc::default(),
        };
        let needs = Needs { tables: tables(&config, catalog), routes: routes.clone() };
        let mut store = AwaitedStore::new(Arc::clone(&config), driver, needs, view.clone());
        store.first_answer().await?;
        let place = "the schemas in the log";
        // A schema in the log binds every later start. What the store may not agree to, because it has rows of an earlier
        // version, goes there after the store.
        if !store.is_there()
            && retry_until_ready(place, &config, view, async || Ok(brings_versions(&*log, &self.codecs).await?)).await?
        {
            store.hold_up_for().await?;
        }
        let schemas = retry_until_ready(place, &config, view, async || {
            let (log, codecs) = (Arc::clone(&log), Arc::clone(&self.codecs));
            Ok(Arc::new(Schemas::open(log, codecs, config.store.bucket).await?))
        })
        .await?;
        Ok(Ground { log, schemas, store, routes, local_ranges })
    }
}

/// Lets commands read a log that this process alone can open. The engine does its work without that, too.
fn serve_ranges(config: &Config, log: &Arc<dyn Log>) -> Option<LocalRanges> {
    match config.log.kind {
        LogKind::Kafka(_) => None,
        LogKind::Embedded(_) => LocalRanges::serve(&config.data_dir, Arc::clone(log))
            .inspect_err(|error| {
                let path = config.data_dir.join(SOCKET_FILE);
                warn!(path = %path.display(), %error, "dead-letters and verify have to wait until the engine has stopped");
            })
            .ok(),
    }
}

fn reloader(loaded: LoadedConfig, view: &View, pipeline: &Pipeline, store: StoreSlot) -> Reloader {
    let limits = Limits {
        intake: Arc::clone(&pipeline.sources.intake),
        edge: Arc::clone(&pipeline.sources.edge),
        admission: Arc::clone(&view.admission),
        guard: Arc::clone(&view.guard),
        memory: view.memory.clone(),
        gate: Arc::clone(&view.gate),
    };
    let layouts = Layouts {
        store,
        schemas: Arc::clone(&pipeline.schemas),
        rules: Arc::clone(&pipeline.rules),
        topics: record_topics(&loaded.config),
    };
    Reloader::new(loaded, limits, layouts, Arc::clone(&view.reloads))
}

/// Returns when the log can never take an append again.
async fn log_broken(log: &dyn Log) -> String {
    let mut look = tokio::time::interval(PROBE_INTERVAL);
    loop {
        look.tick().await;
        if let Some(reason) = log.broken() {
            return format!("{reason}; a new start finds out what is durable");
        }
    }
}

/// Ends histogram intervals, lets admission control forget, and looks at what is wrong.
async fn background_tasks(view: View) {
    let mut rotate = tokio::time::interval(INTERVAL);
    let mut look = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        tokio::select! {
            _ = rotate.tick() => {
                view.telemetry.rotate();
                view.admission.sweep();
            }
            _ = look.tick() => {
                view.lags.look();
                view.bottleneck.look(&view);
                view.status.look(Instant::now());
            }
        }
    }
}

pub(super) fn broken(reason: impl ToString) -> EngineError {
    EngineError::Broken(reason.to_string())
}
