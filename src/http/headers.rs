//! Headers of requests: one value each, since of two nobody knows which one is meant.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};

use super::problem::{Kind, Problem};

/// The value of a header, if it is there.
pub fn single<'r>(request: &'r HttpRequest, name: &HeaderName) -> Result<Option<&'r HeaderValue>, Problem> {
    let mut values = request.headers().get_all(name);
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::new(Kind::BadHeader, format!("the header {name} is there more than once")));
    }
    Ok(value)
}
