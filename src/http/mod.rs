//! HTTP: health, histograms and actors as JSON, and, at an address of its own, ingest.

pub mod ingest;
mod observe;

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use crate::actors::doorkeeper::Doorkeeper;
use crate::actors::gate::GateControl;
use crate::actors::group::Lags;
use crate::actors::intake::LiveEvidence;
use crate::engine::Reloads;
use crate::flow::memory::MemoryBudget;
use crate::supervision::{Status, Supervisor};
use crate::telemetry::Telemetry;
use crate::tls::ServerTls;

/// What can be seen of a running engine.
#[derive(Clone)]
pub struct View {
    /// What it is doing and whether its log and store answer.
    pub status: Arc<Status>,
    /// What is known of this machine's clock.
    pub clock: LiveEvidence,
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
            .service(observe::live)
            .service(observe::health)
            .service(observe::ready)
            .service(observe::started)
            .service(observe::reload)
            .service(observe::histograms)
            .service(observe::actors)
            .service(observe::gate)
    })
    .workers(1)
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
