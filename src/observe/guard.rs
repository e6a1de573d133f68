//! Who may look. On an address that others can reach, every path of the operators' HTTP wants the token of an observer or
//! an operator, those that do not exist as well, except for the few that are listed here. What is added later is therefore
//! guarded without anybody having to think of it.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, web};
use arc_swap::ArcSwap;

use crate::credentials::CurrentCredentials;
use crate::http::bearer::{bearer, unauthorized};
use crate::http::problem::{Kind, Problem};
use crate::http::refusal::refuse;
use crate::intake::admission::AdmissionControl;
use crate::intake::held_back::{HeldBack, TooMany};

/// What is shown without a token on an address that others can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicPaths {
    /// What is below `/health/`, for checks of containers and load balancers. Not `/health` itself, which names topics,
    /// tables and servers.
    pub health_checks: bool,
    /// `/metrics`.
    pub metrics: bool,
}

/// Decides who may look.
#[derive(Debug)]
pub struct Guard {
    /// Whether others can reach the address: on loopback nobody is asked.
    is_reachable: bool,
    public: ArcSwap<PublicPaths>,
    credentials: CurrentCredentials,
    held_back: HeldBack,
}

// === impl PublicPaths ===

impl PublicPaths {
    /// Whether this path is shown to everybody. It is compared as it was sent: the router turns no path that begins with
    /// `/health/` into one that does not.
    fn contain(self, path: &str) -> bool {
        self.health_checks && path.starts_with("/health/") || self.metrics && path == "/metrics"
    }
}

// === impl Guard ===

impl Guard {
    /// Lets in who has one of these credentials.
    pub fn new(
        is_reachable: bool,
        public: PublicPaths,
        credentials: CurrentCredentials,
        admission: Arc<AdmissionControl>,
    ) -> Self {
        Self { is_reachable, public: ArcSwap::from_pointee(public), credentials, held_back: HeldBack::new(admission) }
    }

    /// Shows these paths to everybody from now on.
    pub fn set_public(&self, public: PublicPaths) {
        self.public.store(Arc::new(public));
    }

    /// Whether a request is answered. Answers to those without a valid token are held back as at HTTP ingest.
    async fn ask(&self, request: &HttpRequest) -> Result<(), Problem> {
        if !self.is_reachable || self.public.load().contain(request.path()) {
            return Ok(());
        }
        if self.credentials.load().observer(bearer(request)?).is_ok() {
            return Ok(());
        }
        let peer = request.peer_addr().map(|peer| peer.ip());
        self.held_back.hold(peer).await.map_err(|TooMany(wait)| {
            Problem::new(Kind::OverRate, "too many requests without a valid token").retry_after(wait)
        })?;
        Err(unauthorized(request))
    }
}

/// Stands before every path.
pub(super) async fn guard(
    guard: web::Data<Guard>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match guard.ask(request.request()).await {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(problem) => {
            let payload = request.extract::<web::Payload>().await?;
            let request = request.into_parts().0;
            let answer = refuse(&request, payload, &problem).await;
            Ok(ServiceResponse::new(request, answer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_what_is_not_listed_is_not_public() {
        let all = PublicPaths { health_checks: true, metrics: true };
        for path in ["/health/live", "/health/ready", "/health/x", "/metrics"] {
            assert!(all.contain(path), "{path}");
        }
        let others = [
            "/health",
            "/histograms",
            "/gate",
            "/actors",
            "/",
            "",
            "/metrics/",
            "/metricsx",
            "/healthx",
            "//health/live",
        ];
        for path in others {
            assert!(!all.contain(path), "{path}");
        }
        let none = PublicPaths { health_checks: false, metrics: false };
        assert!(!none.contain("/health/live") && !none.contain("/metrics"));
        assert!(!PublicPaths { metrics: true, ..none }.contain("/health/live"));
        assert!(!PublicPaths { health_checks: true, ..none }.contain("/metrics"));
    }
}
