//! How a simulated device reaches the server: plain, or by TLS with or without a certificate of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::protocol::device_id::DeviceId;
use crate::tls::{ServerTrust, TlsError, client_config};

/// What stands for the device's id in the path of a certificate or a key.
const PLACE_OF_ID: &str = "{}";

/// A server.
#[derive(Debug)]
pub(super) struct Target {
    pub address: SocketAddr,
    /// What it is called; its certificate has to be for that.
    pub host: String,
}

/// An open connection.
pub(super) enum Channel {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The TLS of a whole run.
#[derive(Debug)]
pub(super) struct FleetTls {
    trust: ServerTrust,
    /// The same for every device, unless each has a certificate of its own.
    shared: Option<ClientConfig>,
}

/// The TLS of one device, which keeps what the server gave it to come back with.
pub(super) struct DeviceTls(TlsConnector);

// === impl Target ===

impl Target {
    /// `target` is the host with its port, `address` what that resolves to.
    pub fn new(target: &str, address: SocketAddr) -> Self {
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        Self { address, host: host.trim_start_matches('[').trim_end_matches(']').to_owned() }
    }
}

// === impl FleetTls ===

impl FleetTls {
    pub fn new(trust: &ServerTrust) -> Result<Self, TlsError> {
        let each_its_own = trust.identity.as_ref().is_some_and(|(certificate, key)| {
            [certificate, key].iter().any(|path| path.to_string_lossy().contains(PLACE_OF_ID))
        });
        let shared = if each_its_own { None } else { Some(client_config(trust)?) };
        Ok(Self { trust: trust.clone(), shared })
    }

    /// The part of one device.
    pub fn of(&self, device_id: &DeviceId) -> Result<DeviceTls, TlsError> {
        let mut config = match &self.shared {
            Some(config) => config.clone(),
            None => client_config(&self.trust_of(device_id))?,
        };
        // Tickets of its own, as a real device has them: those of others would make coming back look cheaper.
        config.resumption = Resumption::in_memory_sessions(1);
        Ok(DeviceTls(TlsConnector::from(Arc::new(config))))
    }

    fn trust_of(&self, device_id: &DeviceId) -> ServerTrust {
        let own = |path: &Path| PathBuf::from(path.to_string_lossy().replace(PLACE_OF_ID, device_id));
        let identity = self.trust.identity.as_ref().map(|(certificate, key)| (own(certificate), own(key)));
        ServerTrust { ca: self.trust.ca.clone(), identity }
    }
}

// === impl DeviceTls ===

impl DeviceTls {
    /// The handshake with a server that is called by this name.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<Channel> {
        let host = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let stream = self.0.connect(host, stream).await?;
        Ok(Channel::Tls(Box::new(stream)))
    }
}

impl std::fmt::Debug for DeviceTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceTls")
    }
}
