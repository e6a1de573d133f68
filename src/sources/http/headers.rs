//! The headers of requests that say what the body is, and of which trace the request is a part.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};

use crate::flow::trace::{TRACEPARENT, TRACESTATE, Trace, TraceContext};
use crate::http::headers::single;
use crate::http::problem::Problem;

/// What Content-Type names, without parameters; empty if there is none. To be compared without regard to case.
pub(super) fn media_type(request: &HttpRequest) -> Result<&str, Problem> {
    let value = single(request, &CONTENT_TYPE)?.and_then(|value| value.to_str().ok());
    Ok(essence(value.unwrap_or_default()))
}

/// A media type, or a range of them, without its parameters.
pub(super) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// The trace that the request is a part of, if it says so.
pub(super) fn trace(request: &HttpRequest) -> Option<Trace> {
    let values = |name: &str| request.headers().get_all(name).map(HeaderValue::as_bytes);
    TraceContext::read(values(TRACEPARENT), values(TRACESTATE)).map(Trace::new)
}
