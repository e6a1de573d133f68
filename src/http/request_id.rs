//! One name for a request, in the answer, in the problem document and in log lines: the client's own, if it sent one that
//! can be printed anywhere, or else a new one.

use actix_web::HttpMessage;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt;

/// The header that it comes in and goes out with.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The longest id that is taken from a client, in characters.
const MAX_LEN: usize = 128;

/// The id of a request. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

// === impl RequestId ===

impl RequestId {
    /// The id of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(REQUEST_ID_HEADER);
        match (given.next(), given.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    /// An id that no other request has.
    fn new() -> Self {
        let text = format!("{:016x}", rand::rng().random::<u64>());
        let Ok(value) = HeaderValue::try_from(text) else { unreachable!("a header may hold hexadecimal digits") };
        Self(value)
    }

    /// The id that the server gave a request when it came.
    pub fn of_request(request: &impl HttpMessage) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Adds the id to the headers of an answer.
    pub fn mark(self, answer: &mut HeaderMap) {
        answer.insert(HeaderName::from_static(REQUEST_ID_HEADER), self.0);
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        let Ok(text) = self.0.to_str() else { unreachable!("an id has printable characters of ASCII only") };
        text
    }
}

/// Whether it can stand in a log line, a document and a shell as it is.
fn is_sane(id: &[u8]) -> bool {
    let is_plain = |letter: &u8| letter.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(letter);
    (1..=MAX_LEN).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(HeaderName::from_static(REQUEST_ID_HEADER), HeaderValue::from_str(id).unwrap());
        }
        RequestId::of(&headers)
    }

    #[test]
    fn test_a_sane_id_is_kept_and_any_other_replaced() {
        for id in ["a", "7f3c2d1e-9b4a-4c55-8a9e-0123456789ab", "Root=1-67891233-abc:x/y+z==", &"x".repeat(MAX_LEN)] {
            assert_eq!(of(&[id]).as_str(), id);
        }
        let long = "x".repeat(MAX_LEN + 1);
        for ids in [&[][..], &[""], &["a b"], &["a\"b"], &["${a}"], &["<a>"], &["ä"], &[&long], &["a", "a"]] {
            let (id, other) = (of(ids), of(ids));
            assert!(id.as_str().len() == 16 && id.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()), "{ids:?}");
            assert_ne!(id, other, "{ids:?}");
        }
    }
}
