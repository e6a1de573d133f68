//! TLS: certificates and keys from PEM files, for the ports that we listen on and for the servers that we call.
//!
//! Version 1.2 and newer, with authenticated encryption only: what the library offers by default. The certificates of a
//! port are replaced whole when their files have changed ([`server`]). Kafka is not among the servers here: its client
//! brings a TLS of its own.

mod client;
mod files;
mod name;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client::{ServerTrust, client_config};
pub use name::NameIn;
pub use server::{ClientCertificates, PreparedTls, ServerTls, ServerTlsFiles};

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct TlsError {
    file: PathBuf,
    reason: String,
}

// === impl TlsError ===

impl TlsError {
    fn new(file: &Path, reason: impl ToString) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
