//! Serves an application on a socket: HTTP/1.1 and HTTP/2, with TLS or without.
//!
//! This is what actix-web's own server does, put together here so that a [`Transport`] lies between: without it, a connection
//! that sends nothing, or whose second head stands still, is never ended, and broken requests are answered without a word.

use std::fmt;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{Server, ServerHandle};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::AppConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::request_id::RequestId;
use super::transport::{Exchange, Times, Transport};
use crate::tls::ServerTls;

/// What HTTP/2 by prior knowledge begins with (RFC 9113).
const H2_PREFACE: &[u8; 12] = b"PRI * HTTP/2";

/// How a port is served.
#[derive(Debug, Clone, Copy)]
pub struct Serving {
    /// Threads that accept and answer.
    pub num_threads: usize,
    /// Connections of all threads. Further ones wait to be accepted.
    pub max_connections: usize,
    /// How long a connection may keep us waiting.
    pub times: Times,
    /// What is under way has so long at the end.
    pub drain_timeout: Duration,
}

/// Serves until the handle stops it.
pub fn serve<F, I, S, B>(
    listener: TcpListener,
    tls: Option<&Arc<ServerTls>>,
    serving: Serving,
    app: F,
) -> std::io::Result<ServerHandle>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let Serving { num_threads, max_connections, times, drain_timeout } = serving;
    let builder = Server::build()
        .workers(num_threads)
        .max_concurrent_connections(max_connections.div_ceil(num_threads))
        .shutdown_timeout(drain_timeout.as_secs())
        .disable_signals();
    let draining = builder.graceful_shutdown_signal();
    // A service for links of one kind; a macro, since neither the service nor its builder has a type that can be named.
    macro_rules! http {
        () => {{
            let draining = draining.clone();
            let app = app().into_factory().map_err(|error| error.into().error_response().into());
            let app = apply_fn_factory(map_config(app, |()| AppConfig::default()), |request: Request, app: &_| {
                let exchange = request.conn_data::<Rc<Exchange>>().cloned();
                let id = RequestId::of(request.headers());
                request.extensions_mut().insert(id.clone());
                if let Some(exchange) = &exchange {
                    exchange.begin();
                }
                let answering = Service::call(app, request);
                async move {
                    let mut answer: Result<Response<B>, Response<BoxBody>> = answering.await.map(Into::into);
                    let headers = match &mut answer {
                        Ok(answer) => answer.headers_mut(),
                        Err(answer) => answer.headers_mut(),
                    };
                    id.mark(headers);
                    if let Some(exchange) = exchange {
                        exchange.end(Instant::now());
                    }
                    answer
                }
            });
            HttpService::build()
                .graceful_shutdown_signal(move || {
                    let draining = draining.clone();
                    async move { draining.notified().await }
                })
                .keep_alive(times.idle)
                // Only of HTTP/2: for HTTP/1.1 the link comes first.
                .client_request_timeout(times.head + Duration::from_secs(1))
                .client_disconnect_timeout(Duration::from_secs(1))
                .on_connect_ext(|link: &Transport<_>, data| {
                    if let Some(exchange) = link.exchange() {
                        data.insert(exchange);
                    }
                })
                .finish(app)
        }};
    }
    let builder = match tls {
        None => builder.listen("http", listener, move || {
            let accept = fn_service(move |io: TcpStream| async move {
                let (protocol, peer) = (protocol(&io, times.head).await?, io.peer_addr().ok());
                Ok((Transport::new(io, protocol, times), protocol, peer))
            });
            accept.and_then(http!())
        })?,
        Some(tls) => {
            let mut config = tls.lasting_config();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            builder.listen("https", listener, move || {
                Acceptor::new(config.clone())
                    .map_init_err(|_| ())
                    .map_err(TlsError::into_service_error)
                    .map(move |io: TlsStream<TcpStream>| {
                        let is_h2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
                        let protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
                        let peer = io.get_ref().0.peer_addr().ok();
                        (Transport::new(io, protocol, times), protocol, peer)
                    })
                    .and_then(http!().map_err(TlsError::Service))
            })?
        }
    };
    let server = builder.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

/// Which protocol a client without TLS speaks. One that says nothing is taken for one of HTTP/1.1, whose link ends it.
async fn protocol(io: &TcpStream, patience: Duration) -> std::io::Result<Protocol> {
    let mut start = [0; H2_PREFACE.len()];
    let peeked = timeout(patience, io.peek(&mut start)).await;
    peeked.unwrap_or(Ok(0))?;
    Ok(if start == *H2_PREFACE { Protocol::Http2 } else { Protocol::Http1 })
}
