//! What can be seen of a running engine: its state and health, and the operators' HTTP that shows it.

mod bottleneck;
mod cluster;
mod guard;
mod http;
pub mod metrics;
mod process;
mod reloads;
mod retained;
mod scrapes;
mod status;

pub use bottleneck::BottleneckWatch;
pub use cluster::{ClusterBoard, Observed};
pub use guard::{Guard, PublicPaths};
pub use process::ProcessNow;
pub use reloads::{Attempt, Outcome, ReloadNumbers, ReloadRecord, Reloads};
pub use retained::{Retained, RetainedLetters};
pub use status::{Phase, Status};

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use metrics::Exposition;
use scrapes::Scrapes;

use crate::actors::gate::GateControl;
use crate::actors::group::Lags;
use crate::flow::credit::Credits;
use crate::flow::memory::MemoryBudget;
use crate::http::refusal::readable;
use crate::http::server::{self, Serving};
use crate::http::transport::Times;
use crate::intake::admission::AdmissionControl;
use crate::intake::rules::LiveEvidence;
use crate::supervision::Supervisor;
use crate::telemetry::Telemetry;
use crate::tls::ServerTls;

/// How long connections of the operators' side may keep us waiting. Between requests it is longer than load balancers keep
/// idle connections, which is 60 s with most of them, so that no check of theirs meets one that we have closed.
const TIMES: Times = Times { head: Duration::from_secs(5), idle: Duration::from_secs(75) };

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
    /// What the servers of the log and the store say of themselves.
    pub cluster: Arc<ClusterBoard>,
    /// How much waits in memory.
    pub memory: MemoryBudget,
    /// Who is admitted, and who was refused.
    pub admission: Arc<AdmissionControl>,
    /// How reloads went.
    pub reloads: Arc<Reloads>,
    /// Who may look at all this over HTTP.
    pub guard: Arc<Guard>,
    /// One for each request of HTTP ingest that is worked on.
    pub requests: Credits,
    /// Which stage of the path limits it.
    pub bottleneck: Arc<BottleneckWatch>,
    /// The dead letters in the log.
    pub retained: Arc<Retained>,
}

/// Serves HTTP on an open socket, with TLS if there is any, until the handle stops it. Beyond so many connections, further
/// ones wait.
pub fn serve(
    listener: TcpListener,
    tls: Option<&Arc<ServerTls>>,
    view: View,
    max_connections: NonZeroUsize,
) -> std::io::Result<ServerHandle> {
    let serving = Serving {
        num_threads: 1,
        max_connections: max_connections.get(),
        times: TIMES,
        // What is asked here is answered at once.
        drain_timeout: Duration::from_secs(1),
    };
    let scrapes = web::Data::new(Scrapes::new(Exposition::new(view.clone())));
    server::serve(listener, tls, serving, move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&view.guard)))
            .app_data(web::Data::new(view.clone()))
            .app_data(scrapes.clone())
            .wrap(from_fn(guard::guard))
            .service(readable("/health/live", http::live))
            .service(readable("/health", http::health))
            .service(readable("/health/ready", http::ready))
            .service(readable("/health/started", http::started))
            .service(readable("/health/reload", http::reload))
            .service(readable("/metrics", http::metrics))
            .service(readable("/histograms", http::histograms))
            .service(readable("/actors", http::actors))
            .service(readable("/gate", http::gate))
            .default_service(web::to(http::not_found))
    })
}
