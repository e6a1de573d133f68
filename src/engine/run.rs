//! One run of the engine: waits for the rooms, builds the data path, waits for the end, takes it down.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::build::build;
use super::pipeline::Pipeline;
use super::reload::{Layouts, Limits, Reloader};
use super::rooms::{Rooms, all_topics, open_log, open_store, record_topics, tables};
use super::secrets::{LiveSecrets, Secrets};
use super::sources::{Sockets, Sources};
use super::threads::Threads;
use super::{EngineError, Started, admission, capacity, clock, descriptors, gate, health, memory};
use crate::actors::gate::GateControl;
use crate::actors::group::Lags;
use crate::actors::schemas::Schemas;
use crate::config::{LoadedConfig, LogKind, StoreKind};
use crate::flow::backoff::Backoff;
use crate::flow::health::{Condition, Part};
use crate::flow::memory::MemoryBudget;
use crate::intake::admission::AdmissionControl;
use crate::observe::{self, View};
use crate::observe::{Phase, Reloads, Status};
use crate::schema::Catalog;
use crate::supervision::{RestartPolicy, Supervisor, jitter};
use crate::telemetry::{Telemetry, lines};

/// How often histogram intervals end.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often the log and the store are asked whether they have given up; they answer from memory.
const ROOMS_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How often the engine looks at what is wrong with it; everything answers from memory.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a start that is held up waits before it looks again.
const HOLD_UP: Duration = Duration::from_millis(20);

/// Everything that a start needs.
pub(super) struct Run {
    pub(super) loaded: LoadedConfig,
    pub(super) catalog: Arc<Catalog>,
    pub(super) secrets: Secrets,
    pub(super) devices: TcpListener,
    pub(super) http: TcpListener,
    pub(super) ingest: Option<TcpListener>,
    pub(super) started: watch::Sender<Option<Started>>,
}

// === impl Run ===

impl Run {
    pub(super) async fn run(mut self, driver: Handle, mut stop: oneshot::Receiver<()>) -> Result<(), EngineError> {
        let config = self.loaded.config.clone();
        // Before anything is opened that needs one.
        if let Some(shortage) = descriptors::shortage(&config, descriptors::raise_limit()) {
            warn!("{shortage}");
        }
        if let Some(shortage) = capacity::shortage(&config) {
            warn!("{shortage}");
        }
        let (supervisor, mut gave_up) = Supervisor::start(self.restart_policy());
        let status = Arc::new(Status::new());
        let view = View {
            clock: clock::begin(&config, &status),
            status,
            telemetry: Arc::new(Telemetry::default()),
            supervisor,
            lags: Lags::default(),
            gate: Arc::new(GateControl::new(&gate::settings(&config.gate))),
            memory: MemoryBudget::new(config.memory.budget),
            admission: Arc::new(AdmissionControl::new(admission::limits(&config.limits))),
            reloads: Arc::new(Reloads::default()),
        };
        view.status.watch(lines::conditions);
        view.status.measure(lines::gauges);
        let socket = self.http.try_clone().map_err(broken)?;
        let tls = self.secrets.http.as_ref();
        let http = observe::serve(socket, tls, view.clone(), config.http.max_connections).map_err(broken)?;
        let background_tasks = tokio::spawn(background_tasks(view.clone()));
        let threads = Threads::start(&config);
        let sockets = Sockets { devices: self.devices.try_clone().map_err(broken)?, ingest: self.ingest.take() };
        // Senders that come before the log and the store are there are told so.
        let sources = Sources::start(&config, sockets, &view, &self.secrets, &threads)?;
        let opened = tokio::select! {
            opened = self.open(&view, driver) => opened.map(Some),
            _ = &mut stop => Ok(None),
        };
        let Ok(Some(opened)) = opened else {
            sources.cut_off().await;
            background_tasks.abort();
            http.stop(false).await;
            view.supervisor.stop_restarting();
            threads.stop().await;
            return opened.map(|_| ());
        };
        let mut pipeline = build(&config, &self.catalog, sources, &view, opened, &threads).await?;
        let inspection = tokio::spawn(health::inspect(
            view.clone(),
            pipeline.rooms.clone(),
            all_topics(&config),
            Arc::clone(&pipeline.schemas),
        ));
        let clock =
            tokio::spawn(clock::watch(Arc::clone(&view.clock), pipeline.rooms.clone(), Arc::clone(&view.telemetry)));
        let accounts = tokio::spawn(memory::keep_accounts(view.memory.clone(), Arc::clone(&pipeline.rooms.log)));
        view.status.set_phase(Phase::Running);
        info!("running");
        let reloader = Arc::new(reloader(self.loaded, &view, &pipeline));
        reloader.add(Arc::new(LiveSecrets { secrets: self.secrets, edge: Arc::clone(&pipeline.sources.edge) }));
        let _ = self.started.send(Some(Started {
            rooms: pipeline.rooms.clone(),
            catalog: self.catalog,
            reloader,
            view: view.clone(),
        }));
        let outcome = tokio::select! {
            _ = &mut stop => Ok(()),
            gave_up = &mut gave_up => Err(gave_up.map_or_else(|_| broken("the supervisor ended"), EngineError::from)),
            reason = rooms_broken(&pipeline.rooms) => Err(broken(reason)),
            ended = &mut pipeline.group => Err(broken(format!("consumption ended: {ended:?}"))),
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
            Err(_) => view.supervisor.stop_restarting(),
        }
        background_tasks.abort();
        inspection.abort();
        clock.abort();
        accounts.abort();
        http.stop(false).await;
        threads.stop().await;
        // Says so to whoever waits for the start of an engine that has ended.
        drop(self.started);
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

    /// Opens the log and the store, creates or checks what they must have, and learns the schemas. What may work
    /// later is tried until it does.
    async fn open(&self, view: &View, driver: Handle) -> Result<(Rooms, Arc<Schemas>), EngineError> {
        let config = &self.loaded.config;
        let topics = all_topics(config);
        let (remote_log, remote_store) =
            (matches!(config.log.kind, LogKind::Kafka(_)), matches!(config.store.kind, StoreKind::Cassandra(_)));

        let log = until_there(("the log", Part::Log), remote_log, view, async || {
            let log = open_log(config)?;
            match config.log.apply_on_start {
                true => log.apply(&topics).await?.iter().for_each(|change| info!("{change}")),
                false => log.check(&topics).await?,
            }
            refuse_start(log.inspect(&topics).await?)?;
            Ok(log)
        })
        .await?;
        let (asked, measured) = (Arc::clone(&log), Arc::clone(&log));
        view.status.watch(move || asked.conditions());
        view.status.measure(move || measured.gauges());

        let tables = tables(&self.catalog);
        let store = until_there(("the store", Part::Store), remote_store, view, async || {
            let store = open_store(config, driver.clone()).await?;
            if config.store.apply_on_start {
                store.apply(&tables).await?.iter().for_each(|change| info!("{change}"));
            }
            store.prepare(&tables).await?;
            refuse_start(store.inspect(&tables).await?)?;
            Ok(store)
        })
        .await?;
        let (asked, measured) = (Arc::clone(&store), Arc::clone(&store));
        view.status.watch(move || asked.conditions());
        view.status.measure(move || measured.gauges());

        // After the store has agreed: a schema in the log binds every later start.
        let schemas = until_there(("the schemas in the log", Part::Log), remote_log, view, async || {
            let (log, catalog) = (Arc::clone(&log), Arc::clone(&self.catalog));
            Ok(Arc::new(Schemas::open(log, catalog, config.store.bucket).await?))
        })
        .await?;
        Ok((Rooms { log, store }, schemas))
    }
}

fn reloader(loaded: LoadedConfig, view: &View, pipeline: &Pipeline) -> Reloader {
    let limits = Limits {
        intake: Arc::clone(&pipeline.sources.intake),
        edge: Arc::clone(&pipeline.sources.edge),
        admission: Arc::clone(&view.admission),
        memory: view.memory.clone(),
        gate: Arc::clone(&view.gate),
    };
    let layouts = Layouts {
        rooms: pipeline.rooms.clone(),
        schemas: Arc::clone(&pipeline.schemas),
        rules: Arc::clone(&pipeline.rules),
        topics: record_topics(&loaded.config),
    };
    Reloader::new(loaded, limits, layouts, Arc::clone(&view.reloads))
}

/// Returns when the log can never take an append again, or the store never a row.
async fn rooms_broken(rooms: &Rooms) -> String {
    let mut look = tokio::time::interval(ROOMS_PROBE_INTERVAL);
    loop {
        look.tick().await;
        if let Some(reason) = rooms.log.broken() {
            return format!("{reason}; a new start finds out what is durable");
        }
        if let Some(reason) = rooms.store.broken() {
            return format!("{reason}; what has no row yet is in the log");
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
            _ = look.tick() => view.status.look(Instant::now()),
        }
    }
}

/// What only an operator can mend ends a start.
fn refuse_start(conditions: Vec<Condition>) -> Result<(), EngineError> {
    let reasons: Vec<String> =
        conditions.iter().filter(|condition| condition.refuses_start).map(ToString::to_string).collect();
    if reasons.is_empty() { Ok(()) } else { Err(EngineError::Unfit(reasons.join("; "))) }
}

/// Tries until it works, as long as the error is one that may pass: a server that is not there yet.
async fn until_there<T>(
    (part, of): (&'static str, Part),
    remote: bool,
    view: &View,
    attempt: impl AsyncFn() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    view.status.set_phase(Phase::starting(part));
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    loop {
        if is_held_up() {
            tokio::time::sleep(HOLD_UP).await;
            continue;
        }
        match attempt().await {
            Ok(value) => {
                view.status.set_hindrance(None);
                return Ok(value);
            }
            Err(error) if remote && error.may_pass() => {
                view.status.set_phase(Phase::Starting { part, waiting_for: format!("{part}: {error}") });
                let detail = format!("the start waits for {part} and tries again: {error}");
                view.status.set_hindrance(Some(Condition::failing(of, "start_waits", part, detail).refusing_intake()));
                tokio::time::sleep(backoff.next_delay(jitter())).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a test wants the start to wait as it does for a server that is not there.
fn is_held_up() -> bool {
    fail::fail_point!("start", |_| true);
    false
}

fn broken(reason: impl ToString) -> EngineError {
    EngineError::Broken(reason.to_string())
}
