//! PEM files: chains of certificates, private keys, and the authorities that others are checked against.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// The certificates of a file, the holder's own first.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| TlsError::new(file, format!("not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(TlsError::new(file, "holds no certificate; it has to begin with -----BEGIN CERTIFICATE-----"));
    }
    Ok(certificates)
}

/// The private key of a file: PKCS #8, PKCS #1 or SEC1, not encrypted.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let remedy = "it has to hold a private key in PEM that no passphrase encrypts";
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| TlsError::new(file, format!("{error}; {remedy}")))
}

/// The authorities of a file.
pub(super) fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::new(file, error))?;
    }
    Ok(roots)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::new(file, format!("cannot be read: {error}")))
}
