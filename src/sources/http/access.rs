//! Who may send what, and how much: the one place where a request is asked for its credentials.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

use super::{DEVICE_HEADER, Ingest};
use crate::http::bearer::{bearer, unauthorized};
use crate::http::headers::single;
use crate::http::problem::{Kind, Problem};
use crate::intake::Path;
use crate::intake::admission::AdmissionControl;
use crate::intake::held_back::TooMany;
use crate::protocol::device_id::DeviceId;
use crate::telemetry::Telemetry;
use crate::telemetry::counters::add;

/// Counts the bytes of a request's body, declared or not, for all and for its address and, if it has a name, its token.
pub(super) struct Meter {
    admission: Arc<AdmissionControl>,
    telemetry: Arc<Telemetry>,
    /// `None`: whoever it is, it is not over the network.
    peer: Option<IpAddr>,
    token: Option<String>,
}

/// Why a request is not let in.
enum Denial {
    /// Nobody knows who it is.
    Unknown,
    Other(Problem),
}

// === impl Meter ===

impl Meter {
    /// So many bytes have come.
    pub(super) fn count(&self, num_bytes: usize) {
        add(&self.telemetry.counters.received.http, num_bytes as u64);
        if let Some(peer) = self.peer {
            self.admission.note_body(peer, self.token.as_deref(), num_bytes as u64);
        }
    }
}

// === impl Ingest ===

impl Ingest {
    /// Whether events of this type may be sent now, and what counts them.
    pub(super) async fn admit_events(&self, request: &HttpRequest, type_name: &str) -> Result<Meter, Problem> {
        match self.ask_for_events(request, type_name) {
            Ok(meter) => Ok(meter),
            Err(denial) => Err(self.deny(request, denial).await),
        }
    }

    /// Which device a package is of, whether it may be sent now, and what counts it. A device presents what it presents in
    /// Hello; a token for HTTP has to be for all types, since a package may hold any.
    pub(super) async fn admit_package(&self, path: &Path, request: &HttpRequest) -> Result<(DeviceId, Meter), Problem> {
        match self.ask_for_package(path, request) {
            Ok(admitted) => Ok(admitted),
            Err(denial) => Err(self.deny(request, denial).await),
        }
    }

    fn ask_for_events(&self, request: &HttpRequest, type_name: &str) -> Result<Meter, Denial> {
        let grant = self.credentials.load().http(bearer(request)?).map_err(|_| Denial::Unknown)?;
        if !grant.may_send(type_name) {
            return Err(Problem::new(Kind::Forbidden, "the token is for other types").into());
        }
        Ok(self.take_from_rates(request, grant.name())?)
    }

    fn ask_for_package(&self, path: &Path, request: &HttpRequest) -> Result<(DeviceId, Meter), Denial> {
        let (credentials, bearer) = (self.credentials.load(), bearer(request)?);
        let token = bearer.unwrap_or_default().as_bytes();
        let device_id = match device_id(request) {
            Ok(device_id) => device_id,
            Err(problem) if credentials.http(bearer).is_ok() || credentials.is_of_a_device(token) => {
                return Err(problem.into());
            }
            // Who it is comes before what it wants.
            Err(_) => return Err(Denial::Unknown),
        };
        if credentials.device(&device_id, token).is_ok() {
            // Not by its name: where one token is good for many devices, names are whatever a client makes up.
            return Ok((device_id, self.take_from_rates(request, "")?));
        }
        let Ok(grant) = credentials.http(bearer) else {
            return Err(match credentials.is_of_a_device(token) {
                true => Problem::new(Kind::Forbidden, "the token is another device's").into(),
                false => Denial::Unknown,
            });
        };
        let rules = path.rules.load();
        if !rules.codecs.catalog().types().iter().all(|message_type| grant.may_send(&message_type.name)) {
            let detail = "a package needs a token for all types, or its device's own";
            return Err(Problem::new(Kind::Forbidden, detail).into());
        }
        Ok((device_id, self.take_from_rates(request, grant.name())?))
    }

    /// Answers who is not let in. Of those without a valid token, the answer is held back when their address has had many
    /// within a minute; the others at that address do not notice.
    async fn deny(&self, request: &HttpRequest, denial: Denial) -> Problem {
        if let Denial::Other(problem) = denial {
            return problem;
        }
        let peer = request.peer_addr().map(|peer| peer.ip());
        match self.held_back.hold(peer).await {
            Ok(()) => unauthorized(request),
            Err(TooMany(wait)) => {
                let delay = self.intake.come_back_after(wait);
                Problem::new(Kind::OverRate, "too many requests without a valid token").retry_after(delay)
            }
        }
    }

    /// Counts the request for its address and, if it has a name, its token.
    fn take_from_rates(&self, request: &HttpRequest, token: &str) -> Result<Meter, Problem> {
        let token = Some(token).filter(|token| !token.is_empty());
        let (admission, peer) = (&self.intake.admission, request.peer_addr().map(|peer| peer.ip()));
        if let Some(peer) = peer {
            admission
                .take_request(peer, token)
                .map_err(|wait| Problem::new(Kind::OverRate, "send less at a time, or come later").retry_after(wait))?;
        }
        let (admission, telemetry) = (Arc::clone(admission), Arc::clone(&self.intake.telemetry));
        Ok(Meter { admission, telemetry, peer, token: token.map(str::to_owned) })
    }
}

// === impl Denial ===

impl From<Problem> for Denial {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

fn device_id(request: &HttpRequest) -> Result<DeviceId, Problem> {
    let problem = |detail: String| Problem::new(Kind::BadHeader, detail);
    let text = single(request, &HeaderName::from_static(DEVICE_HEADER))?;
    let text = text.ok_or_else(|| problem("Surgetank-Device names the device that the package is of".to_owned()))?;
    DeviceId::from_bytes(text.as_bytes()).map_err(|bad| problem(format!("Surgetank-Device: {bad}")))
}
