//! The token of a request, as RFC 6750 has it: `Authorization: Bearer TOKEN`.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::headers::single;
use super::problem::{Kind, Problem};

/// The token that a request presents, if it presents one. Fails if the header is there twice.
pub fn bearer(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let value = single(request, &AUTHORIZATION)?.and_then(|value| value.to_str().ok());
    let scheme_and_token = value.and_then(|value| value.trim().split_once(' '));
    let is_bearer = |scheme: &str| scheme.eq_ignore_ascii_case("bearer");
    Ok(scheme_and_token.and_then(|(scheme, token)| is_bearer(scheme).then(|| token.trim())))
}

/// Says of a request without a valid token what it lacks. The token itself is never part of the answer.
pub fn unauthorized(request: &HttpRequest) -> Problem {
    match request.headers().get(AUTHORIZATION) {
        None => Problem::new(Kind::Unauthorized, "there is no token: send Authorization: Bearer TOKEN"),
        Some(_) if bearer(request).is_ok_and(|bearer| bearer.is_none_or(str::is_empty)) => {
            Problem::new(Kind::Unauthorized, "Authorization has no bearer token: send Authorization: Bearer TOKEN")
        }
        Some(_) => Problem::new(Kind::Unauthorized, "the token is not valid").because("invalid_token"),
    }
}
