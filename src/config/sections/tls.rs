//! The rules of certificates and keys. Whether the files hold what they should is for their readers to say.

use std::path::PathBuf;

use crate::config::checks::Checker;
use crate::config::entry::Entry;
use crate::config::section::written;
use crate::tls::{ClientCertificates, NameIn, ServerTlsFiles, ServerTrust};

written! {
    /// TLS on the device port.
    WrittenDeviceTls {
        certificate = "";
        key = "";
        client_ca = "";
        client_certificate = "required";
        device_id_in = "dns";
    }
}

written! {
    /// TLS on an HTTP port.
    WrittenHttpTls {
        certificate = "";
        key = "";
    }
}

written! {
    /// TLS to a server.
    WrittenClientTls {
        ca = "";
        certificate = "";
        key = "";
    }
}

/// TLS on the device port.
pub(super) fn devices(check: &mut Checker<'_>, path: &str, raw: &WrittenDeviceTls) -> Option<ServerTlsFiles> {
    let pair = pair(check, path, &raw.certificate, &raw.key);
    let ca = check.section(path).path("client_ca", &raw.client_ca);
    let mut section = check.section(path);
    let whether = [("required", true), ("optional", false)];
    let is_required = section.choice("client_certificate", &raw.client_certificate, &whether, true);
    let places = [("dns", NameIn::Dns), ("uri", NameIn::Uri), ("cn", NameIn::CommonName)];
    let name_in = section.choice("device_id_in", &raw.device_id_in, &places, NameIn::Dns);
    if ca.is_some() && pair.is_none() {
        section.fault("client_ca", "is set but there is no certificate of the server; set certificate and key, too");
    }
    let clients = ca.map(|ca| ClientCertificates { ca, is_required, name_in });
    pair.map(|(certificate, key)| ServerTlsFiles { certificate, key, clients })
}

/// TLS on an HTTP port, whose section is called `section`.
pub(super) fn http(check: &mut Checker<'_>, section: &str, raw: &WrittenHttpTls) -> Option<ServerTlsFiles> {
    let pair = pair(check, section, &raw.certificate, &raw.key);
    pair.map(|(certificate, key)| ServerTlsFiles { certificate, key, clients: None })
}

/// TLS to a server.
pub(super) fn client(check: &mut Checker<'_>, section: &str, raw: &WrittenClientTls) -> Option<ServerTrust> {
    let ca = check.section(section).path("ca", &raw.ca);
    let identity = pair(check, section, &raw.certificate, &raw.key);
    if identity.is_some() && ca.is_none() {
        let what = "is set but ca is empty, so that there is no TLS; set ca, too";
        check.section(section).fault("certificate", what);
    }
    ca.map(|ca| ServerTrust { ca, identity })
}

/// A certificate and its key; both or neither.
fn pair(check: &mut Checker<'_>, section: &str, certificate: &Entry, key: &Entry) -> Option<(PathBuf, PathBuf)> {
    let certificate = check.section(section).path("certificate", certificate);
    let key = check.section(section).path("key", key);
    let mut section = check.section(section);
    match (certificate, key) {
        (Some(certificate), Some(key)) => return Some((certificate, key)),
        (Some(_), None) => section.fault("key", "is empty but there is a certificate; set both or neither"),
        (None, Some(_)) => section.fault("certificate", "is empty but there is a key; set both or neither"),
        (None, None) => {}
    }
    None
}
