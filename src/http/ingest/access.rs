//! Who may send what, and how much: the one place where a request is asked for its credentials.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH};

use super::Ingest;
use super::problem::{Kind, Problem};
use crate::credentials::Denied;
use crate::protocol::device_id::DeviceId;

impl Ingest {
    /// Whether events of this type may be sent now.
    pub(super) fn admit_events(&self, request: &HttpRequest, type_name: &str) -> Result<(), Problem> {
        let grant = self.credentials.load().http(bearer(request)).map_err(|denied| self.unknown(request, denied))?;
        if !grant.may_send(type_name) {
            return Err(Problem::new(Kind::Forbidden, "the token is for other types"));
        }
        self.take_from_rates(request, grant.name())
    }

    /// Whether a package of this device may be sent now. A device presents what it presents in Hello; a token for HTTP has to
    /// be for all types, since a package may hold any.
    pub(super) fn admit_package(&self, request: &HttpRequest, device_id: &DeviceId) -> Result<(), Problem> {
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

    /// Counts the request and the length that it tells, for its address and, if it has a name, its token.
    fn take_from_rates(&self, request: &HttpRequest, token: &str) -> Result<(), Problem> {
        let name = Some(token).filter(|token| !token.is_empty());
        let Some(peer) = request.peer_addr() else { return Ok(()) };
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.edge
            .doorkeeper
            .take_request(peer.ip(), name, length.unwrap_or(0))
            .map_err(|wait| Problem::new(Kind::OverRate, "send less at a time, or come later").retry_after(wait))
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
