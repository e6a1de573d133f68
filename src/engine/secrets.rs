//! What lets others in and what the engine proves itself by: tokens, and the certificates of its ports. All of it is
//! read together, at the start and again while the engine runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tracing::warn;

use super::EngineError;
use super::reload::{Prepared, ReloadError, Reloadable, public_paths};
use crate::actors::connection::{Disconnect, Edge};
use crate::config::{Config, LogKind, StoreKind};
use crate::credentials::{Credentials, CredentialsError, CurrentCredentials};
use crate::intake::admission::AdmissionControl;
use crate::observe::Guard;
use crate::tls::{PreparedTls, ServerTls, ServerTlsFiles, ServerTrust, TlsError, client_config};

/// Why tokens or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file of tokens.
    #[error("credentials.file: {0}")]
    Credentials(#[from] CredentialsError),
    /// The certificates of a port.
    #[error("{section}: {reason}")]
    Tls {
        /// The section of the config.
        section: &'static str,
        /// What is wrong.
        reason: TlsError,
    },
}

/// Tokens and certificates in force.
#[derive(Clone)]
pub struct Secrets {
    /// Who may send.
    pub credentials: CurrentCredentials,
    /// TLS on the device port. `None`: plain TCP.
    pub devices: Option<Arc<ServerTls>>,
    /// TLS on the HTTP side. `None`: plain HTTP.
    pub http: Option<Arc<ServerTls>>,
    /// TLS on HTTP ingest. `None`: plain HTTP.
    pub ingest: Option<Arc<ServerTls>>,
}

/// Secrets in force, and where those are that were let in by them.
pub(super) struct LiveSecrets {
    pub(super) secrets: Secrets,
    pub(super) edge: Arc<Edge>,
}

/// What has been read and is new, ready to be put in force.
struct News {
    credentials: Option<Credentials>,
    ports: Vec<(Arc<ServerTls>, PreparedTls)>,
    /// Whether devices' certificates are judged by other authorities now.
    has_new_authorities: bool,
    /// What is new, for people.
    changes: Vec<String>,
}

// === impl Secrets ===

impl Secrets {
    /// Reads what the config names. The clients of Kafka and of the database read their files themselves, again at each
    /// attempt to connect: a wrong one has to be told now, and not waited for.
    pub fn open(config: &Config) -> Result<Self, SecretsError> {
        let open = |(section, files): (&'static str, &Option<ServerTlsFiles>)| {
            let tls = files.clone().map(ServerTls::open).transpose();
            tls.map(|tls| tls.map(Arc::new)).map_err(|reason| SecretsError::Tls { section, reason })
        };
        for (section, trust) in servers(config) {
            client_config(trust).map_err(|reason| SecretsError::Tls { section, reason })?;
        }
        let [devices, http, ingest] = ports(config);
        let credentials = Arc::new(ArcSwap::from_pointee(credentials(config)?));
        Ok(Self { credentials, devices: open(devices)?, http: open(http)?, ingest: open(ingest)? })
    }

    /// Who may look at the operators' HTTP.
    pub(super) fn guard(&self, config: &Config, admission: &Arc<AdmissionControl>) -> Guard {
        let (credentials, admission) = (Arc::clone(&self.credentials), Arc::clone(admission));
        Guard::new(is_reachable(config), public_paths(config), credentials, admission)
    }

    /// What to do about an address of the operators' HTTP on which nobody has a token to look with, if that is so.
    pub fn nobody_may_look(&self, config: &Config) -> Option<String> {
        nobody_may_look(config, &self.credentials.load())
    }

    /// Reads the files again, which are those of the start: other ones need a restart.
    fn read_again(&self, config: &Config) -> Result<News, SecretsError> {
        let mut news = News { credentials: None, ports: Vec::new(), has_new_authorities: false, changes: Vec::new() };
        let credentials = credentials(config)?;
        if credentials != **self.credentials.load() {
            news.changes.push("tokens".to_owned());
            news.credentials = Some(credentials);
        }
        for (tls, (section, files)) in [&self.devices, &self.http, &self.ingest].into_iter().zip(ports(config)) {
            let (Some(tls), Some(files)) = (tls, files) else { continue };
            let read = PreparedTls::read(files.clone()).map_err(|reason| SecretsError::Tls { section, reason })?;
            // What is the same stays: with it the tickets that devices come back with.
            if !tls.serves(&read) {
                let is_of_devices = self.devices.as_ref().is_some_and(|devices| Arc::ptr_eq(devices, tls));
                news.has_new_authorities |= is_of_devices && !tls.trusts_the_same(&read);
                news.changes.push(format!("certificates of {section}"));
                news.ports.push((Arc::clone(tls), read));
            }
        }
        Ok(news)
    }
}

impl Reloadable for LiveSecrets {
    fn prepare<'a>(&'a self, config: &'a Config) -> BoxFuture<'a, Result<Prepared, ReloadError>> {
        Box::pin(async move {
            let news = self.secrets.read_again(config).map_err(EngineError::from)?;
            let News { credentials, ports, has_new_authorities, changes } = news;
            let notice = credentials.as_ref().and_then(|credentials| nobody_may_look(config, credentials));
            let (in_force, edge) = (Arc::clone(&self.secrets.credentials), Arc::clone(&self.edge));
            let commit = move || {
                if let Some(notice) = notice {
                    warn!("{notice}");
                }
                if let Some(credentials) = credentials {
                    in_force.store(Arc::new(credentials));
                    edge.prove_again(Disconnect::UnlessTokenHolds);
                }
                ports.into_iter().for_each(|(tls, read)| tls.commit(read));
                // Not for a new certificate of the server alone: signatures of a whole fleet take a while.
                if has_new_authorities {
                    edge.prove_again(Disconnect::UnlessCertificateHolds);
                }
            };
            Ok(Prepared { changes, commit: Box::new(commit) })
        })
    }
}

/// Reads the tokens that the config names.
fn credentials(config: &Config) -> Result<Credentials, CredentialsError> {
    config.credentials.file.as_deref().map_or_else(|| Ok(Credentials::open()), Credentials::load)
}

/// Whether others can reach the operators' HTTP.
fn is_reachable(config: &Config) -> bool {
    !config.http.listen.ip().is_loopback()
}

fn nobody_may_look(config: &Config, credentials: &Credentials) -> Option<String> {
    (is_reachable(config) && !credentials.has_observers()).then(|| {
        let listen = config.http.listen;
        format!(
            "http.listen: {listen} can be reached by others, and credentials.file has no token of an observer or operator: \
             it answers only what needs no token; make one with `surgetank token new --kind observer`"
        )
    })
}

/// The servers that are called by TLS, with the sections of what is trusted there.
fn servers(config: &Config) -> impl Iterator<Item = (&'static str, &ServerTrust)> {
    let kafka = match &config.log.kind {
        LogKind::Kafka(kafka) => kafka.tls.as_ref(),
        LogKind::Embedded(_) => None,
    };
    let cassandra = match &config.store.kind {
        StoreKind::Cassandra(cassandra) => cassandra.tls.as_ref(),
        StoreKind::Embedded(_) => None,
    };
    let registry = config.registry.tls.as_ref();
    let sections = [("log.kafka.tls", kafka), ("store.cassandra.tls", cassandra), ("registry.tls", registry)];
    sections.into_iter().filter_map(|(section, trust)| Some((section, trust?)))
}

/// The ports with the sections of their certificates.
fn ports(config: &Config) -> [(&'static str, &Option<ServerTlsFiles>); 3] {
    [("devices.tls", &config.devices.tls), ("http.tls", &config.http.tls), ("ingest.tls", &config.ingest.tls)]
}
