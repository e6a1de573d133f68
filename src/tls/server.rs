//! The TLS of a port that we listen on. Its files can be read again: connections that are open stay as they are, those
//! to come get the new certificates.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{NameIn, TlsError, files, provider};

/// The files of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTlsFiles {
    /// The certificate, followed by those of the authorities between it and a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Certificates that clients present. `None`: they are not asked for any.
    pub clients: Option<ClientCertificates>,
}

/// What is asked of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that may have issued them.
    pub ca: PathBuf,
    /// Whether a client without one is turned away.
    pub is_required: bool,
    /// Where a certificate has the name of its holder.
    pub name_in: NameIn,
}

/// The TLS of a port.
#[derive(Debug)]
pub struct ServerTls {
    current: ArcSwap<PreparedTls>,
}

/// What has been read from the files of a port.
#[derive(Debug)]
pub struct PreparedTls {
    clients: Option<ClientCertificates>,
    authorities: Vec<CertificateDer<'static>>,
    /// Knows these authorities.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    certified: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
}

// === impl ServerTlsFiles ===

impl ServerTlsFiles {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        let Self { certificate, key, clients } = self;
        [certificate, key].into_iter().chain(clients.as_ref().map(|clients| &clients.ca))
    }
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files.
    pub fn open(files: ServerTlsFiles) -> Result<Self, TlsError> {
        Ok(Self { current: ArcSwap::from_pointee(PreparedTls::read(files)?) })
    }

    /// For a new connection: its TLS, and where its certificate will have the name of its holder, if it is to have one.
    pub fn for_connection(&self) -> (Arc<ServerConfig>, Option<NameIn>) {
        let current = self.current.load();
        (Arc::clone(&current.config), current.clients.as_ref().map(|clients| clients.name_in))
    }

    /// For a server that takes one configuration for ever: it asks for the certificate at each connection. The client
    /// authorities are those of now.
    pub fn lasting_config(self: &Arc<Self>) -> ServerConfig {
        let mut config = ServerConfig::clone(&self.current.load().config);
        config.cert_resolver = Arc::new(Resolver(Arc::clone(self)));
        config
    }

    /// Whether new connections are served by just this already.
    pub fn serves(&self, read: &PreparedTls) -> bool {
        let current = self.current.load();
        current.certified.cert == read.certified.cert && current.authorities == read.authorities
    }

    /// Whether certificates of clients are judged by the same authorities already.
    pub fn trusts_the_same(&self, read: &PreparedTls) -> bool {
        self.current.load().authorities == read.authorities
    }

    /// Whether a client that presents these certificates, its own first, would be let in by the authorities of now.
    pub fn still_trusts(&self, certificates: &[CertificateDer<'_>]) -> bool {
        let current = self.current.load();
        let (Some(verifier), Some((own, between))) = (&current.verifier, certificates.split_first()) else {
            return false;
        };
        verifier.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }

    /// Serves new connections by what was read.
    pub fn commit(&self, prepared: PreparedTls) {
        self.current.store(Arc::new(prepared));
    }
}

// === impl PreparedTls ===

impl PreparedTls {
    /// Reads files, for [`ServerTls::commit`].
    pub fn read(files: ServerTlsFiles) -> Result<Self, TlsError> {
        let ServerTlsFiles { certificate, key, clients } = files;
        let provider = provider();
        let chain = files::certificates(&certificate)?;
        // Fails also if the key is not the certificate's.
        let certified = CertifiedKey::from_der(chain, files::private_key(&key)?, &provider);
        let certified = Arc::new(certified.map_err(|error| TlsError::new(&key, error))?);
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(&certificate, error))?;
        let (builder, authorities, verifier) = match &clients {
            None => (builder.with_no_client_auth(), Vec::new(), None),
            Some(clients) => {
                let (authorities, verifier) = (files::certificates(&clients.ca)?, verifier(clients)?);
                (builder.with_client_cert_verifier(Arc::clone(&verifier)), authorities, Some(verifier))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&certified))));
        // A device that comes back, as whole fleets do after a restart of a switch, saves the signature. The keys of the
        // tickets go with this value, so that a ticket does not outlive the authority that let its holder in.
        config.ticketer = Ticketer::new().map_err(|error| TlsError::new(&certificate, error))?;
        config.send_tls13_tickets = 1;
        Ok(Self { clients, authorities, verifier, certified, config: Arc::new(config) })
    }
}

fn verifier(clients: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(files::authorities(&clients.ca)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = if clients.is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::new(&clients.ca, error))
}

/// The port's certificate of the moment.
#[derive(Debug)]
struct Resolver(Arc<ServerTls>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.load().certified))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Writes a certificate and its key.
    fn issue(directory: &Path, name: &str) {
        let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(directory.join(format!("{name}.crt")), issued.cert.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), issued.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn test_each_mistake_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        issue(directory.path(), "a");
        issue(directory.path(), "b");
        std::fs::write(directory.path().join("empty"), "").unwrap();
        std::fs::write(directory.path().join("torn"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
        let open = |certificate: &str, key: &str, ca: Option<&str>| {
            let path = |name: &str| directory.path().join(name);
            let clients = |ca| ClientCertificates { ca: path(ca), is_required: true, name_in: NameIn::Dns };
            ServerTls::open(ServerTlsFiles { certificate: path(certificate), key: path(key), clients: ca.map(clients) })
        };
        assert!(open("a.crt", "a.key", None).is_ok() && open("a.crt", "a.key", Some("b.crt")).is_ok());
        for (certificate, key, ca, file, words) in [
            ("none", "a.key", None, "none", "cannot be read"),
            ("empty", "a.key", None, "empty", "holds no certificate"),
            ("torn", "a.key", None, "torn", ""),
            ("a.key", "a.key", None, "a.key", "holds no certificate"),
            ("a.crt", "none", None, "none", "cannot be read"),
            ("a.crt", "empty", None, "empty", "it has to hold a private key"),
            ("a.crt", "b.key", None, "b.key", ""),
            ("a.crt", "a.key", Some("empty"), "empty", "holds no certificate"),
        ] {
            let error = open(certificate, key, ca).expect_err("a refusal").to_string();
            let place = format!("{}: ", directory.path().join(file).display());
            assert!(error.starts_with(&place) && error.contains(words), "{error}");
        }
    }
}
