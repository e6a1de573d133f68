//! The TLS of connections that we open: whom we trust, and what we show.

use std::path::PathBuf;

use rustls::ClientConfig;

use super::{TlsError, files, provider};

/// Whom to trust, and what to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTrust {
    /// The authorities that may have issued the server's certificate.
    pub ca: PathBuf,
    /// Our own certificate and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the files of a client. The server's certificate must be for the name, or the address, that it is called by.
pub fn client_config(trust: &ServerTrust) -> Result<ClientConfig, TlsError> {
    let ServerTrust { ca, identity } = trust;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(ca, error))?
        .with_root_certificates(files::authorities(ca)?);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => builder
            .with_client_auth_cert(files::certificates(certificate)?, files::private_key(key)?)
            .map_err(|error| TlsError::new(key, error)),
    }
}
