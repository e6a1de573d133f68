//! Headers of requests: one value each, since of two nobody knows which one is meant.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::http::problem::{Kind, Problem};

/// The value of a header, if it is there.
pub(super) fn single<'r>(request: &'r HttpRequest, name: &HeaderName) -> Result<Option<&'r HeaderValue>, Problem> {
    let mut values = request.headers().get_all(name);
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::new(Kind::BadHeader, format!("the header {name} is there more than once")));
    }
    Ok(value)
}

/// What Content-Type names, without parameters; empty if there is none. To be compared without regard to case.
pub(super) fn media_type(request: &HttpRequest) -> Result<&str, Problem> {
    let value = single(request, &CONTENT_TYPE)?.and_then(|value| value.to_str().ok());
    Ok(essence(value.unwrap_or_default()))
}

/// A media type, or a range of them, without its parameters.
pub(super) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
