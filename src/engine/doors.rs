//! What outsiders reach: open from the first moment of a start, to say when to come again, and led to the data path once
//! that is built. The sockets stay the same, so that no connection is lost in between.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;

use super::build::supervise;
use super::reload::edge_limits;
use super::secrets::Secrets;
use super::threads::{Threads, handles, home};
use super::{EngineError, descriptors};
use crate::actors::connection::Edge;
use crate::actors::decoder::{Decoder, DecoderParts};
use crate::actors::listener::{Acceptor, Listener, StopAccepting};
use crate::config::Config;
use crate::credentials::CurrentCredentials;
use crate::flow::credit::Credits;
use crate::observe::View;
use crate::sources;
use crate::sources::http::{Entrance, Ingest, IngestLimits};
use crate::supervision::{ActorRef, Crowd};

/// Where what is taken in comes from.
pub(super) struct Sockets {
    pub(super) devices: TcpListener,
    pub(super) ingest: Option<TcpListener>,
}

/// What outsiders reach.
pub(super) struct Doors {
    /// What connections of devices share.
    pub(super) edge: Arc<Edge>,
    /// The connections of devices.
    pub(super) crowd: Arc<Crowd>,
    listener: ActorRef<Listener>,
    entrance: Arc<Entrance>,
    /// `None`: there is no HTTP ingest.
    ingest: Option<ServerHandle>,
    credentials: CurrentCredentials,
}

// === impl Doors ===

impl Doors {
    /// Accepts on the sockets. Who comes is told to come later, until [`Doors::lead_to`].
    pub(super) fn open(
        config: &Config,
        sockets: Sockets,
        view: &View,
        secrets: &Secrets,
        threads: &Threads,
    ) -> Result<Self, EngineError> {
        let (credentials, tls) = (Arc::clone(&secrets.credentials), secrets.devices.clone());
        let edge = Arc::new(Edge::new(
            edge_limits(config),
            Arc::clone(&credentials),
            tls,
            Arc::clone(&view.status),
            Arc::clone(&view.doorkeeper),
            view.memory.clone(),
            Arc::clone(&view.telemetry),
        ));
        let crowd = view.supervisor.tree().add_crowd("connection");
        let max_devices = descriptors::device_connections(config, descriptors::raise_limit());
        let acceptor = Arc::new(Acceptor {
            socket: sockets.devices,
            homes: handles(&threads.connections),
            edge: Arc::clone(&edge),
            crowd: Arc::clone(&crowd),
            room: Credits::new(u32::try_from(max_devices).unwrap_or(u32::MAX)),
        });
        let build = move |lifeline| Listener::new(Arc::clone(&acceptor), lifeline);
        let listener = supervise(view, "listener", "devices".to_owned(), home(&threads.connections, 0), 1, build);
        let entrance = Arc::new(Entrance::new(Arc::clone(&edge)));
        let serve = |socket| {
            let num_threads = config.threads.ingest.get();
            let (tls, drain_timeout) = (secrets.ingest.as_ref(), config.shutdown.drain_timeout);
            sources::http::serve(socket, tls, Arc::clone(&entrance), &config.ingest, num_threads, drain_timeout)
                .map_err(|error| EngineError::Broken(format!("cannot serve HTTP ingest: {error}")))
        };
        let ingest = sockets.ingest.map(serve).transpose()?;
        Ok(Self { edge, crowd, listener, entrance, ingest, credentials })
    }

    /// Lets devices and clients in: what they send goes to these decoders, or the way that the decoders know.
    pub(super) fn lead_to(&self, config: &Config, decoders: Vec<ActorRef<Decoder>>, parts: Arc<DecoderParts>) {
        let (edge, credentials) = (Arc::clone(&self.edge), Arc::clone(&self.credentials));
        let ingest = Ingest::new(ingest_limits(config), parts, edge, credentials);
        // Before the edge, by which both doors are seen to be open.
        self.entrance.open(ingest);
        self.edge.open(decoders);
    }

    /// Accepts nothing more. What is returned ends when the requests under way are answered, or, if they are not to be, cut
    /// off; `None` without HTTP ingest.
    pub(super) fn close(&self, is_graceful: bool) -> Option<impl Future<Output = ()> + use<>> {
        self.listener.send(StopAccepting);
        let server = self.ingest.clone()?;
        Some(async move { server.stop(is_graceful).await })
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
