//! The sources of the engine, in the order in which they start and stop: each accepts from the first moment of a start, and
//! tells its senders when to come again until there is a way into the log. The sockets stay the same, so that no connection
//! is lost in between.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tracing::warn;

use super::build::supervise;
use super::reload::{edge_limits, intake_limits};
use super::secrets::Secrets;
use super::threads::{Threads, handles, home};
use super::{EngineError, descriptors};
use crate::actors::connection::Edge;
use crate::actors::listener::{Acceptor, Listener};
use crate::config::Config;
use crate::flow::credit::Credits;
use crate::intake::Intake;
use crate::observe::View;
use crate::sources::Source;
use crate::sources::devices::DevicePort;
use crate::sources::http::{self, Ingest, IngestLimits};

/// Where what is taken in comes from.
pub(super) struct Sockets {
    pub(super) devices: TcpListener,
    pub(super) ingest: Option<TcpListener>,
}

/// The running sources, and what they share.
pub(super) struct Sources {
    /// What all of them hand messages to.
    pub(super) intake: Arc<Intake>,
    /// What connections of devices share.
    pub(super) edge: Arc<Edge>,
    running: Vec<Box<dyn Source>>,
}

/// What every source is built from.
struct Start<'a> {
    config: &'a Config,
    view: &'a View,
    secrets: &'a Secrets,
    threads: &'a Threads,
    intake: &'a Arc<Intake>,
}

// === impl Sources ===

impl Sources {
    /// Starts all sources, which take nothing in until [`Intake::open`].
    pub(super) fn start(
        config: &Config,
        sockets: Sockets,
        view: &View,
        secrets: &Secrets,
        threads: &Threads,
    ) -> Result<Self, EngineError> {
        let status = Arc::clone(&view.status);
        let intake = Arc::new(Intake::new(
            intake_limits(config),
            Arc::clone(&view.admission),
            view.memory.clone(),
            Arc::clone(&view.telemetry),
            Box::new(move || status.starting()),
        ));
        let start = Start { config, view, secrets, threads, intake: &intake };
        let devices = start.devices(sockets.devices);
        let edge = Arc::clone(&devices.edge);
        let mut running: Vec<Box<dyn Source>> = vec![Box::new(devices)];
        if let Some(socket) = sockets.ingest {
            running.push(Box::new(start.http(socket)?));
        }
        Ok(Self { intake, edge, running })
    }

    /// Closes all sources. Until the deadline what is under way gets its answer, then it is cut off.
    pub(super) async fn drain(&self, deadline: Instant) {
        let wait = |source: &dyn Source| {
            let (senders, closed) = (source.senders(), source.close(true));
            async move {
                if timeout(deadline.saturating_duration_since(Instant::now()), closed).await.is_err() {
                    warn!("{senders} were cut off; their senders send again what has no answer");
                }
            }
        };
        // Closed all at once, when the list is made.
        join_all(self.running.iter().map(|source| wait(&**source)).collect::<Vec<_>>()).await;
    }

    /// Closes all sources at once.
    pub(super) async fn cut_off(&self) {
        join_all(self.running.iter().map(|source| source.close(false)).collect::<Vec<BoxFuture<'_, ()>>>()).await;
    }
}

// === impl Start ===

impl Start<'_> {
    fn devices(&self, socket: TcpListener) -> DevicePort {
        let Self { config, view, secrets, threads, intake } = *self;
        let (credentials, tls) = (Arc::clone(&secrets.credentials), secrets.devices.clone());
        let edge = Arc::new(Edge::new(edge_limits(config), credentials, tls, Arc::clone(intake)));
        let max_devices = descriptors::device_connections(config, descriptors::raise_limit());
        let crowd = view.supervisor.tree().add_crowd("connection", max_devices as u64);
        let acceptor = Arc::new(Acceptor {
            socket,
            homes: handles(&threads.connections),
            edge: Arc::clone(&edge),
            crowd: Arc::clone(&crowd),
            room: Credits::new(u32::try_from(max_devices).unwrap_or(u32::MAX)),
        });
        let build = move |lifeline| Listener::new(Arc::clone(&acceptor), lifeline);
        let listener = supervise(view, "listener", "devices".to_owned(), home(&threads.connections, 0), 1, build);
        DevicePort { edge, crowd, listener }
    }

    fn http(&self, socket: TcpListener) -> Result<http::HttpIngest, EngineError> {
        let Self { config, secrets, intake, .. } = *self;
        let ingest = Ingest::new(ingest_limits(config), Arc::clone(intake), Arc::clone(&secrets.credentials));
        let (num_threads, drain_timeout) = (config.threads.ingest.get(), config.shutdown.drain_timeout);
        http::serve(socket, secrets.ingest.as_ref(), ingest, &config.ingest, num_threads, drain_timeout)
            .map_err(|error| EngineError::Broken(format!("cannot serve HTTP ingest: {error}")))
    }
}

fn ingest_limits(config: &Config) -> IngestLimits {
    let config = &config.ingest;
    IngestLimits {
        max_requests: config.max_requests.get() as u32,
        max_body: config.max_body,
        max_expansion: config.max_expansion.get(),
        max_event: config.max_event,
        max_events: config.max_events.get(),
        max_listed: config.max_listed.get(),
        piece: config.piece,
        max_pieces: config.max_pieces.get(),
        body_timeout: config.body_timeout,
        min_body_rate: config.min_body_rate,
    }
}
