//! HTTP: health, histograms and actors as JSON, and, at an address of its own, ingest.

pub mod ingest;
mod observe;
mod refusal;

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use self::refusal::readable;
use crate::actors::doorkeeper::Doorkeeper;
use crate::actors::gate::GateControl;
use crate::actors::group::Lags;
use crate::engine::Reloads;
use crate::flow::memory::MemoryBudget;
use crate::supervision::{Status, Supervisor};
use crate::telemetry::Telemetry;
use crate::tls::ServerTls;

/// How long a connection of the operators' side may stay open without a request: longer than load balancers keep idle
/// ones, which is 60 s with most of them, so that no check of theirs meets a connection that we have closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What can be seen of a running engine.
#[derive(Clone)]
pub struct View {
    /// What it is doing and whether its log and store answer.
    pub status: Arc<Status>,
    /// Histograms and counters.
    pub telemetry: Arc<Telemetry>,
    /// The actors.
    pub supervisor: Supervisor,
    /// Records behind the end of the log, per partition.
    pub lags: Lags,
    /// What the gate decides.
    pub gate: Arc<GateControl>,
    /// How much waits in memory.
    pub memory: MemoryBudget,
    /// Who comes in, and who was sent away.
    pub doorkeeper: Arc<Doorkeeper>,
    /// How reloads went.
    pub reloads: Arc<Reloads>,
}

/// Serves HTTP on an open socket, with TLS if there is any, until the handle stops it. Beyond so many connections, further
/// ones wait.
pub fn serve(
    listener: TcpListener,
    tls: Option<&Arc<ServerTls>>,
    view: View,
    max_connections: NonZeroUsize,
) -> std::io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(view.clone()))
            .service(readable("/health/live", observe::live))
            .service(readable("/health", observe::health))
            .service(readable("/health/ready", observe::ready))
            .service(readable("/health/started", observe::started))
            .service(readable("/health/reload", observe::reload))
            .service(readable("/histograms", observe::histograms))
            .service(readable("/actors", observe::actors))
            .service(readable("/gate", observe::gate))
            .default_service(web::to(observe::not_found))
    })
    .workers(1)
    .keep_alive(KEEP_ALIVE)
    .max_connections(max_connections.get())
    .disable_signals();
    let server = match tls {
        None => server.listen(listener)?,
        // HTTP/1.1 and HTTP/2 are negotiated by the server itself.
        Some(tls) => server.listen_rustls_0_23(listener, tls.lasting_config())?,
    };
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}
