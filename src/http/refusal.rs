//! The answer to a request that is refused, and what is done with the rest of its body.
//!
//! A short rest is read first: clients that write before they read, and old ones of HTTP/2, see the answer then, and not
//! a connection or stream that is reset. A long one is not, or whoever is refused could keep a connection for ever.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, HttpResponse, Resource, web};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::timeout;
use tracing::debug;

use super::problem::{Kind, Problem};
use super::request_id::RequestId;

/// Bytes of a body that are read although its request is refused.
const MAX_UNREAD: usize = 64 << 10;

/// Characters of a path that are told.
const MAX_PATH: usize = 100;

/// How long such a body may take.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of an answer before which the request's own body has not been read to its end. While that is held, the server
/// closes the connection after the answer; otherwise it would read a chunked one for as long as the client goes on.
struct BeforeEnd {
    answer: BoxBody,
    _unread: web::Payload,
}

/// Answers a request that is refused. The log tells of it at debug level only, with the id that the client was told:
/// clients decide how many such lines there are.
pub async fn refuse(request: &HttpRequest, mut unread: web::Payload, problem: &Problem) -> HttpResponse {
    let id = RequestId::of_request(request);
    debug!(
        request_id = id.as_ref().map(RequestId::as_str),
        peer = request.peer_addr().map(tracing::field::display),
        method = %request.method(),
        path = start_of_path(request),
        status = problem.status().as_u16(),
        problem = problem.slug(),
        "request refused: {problem}"
    );
    let answer = problem.answer(id.as_ref());
    // To wait for what cannot come would be the end of the connection, without an answer.
    if !problem.has_more() || is_short(request) && ends(&mut unread).await {
        return answer;
    }
    answer.map_body(|_, answer| BoxBody::new(BeforeEnd { answer, _unread: unread }))
}

/// A path that can be read: by GET, and by HEAD without the body.
pub fn readable<F, Args>(path: &str, handler: F) -> Resource
where
    F: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    let by_head = web::head().to(handler.clone());
    only("GET, HEAD", web::resource(path).route(web::get().to(handler)).route(by_head))
}

/// Tells whoever comes with another method which the path takes.
pub fn only(methods: &'static str, resource: Resource) -> Resource {
    resource.default_service(web::to(move |request: HttpRequest, payload: web::Payload| async move {
        refuse(&request, payload, &Problem::method_not_allowed(methods)).await
    }))
}

/// Refuses a path that there is not. `paths` says where to find those that there are.
pub fn no_such_path(request: &HttpRequest, paths: &str) -> Problem {
    let path = start_of_path(request);
    Problem::new(Kind::NotFound, format!("{path} is not a path of this service; {paths}"))
}

/// As much of the path as is told.
fn start_of_path(request: &HttpRequest) -> &str {
    let path = request.path();
    path.char_indices().nth(MAX_PATH).and_then(|(end, _)| path.get(..end)).unwrap_or(path)
}

fn is_short(request: &HttpRequest) -> bool {
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    declared.is_none_or(|length| length <= MAX_UNREAD as u64)
}

/// Reads the rest of a body, if that is short and comes soon.
async fn ends(unread: &mut web::Payload) -> bool {
    let reading = async {
        let mut num_bytes = 0;
        loop {
            match poll_fn(|context| Pin::new(&mut *unread).poll_next(context)).await {
                Some(Ok(bytes)) => num_bytes += bytes.len(),
                Some(Err(_)) | None => return true,
            }
            if num_bytes > MAX_UNREAD {
                return false;
            }
        }
    };
    timeout(UNREAD_TIMEOUT, reading).await.unwrap_or(false)
}

// === impl BeforeEnd ===

impl MessageBody for BeforeEnd {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}
