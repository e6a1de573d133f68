//! Who may send what, and how much: the one place where a request is asked for its credentials.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::Ingest;
use super::problem::{Kind, Problem};
use crate::actors::doorkeeper::Doorkeeper;
use crate::credentials::Denied;
use crate::protocol::device_id::DeviceId;

/// Counts the bytes of a request's body, declared or not, for its address and, if it has a name, its token.
pub(super) struct Meter {
    doorkeeper: Arc<Doorkeeper>,
    /// `None`: whoever it is, it is not over the network.
    peer: Option<IpAddr>,
    token: Option<String>,
}

// === impl Meter ===

impl Meter {
    /// So many bytes have come.
    pub(super) fn count(&self, num_bytes: usize) {
        if let Some(peer) = self.peer {
            self.doorkeeper.note_body(peer, self.token.as_deref(), num_bytes as u64);
        }
    }
}

// === impl Ingest ===

impl Ingest {
    /// Whether events of this type may be sent now, and what counts them.
    pub(super) fn admit_events(&self, request: &HttpRequest, type_name: &str) -> Result<Meter, Problem> {
        let grant = self.credentials.load().http(bearer(request)).map_err(|denied| self.unknown(request, denied))?;
        if !grant.may_send(type_name) {
            return Err(Problem::new(Kind::Forbidden, "the token is for other types"));
        }
        self.take_from_rates(request, grant.name())
    }

    /// Whether a package of this device may be sent now, and what counts it. A device presents what it presents in Hello; a token for HTTP has to
    /// be for all types, since a package may hold any.
    pub(super) fn admit_package(&self, request: &HttpRequest, device_id: &DeviceId) -> Result<Meter, Problem> {
        let (credentials, bearer) = (self.credentials.load(), bearer(request));
        if credentials.device(device_id, bearer.unwrap_or_default().as_bytes()).is_ok() {
            // Not by its name: where one token is good for many devices, names are whatever a client makes up.
            return self.take_from_rates(request, "");
        }
        let grant = credentials.http(bearer).map_err(|denied| self.unknown(request, denied))?;
        let rules = self.parts.rules.load();
        if !rules.catalog.types().iter().all(|message_type| grant.may_send(&message_type.name)) {
            return Err(Problem::new(Kind::Forbidden, "a package needs a token for all types, or its device's own"));
        }
        self.take_from_rates(request, grant.name())
    }

    fn unknown(&self, request: &HttpRequest, denied: Denied) -> Problem {
        if let Some(peer) = request.peer_addr() {
            self.edge.doorkeeper.attempt_failed(peer.ip());
        }
        Problem::new(Kind::Unauthorized, denied.to_string())
    }

    /// Counts the request for its address and, if it has a name, its token.
    fn take_from_rates(&self, request: &HttpRequest, token: &str) -> Result<Meter, Problem> {
        let token = Some(token).filter(|token| !token.is_empty());
        let (doorkeeper, peer) = (&self.edge.doorkeeper, request.peer_addr().map(|peer| peer.ip()));
        if let Some(peer) = peer {
            doorkeeper
                .take_request(peer, token)
                .map_err(|wait| Problem::new(Kind::OverRate, "send less at a time, or come later").retry_after(wait))?;
        }
        Ok(Meter { doorkeeper: Arc::clone(doorkeeper), peer, token: token.map(str::to_owned) })
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
