//! The engine: every part put together, started from the sink upwards and stopped from the source downwards.
//!
//! Runs on threads of its own; [`Engine`] is the handle to it.

mod admission;
mod awaited_store;
mod backends;
mod build;
pub mod capacity;
mod clock;
mod cluster;
mod counted;
mod delivery;
pub mod descriptors;
mod gate;
mod health;
mod memory;
mod opening;
mod pipeline;
mod reading;
mod registry;
pub mod reload;
mod retained;
mod routes;
mod run;
mod secrets;
mod sources;
mod threads;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use socket2::{Domain, Socket, Type};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::actors::schemas::SchemaError;
use crate::codec::{Codecs, CodecsError};
use crate::config::LoadedConfig;
use crate::log::{Log, LogError};
use crate::observe::View;
use crate::registry::RegistryError;
use crate::store::{Store, StoreError};
use crate::supervision::GaveUp;

pub use backends::{
    Backends, STORE_FILE, all_topics, check_topics, consumed_topics, dead_letter_topic, load_codecs, open_log,
    open_store, record_topics, tables,
};
pub use reading::{ReadableLog, ReadableLogError, ReadableStore};
pub use registry::open_registry;
pub use reload::Reloader;
pub use routes::{RouteSources, RoutesError, TopicSource, check_routes, has_own_tables, lines};
pub use secrets::{Secrets, SecretsError};

/// Connections that may wait to be accepted: a whole fleet coming back at once.
const ACCEPT_BACKLOG: i32 = 4096;

/// Why the engine did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {reason}")]
    Listen {
        /// The config key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The layouts cannot be used.
    #[error(transparent)]
    Codecs(#[from] CodecsError),
    /// Tokens or certificates cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The routes cannot be used with the store's tables.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// The layouts do not fit what is in the log.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The schema registry cannot be used.
    #[error(transparent)]
    Registry(RegistryError),
    /// The log or the store is in a state in which records would be lost.
    #[error("{0}")]
    Unfit(String),
    /// Actors restarted too often.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    /// A thread or runtime could not be started, or a part that is never restarted failed.
    #[error("{0}")]
    Broken(String),
}

/// A handle to a running engine. Dropping it lets the engine run on.
pub struct Engine {
    /// Where devices connect.
    pub devices_addr: SocketAddr,
    /// Where HTTP is served.
    pub http_addr: SocketAddr,
    /// Where HTTP ingest is served.
    pub ingest_addr: Option<SocketAddr>,
    opened: watch::Receiver<Option<Opened>>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<Result<(), EngineError>>>,
    thread: Option<JoinHandle<()>>,
}

/// What is there once the engine takes messages.
#[derive(Clone)]
pub struct Opened {
    /// Where messages become durable.
    pub log: Arc<dyn Log>,
    /// Where rows go, once that is there.
    pub store: watch::Receiver<Option<Arc<dyn Store>>>,
    /// The layouts that it began with.
    pub codecs: Arc<Codecs>,
    /// Takes newer configs over.
    pub reloader: Arc<Reloader>,
    /// For looking at it.
    pub view: View,
}

/// What is there once rows are written, too.
#[derive(Clone)]
pub struct Started {
    /// The log and the store.
    pub backends: Backends,
    /// The layouts that it began with.
    pub codecs: Arc<Codecs>,
    /// Takes newer configs over.
    pub reloader: Arc<Reloader>,
    /// For looking at it.
    pub view: View,
}

// === impl EngineError ===

impl EngineError {
    /// Whether trying again may work: a server that is not there yet.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Log(LogError::Failed { .. })
                | Self::Store(StoreError::Failed { .. } | StoreError::LoginRefused { .. })
                | Self::Routes(RoutesError::Store(StoreError::Failed { .. } | StoreError::LoginRefused { .. }))
                | Self::Schema(SchemaError::Log(LogError::Failed { .. }))
        )
    }
}

// === impl Engine ===

impl Engine {
    /// Starts an engine. Addresses and layouts are checked before this returns; the log and the store are opened
    /// afterwards. Messages are taken in once the log is there, and rows written once the store is there.
    pub fn launch(loaded: LoadedConfig) -> Result<Self, EngineError> {
        let config = &loaded.config;
        if let Some(refusal) = descriptors::refusal(config, descriptors::raise_limit()) {
            return Err(EngineError::Broken(refusal));
        }
        let codecs = Arc::new(load_codecs(config)?);
        check_routes(config, codecs.catalog()).map_err(EngineError::Unfit)?;
        let secrets = Secrets::open(config)?;
        let devices = listen("devices.listen", config.devices.listen)?;
        let http = listen("http.listen", config.http.listen)?;
        let ingest = config.ingest.listen.map(|address| listen("ingest.listen", address)).transpose()?;
        let (devices_addr, http_addr) = (local_addr(&devices)?, local_addr(&http)?);
        let ingest_addr = ingest.as_ref().map(local_addr).transpose()?;
        let (opened_tx, opened) = watch::channel(None);
        let (stop, stop_rx) = oneshot::channel();
        let (ended_tx, ended) = oneshot::channel();
        let work = move || {
            let run = run::Run { loaded, codecs, secrets, devices, http, ingest, opened: opened_tx };
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_system(run, stop_rx)));
            let outcome = ran.unwrap_or_else(|panic| {
                let words =
                    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                let words = words.unwrap_or("without a word");
                Err(EngineError::Broken(format!("the engine's own thread panicked: {words}")))
            });
            if let Err(error) = &outcome {
                error!("{error}");
            }
            let _ = ended_tx.send(outcome);
        };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(work)
            .map_err(|error| EngineError::Broken(format!("cannot start a thread: {error}")))?;
        let ingest = ingest_addr.map(tracing::field::display);
        info!(devices = %devices_addr, http = %http_addr, ingest, "listening");
        let (stop, ended, thread) = (Some(stop), Some(ended), Some(thread));
        Ok(Self { devices_addr, http_addr, ingest_addr, opened, stop, ended, thread })
    }

    /// Waits until the engine takes messages, and returns what it is made of; `None` if it ended before.
    pub fn opened(&self) -> impl Future<Output = Option<Opened>> + Send + use<> {
        let opened = self.opened.clone();
        async move { there(opened).await }
    }

    /// Waits until the engine writes rows, too; `None` if it ended before.
    pub fn started(&self) -> impl Future<Output = Option<Started>> + Send + use<> {
        let opened = self.opened();
        async move {
            let Opened { log, store, codecs, reloader, view } = opened.await?;
            Some(Started { backends: Backends { log, store: there(store).await? }, codecs, reloader, view })
        }
    }

    /// Asks the engine to stop in order; see [`Engine::ended`].
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until the engine has ended, by itself or because it was asked to.
    pub async fn ended(&mut self) -> Result<(), EngineError> {
        let Some(ended) = self.ended.as_mut() else { return Ok(()) };
        let outcome = ended.await;
        self.ended = None;
        if let Some(thread) = self.thread.take() {
            // It has sent its last word, so this does not wait.
            let _ = thread.join();
        }
        outcome.unwrap_or_else(|_| Err(EngineError::Broken("the engine ended without a word".to_owned())))
    }
}

/// Waits until something is there; `None` if it will never be.
async fn there<T: Clone>(mut awaited: watch::Receiver<Option<T>>) -> Option<T> {
    awaited.wait_for(Option::is_some).await.ok()?.clone()
}

/// Runs the engine on this thread, with a runtime beside it for the database driver.
fn run_system(run: run::Run, stop: oneshot::Receiver<()>) -> Result<(), EngineError> {
    let driver = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(run.loaded.config.threads.pipeline.get())
        .thread_name("driver")
        .enable_all()
        .build()
        .map_err(|error| EngineError::Broken(format!("cannot start a runtime: {error}")))?;
    let handle = driver.handle().clone();
    let opened = run.opened.subscribe();
    let system = actix_rt::System::new();
    let outcome = system.block_on(run.run(handle, stop));
    if opened.borrow().is_none() {
        // A server that does not answer may still be asked something, for which the runtime would wait. The thread that
        // asks ends by itself in a while.
        std::mem::forget(system);
    }
    // What is still under way there has been given up already.
    driver.shutdown_background();
    outcome
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, EngineError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    open().map_err(|reason| EngineError::Listen { key, address, reason })
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, EngineError> {
    listener.local_addr().map_err(|error| EngineError::Broken(format!("a socket has no address: {error}")))
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}
