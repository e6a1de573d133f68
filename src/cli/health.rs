//! `surgetank health`: asks a running engine one of its health checks over HTTP, for containers that have no shell and no
//! client of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use awc::http::header::AUTHORIZATION;
use awc::{Client, Connector};

use super::args::{HealthArgs, HealthCheck};
use super::output::print;
use super::{Failure, Outcome};
use crate::config::Config;
use crate::tls::{ServerTrust, client_config};

/// More of an answer is not read.
const MAX_ANSWER: usize = 1 << 20;

pub(super) fn health(args: &HealthArgs) -> Outcome {
    let base = match (&args.url, &args.config) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(config)) => base_of(config)?,
        (None, None) => return Err(Failure::Usage("name the engine: --config FILE or --url URL".to_owned())),
    };
    let url = format!("{base}{}", args.check.path());
    let connector = connector(args.ca.as_deref())?;
    let (status, body) = actix_rt::System::new().block_on(ask(&url, connector, args))?;
    print(body.trim_end())?;
    if status.is_success() { Ok(()) } else { Err(Failure::Job(format!("{url}: {status}"))) }
}

/// Where the engine of a config answers on this machine.
fn base_of(path: &Path) -> Result<String, Failure> {
    let config = Config::load(Some(path)).map_err(Failure::usage)?;
    if config.http.tls.is_some() {
        // The certificate is for a name, which the config does not tell.
        let advice =
            "the operators' port speaks TLS: name it with --url https://NAME:PORT, and its authority with --ca";
        return Err(Failure::Usage(advice.to_owned()));
    }
    Ok(format!("http://{}", reachable(config.http.listen)))
}

/// The address to call for one that is listened on: one that stands for all of the machine's is called by loopback.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

fn connector(ca: Option<&Path>) -> Result<Option<Arc<rustls::ClientConfig>>, Failure> {
    ca.map(|ca| client_config(&ServerTrust { ca: ca.to_owned(), identity: None }).map(Arc::new))
        .transpose()
        .map_err(Failure::usage)
}

async fn ask(
    url: &str,
    tls: Option<Arc<rustls::ClientConfig>>,
    args: &HealthArgs,
) -> Result<(awc::http::StatusCode, String), Failure> {
    let mut connector = Connector::new().timeout(args.timeout).handshake_timeout(args.timeout);
    if let Some(tls) = tls {
        connector = connector.rustls_0_23(tls);
    }
    let client = Client::builder().connector(connector).timeout(args.timeout).disable_redirects().finish();
    let mut request = client.get(url);
    if !args.token.is_empty() {
        request = request.insert_header((AUTHORIZATION, format!("Bearer {}", args.token)));
    }
    let failed = |error: &dyn std::fmt::Display| Failure::Job(format!("{url}: {error}"));
    let mut answer = request.send().await.map_err(|error| failed(&error))?.timeout(args.timeout);
    let body = answer.body().limit(MAX_ANSWER).await.map_err(|error| failed(&error))?;
    Ok((answer.status(), String::from_utf8_lossy(&body).into_owned()))
}

// === impl HealthCheck ===

impl HealthCheck {
    fn path(self) -> &'static str {
        match self {
            Self::Live => "/health/live",
            Self::Started => "/health/started",
            Self::Ready => "/health/ready",
            Self::All => "/health",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_an_address_of_all_interfaces_is_called_by_loopback() {
        for (listen, called) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.1.2.3:8080", "10.1.2.3:8080"),
            ("127.0.0.1:7401", "127.0.0.1:7401"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), called);
        }
    }
}
