//! What is wrong with a request, as RFC 9457 tells it.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde_json::{Map, Value};

use super::request_id::RequestId;

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What all types of problems begin with.
const TYPE_PREFIX: &str = "urn:surgetank:problem:";

/// A problem, ready to be told.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    retry_after: Option<Duration>,
    /// Of a method that is not allowed: those that are.
    allow: Option<&'static str>,
    /// Nothing more can come of the request's body.
    is_broken_off: bool,
    told: Option<Box<Told>>,
}

/// What a problem says beside itself.
#[derive(Debug, Default, Serialize)]
struct Told {
    #[serde(flatten)]
    summary: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

/// Declares the kinds of problems, each with its status, the end of its type, and its title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $Kind:ident = $status:ident, $slug:literal, $title:literal;)*) => {
        /// The kinds of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $Kind,)*
        }

        impl Kind {
            /// Every kind, for documents.
            pub const ALL: &[Self] = &[$(Self::$Kind,)*];

            /// The status that it is told with.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$Kind => StatusCode::$status,)*
                }
            }

            /// The end of its type.
            pub const fn slug(self) -> &'static str {
                match self {
                    $(Self::$Kind => $slug,)*
                }
            }

            /// What it is, in a few words.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$Kind => $title,)*
                }
            }
        }
    };
}

kinds! {
    /// A body that is not what its headers say.
    MalformedBody = BAD_REQUEST, "malformed-body", "the body cannot be read";
    /// What came is no request.
    BrokenRequest = BAD_REQUEST, "broken-request", "this is not HTTP as it should be";
    /// A header that does not hold what it has to.
    BadHeader = BAD_REQUEST, "bad-header", "a header is missing or not valid";
    /// No token, or one that nobody has.
    Unauthorized = UNAUTHORIZED, "unauthorized", "a valid bearer token is needed";
    /// A token that does not cover this.
    Forbidden = FORBIDDEN, "forbidden", "the token does not allow this";
    /// No such message type.
    UnknownType = NOT_FOUND, "unknown-type", "there is no such message type";
    /// No such path.
    NotFound = NOT_FOUND, "not-found", "there is nothing at this path";
    /// The path takes another method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "the path takes another method";
    /// The head of a request did not come.
    HeadTooSlow = REQUEST_TIMEOUT, "head-too-slow", "the head of the request came too slowly";
    /// The body came too slowly.
    TooSlow = REQUEST_TIMEOUT, "body-too-slow", "the body came too slowly";
    /// The body, or its only event, is too long.
    TooLarge = PAYLOAD_TOO_LARGE, "body-too-large", "the body is too large";
    /// More events than one request may have.
    TooManyEvents = PAYLOAD_TOO_LARGE, "too-many-events", "the body has too many events";
    /// The body unpacks to too many times its size.
    ExpandsTooMuch = PAYLOAD_TOO_LARGE, "expands-too-much", "the body expands too much";
    /// A content type that the path does not take.
    MediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "the content type is not supported";
    /// A content encoding that the path does not take.
    Encoding = UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", "the content encoding is not supported";
    /// The head of a request is too large.
    HeadTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "the head of the request is too large";
    /// Nothing was accepted, and something was refused.
    Rejected = UNPROCESSABLE_ENTITY, "rejected", "nothing was accepted";
    /// So much was refused that the rest was not read.
    TooManyRejected = UNPROCESSABLE_ENTITY, "too-many-rejected", "too much of the body was refused to read on";
    /// The address or the token has sent more than it may.
    OverRate = TOO_MANY_REQUESTS, "over-rate", "the address or the token sends too much";
    /// The log and the store are not there yet.
    Starting = SERVICE_UNAVAILABLE, "starting", "the server is starting";
    /// Too many requests are being worked on.
    Busy = SERVICE_UNAVAILABLE, "busy", "too many requests are being worked on";
    /// The memory budget is used up.
    MemoryFull = SERVICE_UNAVAILABLE, "memory-full", "there is no room for the body now";
    /// The log did not confirm everything.
    NotConfirmed = SERVICE_UNAVAILABLE, "not-confirmed", "not everything was confirmed as durable";
}

// === impl Problem ===

impl Problem {
    /// A problem of this kind, with what is wrong in this case as a sentence for people.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, allow: None, is_broken_off: false, told: None }
    }

    /// The path takes these methods, and another one was asked for.
    pub fn method_not_allowed(methods: &'static str) -> Self {
        let problem = Self::new(Kind::MethodNotAllowed, format!("the path takes {methods}"));
        Self { allow: Some(methods), ..problem }
    }

    /// Nothing more can come of the request's body.
    pub fn broken_off(mut self) -> Self {
        self.is_broken_off = true;
        self
    }

    /// Whether something may still come of the request's body.
    pub fn has_more(&self) -> bool {
        !self.is_broken_off
    }

    /// Asks for the request again after this time.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Names the place of what is wrong with the only event of a request.
    pub fn at(mut self, reason: &'static str, path: Option<String>, line: u64) -> Self {
        let told = self.told.get_or_insert_default();
        (told.reason, told.path, told.line) = (Some(reason), path, Some(line));
        self
    }

    /// Names in a word why the whole of it was refused.
    pub fn because(mut self, reason: &'static str) -> Self {
        self.told.get_or_insert_default().reason = Some(reason);
        self
    }

    /// Names the line that cannot be read.
    pub fn at_line(mut self, line: u64) -> Self {
        self.told.get_or_insert_default().line = Some(line);
        self
    }

    /// Tells what became of the events all the same.
    pub fn with(mut self, summary: &impl Serialize) -> Self {
        let Ok(Value::Object(members)) = serde_json::to_value(summary) else {
            unreachable!("a summary is a struct of numbers, texts and lists of them");
        };
        self.told.get_or_insert_default().summary = Some(members);
        self
    }

    /// The status that it is told with.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The end of its type.
    pub fn slug(&self) -> &'static str {
        self.kind.slug()
    }

    /// The answer to the request of this id; to what is no request, there is none.
    pub fn answer(&self, request_id: Option<&RequestId>) -> HttpResponse {
        self.head().content_type(PROBLEM_JSON).body(self.body(request_id))
    }

    /// The body of the answer.
    pub fn body(&self, request_id: Option<&RequestId>) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'static str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u64>,
            #[serde(flatten)]
            told: Option<&'a Told>,
        }
        let body = Body {
            r#type: format!("{TYPE_PREFIX}{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            request_id: request_id.map(RequestId::as_str),
            retry_after_ms: self.retry_after.map(|delay| delay.as_millis() as u64),
            told: self.told.as_deref(),
        };
        // Numbers, texts and lists of them: nothing that JSON cannot say.
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// The answer without its body.
    pub fn head(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(self.kind.status());
        if let Some(delay) = self.retry_after {
            // Whole seconds, at least one; the body has it to the millisecond.
            response.insert_header((RETRY_AFTER, delay.as_millis().div_ceil(1000).max(1).to_string()));
        }
        if self.kind == Kind::Unauthorized {
            // With an error only if there was a token (RFC 6750).
            let has_token = self.told.as_ref().is_some_and(|told| told.reason.is_some());
            let challenge = if has_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        if let Some(methods) = self.allow {
            response.insert_header((ALLOW, methods));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}
