//! HTTP ingest: events as JSON and packages, taken into the same log as what devices send. `docs/http.md` is the full
//! text.
//!
//! A request is worked on where it was accepted: `body` reads and unpacks it, `codec::json` makes records of it, and
//! [`Intake`] takes them, chunk by chunk. Each chunk of a body has a ticket as a package has; the answer is made of the
//! receipts, so it says "accepted" of nothing that is not durable.

mod access;
mod body;
mod body_deadline;
mod events;
mod headers;
mod inflate;
mod openapi;
mod packages;
mod snappy;
mod summary;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_cors::Cors;
use actix_web::dev::{ServerHandle, Service, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::{Condition, ErrorHandlerResponse, ErrorHandlers};
use actix_web::{App, HttpRequest, HttpResponse, web};
use futures_util::future::BoxFuture;

use crate::config;
use crate::credentials::CurrentCredentials;
use crate::flow::clock::Trust;
use crate::flow::credit::{Credit, Credits};
use crate::flow::memory::Reserved;
use crate::flow::trace::{TRACEPARENT, TRACESTATE};
use crate::http::problem::{Kind, PROBLEM_JSON, Problem};
use crate::http::refusal::{no_such_path, only, readable, refuse};
use crate::http::request_id::{REQUEST_ID_HEADER, RequestId};
use crate::http::server::{self, Serving};
use crate::http::transport::Times;
use crate::intake::held_back::HeldBack;
use crate::intake::{Closed, Intake, Path};
use crate::sources::Source;
use crate::telemetry::Recorder;
use crate::telemetry::requests::Endpoint;
use crate::tls::ServerTls;

/// The header that names the device that a package is of.
const DEVICE_HEADER: &str = "surgetank-device";
/// The header that stands for the sequences of events that have none.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// How long a browser may remember what CORS allows.
const CORS_MAX_AGE_SECONDS: usize = 3600;
/// Where to find the paths that there are.
const PATHS: &str = "see /openapi.json";

/// Limits of requests; meanings and units are those of the config's `[ingest]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct IngestLimits {
    pub max_body: u64,
    pub max_expansion: u32,
    pub max_event: usize,
    pub max_events: u32,
    pub max_listed: usize,
    pub piece: usize,
    pub max_pieces: usize,
    pub body_timeout: Duration,
    pub min_body_rate: u64,
}

/// What all requests share.
pub struct Ingest {
    limits: IngestLimits,
    intake: Arc<Intake>,
    credentials: CurrentCredentials,
    /// One for each request that is worked on.
    requests: Credits,
    held_back: HeldBack,
    /// From the head of a request to its answer.
    acknowledge: Recorder,
}

/// HTTP ingest as a source.
pub struct HttpIngest {
    server: ServerHandle,
}

// === impl Ingest ===

impl Ingest {
    /// Hands what clients with these credentials send to intake, for as many requests at a time as there are credits.
    pub fn new(limits: IngestLimits, requests: Credits, intake: Arc<Intake>, credentials: CurrentCredentials) -> Self {
        let acknowledge = intake.telemetry.acknowledge.recorder();
        let held_back = HeldBack::new(Arc::clone(&intake.admission));
        Self { limits, intake, credentials, requests, held_back, acknowledge }
    }

    /// The way into the log; until there is one, requests are told when to come again.
    async fn path(&self) -> Result<&Arc<Path>, Problem> {
        let closed = |Closed { reason, retry_after }| Problem::new(Kind::Starting, reason).retry_after(retry_after);
        self.intake.path().await.map_err(closed)
    }

    /// Lets a request be worked on, unless there are too many.
    fn admit(&self) -> Result<Credit, Problem> {
        self.requests.try_take().ok_or_else(|| {
            let detail = format!("{} are under way", self.requests.snapshot().bound);
            Problem::new(Kind::Busy, detail).retry_after(self.intake.retry_delay())
        })
    }

    /// How far this machine's clock can be believed; nothing is taken in while it is wrong.
    fn trust(&self, received_at_us: u64, now: Instant) -> Result<Trust, Problem> {
        match self.intake.trust(received_at_us, now) {
            Trust::Wrong => {
                let problem = Problem::new(Kind::NotConfirmed, "this server's clock is wrong: send the request again");
                Err(problem.retry_after(self.intake.retry_delay()))
            }
            trust => Ok(trust),
        }
    }

    /// Room in memory for what is about to be read.
    fn make_room(&self, num_bytes: u64) -> Result<Reserved, Problem> {
        self.intake.memory.try_reserve(num_bytes).ok_or_else(|| no_memory(self.intake.retry_delay()))
    }
}

/// Answers a request with what `take` makes of it, or says what is wrong with it.
async fn answer(
    request: &HttpRequest,
    mut payload: web::Payload,
    take: impl AsyncFnOnce(&mut web::Payload) -> Result<HttpResponse, Problem>,
) -> HttpResponse {
    match take(&mut payload).await {
        Ok(answer) => answer,
        Err(problem) => refuse(request, payload, &problem).await,
    }
}

/// There is no room in memory for as long as this.
fn no_memory(retry_after: Duration) -> Problem {
    Problem::new(Kind::MemoryFull, "the memory budget is used up").retry_after(retry_after)
}

// === impl HttpIngest ===

impl Source for HttpIngest {
    fn senders(&self) -> &'static str {
        "requests"
    }

    fn close(&self, is_graceful: bool) -> BoxFuture<'static, ()> {
        Box::pin(self.server.stop(is_graceful))
    }
}

/// Serves HTTP ingest on an open socket, in HTTP/1.1 and HTTP/2, with TLS if there is any, until it is closed.
pub fn serve(
    listener: TcpListener,
    tls: Option<&Arc<ServerTls>>,
    ingest: Ingest,
    config: &config::Ingest,
    num_threads: usize,
    drain_timeout: Duration,
) -> std::io::Result<HttpIngest> {
    let telemetry = Arc::clone(&ingest.intake.telemetry);
    let ingest = web::Data::new(ingest);
    let origins = config.cors_origins.clone();
    let serving = Serving {
        num_threads,
        max_connections: config.max_connections.get(),
        times: Times { head: config.head_timeout, idle: config.idle_timeout },
        drain_timeout,
    };
    let server = server::serve(listener, tls, serving, move || {
        let telemetry = Arc::clone(&telemetry);
        App::new()
            .app_data(ingest.clone())
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
            .wrap(Condition::new(
                !origins.is_empty(),
                ErrorHandlers::new().handler(StatusCode::BAD_REQUEST, not_by_cors),
            ))
            // Around all others, so that no answer is left out.
            .wrap_fn(move |request, service| {
                let (telemetry, endpoint) = (Arc::clone(&telemetry), Endpoint::of(request.path()));
                let answer = service.call(request);
                async move {
                    let answer = answer.await;
                    let status = match &answer {
                        Ok(answer) => answer.status(),
                        Err(error) => error.as_response_error().status_code(),
                    };
                    telemetry.counters.requests.answered(endpoint, status.as_u16());
                    answer
                }
            })
            // A prefix, which the router compares; the pattern "{type}" would cost it a fifth of a request's instructions.
            .service(web::scope("/v1/events").default_service(web::to(events::post)))
            .service(only("POST", web::resource("/v1/packages").route(web::post().to(packages::post))))
            .service(readable("/openapi.json", openapi::get))
            .default_service(web::to(not_found))
    })?;
    Ok(HttpIngest { server })
}

async fn not_found(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    refuse(&request, payload, &no_such_path(&request, PATHS)).await
}

/// Says in our words what CORS has refused; our own answers stay.
fn not_by_cors<B>(answer: ServiceResponse<B>) -> actix_web::Result<ErrorHandlerResponse<B>> {
    if answer.headers().get(CONTENT_TYPE).is_some_and(|media_type| media_type == PROBLEM_JSON) {
        return Ok(ErrorHandlerResponse::Response(answer.map_into_left_body()));
    }
    let problem =
        Problem::new(Kind::BadHeader, "pages of this origin may not send, or not by this method or these headers");
    let id = RequestId::of_request(answer.request());
    let answer = ServiceResponse::new(answer.request().clone(), problem.answer(id.as_ref()));
    Ok(ErrorHandlerResponse::Response(answer.map_into_right_body()))
}

fn cors(origins: &[String]) -> Cors {
    let headers = [AUTHORIZATION, CONTENT_TYPE, CONTENT_ENCODING, ACCEPT];
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST"])
        .allowed_headers(headers)
        .allowed_headers([DEVICE_HEADER, IDEMPOTENCY_HEADER, REQUEST_ID_HEADER, TRACEPARENT, TRACESTATE])
        .expose_headers([RETRY_AFTER.as_str(), REQUEST_ID_HEADER])
        .max_age(CORS_MAX_AGE_SECONDS);
    match origins {
        [all] if all == "*" => cors.allow_any_origin().send_wildcard(),
        _ => origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin)),
    }
}
