//! The rules of certificates and keys. Whether the files hold what they should is for their readers to say.

use std::path::PathBuf;

use super::super::checks::Checker;
use super::super::entry::Entry;
use super::super::raw::RawHttpTls;
use super::super::raw_backends::RawClientTls;
use super::super::raw_devices::RawDeviceTls;
use super::{Surroundings, path};
use crate::tls::{ClientCertificates, NameIn, ServerTlsFiles, ServerTrust};

/// TLS on the device port.
pub(super) fn devices(
    check: &mut Checker<'_>,
    raw: &RawDeviceTls,
    surroundings: &Surroundings,
) -> Option<ServerTlsFiles> {
    const SECTION: &str = "devices.tls";
    let pair = pair(check, SECTION, &raw.certificate, &raw.key, surroundings);
    let ca = path(check, SECTION, "client_ca", &raw.client_ca, surroundings);
    let mut section = check.section(SECTION);
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
pub(super) fn http(
    check: &mut Checker<'_>,
    section: &str,
    raw: &RawHttpTls,
    surroundings: &Surroundings,
) -> Option<ServerTlsFiles> {
    let pair = pair(check, section, &raw.certificate, &raw.key, surroundings);
    pair.map(|(certificate, key)| ServerTlsFiles { certificate, key, clients: None })
}

/// TLS to a server.
pub(super) fn client(
    check: &mut Checker<'_>,
    section: &str,
    raw: &RawClientTls,
    surroundings: &Surroundings,
) -> Option<ServerTrust> {
    let ca = path(check, section, "ca", &raw.ca, surroundings);
    let identity = pair(check, section, &raw.certificate, &raw.key, surroundings);
    if identity.is_some() && ca.is_none() {
        let what = "is set but ca is empty, so that there is no TLS; set ca, too";
        check.section(section).fault("certificate", what);
    }
    ca.map(|ca| ServerTrust { ca, identity })
}

/// A certificate and its key; both or neither.
fn pair(
    check: &mut Checker<'_>,
    section: &str,
    certificate: &Entry,
    key: &Entry,
    surroundings: &Surroundings,
) -> Option<(PathBuf, PathBuf)> {
    let certificate = path(check, section, "certificate", certificate, surroundings);
    let key = path(check, section, "key", key, surroundings);
    let mut section = check.section(section);
    match (certificate, key) {
        (Some(certificate), Some(key)) => return Some((certificate, key)),
        (Some(_), None) => section.fault("key", "is empty but there is a certificate; set both or neither"),
        (None, Some(_)) => section.fault("certificate", "is empty but there is a key; set both or neither"),
        (None, None) => {}
    }
    None
}
